"""Run a sandbox's command as a process of the host, watch its limits, and kill all that it started."""

from __future__ import annotations

import os
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen
from typing import IO, NamedTuple

import psutil

from swarm_graph.sandbox.memory import MemoryMeter
from swarm_graph.sandbox.protocol import MIB, Disk, Finished, Limits, Tail

POLL_S = 0.05
MAX_STDOUT_BYTES = 32 * MIB
READER_TIMEOUT_S = 5
KILL_ROUNDS = 100
PROBE_TIMEOUT_S = 30
MAX_FOLDER_DEPTH = 100
SANDBOX_PROCESSES = 8
"""Processes that the sandbox itself may need, in addition to the limit for the code."""


def run(
    command: list[str],
    stdin: Iterable[bytes],
    limits: Limits,
    *,
    environment: Mapping[str, str],
    folder: str,
    disk: Disk,
    cancelled: threading.Event | None = None,
    stop: Callable[[list[str]], None],
) -> Finished:
    """Run a sandbox's command until it ends, breaks a limit or is cancelled; no process of it is left.

    Args:
        command: The host's command.
        stdin: What the command reads, in pieces.
        limits: For all processes of the command together.
        environment: The environment of the host's command.
        folder: The writable folder, as the command's processes see it.
        disk: Where that folder is.
        cancelled: Stops the command when another thread sets it.
        stop: Ends what survives when the command's processes are killed.

    Raises:
        OSError: The command cannot be started.
    """
    started_at = time.monotonic()
    stdout, stderr = Tail(MAX_STDOUT_BYTES), Tail(limits.output)
    with _started(command, environment, stop) as child:
        assert child.stdin
        assert child.stdout
        assert child.stderr
        writer = _thread(_write, child.stdin, stdin)
        readers = [_thread(_read, child.stdout, stdout), _thread(_read, child.stderr, stderr)]
        for thread in (writer, *readers):
            thread.start()
        watch = _Watch(child.pid, limits, folder, disk, started_at)
        stopped = ""
        # stdout holds the test log; its end means that the command has closed it or has ended.
        while readers[0].is_alive() and not stopped:
            readers[0].join(POLL_S)
            if cancelled and cancelled.is_set():
                stopped = "was cancelled"
            elif stdout.total > MAX_STDOUT_BYTES or stderr.total > limits.output:
                stopped = f"wrote more than {limits.output // MIB} MiB of output"
            else:
                stopped = watch.broken_limit()
        if not stopped:
            stopped = _wait(child, limits, started_at)
    for thread in readers:
        thread.join(READER_TIMEOUT_S)
    seconds = time.monotonic() - started_at
    return Finished(None if stopped else child.returncode, stdout.data, stderr.data, seconds, stopped)


def probe(command: list[str], environment: Mapping[str, str]) -> str:
    """The error when a sandbox's command is tried; empty if it works."""
    try:
        subprocess.run(
            command,
            check=True,
            capture_output=True,
            timeout=PROBE_TIMEOUT_S,
            env=dict(environment),
            stdin=DEVNULL,
        )
    except subprocess.CalledProcessError as error:
        stderr = error.stderr.decode(errors="replace").strip().splitlines()
        return stderr[-1] if stderr else f"exit code {error.returncode}"
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return ""


@contextmanager
def _started(
    command: list[str], environment: Mapping[str, str], stop: Callable[[list[str]], None]
) -> Iterator[Popen[bytes]]:
    child = Popen(
        command, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=dict(environment), cwd="/", start_new_session=True
    )
    try:
        yield child
    finally:
        if child.poll() is None:
            stop(command)
        _kill(child)


def _kill(child: Popen[bytes]) -> None:
    """Kill every descendant, then the process itself.

    It takes several rounds: an orphan moves up to a new parent, where the round before may have missed it.
    """
    with suppress(psutil.NoSuchProcess):
        for _ in range(KILL_ROUNDS):
            descendants = [] if child.poll() is not None else _living(psutil.Process(child.pid))
            for process in descendants:
                with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                    process.kill()
            if not descendants:
                break
            psutil.wait_procs(descendants, timeout=POLL_S)
        child.kill()
    child.wait()


def _living(process: psutil.Process) -> list[psutil.Process]:
    """The descendants of a process, without zombies."""
    living = []
    for descendant in process.children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if descendant.status() != psutil.STATUS_ZOMBIE:
                living.append(descendant)
    return living


def _thread(work: Callable[..., None], pipe: IO[bytes], data: object) -> threading.Thread:
    return threading.Thread(target=work, args=(pipe, data), daemon=True)


def _write(pipe: IO[bytes], pieces: Iterable[bytes]) -> None:
    with suppress(OSError), pipe:
        for piece in pieces:
            pipe.write(piece)


def _read(pipe: IO[bytes], into: Tail) -> None:
    with pipe:
        while data := os.read(pipe.fileno(), 1 << 16):
            into.add(data)


