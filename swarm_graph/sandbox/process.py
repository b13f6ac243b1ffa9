"""A sandbox's command as a process of the host: fed, read, watched, and stopped when it uses too much."""

from __future__ import annotations

import os
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from subprocess import DEVNULL, PIPE, Popen
from typing import IO

import psutil

from swarm_graph.sandbox.protocol import MIB, Disk, Finished, Limits, Tail

LOOK_EVERY_S = 0.05
REPORT_BYTES = 32 * MIB
SECONDS_TO_DIE = 5
ROUNDS_TO_DIE = 100
DEEPEST = 100


def run(
    command: list[str],
    given: bytes,
    limits: Limits,
    *,
    environment: Mapping[str, str],
    folder: str,
    disk: Disk,
    cancelled: threading.Event | None = None,
    stop: Callable[[list[str]], None],
) -> Finished:
    """Runs a sandbox's command to its end, or until it breaks a limit or is `cancelled`.

    `given` goes to its stdin; `folder`: where it may write, as its processes see it, and `disk`
    where that lies; `stop`: what ends it besides killing its processes. Nothing of it is left when this
    returns. OSError when it cannot be started.
    """
    began = time.monotonic()
    report, output = Tail(REPORT_BYTES), Tail(limits.output)
    with _started(command, environment, stop) as child:
        assert child.stdin
        assert child.stdout
        assert child.stderr
        threads = [
            threading.Thread(target=_feed, args=(child.stdin, given), daemon=True),
            threading.Thread(target=_read, args=(child.stdout, report), daemon=True),
            threading.Thread(target=_read, args=(child.stderr, output), daemon=True),
        ]
        for thread in threads:
            thread.start()
        watch = _Watch(child.pid, limits, folder, disk, began)
        stopped = ""
        while threads[1].is_alive() and not stopped:
            threads[1].join(LOOK_EVERY_S)
            if cancelled and cancelled.is_set():
                stopped = "cancelled"
            elif report.total > REPORT_BYTES or output.total > limits.output:
                stopped = f"wrote more than {limits.output // MIB} MiB of output"
            else:
                stopped = watch.broken()
        if not stopped:
            stopped = _wait(child, limits, began)
    for thread in threads[1:]:
        thread.join(SECONDS_TO_DIE)
    seconds = time.monotonic() - began
    return Finished(None if stopped else child.returncode, report.data, output.data, seconds, stopped)


def trial(command: list[str], environment: Mapping[str, str], seconds: float = 30) -> str:
    """What goes wrong when a sandbox's command is run; empty when nothing does."""
    try:
        subprocess.run(
            command, check=True, capture_output=True, timeout=seconds, env=dict(environment), stdin=DEVNULL
        )
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip().splitlines()
        return said[-1] if said else f"exit code {error.returncode}"
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
    """Ends everything below a process, then itself: what loses its parents there comes to be below it."""
    with suppress(psutil.NoSuchProcess):
        for _ in range(ROUNDS_TO_DIE):
            below = [] if child.poll() is not None else _living(psutil.Process(child.pid))
            for process in below:
                with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                    process.kill()
            if not below:
                break
            psutil.wait_procs(below, timeout=LOOK_EVERY_S)
        child.kill()
    child.wait()


def _living(process: psutil.Process) -> list[psutil.Process]:
    """The processes below one, without those that have ended and are not yet forgotten."""
    found = []
    for below in process.children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if below.status() != psutil.STATUS_ZOMBIE:
                found.append(below)
    return found


def _feed(pipe: IO[bytes], data: bytes) -> None:
    with suppress(OSError), pipe:
        pipe.write(data)


def _read(pipe: IO[bytes], into: Tail) -> None:
    with pipe:
        while data := os.read(pipe.fileno(), 1 << 16):
            into.add(data)


def _wait(child: Popen[bytes], limits: Limits, began: float) -> str:
    """The report's end has come; the process ends at once, or it hangs."""
    try:
        child.wait(max(limits.seconds - (time.monotonic() - began), 0) + LOOK_EVERY_S)
    except subprocess.TimeoutExpired:
        return _too_long(limits)
    return ""


def _too_long(limits: Limits) -> str:
    return f"was still running after {limits.seconds:g} s"


