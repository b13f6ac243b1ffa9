"""Connections to the page: whose they are, how many there may be, and how long a client may take.

Uvicorn waits for ever for the first request, for the rest of one, and for a client that reads nothing.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from swarm_graph.web.peer import end_of, is_own

MAX_CONNECTIONS = 512
MIN_CONNECTIONS = 16
DESCRIPTORS_EACH = 3
"""The page takes at most every third descriptor of the process: sessions need some, too."""
HEAD_S = 10.0
"""How long a client may take for a handshake, and for the head of a request, with the pause before it."""
BODY_S, BYTES_A_SECOND = 10.0, 32 << 10
"""How long a client may take for the body of a request: this, and a second for so many bytes."""
LINGER_S = 5.0
"""How long the rest of a refused body is read, so that the client sees the refusal."""
STALL_S = 30.0
"""How long a client may read nothing of an answer."""


class Connections:
    """All connections of the page, and which may be closed to make room for a new one.

    A connection that waits for a request may: so the newest are always heard, however many others are opened.

    Args:
        headers: The headers of refusals.
        tls: The certificate; None for plain HTTP.
        has_proxy: Whether a proxy, which may be another user, connects to the page.
    """

    def __init__(
        self, headers: Mapping[str, str], tls: ssl.SSLContext | None = None, *, has_proxy: bool = False
    ) -> None:
        self.headers, self.tls, self.has_proxy = headers, tls, has_proxy
        self.limit = max(MIN_CONNECTIONS, min(MAX_CONNECTIONS, _descriptors() // DESCRIPTORS_EACH))
        self._open = set[Connection]()
        self._waiting = dict[Connection, None]()

    def new(
        self, config: Config, server_state: ServerState, app_state: dict[str, Any], **_: Any
    ) -> Connection:
        """A connection, as uvicorn asks for one."""
        return Connection(self, config, server_state, app_state)

    def admit(self, connection: Connection) -> bool:
        """Take a new connection in, if there is room or room can be made."""
        if len(self._open) >= self.limit:
            oldest = next(iter(self._waiting), None)
            if oldest is None:
                return False
            self.discard(oldest)
            oldest.abort()
        self._open.add(connection)
        return True

    def discard(self, connection: Connection) -> None:
        """Forget a connection that is closed."""
        self._open.discard(connection)
        self._waiting.pop(connection, None)

    def mark(self, connection: Connection, *, waits: bool) -> None:
        """Note whether a connection waits for a request, or for the rest of one."""
        self._waiting.pop(connection, None)
        if waits and connection in self._open:
            self._waiting[connection] = None

    def refusal(self, status: str, text: str) -> bytes:
        """An answer to a connection whose request is not read."""
        lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in self.headers.items())]
        lines += ["content-type: text/plain; charset=utf-8", "connection: close"]
        lines += [f"content-length: {len(text) + 1}", "", f"{text}\n"]
        return "\r\n".join(lines).encode()


class Connection(H11Protocol):
    """A connection of a client.

    Args:
        connections: All of them.
        config: Uvicorn's.
        server_state: Uvicorn's.
        app_state: The state of each request; `is_own` says whether a user of this machine is the page's own.
    """

    def __init__(
        self, connections: Connections, config: Config, server_state: ServerState, app_state: dict[str, Any]
    ) -> None:
        super().__init__(config, server_state, app_state)
        self._all = connections
        self._raw: asyncio.Transport | None = None
        self._handshake: asyncio.Task[None] | None = None
        self._early = bytearray()
        self._phase, self._received = "", 0
        self._deadline: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Refuse it, or begin with TLS, or with HTTP."""
        self._raw = transport
        peer, here = (transport.get_extra_info(name) for name in ("peername", "sockname"))
        is_user = is_own(end_of(peer), end_of(here))
        if not (is_user or self._all.has_proxy):
            self._refuse("403 Forbidden", "this page belongs to another user of this machine")
        elif not self._all.admit(self):
            self._refuse("503 Service Unavailable", "too many connections; close some pages")
        else:
            self.app_state = {**self.app_state, "is_own": is_user}
            self._enter("head")
            if self._all.tls:
                self._handshake = self.loop.create_task(self._shake_hands(transport, self._all.tls))
            else:
                super().connection_made(transport)

    def _refuse(self, status: str, text: str) -> None:
        assert self._raw
        if self._all.tls is None:
            self._raw.write(self._all.refusal(status, text))
        self._raw.close()

    async def _shake_hands(self, transport: asyncio.Transport, tls: ssl.SSLContext) -> None:
        try:
            secure = await self.loop.start_tls(
                transport, self, tls, server_side=True, ssl_handshake_timeout=HEAD_S
            )
        except OSError:  # ssl.SSLError is one, and so is its timeout
            secure = None
        if secure is None or secure.is_closing():
            self._leave()
            transport.abort()
            return
        super().connection_made(secure)
        if self._early:
            self.data_received(bytes(self._early))

    def data_received(self, data: bytes) -> None:
        """Take a piece of a request."""
        if self.transport is None:  # the handshake's task has not been told yet that it is done
            self._early += data
            return
        self._received += len(data)
        super().data_received(data)
        self._note()

    def on_response_complete(self) -> None:
        """The answer is sent; the next request may come."""
        super().on_response_complete()
        self._note()

    def _note(self) -> None:
        """Find out what the connection waits for."""
        cycle = self.cycle
        if cycle is None or (cycle.response_complete and not cycle.more_body):
            self._enter("head")
        elif cycle.more_body:
            self._enter("rest" if cycle.response_complete else "body")
        else:
            self._enter("answer")

    def _enter(self, phase: str) -> None:
        if phase == self._phase:
            return
        self._phase, self._received = phase, 0
        self._all.mark(self, waits=phase != "answer")
        seconds = {"head": HEAD_S, "body": BODY_S, "rest": LINGER_S}.get(phase)
        self._arm(seconds)

    def _arm(self, seconds: float | None) -> None:
        if self._deadline:
            self._deadline.cancel()
        self._deadline = None if seconds is None else self.loop.call_later(seconds, self._is_late)

    def _is_late(self) -> None:
        """The client takes too long, unless it has sent enough of a body."""
        if self._phase == "body" and self._received:
            self._arm(min(self._received / BYTES_A_SECOND, BODY_S))
            self._received = 0
        else:
            self.abort()

    def pause_writing(self) -> None:
        """The client reads too slowly."""
        super().pause_writing()
        self._stalled = self.loop.call_later(STALL_S, self.abort)

    def resume_writing(self) -> None:
        """The client reads again."""
        super().resume_writing()
        if self._stalled:
            self._stalled.cancel()

    def abort(self) -> None:
        """Close the connection at once."""
        transport = self.transport or self._raw
        if transport:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed."""
        self._leave()
        if self.transport is not None:
            super().connection_lost(exc)

    def _leave(self) -> None:
        self._all.discard(self)
        self._arm(None)
        if self._stalled:
            self._stalled.cancel()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP; not in the middle of an answer."""
        if self.cycle is None or self.cycle.response_complete:
            self.transport.write(self._all.refusal("400 Bad Request", msg))
        self.transport.close()

    def shutdown(self) -> None:
        """The server ends: so do the streams, which would never end themselves."""
        if self.cycle and self.cycle.response_started and not self.cycle.response_complete:
            self.transport.close()
        else:
            super().shutdown()


def _descriptors() -> int:
    """How many files and sockets this process may have open."""
    try:
        import resource
    except ImportError:  # Windows
        return MAX_CONNECTIONS * DESCRIPTORS_EACH
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return MAX_CONNECTIONS * DESCRIPTORS_EACH if limit == resource.RLIM_INFINITY else limit
