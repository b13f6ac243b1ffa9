"""Landlock and seccomp through the package sandlock, for machines that allow only Python packages."""

from __future__ import annotations

import importlib.util
import json
import platform
import shutil
import sys
from pathlib import Path

from swarm_graph.sandbox.bare import Bare
from swarm_graph.sandbox.bubblewrap import READABLE_PATHS, SYSTEM_FOLDERS, is_root
from swarm_graph.sandbox.process import probe
from swarm_graph.sandbox.protocol import PROBE_LIMITS, Interpreter, Limits
from swarm_graph.sandbox.seccomp import ON_THE_HOST, build_filter, is_supported

PROGRAM = Path(__file__).with_name("confine.py")
DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")
_NO_FOLDER = "/nonexistent"


class Landlock(Bare):
    """As `Bare`, with rules that the kernel enforces on the command and its descendants."""

    name = "landlock"
    lacks: tuple[str, ...] = (
        "files lie on the host's disk during the run; their size is checked a few times a second",
        "no local servers: tests cannot listen on a port",
        "the code sees the names of the host's processes, its users' ids and its clock",
        "after kill -9 its folder stays behind",
    )

    def problem(self, interpreter: Interpreter) -> str:
        if importlib.util.find_spec("sandlock") is None:
            return "the package sandlock is not installed; `pip install sandlock`"
        if not is_supported():
            return f"there is no filter of system calls for this machine ({platform.machine()})"
        command = self.command([interpreter.path, "-s", "-c", "pass"], interpreter, PROBE_LIMITS, _NO_FOLDER)
        error = probe(command, self.environment(_NO_FOLDER))
        return f"Landlock does not work here: {error}" if error else ""

    def syscall_filter(self) -> bytes:
        return build_filter(ON_THE_HOST)

    def command(
        self, inner: list[str], interpreter: Interpreter, limits: Limits, host_folder: str
    ) -> list[str]:
        has_folder = Path(host_folder).is_dir()
        system = [
            name for name in (*READABLE_PATHS, *SYSTEM_FOLDERS, "/proc", *DEVICES) if Path(name).exists()
        ]
        policy = {
            "fs_readable": [*system, *interpreter.folders],
            "fs_writable": ["/dev/null", *([host_folder] if has_folder else [])],
            "max_memory": limits.memory,
            "max_processes": limits.processes,
            "cwd": host_folder if has_folder else "/",
        }
        drop_privileges = [
            shutil.which("setpriv") or "setpriv",
            "--bounding-set=-all",
            "--inh-caps=-all",
            "--",
        ]
        confined = [sys.executable, "-I", str(PROGRAM), json.dumps(policy), *inner]
        return [*drop_privileges, *confined] if is_root() else confined
