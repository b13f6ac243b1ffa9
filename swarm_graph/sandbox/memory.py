"""The memory of a test run as the host sees it: pages, page tables, and what no process maps any more.

A shared mapping that was given up but for one page keeps all its pages, and sent data waits in the buffers of
sockets. Only a control group would count both, and an ordinary user cannot make one on every machine.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, suppress
from fcntl import ioctl
from pathlib import Path
from termios import FIONREAD

import psutil

SOCKET_BYTES = 212_992
"""What the buffer of a socket holds by default (net.core.wmem_default of Linux)."""
SHARED_ANONYMOUS = "/dev/zero (deleted)"
"""The name of a shared mapping without a file in /proc/PID/maps."""
LISTENING = 0x10000
PIDFD_GETFD, SO_MEMINFO = 438, 55
_MEMINFO = struct.Struct("=9I")
_LIBC = ctypes.CDLL(None, use_errno=True)


class MemoryMeter:
    """Measures the memory that all processes of one test run hold together."""

    def __init__(self) -> None:
        self._host_shared_before = _host_shared()
        self._fullest_socket = SOCKET_BYTES

    def used(self, processes: Collection[psutil.Process], files: int) -> int:
        """Bytes.

        Args:
            processes: All processes of the run.
            files: Bytes of its files that lie in memory; they have a limit of their own.
        """
        private, mapped = 0, 0
        for process in processes:
            with suppress(OSError, psutil.Error):
                pages = _Pages(process.pid)
                private, mapped = private + pages.private, mapped + pages.shared
        return private + max(mapped, self._shared(processes, files)) + self._sockets(processes)

    def _shared(self, processes: Collection[psutil.Process], files: int) -> int:
        """The bytes behind shared mappings without a file, whether or not they are mapped.

        The kernel tells only root the size of each. For other users it is what the host's shared memory has
        grown by while the run has such a mapping.
        """
        mappings = {inode: path for process in processes for inode, path in _shared_mappings(process.pid)}
        total = 0
        for path in mappings.values():
            try:
                total += Path(path).stat().st_blocks * 512
            except PermissionError:
                return _host_shared() - self._host_shared_before - files
            except OSError:
                continue
        return total

    def _sockets(self, processes: Collection[psutil.Process]) -> int:
        """The bytes that wait in sockets."""
        holders = {inode: (pid, fd) for process in processes for inode, pid, fd in _open_sockets(process.pid)}
        for process in reversed([*processes] if holders else []):
            with suppress(OSError):
                net = f"/proc/{process.pid}/net"
                is_own = not Path(f"/proc/{process.pid}/ns/net").samefile("/proc/self/ns/net")
                return self._local(net, holders, is_own=is_own) + _internet(net, holders, is_own=is_own)
        return 0

    def _local(self, net: str, holders: Mapping[int, tuple[int, int]], *, is_own: bool) -> int:
        """The bytes in Unix sockets.

        A socket that no process holds waits to be accepted, or to be received through another socket. It can
        be seen only in a network of the run's own, and counts as much as the fullest that was seen.
        """
        total = hidden = 0
        for row in _rows(f"{net}/unix"):
            holder = holders.get(int(row[6]))
            if holder and not int(row[3], 16) & LISTENING:
                size = _buffered(*holder)
                self._fullest_socket = max(self._fullest_socket, size)
                total += size
            elif not holder and is_own:
                hidden += 1
        return total + hidden * self._fullest_socket


class _Pages:
    """The pages that a process maps and its page tables, in bytes; a shared page counts by its share.

    Where the kernel does not tell the shares, it counts in full.
    """

    def __init__(self, pid: int) -> None:
        status = _fields(f"/proc/{pid}/status")
        try:
            rollup = _fields(f"/proc/{pid}/smaps_rollup")
            mapped, self.shared = rollup["Pss"], rollup.get("Pss_Shmem", 0)
        except (PermissionError, KeyError):
            mapped, self.shared = status.get("VmRSS", 0), status.get("RssShmem", 0)
        self.private = mapped - self.shared + status.get("VmPTE", 0)


def _fields(path: str) -> dict[str, int]:
    """The lines `Name: 12 kB` of a file in /proc, in bytes."""
    with Path(path).open(encoding="ascii", errors="replace") as file:
        rows = [line.split() for line in file]
    return {row[0][:-1]: int(row[1]) * 1024 for row in rows if row[2:] == ["kB"]}


def _host_shared() -> int:
    """Bytes of shared memory on the whole host, files in memory included."""
    with suppress(OSError):
        return _fields("/proc/meminfo").get("Shmem", 0)
    return 0


def _shared_mappings(pid: int) -> Iterator[tuple[str, str]]:
    """The shared mappings of a process without a file: the inode, and a path that leads to its pages."""
    with suppress(OSError), Path(f"/proc/{pid}/maps").open(errors="replace") as file:
        for line in file:
            if line.endswith(f" {SHARED_ANONYMOUS}\n"):
                addresses, _, _, _, inode, *_ = line.split()
                start, end = (int(address, 16) for address in addresses.split("-"))
                yield inode, f"/proc/{pid}/map_files/{start:x}-{end:x}"


def _open_sockets(pid: int) -> Iterator[tuple[int, int, int]]:
    """The sockets of a process: inode, process and descriptor."""
    with suppress(OSError):
        for entry in os.scandir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                kind, _, inode = str(Path(entry.path).readlink()).partition(":")
                if kind == "socket":
                    yield int(inode.strip("[]")), pid, int(entry.name)


def _rows(path: str) -> Iterator[list[str]]:
    """The rows of a table in /proc/PID/net without its title; none if the kernel has no such table."""
    with suppress(FileNotFoundError), Path(path).open(errors="replace") as file:
        next(file, None)
        yield from (line.split() for line in file)


def _internet(net: str, holders: Collection[int], *, is_own: bool) -> int:
    """The bytes that wait in the queues of TCP and UDP."""
    total = 0
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for row in _rows(f"{net}/{table}"):
            if is_own or int(row[9]) in holders:
                total += sum(int(queue, 16) for queue in row[4].split(":"))
    return total


def _buffered(pid: int, descriptor: int) -> int:
    """The bytes that a Unix socket has sent but its peer has not received, and those that it can receive."""
    try:
        process = os.pidfd_open(pid)
        try:
            own = _LIBC.syscall(PIDFD_GETFD, process, descriptor, 0)
        finally:
            os.close(process)
        if own < 0:
            return SOCKET_BYTES
        with closing(socket.socket(fileno=own)) as copy:
            received, _, sent, *_ = _MEMINFO.unpack(
                copy.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, _MEMINFO.size)
            )
            unread = struct.unpack("i", ioctl(copy, FIONREAD, bytes(4)))[0]
            return int(received + sent + unread)
    except OSError:
        return SOCKET_BYTES
