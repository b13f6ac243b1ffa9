"""Sockets of servers on this machine."""

from __future__ import annotations

import ipaddress
import socket

from swarm_graph.errors import InputError


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens on the loopback interface.

    Args:
        host: A loopback address, or localhost.
        port: The port; 0 for any free one.

    Raises:
        InputError: The address is not one of this machine alone, or the port is taken.
    """
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        address = None
    if address is None or not address.is_loopback:
        raise InputError(
            f"--host {host!r} is not of this machine alone; the server listens on 127.0.0.1 or ::1 only "
            "(from elsewhere: ssh -L)"
        )
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((str(address), port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise InputError(
            f"cannot listen on {address} port {port}: {error.strerror}; name another --port"
        ) from error
    return listener


def authority_of(listener: socket.socket) -> str:
    """The address and the port of a socket, as a URL has them."""
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
