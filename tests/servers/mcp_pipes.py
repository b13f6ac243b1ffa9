"""The official MCP client on the pipes of a running `swarm-graph mcp`, and short forms of its calls."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any, cast

import anyio
import warm
from mcp import Client
from mcp.shared.message import SessionMessage
from mcp_types import TextContent, TextResourceContents, jsonrpc_message_adapter

PIPE = subprocess.PIPE


@contextmanager
def served(*arguments: str | Path, cwd: Path, **env: str) -> Iterator[warm.Process]:
    """A running `swarm-graph mcp` that speaks over its pipes; it is killed in the end."""
    process_env = {**warm.ENVIRONMENT, **env}
    process = warm.Process("mcp", *arguments, cwd=cwd, env=process_env, stdin=PIPE, stdout=PIPE, stderr=PIPE)
    with process:
        try:
            yield process
        finally:
            process.kill()


@asynccontextmanager
async def connected(process: warm.Process) -> AsyncIterator[Client]:
    """The client; a line on stdout that is no message of MCP fails the test."""
    async with Client(cast("Any", _pipes(process))) as client:
        yield client


@asynccontextmanager
async def _pipes(process: warm.Process) -> AsyncIterator[tuple[Any, Any]]:
    reader = asyncio.StreamReader(limit=1 << 24)
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, process.stdout)
    arriving, arrived = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    sent, sending = anyio.create_memory_object_stream[SessionMessage](0)

    async def read() -> None:
        async with arriving:
            async for line in reader:
                message = jsonrpc_message_adapter.validate_json(line, by_name=False)
                await arriving.send(SessionMessage(message))

    async def write() -> None:
        async for message in sending:
            line = message.message.model_dump_json(by_alias=True, exclude_unset=True)
            assert process.stdin
            process.stdin.write(f"{line}\n".encode())
            process.stdin.flush()

    with closing(transport):
        async with arrived, sent, sending, anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            tasks.start_soon(write)
            yield arrived, sent
            tasks.cancel_scope.cancel()


async def call(
    client: Client, name: str, on_progress: Callable[[str], None] | None = None, /, **arguments: Any
) -> dict[str, Any]:
    """What a tool returns; its text and its structure are the same."""

    async def note(progress: float, total: float | None, message: str | None) -> None:  # noqa: ARG001
        if on_progress:
            on_progress(message or "")

    result = await client.call_tool(name, arguments, progress_callback=note if on_progress else None)
    (content,) = result.content
    assert isinstance(content, TextContent)
    assert not result.is_error, content.text
    found: dict[str, Any] = result.structured_content
    return found


async def refusal(client: Client, name: str, /, **arguments: Any) -> str:
    """The one line with which a tool refuses a call."""
    result = await client.call_tool(name, arguments)
    (content,) = result.content
    assert isinstance(content, TextContent)
    assert result.is_error, content.text
    assert "\n" not in content.text
    return content.text


async def resource(client: Client, uri: str) -> str:
    """The text of a resource."""
    (content,) = (await client.read_resource(uri)).contents
    assert isinstance(content, TextResourceContents)
    return content.text
