"""What is run in a sandbox, within which limits, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

MIB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """What one run may use: seconds of wall clock; bytes of memory, of files and of output; and how many
    processes and files there may be at once."""

    seconds: float
    memory: int
    processes: int
    disk: int
    files: int
    output: int

    def for_each_process(self, *, processes: bool) -> dict[str, int]:
        """The kernel's limits for one process, by their names; `processes`: whether to limit those too."""
        limits = {
            "DATA": self.memory,
            "FSIZE": self.disk,
            "CORE": 0,
            "NOFILE": 1024,
            "CPU": int(self.seconds) + 1,
        }
        return {**limits, "NPROC": self.processes} if processes else limits


PROBE = Limits(seconds=10, memory=1 << 30, processes=64, disk=MIB, files=100, output=MIB)
"""What a sandbox is tried with."""


@dataclass(frozen=True)
class Interpreter:
    """A Python, and the folders that it needs to run."""

    path: str
    folders: tuple[str, ...]
    version: str = ""
    pytest: str = ""


Disk = Literal["own", "host", "closed"]
"""Where a sandbox's files lie: on a disk of its own with a size, in a folder of the host, or where nobody can
look from outside."""


@dataclass(frozen=True)
class Finished:
    """How a run ended. `exit_code`: negative for a signal's number, None where it was cut short.

    `report` and `output` are what came on stdout and stderr, up to the limit; `stopped`: which limit it
    broke.
    """

    exit_code: int | None
    report: bytes
    output: bytes
    seconds: float
    stopped: str = ""


class Sandbox(Protocol):
    """A way to run a command away from the machine.

    `name` is shown to people; `lacks` says in plain words what it does not stop; `disk`: where its
    files lie.
    """

    name: str
    lacks: tuple[str, ...]
    disk: Disk

    def problem(self, interpreter: Interpreter) -> str:
        """Why it cannot be used here; empty when it can. It is tried for real."""

    def place(self, folder: str) -> str:
        """The folder for the project as the command sees it; `folder` is an empty one of the host."""

    def command(self, inside: list[str], interpreter: Interpreter, limits: Limits, folder: str) -> list[str]:
        """The host's command that runs a Python's command, `inside`, in the sandbox."""

    def stop(self, command: list[str]) -> None:
        """Ends what killing the processes of the host's command leaves at work."""

    def environment(self, folder: str) -> Mapping[str, str]:
        """The environment of the host's command."""

    def filter(self) -> bytes:
        """The filter of system calls (see `seccomp`) that the program inside sets up; empty: none."""

    def kernel_limits(self, limits: Limits) -> dict[str, int]:
        """The limits that the program inside sets for itself and all its children."""


@dataclass
class Tail:
    """The beginning and the end of a stream, and how long it was; what lies between is dropped."""

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
        cut = self.total - len(self._head) - len(self._tail)
        return bytes(self._head + (b"\n[...]\n" if cut else b"") + self._tail)
