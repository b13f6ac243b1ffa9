"""The transport to an MCP server that is a command: messages on its stdin and stdout, a line each.

The package mcp has such a transport, too. This one bounds what a server may send, keeps its stderr in a log,
gives it no environment but the configured one, and ends it however this process ends (`mcp_process.py`).
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Self

import anyio
from mcp.shared.message import SessionMessage
from mcp_types import PARSE_ERROR, ErrorData, JSONRPCError, jsonrpc_message_adapter

from swarm_graph.errors import ToolError
from swarm_graph.tools.mcp_log import ServerLog
from swarm_graph.tools.mcp_process import GRACE_S, TERMINATION_S

PROGRAM = Path(__file__).with_name("mcp_process.py")
CHUNK_BYTES = 1 << 16
MAX_MESSAGE_BYTES = 8_000_000
"""A longer message is not kept while it is read; the call that it answers fails."""
MAX_NOISE_BYTES = 8_000_000
"""Bytes that a server may write to stdout beside messages, before its connection is given up."""
MAX_LOGGED_NOISE_BYTES = 10_000
"""Bytes of them that the log shows."""
MAX_UNSENT_BYTES = 16_000_000
"""Bytes that may wait for a server that does not read its stdin."""
END_S = GRACE_S + TERMINATION_S + 5
"""How long the end of a server is waited for."""

_ID_FIRST = re.compile(rb'\s*\{(?:\s*"jsonrpc"\s*:\s*"2\.0"\s*,)?\s*"id"\s*:\s*(\d{1,15})\s*,')
_ID_LAST = re.compile(rb',\s*"id"\s*:\s*(\d{1,15})\s*(?:,\s*"jsonrpc"\s*:\s*"2\.0"\s*)?\}\s*$')
_ID_BYTES = 200
"""How far from an end of a message its id is looked for."""

_PIPES: set[int] = set()
"""Our ends of the pipes to the processes that end servers."""


class StdioTransport:
    """The process of a server.

    Args:
        command: The command with its arguments.
        environment: All of its environment variables.
        folder: Where it starts.
        log: Keeps its stderr.

    Attributes:
        address: Empty: the command is in the configuration.
        problem: Why the connection has ended; empty if we ended it, or it goes on.
    """

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], folder: str | None, log: ServerLog
    ) -> None:
        self._command, self._environment, self._folder = command, environment, folder
        self._log, self.address, self.problem = log, "", ""

    @asynccontextmanager
    async def streams(self) -> AsyncIterator[tuple[_Messages, _Sender]]:
        """Start the server, yield the streams to and from it, and end it.

        Raises:
            ToolError: The server cannot be started.
        """
        theirs, ours = os.pipe()
        _PIPES.add(ours)
        try:
            process = await self._start(theirs)
        except BaseException:
            _close_pipe(ours)
            raise
        finally:
            os.close(theirs)
        stderr = asyncio.create_task(self._keep_stderr(process))
        messages, sender = _Messages(process, self._log), _Sender(process)
        try:
            yield messages, sender
        finally:
            ended_itself = messages.has_ended or sender.has_ended
            await _end(process, ours)
            await asyncio.wait({stderr}, timeout=1)
            stderr.cancel()
            if ended_itself:
                self.problem = messages.problem or self._how_it_ended(process)

    async def _start(self, pipe: int) -> Process:
        if sys.platform == "win32":
            raise ToolError("a command needs Linux or macOS; on Windows name the server's url")
        try:
            return await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", str(PROGRAM), str(pipe), *self._command),
                stdin=PIPE,
                stdout=PIPE,
                stderr=PIPE,
                env=self._environment,
                cwd=self._folder,
                pass_fds=[pipe],
                start_new_session=True,  # Ctrl-C is for us
            )
        except (OSError, ValueError) as error:
            where = f" in '{self._folder}'" if self._folder else ""
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise ToolError(f"cannot start '{self._command[0]}'{where}: {reason}") from error

    async def _keep_stderr(self, process: Process) -> None:
        assert process.stderr
        while data := await process.stderr.read(CHUNK_BYTES):
            self._log.stderr(data)
            await asyncio.sleep(0)
        self._log.end_stderr()

    def _how_it_ended(self, process: Process) -> str:
        said = f": {self._log.last_line}" if self._log.last_line else ""
        code = process.returncode
        if code is None or code < 0:
            return f"its process was killed{said}"
        if code > 128 and code - 128 in {*signal.Signals}:
            return f"it ended with {signal.Signals(code - 128).name}{said}"
        return f"it ended with exit code {code}{said}"


async def _end(process: Process, pipe: int) -> None:
    """End a server, and wait until no process of it is left."""
    assert process.stdin
    assert process.stdout
    process.stdin.close()
    _close_pipe(pipe)
    rest = asyncio.create_task(_drain(process.stdout))
    with suppress(TimeoutError):
        async with asyncio.timeout(END_S):
            await process.wait()
    rest.cancel()
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)  # what is left if somebody killed the process between
    _transport(process).close()


async def _drain(stdout: asyncio.StreamReader) -> None:
    """Read what is left: a server that waits for a full pipe does not notice that it is to end."""
    while await stdout.read(CHUNK_BYTES):
        pass


def _transport(process: Process) -> Any:
    """asyncio's transport, which a surviving process with an open pipe would keep open for ever."""
    return process._transport  # type: ignore[attr-defined]


