"""Landlock and seccomp through the package sandlock, where nothing can be installed but Python packages."""

from __future__ import annotations

import importlib.util
import json
import platform
import shutil
import sys
from pathlib import Path

from swarm_graph.sandbox.bare import Bare
from swarm_graph.sandbox.bubblewrap import READABLE, SYSTEM, is_root
from swarm_graph.sandbox.process import trial
from swarm_graph.sandbox.protocol import PROBE, Interpreter, Limits
from swarm_graph.sandbox.seccomp import ON_THE_HOST, is_known, program

PROGRAM = Path(__file__).with_name("confine.py")
DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")


class Landlock(Bare):
    """As `Bare`, with rules that the kernel holds for the command and all that it starts."""

    name = "landlock"
    lacks: tuple[str, ...] = (
        "files lie on the host's disk while it runs; their size is looked at a few times a second",
        "no server of its own: tests cannot listen on a port",
        "the names of the host's processes, its users' ids and its clock can be seen",
        "killed with kill -9 it leaves its folder behind",
    )

    def problem(self, interpreter: Interpreter) -> str:
        if importlib.util.find_spec("sandlock") is None:
            return "the package sandlock is not installed; `pip install 'swarm-graph[sandbox]'`"
        if not is_known():
            return f"what Landlock leaves open cannot be closed on this machine ({platform.machine()})"
        command = self.command([interpreter.path, "-s", "-c", "pass"], interpreter, PROBE, "/nonexistent")
        said = trial(command, self.environment("/nonexistent"))
        return f"Landlock does not work here: {said}" if said else ""

    def filter(self) -> bytes:
        return program(ON_THE_HOST)

    def command(self, inside: list[str], interpreter: Interpreter, limits: Limits, folder: str) -> list[str]:
        readable = [name for name in (*READABLE, *SYSTEM, "/proc", *DEVICES) if Path(name).exists()]
        policy = {
            "fs_readable": [*readable, *interpreter.folders],
            "fs_writable": ["/dev/null", *([folder] if Path(folder).is_dir() else [])],
            "max_memory": limits.memory,
            "max_processes": limits.processes,
            "cwd": folder if Path(folder).is_dir() else "/",
        }
        powerless = [shutil.which("setpriv") or "setpriv", "--bounding-set=-all", "--inh-caps=-all", "--"]
        confined = [sys.executable, "-I", str(PROGRAM), json.dumps(policy), *inside]
        return [*powerless, *confined] if is_root() else confined
