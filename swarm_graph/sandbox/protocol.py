"""What a sandbox is: the protocol that each one implements, the limits of a test run, and how it finished."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

MIB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """What all processes of one test run may use together.

    Attributes:
        seconds: Wall clock.
        memory: Bytes.
        processes: Processes and threads at once.
        disk: Bytes of files.
        files: Files and folders at once.
        output: Bytes on stderr.
    """

    seconds: float
    memory: int
    processes: int
    disk: int
    files: int
    output: int

    def for_each_process(self, *, processes: bool) -> dict[str, int]:
        """The kernel's limits (RLIMIT_…) for each process, by name.

        Args:
            processes: Whether to limit the number of processes too. The kernel counts those of the user, so
                it works only where the user has no other processes.
        """
        limits = {
            "DATA": self.memory,
            "FSIZE": self.disk,
            "CORE": 0,
            "NOFILE": 1024,
            "CPU": int(self.seconds) + 1,
        }
        return {**limits, "NPROC": self.processes} if processes else limits


PROBE_LIMITS = Limits(seconds=10, memory=1 << 30, processes=64, disk=MIB, files=100, output=MIB)
"""The limits under which `Sandbox.problem` tries a sandbox."""


@dataclass(frozen=True)
class Interpreter:
    """A Python, and the folders that it must be able to read."""

    path: str
    folders: tuple[str, ...]
    version: str = ""
    has_pytest: bool = True


Disk = Literal["own", "host", "hidden"]
"""Where a sandbox's files are: in a file system of its own with a fixed size, in a folder of the host, or
out of the host's sight."""


@dataclass(frozen=True)
class Finished:
    """How a sandbox's command ended.

    Attributes:
        exit_code: Negative for the number of a signal; None if the command was stopped.
        stdout: The beginning and the end of it, within the limit.
        stderr: The same.
        seconds: Wall clock.
        stopped: The limit that it broke, as the predicate of a sentence; empty if it ended by itself.
    """

    exit_code: int | None
    stdout: bytes
    stderr: bytes
    seconds: float
    stopped: str = ""


class Sandbox(Protocol):
    """A way to run a command in isolation from the host.

    Attributes:
        name: For people, and the value of `execution.sandbox`.
        lacks: What it does not prevent, in plain words.
        disk: Where its files are.
    """

    name: str
    lacks: tuple[str, ...]
    disk: Disk

    def problem(self, interpreter: Interpreter) -> str:
        """Why it cannot be used on this machine; empty if a trial run worked."""

    def work_folder(self, host_folder: str) -> str:
        """The writable folder as the command sees it.

        Args:
            host_folder: An empty temporary folder of the host; "" if `disk` is not "host".
        """

    def command(
        self, inner: list[str], interpreter: Interpreter, limits: Limits, host_folder: str
    ) -> list[str]:
        """The host's command that runs `inner`, a command of the interpreter, in the sandbox."""

    def stop(self, command: list[str]) -> None:
        """End what survives when the processes of the host's command are killed."""

    def environment(self, host_folder: str) -> Mapping[str, str]:
        """The environment of the host's command."""

    def syscall_filter(self) -> bytes:
        """The filter (see `seccomp`) that the program inside installs; empty for none."""

    def kernel_limits(self, limits: Limits) -> dict[str, int]:
        """The limits that the program inside sets for itself and its children."""


@dataclass
class Tail:
    """The beginning and the end of a stream of `total` bytes; at most `limit` bytes are kept."""

    limit: int
    total: int = 0
    _head: bytearray = field(default_factory=bytearray)
    _tail: bytearray = field(default_factory=bytearray)

    def add(self, data: bytes) -> None:
        self.total += len(data)
        room = max(self.limit // 2 - len(self._head), 0)
        self._head += data[:room]
        self._tail += data[room:]
        del self._tail[: max(len(self._tail) - self.limit // 2, 0)]

    @property
    def data(self) -> bytes:
        """The kept bytes, with `[...]` in place of a dropped middle."""
        dropped = self.total - len(self._head) - len(self._tail)
        return bytes(self._head + (b"\n[...]\n" if dropped else b"") + self._tail)
