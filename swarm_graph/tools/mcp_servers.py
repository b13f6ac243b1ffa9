"""The connections of one run to the MCP servers of the configuration."""

from __future__ import annotations

from collections.abc import Mapping

from swarm_graph.tool_settings import McpServer, ToolLimits
from swarm_graph.tools.tool import Tool


class McpServers:
    """The MCP servers of one run; each is connected when a role first needs it, and held until `close`."""

    def __init__(self, servers: Mapping[str, McpServer], limits: ToolLimits) -> None:
        self._servers, self._limits = servers, limits

    async def tools(self, name: str) -> list[Tool]:
        """The tools of a server, in its order; `asks` is not set yet.

        Raises:
            ToolError: The server cannot be started or reached.
        """
        raise NotImplementedError

    async def close(self) -> None:
        """End all connections, and the servers that were started."""
