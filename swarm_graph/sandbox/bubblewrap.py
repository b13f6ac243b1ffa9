"""bubblewrap: namespaces of their own, a read-only system, no network, no privileges.

Real root needs two steps: bubblewrap once for the mounts, because only root may read the interpreter's
folder; then another user's id, for which the kernel's limits hold, and bubblewrap again to give up the rest.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from swarm_graph.sandbox.process import trial
from swarm_graph.sandbox.protocol import PROBE, Disk, Interpreter, Limits
from swarm_graph.sandbox.seccomp import ALWAYS, program

SHARED_MEMORY = 16 << 20
NOBODY = "65534"
SYSTEM = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
READABLE = ("/usr", "/etc/ld.so.cache", "/etc/alternatives", "/etc/localtime")


class Bubblewrap:
    name = "bubblewrap"
    disk: Disk = "own"
    lacks: tuple[str, ...] = (
        "few system calls are filtered: a hole in the kernel may be open to the code",
        "memory over all processes, and the number of files, are looked at 20 times a second",
    )

    def problem(self, interpreter: Interpreter) -> str:
        missing = [tool for tool in ("bwrap", *(["setpriv"] if is_root() else [])) if not shutil.which(tool)]
        if missing:
            return f"{' and '.join(missing)} not found; install bubblewrap with the system's package manager"
        command = self.command([interpreter.path, "-s", "-c", "pass"], interpreter, PROBE, "")
        said = trial(command, self.environment(""))
        return f"bwrap does not work here: {said}" if said else ""

    def place(self, folder: str) -> str:
        return "/tmp"

    def environment(self, folder: str) -> Mapping[str, str]:
        return {}

    def filter(self) -> bytes:
        return program(ALWAYS)

    def kernel_limits(self, limits: Limits) -> dict[str, int]:
        return limits.for_each_process(processes=True)

    def stop(self, command: list[str]) -> None:
        """Nothing outlives its processes."""

    def command(self, inside: list[str], interpreter: Interpreter, limits: Limits, folder: str) -> list[str]:
        bwrap = shutil.which("bwrap") or "bwrap"
        mounts = [*_system(), *_writable(limits), *_readable(interpreter), "--remount-ro", "/"]
        mounts += ["--remount-ro", "/dev"]
        alone = ["--die-with-parent", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"]
        alone += ["--unshare-cgroup-try", "--new-session", "--clearenv", *_environment()]
        powerless = ["--unshare-user", "--disable-userns", "--cap-drop", "ALL"]
        if not is_root():
            return [bwrap, *alone, *powerless, *mounts, "--chdir", "/tmp", "--", *inside]
        change = [shutil.which("setpriv") or "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}"]
        change += ["--clear-groups", "--bounding-set=-all", "--inh-caps=-all", "--"]
        again = [bwrap, "--die-with-parent", *powerless, "--dev-bind", "/", "/", "--chdir", "/tmp", "--"]
        return [bwrap, *alone, *mounts, "--", *change, *again, *inside]


def is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def _system() -> Iterator[str]:
    for name in READABLE:
        yield from ("--ro-bind-try", name, name)
    for name in SYSTEM:
        if Path(name).is_symlink():
            yield from ("--symlink", str(Path(name).readlink()), name)
        elif Path(name).is_dir():
            yield from ("--ro-bind", name, name)
    yield from ("--proc", "/proc", "--dev", "/dev")


def _writable(limits: Limits) -> Iterator[str]:
    for folder, size in (("/dev/shm", SHARED_MEMORY), ("/tmp", limits.disk)):
        yield from ("--size", str(size), "--perms", "1777", "--tmpfs", folder)


def _readable(interpreter: Interpreter) -> Iterator[str]:
    for folder in interpreter.folders:
        for parent in reversed(Path(folder).parents[:-1]):
            yield from ("--perms", "0755", "--dir", str(parent))
        yield from ("--ro-bind", folder, folder)


def _environment() -> Iterator[str]:
    for name, value in plain_environment("/tmp").items():
        yield from ("--setenv", name, value)


def plain_environment(folder: str) -> dict[str, str]:
    """All that the command sees of an environment."""
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": f"{folder}/home",
        "TMPDIR": f"{folder}/tmp",
        "USER": "sandbox",
        "LANG": "C.UTF-8",
        "PYTHONHASHSEED": "0",
    }
