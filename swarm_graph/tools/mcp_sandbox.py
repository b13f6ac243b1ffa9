"""The command of an MCP server in bubblewrap, for servers that need no network and few folders."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from swarm_graph.errors import ToolError
from swarm_graph.sandbox.bubblewrap import SYSTEM_FOLDERS, server_command
from swarm_graph.tool_settings import McpServer


def sandboxed(command: Sequence[str], environment: Mapping[str, str], settings: McpServer) -> list[str]:
    """The command that runs a server in bubblewrap.

    It has no network, sees no process of the host, and no file but the system's programs, `readable`, which
    it may read, and `folders`, which it may write, too. `/tmp` is its own, and its home.

    Args:
        command: The server's command.
        environment: Its environment.
        settings: Its settings.

    Raises:
        ToolError: There is no bubblewrap here, or the server would not see its own program or folder.
    """
    if not shutil.which("bwrap"):
        raise ToolError(
            "`sandbox` needs bubblewrap, which is not installed: install it, or leave `sandbox` out"
        )
    folders = [*settings.folders, *settings.readable]
    for folder in folders:
        if not Path(folder).is_dir():
            raise ToolError(f"its settings name the folder '{folder}', which does not exist")
    program = shutil.which(command[0], path=environment.get("PATH"))
    if program is None:
        raise ToolError(f"cannot start '{command[0]}': there is no such program")
    visible = ["/usr", *SYSTEM_FOLDERS, *folders]
    absolute = Path(program).absolute()
    for path in (absolute, absolute.resolve()):
        if not any(path.is_relative_to(folder) for folder in visible):
            raise ToolError(
                f"its sandbox does not show its program '{path}': add the program's folder to `readable`"
            )
    start = settings.cwd or (settings.folders[0] if settings.folders else "/tmp")
    if start != "/tmp" and not any(Path(start).absolute().is_relative_to(folder) for folder in folders):
        raise ToolError(f"its sandbox does not show the folder '{start}' of cwd: add it to `folders`")
    return server_command(
        [str(absolute), *command[1:]],
        writable=settings.folders,
        readable=settings.readable,
        folder=str(Path(start).absolute()),
    )
