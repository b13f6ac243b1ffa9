"""The connection to one MCP server: opened when it is first needed, and opened again when it has ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from contextvars import Context
from dataclasses import dataclass, field
from typing import Any, Protocol, Self, TypeVar

import mcp_types as types
from mcp.client.session import ClientSession
from mcp.shared.exceptions import MCPError
from pydantic import ValidationError

from swarm_graph import __version__
from swarm_graph.errors import ToolError
from swarm_graph.text import cut, printable
from swarm_graph.tools.mcp_log import ServerLog

log = logging.getLogger("swarm_graph")
logging.getLogger("mcp").addHandler(logging.NullHandler())  # else Python prints its warnings to stderr

MAX_RESTARTS = 5
"""How often a server is started again in one run."""
MARGIN_S = 1.0
"""How long after a call's time the connection gives it up, if its caller has not."""
CLOSE_S = 10.0
"""How long the end of a connection is waited for."""
MAX_MESSAGE = 1000
"""Characters of a server's error message that are kept."""
NOTICE_TURNS = 4
"""Turns of the event loop in which the end of a server that has died is noticed, before it is sent a call."""
CLOSED = "Connection closed"
"""What the package mcp says of a request on a connection that has ended."""
SESSION_GONE = "Session terminated"
"""What the package mcp says when a server at a URL no longer knows the session."""

T = TypeVar("T")
Ask = Callable[[ClientSession], Awaitable[T]]


class Transport(Protocol):
    """Connects to a server.

    Attributes:
        address: Where it is, for people; empty for a command.
        problem: Why the connection ended by itself.
    """

    address: str
    problem: str

    def streams(self) -> AbstractAsyncContextManager[tuple[Any, Any]]: ...


@dataclass
class _Held:
    """One opened connection, and the task that opened it and closes it.

    anyio's cancel scopes, which the package mcp enters, have to be left in the task that entered them.
    """

    opened: asyncio.Future[ClientSession]
    end: asyncio.Event = field(default_factory=asyncio.Event)
    owner: asyncio.Task[None] | None = None
    reason: str = ""

    @property
    def is_over(self) -> bool:
        return self.end.is_set() or (self.owner is not None and self.owner.done())


