"""Which user of this machine is at the other end of a loopback connection.

Browsers send the cookies of 127.0.0.1 to every port, so also to a server of another user of this machine.
So a cookie alone must not suffice. Linux says whose a connection is: netlink in some microseconds, and
`/proc/net/tcp` in some milliseconds when there are thousands of connections. Other systems say nothing.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import NamedTuple

Address = IPv4Address | IPv6Address
_MAPPED_PREFIX = bytes(10) + b"\xff\xff"

_SOCK_DIAG, _BY_FAMILY, _REQUEST, _ERROR = 4, 20, 1, 2
_ANY_STATE = 0xFFFFFFFF
_LISTEN = 10
_NO_COOKIE = b"\xff" * 8


class End(NamedTuple):
    """An end of a connection."""

    address: Address
    port: int


Owner = Callable[[End, End], int | None]
"""The user of the first end of a connection, whose other end is the second; None if it is closed."""


def address_of(name: str) -> Address:
    """An address, as a socket names it; an IPv4 address in IPv6 is the IPv4 address."""
    address = ip_address(name.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def end_of(name: tuple[object, ...]) -> End:
    """An end, as a socket names it."""
    return End(address_of(str(name[0])), int(str(name[1])))


def is_own(peer: End, here: End) -> bool:
    """Whether this user, or root, is at the other end; True if it is another machine or if nobody can tell.

    Args:
        peer: The other end.
        here: Our end.
    """
    owner = _working_owner() if peer.address.is_loopback else None
    if owner is None:
        return True
    with suppress(OSError):  # no descriptor is left
        return owner(peer, here) in (0, os.getuid())
    return False


@cache
def _working_owner() -> Owner | None:
    """The first way to find an owner that finds the one of a connection of our own; None if none does."""
    if not hasattr(os, "getuid"):
        return None
    for owner in (_owner_by_netlink, _owner_by_proc):
        with (
            suppress(OSError),
            socket.create_server(("127.0.0.1", 0)) as listener,
            socket.create_connection(listener.getsockname()) as client,
        ):
            if owner(end_of(client.getsockname()), end_of(listener.getsockname())) == os.getuid():
                return owner
    return None


def _owner_by_netlink(peer: End, here: End) -> int | None:
    """Ask the kernel's sock_diag(7) for one socket."""
    family = socket.AF_INET if peer.address.version == 4 else socket.AF_INET6
    names = struct.pack("!HH", peer.port, here.port)
    names += peer.address.packed.ljust(16, b"\0") + here.address.packed.ljust(16, b"\0")
    wanted = struct.pack("=BBBBI", family, socket.IPPROTO_TCP, 0, 0, _ANY_STATE)
    wanted += names + struct.pack("=I", 0) + _NO_COOKIE
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as kernel:
        kernel.settimeout(1)
        kernel.send(struct.pack("=IHHII", 16 + len(wanted), _BY_FAMILY, _REQUEST, 1, 0) + wanted)
        answer = kernel.recv(8192)
    if struct.unpack_from("=H", answer, 4)[0] == _ERROR:
        return None
    state, uid, inode = answer[17], *struct.unpack_from("=II", answer, 16 + 4 + 48 + 12)
    return uid if inode and state != _LISTEN else None


def _owner_by_proc(peer: End, here: End) -> int | None:
    """Read the tables of all connections."""
    for table, theirs, ours in _rows(peer, here):
        for line in Path("/proc/net", table).read_text().splitlines():
            fields = line.split()
            if fields[1] == theirs and fields[2] == ours:
                # A socket that its program has closed belongs to nobody: its user is 0, as is its inode.
                return int(fields[7]) if int(fields[9]) else None
    return None


def _rows(peer: End, here: End) -> Iterator[tuple[str, str, str]]:
    """The tables that may hold the other end, and what they have as its names."""
    if peer.address.version == 4:
        yield "tcp", _hexadecimal(peer), _hexadecimal(here)
    yield "tcp6", _hexadecimal(peer, 16), _hexadecimal(here, 16)


def _hexadecimal(end: End, size: int = 4) -> str:
    packed = end.address.packed
    if len(packed) < size:
        packed = _MAPPED_PREFIX + packed
    words = (int.from_bytes(packed[at : at + 4], sys.byteorder) for at in range(0, size, 4))
    return f"{''.join(f'{word:08X}' for word in words)}:{end.port:04X}"
