"""The connections of one run to the MCP servers of the configuration."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swarm_graph.errors import ToolError
from swarm_graph.models.shared_server import private_folder
from swarm_graph.text import cut_note, first_names, printable
from swarm_graph.tool_settings import McpServer, ToolLimits
from swarm_graph.tools.mcp_log import LOGS, ServerLog
from swarm_graph.tools.mcp_variables import Variables, secrets_of
from swarm_graph.tools.tool import Tool

if TYPE_CHECKING:
    from mcp.client.session import ClientSession

    from swarm_graph.tools.mcp_connection import Connection, Transport
    from swarm_graph.tools.mcp_tools import Offer

log = logging.getLogger("swarm_graph")

INHERITED = ("PATH", "HOME", "LANG")
"""The environment variables that a server gets besides those of `env`."""
MAX_MASKED = 1_000_000
"""Characters of one text that are searched for secrets."""
MISSING = "MCP servers need the package mcp: `pip install 'mcp>=2.3'`"


class McpServers:
    """The MCP servers of one run; each is connected when a role first needs it, and held until `close`.

    All calls must come from one event loop; they may come from any task of it, and at once.

    Args:
        servers: The servers of the configuration.
        limits: The seconds of a call.
        proxy: URL of the configured proxy for servers with a `url`; None: a direct connection.
        secrets: Texts that no result, error or log may repeat, like the variables in the servers' settings.
        logs: The folder for the servers' logs; None: a private folder of this user.
    """

    def __init__(
        self,
        servers: Mapping[str, McpServer],
        limits: ToolLimits,
        *,
        proxy: str | None = None,
        secrets: Sequence[str] = (),
        logs: Path | None = None,
    ) -> None:
        self._servers, self._limits = servers, limits
        self._proxy, self._logs = proxy, logs
        self._secrets = (*secrets, *secrets_of(servers.values()))
        self._held: dict[str, _Server] = {}
        self._is_closed = False

    async def tools(self, name: str) -> list[Tool]:
        """The tools of a server, in its order; `asks` is not set yet. None for a server that is disabled.

        Raises:
            ToolError: The server cannot be started or reached.
        """
        return [] if self._settings(name).disabled else list((await self.offer(name)).tools)

    async def offer(self, name: str) -> Offer:
        """What a server offers: tools, resources, prompts, and what of it cannot be used.

        Raises:
            ToolError: The server cannot be started or reached.
        """
        return await (await self._server(name)).offer()

    def log_path(self, name: str) -> Path:
        """The log of a server; it does not exist before the server was started."""
        self._settings(name)
        return self._log_folder() / f"{name}.log"

    async def close(self) -> None:
        """End all connections, and the servers that were started; no other is opened."""
        self._is_closed = True
        await asyncio.gather(*(server.connection.close() for server in self._held.values()))

    async def _server(self, name: str) -> _Server:
        settings = self._settings(name)
        path = await asyncio.to_thread(self.log_path, name)  # it looks for a folder
        if name not in self._held:
            if self._is_closed:
                raise ToolError("the run has ended, and its connections to MCP servers with it")
            server_log = ServerLog(path, self._secrets)
            self._held[name] = _Server(name, settings, self._limits, server_log, self._proxy, self._secrets)
        return self._held[name]

    def _settings(self, name: str) -> McpServer:
        if name not in self._servers:
            known = first_names([*self._servers]) or "none"
            raise ToolError(f"no MCP server '{printable(name)}' is configured; configured ones: {known}")
        return self._servers[name]

    def _log_folder(self) -> Path:
        if self._logs is None:
            try:
                self._logs = private_folder() / LOGS
            except OSError as error:
                raise ToolError(f"there is no folder for the logs of MCP servers: {error}") from error
        return self._logs


class _Server:
    """One server of a run: its connection, and what it offers."""

    def __init__(
        self,
        name: str,
        settings: McpServer,
        limits: ToolLimits,
        server_log: ServerLog,
        proxy: str | None,
        secrets: Sequence[str],
    ) -> None:
        connection_class = _connection_class()
        self.name, self._settings, self._limits, self._log = name, settings, limits, server_log
        self._proxy, self._secrets = proxy, secrets
        self._offer: Offer | None = None
        self._changes = 0
        self._is_asking = asyncio.Lock()
        self.connection: Connection = connection_class(
            name, self._transport, server_log, settings.start_seconds, self._forget_offer
        )

    async def offer(self) -> Offer:
        """What it offers; the server is asked again when that may have changed."""
        from swarm_graph.tools.mcp_tools import offer_of

        async with self._is_asking:
            session = await self.connection.session()
            if self._offer is None:
                changes = self._changes
                offer = await self._asked(offer_of(self, session))
                self._note(offer.left_out)
                if changes != self._changes or not session.initialize_result:
                    return offer  # it has changed meanwhile; newer versions of MCP announce no changes here
                self._offer = offer
            return self._offer

    def _note(self, left_out: Sequence[str]) -> None:
        for line in left_out:
            self._log.note(f"left out: {line}")
            log.info("mcp server '%s': left out: %s", self.name, line)

    async def _asked(self, offer: Awaitable[Offer]) -> Offer:
        seconds = self._settings.start_seconds
        try:
            async with asyncio.timeout(seconds):
                return await offer
        except TimeoutError as error:
            problem = f"it did not say in {seconds:g} s what it offers"
            self._log.note(problem)
            raise ToolError(f"MCP server '{self.name}': {problem}; its log: {self._log.path}") from error

    def _forget_offer(self) -> None:
        self._offer, self._changes = None, self._changes + 1

    async def send(
        self, ask: Callable[[ClientSession], Awaitable[Any]], *, again: bool, is_list: bool = False
    ) -> Any:
        """The answer to a request; see `mcp_tools.Server`."""
        seconds = self._settings.start_seconds if is_list else self._limits.seconds
        return await self.connection.ask(ask, seconds, again=again)

    def masked(self, text: str) -> str:
        """A text of the server without secrets. A very long text is cut first, because masking takes time."""
        if self._log.has_secrets and len(text) > MAX_MASKED:
            text = f"{text[:MAX_MASKED]}\n{cut_note(MAX_MASKED, len(text))}"
        return self._log.masked(text)

    def _transport(self) -> Transport:
        """A new transport to it. Variables are looked up here, for each start, and kept nowhere."""
        from swarm_graph.tools.mcp_http import HttpTransport
        from swarm_graph.tools.mcp_stdio import StdioTransport

        settings, named = self._settings, Variables()
        if settings.url:
            token = named.token(settings.token_env) if settings.token_env else None
            self._log.begin([*self._secrets, *named.secrets])
            return HttpTransport(settings.url, token, self._proxy)
        assert settings.command
        command = [settings.command, *map(named.resolved, settings.args)]
        environment = {name: os.environ[name] for name in INHERITED if name in os.environ}
        environment |= {name: named.resolved(value) for name, value in settings.env.items()}
        self._log.begin([*self._secrets, *named.secrets])
        if settings.sandbox:
            from swarm_graph.tools.mcp_sandbox import sandboxed

            return StdioTransport(sandboxed(command, environment, settings), environment, None, self._log)
        return StdioTransport(command, environment, settings.cwd, self._log)


def _connection_class() -> type[Connection]:
    """The class of connections. ToolError if the package mcp is missing."""
    try:
        import mcp_types  # noqa: F401  it is new in version 2

        from swarm_graph.tools.mcp_connection import Connection
    except ImportError as error:
        raise ToolError(MISSING) from error
    return Connection
