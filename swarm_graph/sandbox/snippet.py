"""Run a snippet of Python in a sandbox, on a copy of a project's text files."""

from __future__ import annotations

import tarfile
import threading
from collections.abc import Iterable
from contextlib import closing
from dataclasses import replace
from tempfile import TemporaryFile
from typing import IO, Any, NamedTuple

from swarm_graph.errors import SandboxError
from swarm_graph.repository.snapshot import REGULAR
from swarm_graph.sandbox.choice import sandbox_for_tests
from swarm_graph.sandbox.interpreter import any_interpreter
from swarm_graph.sandbox.job import limits_of, module, program, run_job
from swarm_graph.sandbox.project_copy import PAGE_BYTES, add_file, is_safe, pieces
from swarm_graph.sandbox.protocol import MIB
from swarm_graph.settings import Execution

MAX_COPY_BYTES = 64 * MIB
"""The most text of a project that is copied for a snippet."""
READY = b"ready\n"


class SnippetResult(NamedTuple):
    """How a snippet ended.

    Attributes:
        exit_code: Negative for the number of a signal; None if it was stopped.
        stopped: The limit that it broke, as the predicate of a sentence; empty if it ended by itself.
        stdout: The beginning and the end of it, within the limit.
        stderr: The same.
        seconds: How long it ran, with the start of the sandbox.
        sandbox: The sandbox that it ran in.
        has_files: Whether the project's files were copied; they are not when there are too many.
    """

    exit_code: int | None
    stopped: str
    stdout: str
    stderr: str
    seconds: float
    sandbox: str
    has_files: bool


def run_snippet(
    code: str,
    files: Iterable[tuple[str, str]],
    settings: Execution,
    seconds: float | None = None,
    cancelled: threading.Event | None = None,
) -> SnippetResult:
    """Run a snippet of Python; it finds the copy of the project in its current folder.

    Args:
        code: The snippet.
        files: Paths and texts of the project; no path leads out of it.
        settings: The section `execution` of the config: the interpreter, the sandbox and its limits.
        seconds: A shorter time than that of the settings.
        cancelled: Stops the snippet when another thread sets it.

    Raises:
        SandboxError: There is no sandbox, or it did not start.
        ConfigError: `settings.python` cannot be used.
    """
    sandbox, reason = sandbox_for_tests(settings)
    if sandbox is None:
        raise SandboxError(f"code cannot be run here: {reason}")
    limits = limits_of(settings.limits)
    with closing(TemporaryFile()) as file:
        copy = _write_copy(file, files)
        limits = replace(
            limits,
            seconds=min(seconds or limits.seconds, limits.seconds),
            disk=limits.disk + copy.size,
            files=limits.files + 2 * copy.files,
            memory=limits.memory + (0 if sandbox.disk == "host" else copy.size),
        )
        python = any_interpreter(settings.python)
        ran = run_job(_job(code), pieces(file), sandbox, python, limits, cancelled)
    finished = ran.finished
    stderr = finished.stderr.decode(errors="replace")
    if not finished.stdout.startswith(READY):
        cause = (stderr.strip().splitlines() or [finished.stopped or "it printed nothing"])[-1]
        raise SandboxError(f"{sandbox.name} did not start the code: {cause}")
    stdout = finished.stdout.removeprefix(READY).decode(errors="replace")
    return SnippetResult(
        finished.exit_code,
        finished.stopped,
        stdout,
        stderr,
        round(finished.seconds, 1),
        sandbox.name,
        copy.is_whole,
    )


class _Copy(NamedTuple):
    """What was copied: how many files, their size on a disk, and whether it is the whole project."""

    files: int
    size: int
    is_whole: bool = True


def _write_copy(file: IO[bytes], files: Iterable[tuple[str, str]]) -> _Copy:
    """Write the files of a project as an archive; none of them when they are too many."""
    number = size = 0
    with tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        for path, text in files:
            data = text.encode(errors="replace")
            number, size = number + 1, size + len(data) + PAGE_BYTES
            if size > MAX_COPY_BYTES:
                break
            if is_safe(path):
                add_file(archive, path, REGULAR, data)
    is_whole = size <= MAX_COPY_BYTES
    if not is_whole:
        file.seek(0)
        file.truncate()
        tarfile.open(fileobj=file, mode="w|").close()
    file.seek(0)
    return _Copy(number, size) if is_whole else _Copy(0, 0, is_whole=False)


def _job(code: str) -> dict[str, Any]:
    """The job for `inside.py`, which hands it to `inside_copy.py`."""
    return {
        "command": [code],
        "runner": "",
        "reporter": program("inside_snippet"),
        "paths": [".", "src"],
        "programs": [],
        "plugins": True,
        "ready": READY.decode(),
        "modules": {"inside_copy": module("inside_copy")},
    }