class _Watch:
    """Looks at what all processes of a run use together; the kernel's limits hold for each alone."""

    def __init__(self, pid: int, limits: Limits, folder: str, disk: Disk, began: float) -> None:
        self.pid, self.limits, self.began = pid, limits, began
        self.folder, self.disk, self._next_walk = folder, disk, began

    def broken(self) -> str:
        """Which limit is broken; empty when none is."""
        limits = self.limits
        if time.monotonic() - self.began > limits.seconds:
            return _too_long(limits)
        try:
            processes = psutil.Process(self.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return ""
        if len(processes) > limits.processes + 8:
            return f"had more than {limits.processes} processes"
        memory = sum(_memory(process) for process in processes)
        if memory > limits.memory:
            return f"used more than {limits.memory // MIB} MiB of memory"
        try:
            files, size = self._files(processes)
        except _TooDeep:
            return f"made folders more than {DEEPEST} deep"
        if files > limits.files:
            return f"made more than {limits.files} files"
        return f"wrote more than {limits.disk // MIB} MiB of files" if size > limits.disk else ""

    def _files(self, processes: list[psutil.Process]) -> tuple[int, int]:
        """How many files there are and their bytes, as far as that can be seen from here."""
        if self.disk == "closed":
            return 0, 0
        return self._inodes(processes) if self.disk == "own" else self._walked(processes)

    def _inodes(self, processes: list[psutil.Process]) -> tuple[int, int]:
        """The files on the disk of the sandbox, as its youngest process sees it; its size is the kernel's."""
        for process in reversed(processes):
            with suppress(OSError):
                found = os.statvfs(f"/proc/{process.pid}/root{self.folder}")
                return found.f_files - found.f_ffree, 0
        return 0, 0

    def _walked(self, processes: list[psutil.Process]) -> tuple[int, int]:
        """The files in a folder of the host and their bytes, looked at less often the more there are."""
        began = time.monotonic()
        if began < self._next_walk:
            return 0, 0
        files, seen = 0, _deleted(processes)
        place = _open_folder(self.folder)
        try:
            for found in _below(place, DEEPEST):
                files += 1
                seen[found.st_ino] = found.st_blocks * 512
                if files > self.limits.files:
                    break
        finally:
            os.close(place)
        self._next_walk = time.monotonic() + 4 * (time.monotonic() - began)
        return files, sum(seen.values())


def _open_folder(name: str, inside: int | None = None) -> int:
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=inside)


class _TooDeep(Exception):
    """Folders in folders beyond what anybody can look at."""


def _below(place: int, levels: int) -> Iterator[os.stat_result]:
    """Everything below an open folder; what goes meanwhile, or is closed to us, is left out."""
    if not levels:
        raise _TooDeep
    with os.scandir(place) as entries:
        for entry in entries:
            with suppress(OSError):
                found = entry.stat(follow_symlinks=False)
                yield found
                if stat.S_ISDIR(found.st_mode):
                    inner = _open_folder(entry.name, place)
                    try:
                        yield from _below(inner, levels - 1)
                    finally:
                        os.close(inner)


def _deleted(processes: list[psutil.Process]) -> dict[int, int]:
    """The bytes of files that processes have open and that have no name any more, by inode."""
    found = {}
    for process in processes:
        with suppress(OSError):
            for entry in os.scandir(f"/proc/{process.pid}/fd"):
                with suppress(OSError):
                    file = entry.stat()
                    if stat.S_ISREG(file.st_mode) and not file.st_nlink:
                        found[file.st_ino] = file.st_blocks * 512
    return found


def remove(folder: str) -> None:
    """Removes the folder of a run, however deep and locked its code has left it."""
    subprocess.run(["chmod", "-R", "u+rwx", folder], check=False, stderr=DEVNULL)
    subprocess.run(["rm", "-rf", "--one-file-system", folder], check=False, stderr=DEVNULL)


def _memory(process: psutil.Process) -> int:
    """What a process has for itself; shared pages count once, by share, where the kernel says so."""
    with suppress(psutil.Error, OSError):
        try:
            return int(process.memory_full_info().pss)
        except psutil.AccessDenied:
            return int(process.memory_info().rss)
    return 0
