"""The MCP server: its tools and resources, and its life from the first request to the last session's stop."""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import Callable
from functools import partial
from typing import Any

import mcp_types as types
from mcp.server import Server
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError

from swarm_graph import __version__
from swarm_graph.errors import SwarmError
from swarm_graph.mcp_server.arguments import read_arguments
from swarm_graph.mcp_server.http_transport import serve_http
from swarm_graph.mcp_server.resources import TEMPLATES, listed_resources, read_resource
from swarm_graph.mcp_server.settings import ServerSettings
from swarm_graph.mcp_server.stdio_transport import serve_stdio
from swarm_graph.mcp_server.tools import SessionTools, ToolEntry, tool_entries
from swarm_graph.sessions.background import BackgroundSessions
from swarm_graph.sessions.until_stopped import until_stopped
from swarm_graph.text import cut, printable

NAME = "swarm-graph"
INSTRUCTIONS = (
    "Agent roles turn a request into reviewed code, tests and docs, or a document. `start` begins a session "
    "and returns at once; `wait` returns when it ends or needs a person; `result` has its outcome and files. "
    "Sessions take minutes."
)
Say = Callable[[str], None]
"""Prints a line for the operator; never on stdout."""
Context = ServerRequestContext[Any, Any]


def new_server(settings: ServerSettings, background: BackgroundSessions) -> Server[Any]:
    """An MCP server with the tools and resources that the settings allow."""
    entries = {entry.name: entry for entry in tool_entries(settings)}
    tools = SessionTools(settings, background)

    async def list_tools(_: Context, __: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[_as_mcp(entry) for entry in entries.values()])

    async def call_tool(context: Context, given: types.CallToolRequestParams) -> types.CallToolResult:
        entry = entries.get(given.name)
        if entry is None:
            return _failure(f"there is no tool {cut(given.name, 80)!r}; there are {', '.join(entries)}")
        try:
            arguments = read_arguments(entry.arguments, given.arguments)
            result = await getattr(tools, entry.name)(arguments, partial(_report, context))
        except Exception as error:
            return _failure(_text_of(error, settings))
        return types.CallToolResult(content=[_content(json.dumps(result))], structured_content=result)

    async def list_resources(
        _: Context, __: types.PaginatedRequestParams | None
    ) -> types.ListResourcesResult:
        return types.ListResourcesResult(resources=[*await listed_resources(settings.data_dir)])

    async def list_templates(
        _: Context, __: types.PaginatedRequestParams | None
    ) -> types.ListResourceTemplatesResult:
        return types.ListResourceTemplatesResult(resource_templates=TEMPLATES)

    async def read(_: Context, given: types.ReadResourceRequestParams) -> types.ReadResourceResult:
        try:
            return types.ReadResourceResult(contents=[await read_resource(settings.data_dir, given.uri)])
        except Exception as error:
            raise MCPError(code=types.INVALID_PARAMS, message=_text_of(error, settings)) from error

    return Server(
        NAME,
        version=__version__,
        instructions=INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_resources=list_resources,
        on_list_resource_templates=list_templates,
        on_read_resource=read,
    )


def _as_mcp(entry: ToolEntry) -> types.Tool:
    schema = entry.arguments.model_json_schema()
    schema = {key: value for key, value in schema.items() if key not in ("title", "description")}
    return types.Tool(
        name=entry.name,
        description=entry.description,
        input_schema=schema,
        annotations=types.ToolAnnotations(
            read_only_hint=entry.read_only,
            destructive_hint=entry.destructive,
            idempotent_hint=entry.idempotent,
            open_world_hint=entry.open_world,
        ),
    )


async def _report(context: Context, step: int, text: str) -> None:
    """Send a progress notification, if the client asked for them."""
    await context.session.report_progress(float(step), message=printable(text))


def _content(text: str) -> types.TextContent:
    return types.TextContent(type="text", text=text)


def _failure(message: str) -> types.CallToolResult:
    return types.CallToolResult(content=[_content(message)], is_error=True)


def _text_of(error: Exception, settings: ServerSettings) -> str:
    """An error as one line for clients."""
    if not isinstance(error, SwarmError):
        logging.getLogger(__name__).error("unexpected error", exc_info=error)
        return f"unexpected {type(error).__name__}; the server's stderr says more"
    return settings.shown(str(error))


# --- its life ------------------------------------------------------------------------------------


async def serve(
    settings: ServerSettings, say: Say, listener: socket.socket | None = None, token: str = ""
) -> int | None:
    """Serve until the client leaves or a signal comes, then stop the sessions; they can be resumed.

    Args:
        settings: What clients may do.
        say: Prints a line for the operator.
        listener: The socket of an HTTP server; None to serve stdin and stdout.
        token: What clients of the HTTP server must present.

    Returns:
        The number of the signal that ended it; None if the client left.
    """
    if not os.environ.get("SWARM_DEBUG"):
        logging.getLogger("mcp").setLevel(logging.CRITICAL)  # it logs what strangers send

    background = BackgroundSessions(settings.max_sessions, say)
    server = new_server(settings, background)
    serving = serve_stdio(server) if listener is None else serve_http(server, listener, token)
    return await until_stopped(serving, background, say, settings.config.workflow.grace_period)
