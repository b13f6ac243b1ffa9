"""bubblewrap: separate namespaces, a read-only system, no network, no privileges.

Run by root it takes two steps. The first bwrap makes the mounts, because only root may read the interpreter's
folder. Then setpriv changes to an unprivileged user, whom the kernel's limits bind, and a second bwrap drops
the remaining privileges.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from swarm_graph.sandbox.process import probe
from swarm_graph.sandbox.protocol import PROBE_LIMITS, Disk, Interpreter, Limits
from swarm_graph.sandbox.seccomp import ALWAYS, build_filter

SHARED_MEMORY_BYTES = 16 << 20
NOBODY = "65534"
SYSTEM_FOLDERS = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
READABLE_PATHS = ("/usr", "/etc/ld.so.cache", "/etc/alternatives", "/etc/localtime")

NAMESPACES = (
    *("--die-with-parent", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"),
    *("--unshare-cgroup-try", "--new-session"),
)
UNPRIVILEGED = ("--unshare-user", "--disable-userns", "--cap-drop", "ALL")
READ_ONLY = ("--remount-ro", "/", "--remount-ro", "/dev")


class Bubblewrap:
    name = "bubblewrap"
    disk: Disk = "own"
    lacks: tuple[str, ...] = (
        "few system calls are filtered: the code may exploit a hole in the kernel",
        "total memory and the number of files are checked 20 times a second",
    )

    def problem(self, interpreter: Interpreter) -> str:
        missing = [tool for tool in ("bwrap", *(["setpriv"] if is_root() else [])) if not shutil.which(tool)]
        if missing:
            return f"{' and '.join(missing)} not found; install bubblewrap with the system's package manager"
        command = self.command([interpreter.path, "-s", "-c", "pass"], interpreter, PROBE_LIMITS, "")
        error = probe(command, self.environment(""))
        return f"bwrap does not work here: {error}" if error else ""

    def work_folder(self, host_folder: str) -> str:
        return "/tmp"

    def environment(self, host_folder: str) -> Mapping[str, str]:
        return {}

    def syscall_filter(self) -> bytes:
        return build_filter(ALWAYS)

    def kernel_limits(self, limits: Limits) -> dict[str, int]:
        return limits.for_each_process(processes=True)

    def stop(self, command: list[str]) -> None:
        """Does nothing: killing the processes is enough."""

    def command(
        self, inner: list[str], interpreter: Interpreter, limits: Limits, host_folder: str
    ) -> list[str]:
        bwrap = shutil.which("bwrap") or "bwrap"
        mounts = [*_system(), *_writable(limits), *_readable(interpreter.folders), *READ_ONLY]
        namespaces = [*NAMESPACES, "--clearenv", *_environment()]
        unprivileged = [*UNPRIVILEGED]
        if not is_root():
            return [bwrap, *namespaces, *unprivileged, *mounts, "--chdir", "/tmp", "--", *inner]
        change_user = [shutil.which("setpriv") or "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}"]
        change_user += ["--clear-groups", "--bounding-set=-all", "--inh-caps=-all", "--"]
        second = [bwrap, "--die-with-parent", *unprivileged, "--dev-bind", "/", "/", "--chdir", "/tmp", "--"]
        return [bwrap, *namespaces, *mounts, "--", *change_user, *second, *inner]


def server_command(
    inner: list[str],
    *,
    writable: Sequence[str],
    readable: Sequence[str],
    folder: str,
) -> list[str]:
    """The command that runs a program of the user's in a sandbox with some of the host's folders.

    It runs as the user who starts it, also as root, because it may write that user's folders; it has no
    capability. Its memory, processes and time are not limited, and no system call is filtered. It gets the
    environment of bubblewrap, except for its home.

    Args:
        inner: The program with its arguments.
        writable: Folders of the host that it may read and write.
        readable: Folders of the host that it may only read.
        folder: Where it starts.
    """
    mounts = [*_system(), "--perms", "1777", "--tmpfs", "/tmp", *_readable(readable)]
    for path in writable:
        mounts += [*_parents(path), "--bind", path, path]
    command = [shutil.which("bwrap") or "bwrap", *NAMESPACES, *UNPRIVILEGED, "--setenv", "HOME", "/tmp"]
    return [*command, *mounts, *READ_ONLY, "--chdir", folder, "--", *inner]


def is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def _system() -> Iterator[str]:
    yield from ("--perms", "0755", "--dir", "/etc")  # bwrap makes it for its owner alone, who is root here
    for name in READABLE_PATHS:
        yield from ("--ro-bind-try", name, name)
    for name in SYSTEM_FOLDERS:
        if Path(name).is_symlink():
            yield from ("--symlink", str(Path(name).readlink()), name)
        elif Path(name).is_dir():
            yield from ("--ro-bind", name, name)
    yield from ("--proc", "/proc", "--dev", "/dev")


def _writable(limits: Limits) -> Iterator[str]:
    for folder, size in (("/dev/shm", SHARED_MEMORY_BYTES), ("/tmp", limits.disk)):
        yield from ("--size", str(size), "--perms", "1777", "--tmpfs", folder)


def _readable(folders: Iterable[str]) -> Iterator[str]:
    for folder in folders:
        yield from _parents(folder)
        yield from ("--ro-bind", folder, folder)


def _parents(folder: str) -> Iterator[str]:
    for parent in reversed(Path(folder).parents[:-1]):
        yield from ("--perms", "0755", "--dir", str(parent))


def _environment() -> Iterator[str]:
    for name, value in minimal_environment("/tmp").items():
        yield from ("--setenv", name, value)


def minimal_environment(folder: str) -> dict[str, str]:
    """The whole environment of the generated code; nothing of the host's is passed on.

    Args:
        folder: The writable folder as the code sees it.
    """
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": f"{folder}/home",
        "TMPDIR": f"{folder}/tmp",
        "USER": "sandbox",
        "LANG": "C.UTF-8",
        "PYTHONHASHSEED": "0",
    }
