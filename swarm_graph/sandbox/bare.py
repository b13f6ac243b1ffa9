"""No sandbox at all, for those who ask for it with `execution.unsafe`."""

from __future__ import annotations

from collections.abc import Mapping

from swarm_graph.sandbox.bubblewrap import plain_environment
from swarm_graph.sandbox.protocol import Disk, Interpreter, Limits

UNSAFE = "none (unsafe)"


class Bare:
    """The command as it is, in a folder of the host that is removed after it, within limits."""

    name = UNSAFE
    disk: Disk = "host"
    lacks: tuple[str, ...] = ("everything: the code can read, change and send whatever you can",)

    def problem(self, interpreter: Interpreter) -> str:
        return ""

    def place(self, folder: str) -> str:
        return folder

    def environment(self, folder: str) -> Mapping[str, str]:
        return plain_environment(folder)

    def filter(self) -> bytes:
        return b""

    def kernel_limits(self, limits: Limits) -> dict[str, int]:
        return limits.for_each_process(processes=False)

    def stop(self, command: list[str]) -> None:
        """Nothing outlives its processes."""

    def command(self, inside: list[str], interpreter: Interpreter, limits: Limits, folder: str) -> list[str]:
        return inside
