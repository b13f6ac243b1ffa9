"""Connections to model servers: one `aiohttp.ClientSession` per event loop, for all servers.

Proxies of the environment are ignored and redirects are not followed, so only the configured servers are
contacted. How many connections the process has at once is limited by `slots.connection_slots`.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import selectors
import ssl
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from weakref import WeakSet

import aiohttp

from swarm_graph.models.wire import RefusedRequest, Response, error_in

if TYPE_CHECKING:
    from aiohttp.connector import Connection

Item = TypeVar("Item")
Item_co = TypeVar("Item_co", covariant=True)

CONNECT_TIMEOUT_S = 10.0
KEEPALIVE_S = 4.0
"""Idle connections are closed sooner than llama.cpp and uvicorn close them, which is after 5 seconds."""
MAX_ERROR_BYTES = 2**16
"""The rest of a longer error body is not read."""

_CLIENTS: dict[asyncio.AbstractEventLoop, tuple[aiohttp.ClientSession, AsyncGenerator[None]]] = {}
"""The client of each event loop, and the generator that closes it."""
_IS_REUSED: ContextVar[bool] = ContextVar("_IS_REUSED", default=False)
"""Whether the connection of the latest request had served an earlier one."""


@dataclass(frozen=True)
class Address:
    """Where a request goes.

    Attributes:
        url: The page of the server.
        headers: Headers besides those that every request has; they may hold a key.
        proxy: URL of the configured proxy; None: a direct connection.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    proxy: str | None = None


class Reader(Protocol[Item_co]):
    """Reads the bytes of an answer as they arrive."""

    done: bool
    """Whether the server has said that nothing more comes."""

    def feed(self, data: bytes) -> Iterator[Item_co]:
        """What more bytes complete."""

    def end(self) -> Iterator[Item_co]:
        """What the end of the stream completes."""


async def read(
    address: Address, payload: Mapping[str, Any], reader: Reader[Item]
) -> AsyncGenerator[list[Item]]:
    """Send a request, and read the answer as it arrives.

    Args:
        address: Where it goes.
        payload: The JSON of the request.
        reader: Reads the answer.

    Returns:
        What has arrived at once; nothing for bytes that complete nothing.

    Raises:
        RefusedRequest: The server answered with an error status.
    """
    content = json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()
    async with requested("POST", address, content) as response:
        if response.status // 100 != 2:
            refusal = Response(response.status, response.headers)
            raise RefusedRequest(refusal, await _error_body(response))
        async for part in response.content.iter_any():
            for items in _at_once(reader.feed(part)):
                yield items
            if reader.done:
                return
    for items in _at_once(reader.end()):
        if items:
            yield items


def _at_once(items: Iterator[Item]) -> Iterator[list[Item]]:
    """All items together; before an error those that came before it."""
    found: list[Item] = []
    try:
        for item in items:
            found.append(item)  # noqa: PERF402  an error must not lose them
    except Exception:
        yield found
        raise
    yield found


async def _error_body(response: aiohttp.ClientResponse) -> Any:
    """The JSON of an error, its `error` where it has one; text for a body that is no JSON."""
    body = bytearray()
    async for part in response.content.iter_any():
        body += part[: MAX_ERROR_BYTES - len(body)]
        if len(body) == MAX_ERROR_BYTES:
            break
    try:
        return error_in(json.loads(body))
    except (ValueError, RecursionError):
        return body.decode(errors="replace")


@asynccontextmanager
async def requested(
    method: str, address: Address, body: bytes | None = None
) -> AsyncIterator[aiohttp.ClientResponse]:
    """Send a request and lend the response; its connection is closed unless all of it has been read.

    A server may close an idle connection at the moment when a request is sent on it. Such a request gets no
    answer at all, and is sent again on another connection.

    Args:
        method: The HTTP method.
        address: Where it goes.
        body: The JSON to send.
    """
    headers = {"accept-encoding": "identity", **address.headers}
    if body:
        headers["content-type"] = "application/json"
    client = _client()
    while True:
        try:
            response = await client.request(
                method, address.url, data=body, headers=headers, proxy=address.proxy, allow_redirects=False
            )
            break
        except aiohttp.ClientConnectionError:
            if not _IS_REUSED.get():
                raise
    async with response:
        yield response


class _Connector(aiohttp.TCPConnector):
    """Notes whether a connection has served an earlier request."""

    def __init__(self) -> None:
        super().__init__(limit=0, keepalive_timeout=KEEPALIVE_S, ssl=trusted_certificates())
        self._used: WeakSet[Any] = WeakSet()

    async def connect(self, req: Any, *args: Any, **kwargs: Any) -> Connection:
        _IS_REUSED.set(False)
        connection = await super().connect(req, *args, **kwargs)
        if connection.protocol in self._used:
            _IS_REUSED.set(True)
        self._used.add(connection.protocol)
        return connection


@cache
def trusted_certificates() -> ssl.SSLContext | bool:
    """The certificates that the operating system trusts; aiohttp's default on Linux (`SSL_CERT_FILE`)."""
    if sys.platform not in ("darwin", "win32"):
        return True
    import truststore

    return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _client() -> aiohttp.ClientSession:
    """The client of the running event loop."""
    loop = asyncio.get_running_loop()
    if found := _CLIENTS.get(loop):
        return found[0]
    _leave_closed_loops()
    client = aiohttp.ClientSession(
        connector=_Connector(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
    )
    closer = _close_with_loop(client)
    _CLIENTS[loop] = client, closer
    # Run the generator up to its yield, so that the event loop knows it and closes it.
    with suppress(StopIteration):
        closer.__anext__().send(None)
    return client


def _leave_closed_loops() -> None:
    """Let go of the connections of loops that were closed without `shutdown_asyncgens`."""
    for loop in [loop for loop in [*_CLIENTS] if loop.is_closed()]:
        if found := _CLIENTS.pop(loop, None):  # else another thread was quicker
            with suppress(StopIteration):
                found[0].close().send(None)  # it waits for nothing: its loop is closed


async def _close_with_loop(client: aiohttp.ClientSession) -> AsyncGenerator[None]:
    """Close a client when its event loop ends: `asyncio.run` closes every open async generator."""
    try:
        yield
    finally:
        _CLIENTS.pop(asyncio.get_running_loop(), None)
        await client.close()


def _after_fork_in_child() -> None:
    """Cut off the parent's event loops, whose clients end with the child.

    The child must not take their connections out of the epoll that it shares with the parent, and must not
    report them as unclosed.
    """
    for loop in [*_CLIENTS]:
        loop.set_exception_handler(lambda *_: None)
        selector: Any = getattr(loop, "_selector", None)
        if hasattr(selectors, "EpollSelector") and isinstance(selector, selectors.EpollSelector):
            with select.epoll() as own:
                os.dup2(own.fileno(), selector.fileno(), inheritable=False)


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork_in_child)
