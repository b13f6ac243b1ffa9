"""HTTP clients for model servers: one per event loop and server.

They ignore proxies from the environment and do not follow redirects, so only the configured servers are
contacted. Their transport is aiohttp's, which takes a fraction of the time of httpx's (benchmarks/README.md).
"""

from __future__ import annotations

import asyncio
import os
import select
import selectors
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary

from swarm_graph.settings import ModelEntry

CONNECT_TIMEOUT_S = 10.0
UNLIMITED_CONNECTIONS = 0
"""aiohttp's value for "no limit"; `Slots` limit the concurrent calls."""

_CLIENTS: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[str, ...], Any]] = WeakKeyDictionary()
_SYNC_CLIENT: list[Any] = []
"""The one synchronous client, once it was needed."""


def openai_client(entry: ModelEntry, proxy: str | None) -> Any:
    """The `httpx2.AsyncClient` for a server's OpenAI API in the running event loop.

    Args:
        entry: The model; its server and scheme count.
        proxy: URL of the configured proxy; None: a direct connection.
    """
    import httpx2
    from httpx_aiohttp.httpx2 import AiohttpTransport

    def create() -> Any:
        return httpx2.AsyncClient(
            transport=AiohttpTransport(
                verify=entry.url.startswith("https:"),
                proxy=httpx2.Proxy(proxy) if proxy else None,
                limits=httpx2.Limits(max_connections=UNLIMITED_CONNECTIONS),
            ),
            timeout=httpx2.Timeout(None, connect=CONNECT_TIMEOUT_S),
            trust_env=False,
            follow_redirects=False,
        )

    return _for_running_loop(("openai", entry.server, proxy or ""), create)


def ollama_transport(entry: ModelEntry, proxy: str | None) -> Any:
    """The httpx transport for a server's Ollama API in the running event loop.

    Args:
        entry: The model; its server and scheme count.
        proxy: URL of the configured proxy; None: a direct connection.
    """
    import httpx
    from httpx_aiohttp import AiohttpTransport

    def create() -> Any:
        return AiohttpTransport(
            verify=entry.url.startswith("https:"),
            proxy=httpx.Proxy(proxy) if proxy else None,
            limits=httpx.Limits(max_connections=UNLIMITED_CONNECTIONS),
        )

    return _for_running_loop(("ollama", entry.server, proxy or ""), create)


def unused_sync_client() -> Any:
    """The synchronous client that ChatOpenAI requires; swarm_graph calls only the asynchronous one."""
    import httpx2

    if not _SYNC_CLIENT:
        _SYNC_CLIENT.append(httpx2.Client(trust_env=False, follow_redirects=False, verify=False))
    return _SYNC_CLIENT[0]


def _for_running_loop(key: tuple[str, ...], create: Callable[[], Any]) -> Any:
    clients = _CLIENTS.setdefault(asyncio.get_running_loop(), {})
    if key not in clients:
        clients[key] = create()
        clients[(*key, "closer")] = closer = _close_with_loop(clients[key])
        # Run the generator up to its yield, so that the event loop knows it and closes it.
        with suppress(StopIteration):
            closer.__anext__().send(None)
    return clients[key]


async def _close_with_loop(client: Any) -> AsyncGenerator[None]:
    """Close a client when its event loop ends: `asyncio.run` closes every open async generator."""
    try:
        yield
    finally:
        await client.aclose()


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
