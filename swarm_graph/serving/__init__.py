"""Serving HTTP on this machine: sockets, the server, tokens of clients."""
