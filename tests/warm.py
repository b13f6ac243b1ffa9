"""Runs `swarm-graph` in real processes that skip its imports: a preloaded interpreter forks each of them.

A process has its own pid, standard streams, working directory, environment, signals and exit code. A test of
the start itself (closed streams, PYTHON variables, the first import) runs PROGRAM instead.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path
from subprocess import DEVNULL, PIPE, CompletedProcess
from typing import IO, Any, Self

PROGRAM = str(Path(sys.executable).parent / "swarm-graph")
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("SWARM_")}
Stream = int | IO[Any] | None
"""PIPE, DEVNULL, a file, a file descriptor, or None to inherit, as in `subprocess`."""


class Process:
    """A running `swarm-graph`, with the part of the interface of `subprocess.Popen` that the tests use."""

    def __init__(
        self,
        *arguments: str | Path,
        cwd: Path,
        env: Mapping[str, str] = ENVIRONMENT,
        stdin: Stream = None,
        stdout: Stream = None,
        stderr: Stream = None,
        text: bool = False,
        start_new_session: bool = False,
    ) -> None:
        changed = {name for name, value in env.items() if os.environ.get(name) != value}
        assert not any(name.startswith("PYTHON") for name in changed), "run PROGRAM instead"
        self.arguments = [PROGRAM, *map(str, arguments)]
        self.returncode: int | None = None
        job = {
            "arguments": self.arguments,
            "cwd": str(cwd),
            "env": dict(env),
            "new_session": start_new_session,
        }
        ends = [_ends(number, stream) for number, stream in enumerate((stdin, stdout, stderr))]
        self.pid, self._status = _forker().start(job, [theirs for theirs, _ in ends])
        for theirs, _ in ends:
            os.close(theirs)
        modes = ("w", "r", "r") if text else ("wb", "rb", "rb")
        self.stdin, self.stdout, self.stderr = (
            None if ours is None else os.fdopen(ours, mode)
            for (_, ours), mode in zip(ends, modes, strict=True)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, failure: object, *_: object) -> None:
        if failure:  # the test has failed: nobody ends the process any more
            self.kill()
        for pipe in (self.stdin, self.stdout, self.stderr):
            if pipe:
                pipe.close()
        self.wait()

    def poll(self) -> int | None:
        """Return the exit code, or None while the process runs."""
        if self.returncode is None and select.select([self._status], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self) -> int:
        """Wait for the exit code; -N means that signal N ended the process."""
        if self.returncode is None:
            self.returncode = int(self._status.readline())
            self._status.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, given: str | bytes | None = None) -> tuple[Any, Any]:
        """Write the input, read all output, and wait for the end of the process."""
        pipes = (self.stdout, self.stderr)
        with ThreadPoolExecutor(len(pipes)) as readers:
            said = [pipe and readers.submit(pipe.read) for pipe in pipes]
            if self.stdin:
                with self.stdin, suppress(BrokenPipeError):
                    self.stdin.write(given)
        with self:
            output, errors = (reader and reader.result() for reader in said)
        return output, errors


def run(*arguments: str | Path, given: str | bytes | None = None, **more: Any) -> CompletedProcess[Any]:
    """Run `swarm-graph` to its end; `given` is its standard input."""
    stdin = DEVNULL if given is None else PIPE
    process = Process(*arguments, **{"stdin": stdin, "stdout": PIPE, "stderr": PIPE, **more})
    output, errors = process.communicate(given)
    return CompletedProcess(process.arguments, process.wait(), output, errors)


def _ends(number: int, stream: Stream) -> tuple[int, int | None]:
    """Open the process's end of a standard stream, and our end of a pipe."""
    if stream == PIPE:
        reading, writing = os.pipe()
        return (writing, reading) if number else (reading, writing)
    if stream == DEVNULL:
        return os.open(os.devnull, os.O_RDWR), None
    return os.dup(number if stream is None else stream if isinstance(stream, int) else stream.fileno()), None


class _Forker:
    """The preloaded interpreter. It ends when this process ends."""

    def __init__(self) -> None:
        self._jobs, theirs = socket.socketpair()
        command = [sys.executable, str(Path(__file__).with_name("forker.py")), str(theirs.fileno())]
        with theirs:
            self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=ENVIRONMENT)
        self._one_at_a_time = threading.Lock()

    def start(self, job: dict[str, Any], streams: list[int]) -> tuple[int, IO[bytes]]:
        """Start a process; return its pid and the pipe that will hold its exit code."""
        reading, writing = os.pipe()
        status = os.fdopen(reading, "rb", buffering=0)
        with self._one_at_a_time:
            line = json.dumps(job).encode() + b"\n"
            socket.send_fds(self._jobs, [line], [writing, *streams])
            os.close(writing)
            return int(status.readline()), status

    def close(self) -> None:
        self._jobs.close()
        self._process.wait()


@cache
def _forker() -> _Forker:
    forker = _Forker()
    atexit.register(forker.close)
    return forker