def _close_pipe(pipe: int) -> None:
    _PIPES.discard(pipe)
    os.close(pipe)


class _Messages:
    """The messages of a server, as the package mcp reads them."""

    def __init__(self, process: Process, log: ServerLog) -> None:
        assert process.stdout
        self._stdout, self._log = process.stdout, log
        self._lines = self._read_lines()
        self._noise = 0
        self.has_ended, self.problem = False, ""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage:
        async for line, size in self._lines:
            if message := self._message(line, size):
                await asyncio.sleep(0)  # a flood must not keep the event loop from others
                return message
            if self._noise > MAX_NOISE_BYTES:
                self.problem = "it floods its stdout with something else than MCP"
                break
        self.has_ended = True
        raise StopAsyncIteration

    async def receive(self) -> SessionMessage:
        try:
            return await anext(self)
        except StopAsyncIteration:
            raise anyio.EndOfStream from None

    async def _read_lines(self) -> AsyncIterator[tuple[bytes, int]]:
        """Lines with their sizes. A line that is too long keeps only its two ends."""
        line = _Line()
        while chunk := await self._stdout.read(CHUNK_BYTES):
            *parts, rest = chunk.split(b"\n")
            for part in parts:
                line.add(part)
                yield line.taken(), line.size
                line = _Line()
            line.add(rest)
            await asyncio.sleep(0)

    def _message(self, line: bytes, size: int) -> SessionMessage | None:
        if size > MAX_MESSAGE_BYTES:
            problem = (
                f"its answer has {size / 1e6:.1f} MB, and at most {MAX_MESSAGE_BYTES / 1e6:.0f} are read"
            )
        else:
            problem = "its answer is not a message of MCP"
            with suppress(ValueError):
                if line.lstrip().startswith(b"{"):
                    return SessionMessage(jsonrpc_message_adapter.validate_json(line, by_name=False))
        if found := _ID_FIRST.match(line[:_ID_BYTES]) or _ID_LAST.search(line[-_ID_BYTES:]):
            error = ErrorData(code=PARSE_ERROR, message=problem)
            return SessionMessage(JSONRPCError(jsonrpc="2.0", id=int(found[1]), error=error))
        self._noise += size + 1
        if line.strip() and self._noise < MAX_LOGGED_NOISE_BYTES:
            self._log.report("stdout", line[:_ID_BYTES].decode(errors="replace"))
        return None

    async def aclose(self) -> None:
        """Nothing to do: the transport ends the process."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


class _Line:
    """A line that is being read."""

    def __init__(self) -> None:
        self.size = 0
        self._parts: list[bytes] = []
        self._end = b""

    def add(self, part: bytes) -> None:
        self.size += len(part)
        if self.size <= MAX_MESSAGE_BYTES:
            self._parts.append(part)
        else:
            self._parts = [b"".join(self._parts)[:_ID_BYTES]] if self._parts else [part[:_ID_BYTES]]
            self._end = (self._end + part)[-_ID_BYTES:]

    def taken(self) -> bytes:
        return b"".join([*self._parts, self._end])


class _Sender:
    """Sends messages to a server; never waits for it."""

    def __init__(self, process: Process) -> None:
        assert process.stdin
        self._stdin = process.stdin
        self.has_ended = False

    async def send(self, item: SessionMessage, /) -> None:
        waiting = self._stdin.transport.get_write_buffer_size()
        self.has_ended = self._stdin.is_closing()  # a server may end before the first message
        if self.has_ended or waiting > MAX_UNSENT_BYTES:
            raise anyio.BrokenResourceError
        self._stdin.write(item.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n")

    async def aclose(self) -> None:
        """Nothing to do: the transport ends the process."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def _after_fork_in_child() -> None:
    """Let go of the parent's servers: they must end with the parent, even while the child runs."""
    while _PIPES:
        os.close(_PIPES.pop())


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork_in_child)