def _wait(child: Popen[bytes], limits: Limits, started_at: float) -> str:
    """Wait for the process after the end of its stdout; it ends at once, or it hangs until the limit."""
    try:
        child.wait(max(limits.seconds - (time.monotonic() - started_at), 0) + POLL_S)
    except subprocess.TimeoutExpired:
        return _ran_too_long(limits)
    return ""


def _ran_too_long(limits: Limits) -> str:
    return f"was still running after {limits.seconds:g} s"


class _Watch:
    """Checks what all processes of a command use together; the kernel's limits hold for each alone."""

    def __init__(self, pid: int, limits: Limits, folder: str, disk: Disk, started_at: float) -> None:
        self.pid, self.limits, self.started_at = pid, limits, started_at
        self.folder, self.disk, self._next_walk = folder, disk, started_at
        self._memory = MemoryMeter()
        self._host_device = -1
        with suppress(OSError):
            self._host_device = Path(folder).stat().st_dev

    def broken_limit(self) -> str:
        """The limit that is broken, as the predicate of a sentence; empty if none is."""
        limits = self.limits
        if time.monotonic() - self.started_at > limits.seconds:
            return _ran_too_long(limits)
        try:
            processes = psutil.Process(self.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return ""
        if len(processes) > limits.processes + SANDBOX_PROCESSES:
            return f"had more than {limits.processes} processes"
        try:
            usage = self._disk_usage(processes)
        except _TooDeep:
            return f"made folders more than {MAX_FOLDER_DEPTH} deep"
        files_in_memory = usage.size if self.disk == "own" else 0
        if self._memory.used(processes, files_in_memory) > limits.memory:
            return f"used more than {limits.memory // MIB} MiB of memory"
        if usage.files > limits.files:
            return f"made more than {limits.files} files"
        return f"wrote more than {limits.disk // MIB} MiB of files" if usage.size > limits.disk else ""

    def _disk_usage(self, processes: list[psutil.Process]) -> _DiskUsage:
        """What the files use, as far as the host can see it."""
        if self.disk == "hidden":
            return _DiskUsage(0, 0)
        return self._inodes(processes) if self.disk == "own" else self._walk(processes)

    def _inodes(self, processes: list[psutil.Process]) -> _DiskUsage:
        """The files in the sandbox's own file system; the kernel itself bounds their size.

        Asked through the youngest process: the older ones may be outside the sandbox's mount namespace. While
        the sandbox is being set up, all of them see the host's folder of that name, which does not count.
        """
        for process in reversed(processes):
            folder = f"/proc/{process.pid}/root{self.folder}"
            with suppress(OSError):
                if Path(folder).stat().st_dev == self._host_device:
                    continue
                status = os.statvfs(folder)
                size = (status.f_blocks - status.f_bfree) * status.f_frsize
                return _DiskUsage(status.f_files - status.f_ffree, size)
        return _DiskUsage(0, 0)

    def _walk(self, processes: list[psutil.Process]) -> _DiskUsage:
        """The files in a folder of the host; the longer a walk takes, the longer until the next one."""
        started_at = time.monotonic()
        if started_at < self._next_walk:
            return _DiskUsage(0, 0)
        files, sizes = 0, _deleted_files(processes)
        root = _open_folder(self.folder)
        try:
            for status in _entries(root, MAX_FOLDER_DEPTH):
                files += 1
                sizes[status.st_ino] = status.st_blocks * 512
                if files > self.limits.files:
                    break
        finally:
            os.close(root)
        self._next_walk = time.monotonic() + 4 * (time.monotonic() - started_at)
        return _DiskUsage(files, sum(sizes.values()))


class _DiskUsage(NamedTuple):
    files: int
    size: int
    """Bytes."""


class _TooDeep(Exception):
    """Folders are nested deeper than they can be walked."""


def _open_folder(name: str, inside: int | None = None) -> int:
    # By descriptor and never through a link: the code may swap a folder for a link during the walk.
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=inside)


def _entries(folder: int, levels: int) -> Iterator[os.stat_result]:
    """Everything below an open folder, without what vanishes meanwhile or cannot be read."""
    if not levels:
        raise _TooDeep
    with os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):
                status = entry.stat(follow_symlinks=False)
                yield status
                if stat.S_ISDIR(status.st_mode):
                    inner = _open_folder(entry.name, folder)
                    try:
                        yield from _entries(inner, levels - 1)
                    finally:
                        os.close(inner)


def _deleted_files(processes: list[psutil.Process]) -> dict[int, int]:
    """The bytes of deleted files that processes still hold open, by inode."""
    sizes = {}
    for process in processes:
        with suppress(OSError):
            for entry in os.scandir(f"/proc/{process.pid}/fd"):
                with suppress(OSError):
                    status = entry.stat()
                    if stat.S_ISREG(status.st_mode) and not status.st_nlink:
                        sizes[status.st_ino] = status.st_blocks * 512
    return sizes


def remove(folder: str) -> None:
    """Remove a test run's folder, however deep and locked the code has left it."""
    subprocess.run(["chmod", "-R", "u+rwx", folder], check=False, stderr=DEVNULL)
    subprocess.run(["rm", "-rf", "--one-file-system", folder], check=False, stderr=DEVNULL)
