"""No sandbox at all: used only if the config allows it with `execution.unsafe`."""

from __future__ import annotations

from collections.abc import Mapping

from swarm_graph.sandbox.bubblewrap import minimal_environment
from swarm_graph.sandbox.protocol import Disk, Interpreter, Limits

UNSAFE = "none (unsafe)"


class Bare:
    """Runs the command as it is, within limits, in a temporary folder of the host."""

    name = UNSAFE
    disk: Disk = "host"
    lacks: tuple[str, ...] = ("everything: the code can read, change and send whatever you can",)

    def problem(self, interpreter: Interpreter) -> str:
        return ""

    def work_folder(self, host_folder: str) -> str:
        return host_folder

    def environment(self, host_folder: str) -> Mapping[str, str]:
        return minimal_environment(host_folder)

    def syscall_filter(self) -> bytes:
        return b""

    def kernel_limits(self, limits: Limits) -> dict[str, int]:
        return limits.for_each_process(processes=False)

    def stop(self, command: list[str]) -> None:
        """Does nothing: killing the processes is enough."""

    def command(
        self, inner: list[str], interpreter: Interpreter, limits: Limits, host_folder: str
    ) -> list[str]:
        return inner