class Connection:
    """The connection to a server. Requests of any task of its event loop run at once.

    Args:
        name: The server's name.
        connect: Returns a new transport; raises ToolError.
        server_log: Its log.
        start_seconds: The seconds for its start.
        on_change: Called when its tools, resources or prompts may have changed.
    """

    def __init__(
        self,
        name: str,
        connect: Callable[[], Transport],
        server_log: ServerLog,
        start_seconds: float,
        on_change: Callable[[], None],
    ) -> None:
        self.name, self._connect, self._log = name, connect, server_log
        self._start_seconds, self._on_change = start_seconds, on_change
        self._held: _Held | None = None
        self._starts, self._is_closed = 0, False

    async def ask(self, ask: Ask[T], seconds: float, *, again: bool) -> T:
        """Send a request, and return the answer.

        Args:
            ask: Sends it over a session.
            seconds: The time for the answer.
            again: Whether it may be sent a second time when the server ends while it works on it.

        Raises:
            ToolError: The server cannot be reached, or it refuses; one line.
            TimeoutError: There is no answer in time. The server is told that none is wanted any more.
        """
        held = await self._opened()
        try:
            return await self._answer(held, ask, seconds)
        except _Lost as lost:
            if not again and not lost.unsent:
                raise self._error(
                    f"the connection ended while the server worked on the call ({lost}); "
                    "whether the call was made is not known"
                ) from lost
        held = await self._opened()
        try:
            return await self._answer(held, ask, seconds)
        except _Lost as lost:
            raise self._error(
                f"the connection ended twice while the server worked on the call: {lost}"
            ) from lost

    async def session(self) -> ClientSession:
        """The opened session, for what the server has said of itself. Raises ToolError."""
        return (await self._opened()).opened.result()

    async def close(self) -> None:
        """End the connection, and the server if it was started; no request opens it again."""
        self._is_closed = True
        if (held := self._held) and held.owner:
            held.end.set()
            if not held.opened.done():
                held.owner.cancel()
            await asyncio.wait({held.owner}, timeout=CLOSE_S)
            held.owner.cancel()
        await asyncio.to_thread(self._log.close)

    # --- requests --------------------------------------------------------------------------------

    async def _answer(self, held: _Held, ask: Ask[T], seconds: float) -> T:
        async def asked() -> T:
            return await ask(held.opened.result())

        # Without the caller's context variables: traces of the caller are not for the server.
        request = asyncio.create_task(asked(), context=Context())
        try:
            async with asyncio.timeout(seconds + MARGIN_S):
                return await request
        except TimeoutError as error:
            raise TimeoutError(f"the MCP server '{self.name}' did not answer in {seconds:g} s") from error
        except MCPError as error:
            if (error.code, error.message) == (types.CONNECTION_CLOSED, CLOSED):
                raise _Lost(await self._reason(held)) from error
            if (error.code, error.message) == (types.INVALID_REQUEST, SESSION_GONE):
                await self._reason(held)
                raise _Lost("it does not know the session any more", unsent=True) from error
            raise Refused(self._problem(self._line(error.message)), error.code) from error
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            problem = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
            raise self._error(f"its answer is not as MCP defines it: {self._line(problem)}") from error
        except (RuntimeError, ValueError) as error:  # what the package mcp finds wrong with the answer
            raise self._error(self._line(str(error))) from error

    async def _reason(self, held: _Held) -> str:
        """Why a connection has ended; waits until it is closed."""
        held.end.set()
        if held.owner:
            await asyncio.wait({held.owner}, timeout=CLOSE_S)
        return held.reason

    # --- the connection --------------------------------------------------------------------------

    async def _opened(self) -> _Held:
        """The connection; a new one if there is none, or it has ended."""
        if self._is_closed:
            raise self._error("the run has ended, and its connections with it")
        for _ in range(NOTICE_TURNS):
            await asyncio.sleep(0)
        before = self._held
        if before is not None and before.is_over:
            await self._reason(before)
        if self._held is None or (self._held is before and before.is_over):
            self._held = self._open(before)
        held = self._held
        await asyncio.shield(held.opened)
        return held

    def _open(self, before: _Held | None) -> _Held:
        if self._starts > MAX_RESTARTS:
            reason = before.reason if before else ""
            raise self._start_error(
                f"it was started {self._starts} times in this run, and ended each time: {reason}"
            )
        if before:
            restart = f"started again ({self._starts} of {MAX_RESTARTS}): {before.reason}"
            self._log.note(restart)
            log.info("mcp server '%s' is %s", self.name, printable(restart))
        self._starts += 1
        self._on_change()
        held = _Held(asyncio.get_running_loop().create_future())
        held.opened.add_done_callback(lambda opened: opened.cancelled() or opened.exception())
        held.owner = asyncio.create_task(self._own(held), name=f"mcp server {self.name}", context=Context())
        return held

    async def _own(self, held: _Held) -> None:
        """Open the connection, hold it until it ends or is no longer wanted, and close it."""
        transport: Transport | None = None
        problem: BaseException | None = None
        try:
            transport = await asyncio.to_thread(self._connect)  # it reads and writes files
            async with (
                transport.streams() as (read, write),
                self._session(_Watched(read, held.end), write) as session,
            ):
                try:
                    async with asyncio.timeout(self._start_seconds):
                        await _shake_hands(session)
                except TimeoutError as error:
                    raise ToolError(f"it did not start in {self._start_seconds:g} s") from error
                held.opened.set_result(session)
                await held.end.wait()
        except (Exception, BaseExceptionGroup) as error:
            problem = _first(error)
        finally:
            found = (transport.problem if transport else "") or _text(problem) or "the connection was closed"
            place = f"{transport.address}: " if transport and transport.address else ""
            held.reason = self._line(f"{place}{found}")
            try:
                if not self._is_closed:
                    self._log.note(f"ended: {held.reason}")
                    await asyncio.to_thread(self._log.close)
            finally:
                if not held.opened.done():
                    held.opened.set_exception(self._start_error(held.reason))

    def _session(self, read: Any, write: Any) -> ClientSession:
        """A session that offers the server nothing: no sampling, no questions to the user, no roots."""
        return _Session(
            read,
            write,
            client_info=types.Implementation(name="swarm_graph", version=__version__),
            message_handler=self._take_message,
            logging_callback=self._take_log,
        )

    async def _take_message(self, message: Any) -> None:
        changes = (
            types.ToolListChangedNotification,
            types.ResourceListChangedNotification,
            types.PromptListChangedNotification,
        )
        if isinstance(message, changes):
            self._on_change()

    async def _take_log(self, params: types.LoggingMessageNotificationParams) -> None:
        self._log.report(params.level, str(params.data))

    def _line(self, text: str) -> str:
        """A server's message, as one line without secrets."""
        return self._log.masked(cut(" ".join(printable(text).split()), MAX_MESSAGE))

    def _error(self, reason: str) -> ToolError:
        """An error of a call, which a model reads."""
        return ToolError(self._problem(reason))

    def _problem(self, reason: str) -> str:
        return f"MCP server '{self.name}': {reason}"

    def _start_error(self, reason: str) -> ToolError:
        """An error that a person can do something about."""
        return ToolError(f"{self._problem(reason)}; its log: {self._log.path}")


class _Session(ClientSession):
    """A session that does not check results by the schemas that the server has for them.

    Results are only read as text, and a check by a server's own patterns and references can take for ever.
    """

    async def validate_tool_result(self, name: str, result: types.CallToolResult) -> None:
        """Check nothing."""


class Refused(ToolError):
    """A server has refused a request.

    Attributes:
        code: JSON-RPC's code of its error.
    """

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class _Lost(Exception):
    """The connection has ended before the answer came.

    Attributes:
        unsent: Whether the server has not begun to work on the request.
    """

    def __init__(self, reason: str, *, unsent: bool = False) -> None:
        super().__init__(reason)
        self.unsent = unsent


class _Watched:
    """A stream of messages that says when it has ended."""

    def __init__(self, stream: Any, end: asyncio.Event) -> None:
        self._stream, self._end = stream, end

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        try:
            return await anext(self._stream)
        except BaseException:
            self._end.set()
            raise

    async def __aenter__(self) -> Self:
        await self._stream.__aenter__()
        return self

    async def __aexit__(self, *details: Any) -> None:
        await self._stream.__aexit__(*details)


async def _shake_hands(session: ClientSession) -> None:
    """Agree on a version of MCP: one with a handshake; a newer one if the server has no other."""
    try:
        await session.initialize()
    except MCPError as error:
        if error.code != types.UNSUPPORTED_PROTOCOL_VERSION:
            raise
        await session.discover()


def _text(error: BaseException | None) -> str:
    """The message of an error; its class if it has none."""
    return "" if error is None else str(error) or type(error).__name__


def _first(error: BaseException) -> BaseException:
    """The first error of a group."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
