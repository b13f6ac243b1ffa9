"""A container of docker or podman, of an image that is already there; none is ever pulled."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Mapping

from swarm_graph.sandbox.bubblewrap import NOBODY, SHARED_MEMORY, plain_environment
from swarm_graph.sandbox.process import trial
from swarm_graph.sandbox.protocol import PROBE, Disk, Interpreter, Limits

GRACE_S = 5
FOLDER = "/work"


class Container:
    """`engine`: docker or podman; `image` has a Python with pytest and coreutils' timeout."""

    disk: Disk = "closed"
    lacks: tuple[str, ...] = (
        "it is as strong as its daemon's settings; docker's runs as root",
        "killed with kill -9, the container goes on until its time limit",
        "the number of files is bounded by its memory only",
    )

    def __init__(self, engine: str, image: str | None) -> None:
        self.name, self.image = engine, image

    def problem(self, interpreter: Interpreter) -> str:
        if not shutil.which(self.name):
            return f"{self.name} not found"
        if not self.image:
            return "execution.image names no image; name one that is there, with Python and pytest"
        if trial([self.name, "info"], os.environ):
            return f"{self.name} does not answer; start its service"
        command = self.command(["python3", "-s", "-c", "import pytest"], interpreter, PROBE, "")
        said = trial(command, os.environ)
        return f"the image '{self.image}' does not work: {said}" if said else ""

    def place(self, folder: str) -> str:
        return FOLDER

    def environment(self, folder: str) -> Mapping[str, str]:
        return os.environ

    def filter(self) -> bytes:
        return b""

    def kernel_limits(self, limits: Limits) -> dict[str, int]:
        return limits.for_each_process(processes=False)

    def stop(self, command: list[str]) -> None:
        name = command[command.index("--name") + 1]
        subprocess.run([self.name, "kill", name], capture_output=True, timeout=30, check=False)

    def command(self, inside: list[str], interpreter: Interpreter, limits: Limits, folder: str) -> list[str]:
        given = [f"--env={name}={value}" for name, value in plain_environment(FOLDER).items()]
        space = f"{FOLDER}:rw,exec,nosuid,nodev,mode=1777,size={limits.disk}"
        only = ["--read-only-tmpfs=false"] if self.name == "podman" else []
        return [
            self.name, "run", "--rm", "--interactive", "--name", f"swarm-{secrets.token_hex(8)}",
            "--pull=never", "--network=none", "--read-only", "--cap-drop=ALL",
            "--security-opt=no-new-privileges",
            f"--user={NOBODY}:{NOBODY}", f"--tmpfs={space}", f"--shm-size={SHARED_MEMORY}",
            f"--memory={limits.memory}", f"--memory-swap={limits.memory}",
            f"--pids-limit={limits.processes}", "--ulimit=nofile=1024:1024",
            "--ulimit=nproc=4096:4096", f"--workdir={FOLDER}", *given, *only, str(self.image),
            "timeout", "--signal=KILL", str(limits.seconds + GRACE_S), "python3",
            *inside[1:],
        ]  # fmt: skip
