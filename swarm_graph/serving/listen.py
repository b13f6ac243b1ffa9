"""Sockets of servers."""

from __future__ import annotations

import ipaddress
import socket

from swarm_graph.errors import InputError


def is_loopback(host: str) -> bool:
    """Whether a host is this machine alone."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen(host: str, port: int, *, anywhere: bool = False) -> socket.socket:
    """A socket that listens, on the loopback interface unless told otherwise.

    Args:
        host: An address of this machine, or localhost.
        port: The port; 0 for any free one.
        anywhere: Whether the address may be one that other machines reach.

    Raises:
        InputError: The address is not one of this machine alone, or the port is taken.
    """
    if not (anywhere or is_loopback(host)):
        raise InputError(
            f"--host {host!r} is not of this machine alone; the server listens on 127.0.0.1 or ::1 only "
            "(from elsewhere: ssh -L)"
        )
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError as error:
        raise InputError(f"--host {host!r} is no address; as in 127.0.0.1, or 0.0.0.0 for all") from error
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
