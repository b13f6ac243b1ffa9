"""MCP over the process's stdin and stdout, which nothing else may use meanwhile."""

from __future__ import annotations

import asyncio
import json
import math
import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar, cast

import anyio
import mcp_types as types
from mcp.server import Server
from mcp.shared.message import SessionMessage

from swarm_graph.mcp_server.settings import MAX_MESSAGE_BYTES

LAST_ANSWERS_S = 2.0
"""How long a client that has closed our stdin may take to read its last answers."""
_READ_BYTES = 1 << 16
T = TypeVar("T")


async def serve_stdio(server: Server[Any]) -> None:
    """Serve one client until it closes our stdin or stdout."""
    reading, writing = _taken(0, os.open(os.devnull, os.O_RDONLY)), _taken(1, os.dup(2))
    arriving, arrived = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    # Unbounded: a client that reads nothing must not keep us from seeing that it has closed our stdin.
    leaving, left = anyio.create_memory_object_stream[SessionMessage](math.inf)
    refusals = leaving.clone()

    async def read() -> None:
        async with arriving, refusals:
            async for line in _lines(reading):
                try:
                    message = types.jsonrpc_message_adapter.validate_json(line, by_name=False)
                except ValueError:
                    await refusals.send(SessionMessage(_refusal(line)))
                else:
                    await arriving.send(SessionMessage(message))
        tasks.cancel_scope.deadline = anyio.current_time() + LAST_ANSWERS_S

    async def write() -> None:
        async for answer in left:
            line = answer.message.model_dump_json(by_alias=True, exclude_unset=True)
            try:
                await _apart(partial(_write, writing, f"{line}\n".encode()))
            except OSError:
                tasks.cancel_scope.cancel()  # the client has gone

    async with arrived, left, anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        tasks.start_soon(write)
        async with leaving:
            await server.run(arrived, leaving, server.create_initialization_options())


def _taken(number: int, instead: int) -> int:
    """A descriptor of our own for a standard stream; children and libraries get another."""
    ours = os.dup(number)
    os.dup2(instead, number)
    os.close(instead)
    return ours


async def _lines(descriptor: int) -> AsyncIterator[bytes]:
    """The lines of a descriptor that are not blank; one that is too long is b"too long"."""
    line = bytearray()

    def whole() -> bytes:
        return bytes(line) if len(line) <= MAX_MESSAGE_BYTES else b"too long"

    while chunk := await _apart(partial(_read, descriptor)):
        *ends, rest = chunk.split(b"\n")
        for end in ends:
            line += end
            if line.strip():
                yield whole()
            line.clear()
        if len(line) <= MAX_MESSAGE_BYTES:
            line += rest
    if line.strip():
        yield whole()


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, _READ_BYTES)
    except OSError:  # a socket whose other end has gone
        return b""


def _write(descriptor: int, line: bytes) -> None:
    while line:
        line = line[os.write(descriptor, line) :]


async def _apart(function: Callable[[], T]) -> T:
    """Call a function in a thread of its own.

    One of the event loop's would keep the process alive as long as the client sends and reads nothing.
    """
    loop = asyncio.get_running_loop()
    called: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: OSError | None) -> None:
        if called.done():
            return
        if error:
            called.set_exception(error)
        else:
            called.set_result(cast("T", result))

    def call() -> None:
        result, failure = None, None
        try:
            result = function()
        except OSError as error:
            failure = error
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=call, name="mcp stdio", daemon=True).start()
    return await called


def _refusal(line: bytes) -> types.JSONRPCError:
    """The answer to a line that is no message, so that no client waits for it."""
    try:
        given = json.loads(line)
    except (ValueError, RecursionError):
        given = None
    known = given.get("id") if isinstance(given, dict) else None
    return types.JSONRPCError(
        jsonrpc="2.0",
        id=known if type(known) in (int, str) and str(known).isascii() else None,
        error=types.ErrorData(
            code=types.PARSE_ERROR if given is None else types.INVALID_REQUEST,
            message=f"this is no JSON-RPC message of at most {MAX_MESSAGE_BYTES:,} bytes",
        ),
    )
