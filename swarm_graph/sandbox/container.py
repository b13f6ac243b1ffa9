"""A docker or podman container from a local image; images are never pulled."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Mapping

from swarm_graph.sandbox.bubblewrap import NOBODY, SHARED_MEMORY_BYTES, minimal_environment
from swarm_graph.sandbox.process import probe
from swarm_graph.sandbox.protocol import PROBE_LIMITS, Disk, Interpreter, Limits

GRACE_S = 5
KILL_TIMEOUT_S = 30
FOLDER = "/work"


class Container:
    """Runs the tests in a container of `engine` (docker or podman).

    The image must have a Python with pytest, and coreutils' `timeout`.
    """

    disk: Disk = "hidden"
    lacks: tuple[str, ...] = (
        "it is as strong as its daemon's settings; docker's daemon runs as root",
        "after kill -9 the container runs on until its time limit",
        "only its memory limit bounds the number of files",
    )

    def __init__(self, engine: str, image: str | None) -> None:
        self.name, self.image = engine, image

    def problem(self, interpreter: Interpreter) -> str:
        if not shutil.which(self.name):
            return f"{self.name} not found"
        if not self.image:
            return "execution.image names no image; name a local image with Python and pytest"
        if probe([self.name, "info"], os.environ):
            return f"{self.name} does not answer; start its service"
        command = self.command(["python3", "-s", "-c", "import pytest"], interpreter, PROBE_LIMITS, "")
        error = probe(command, os.environ)
        return f"the image '{self.image}' does not work: {error}" if error else ""

    def work_folder(self, host_folder: str) -> str:
        return FOLDER

    def environment(self, host_folder: str) -> Mapping[str, str]:
        return os.environ

    def syscall_filter(self) -> bytes:
        return b""

    def kernel_limits(self, limits: Limits) -> dict[str, int]:
        return limits.for_each_process(processes=False)

    def stop(self, command: list[str]) -> None:
        """Kill the container: it belongs to the daemon and outlives the client process."""
        name = command[command.index("--name") + 1]
        subprocess.run([self.name, "kill", name], capture_output=True, timeout=KILL_TIMEOUT_S, check=False)

    def command(
        self, inner: list[str], interpreter: Interpreter, limits: Limits, host_folder: str
    ) -> list[str]:
        variables = [f"--env={name}={value}" for name, value in minimal_environment(FOLDER).items()]
        disk = f"{FOLDER}:rw,exec,nosuid,nodev,mode=1777,size={limits.disk}"
        podman_only = ["--read-only-tmpfs=false"] if self.name == "podman" else []
        return [
            self.name, "run", "--rm", "--interactive", "--name", f"swarm-{secrets.token_hex(8)}",
            "--pull=never", "--network=none", "--read-only", "--cap-drop=ALL",
            "--security-opt=no-new-privileges",
            f"--user={NOBODY}:{NOBODY}", f"--tmpfs={disk}", f"--shm-size={SHARED_MEMORY_BYTES}",
            f"--memory={limits.memory}", f"--memory-swap={limits.memory}",
            f"--pids-limit={limits.processes}", "--ulimit=nofile=1024:1024",
            "--ulimit=nproc=4096:4096", f"--workdir={FOLDER}", *variables, *podman_only, str(self.image),
            "timeout", "--signal=KILL", str(limits.seconds + GRACE_S), "python3",
            *inner[1:],
        ]  # fmt: skip
