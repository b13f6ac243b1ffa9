"""HTTP clients for model servers: one per event loop and server.

They ignore the environment's proxies and follow no redirect, so nothing is asked but the configured servers.
Their transport is aiohttp's, which takes a fraction of the time of httpx's own (benchmarks/README.md).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary

from swarm_graph.settings import ModelEntry

CONNECT_TIMEOUT = 10.0


UNLIMITED = 0
"""Connections in aiohttp's words: how many calls run at once is decided by the slots."""


_CLIENTS: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[str, ...], Any]] = WeakKeyDictionary()


_SYNC_CLIENT: list[Any] = []


def openai_client(entry: ModelEntry, proxy: str | None) -> Any:
    import httpx2
    from httpx_aiohttp.httpx2 import AiohttpTransport

    def make() -> Any:
        return httpx2.AsyncClient(
            transport=AiohttpTransport(
                verify=entry.url.startswith("https:"),
                proxy=httpx2.Proxy(proxy) if proxy else None,
                limits=httpx2.Limits(max_connections=UNLIMITED),
            ),
            timeout=httpx2.Timeout(None, connect=CONNECT_TIMEOUT),
            trust_env=False,
            follow_redirects=False,
        )

    return _of_this_loop(("openai", entry.server, proxy or ""), make)


def ollama_transport(entry: ModelEntry, proxy: str | None) -> Any:
    import httpx
    from httpx_aiohttp import AiohttpTransport

    def make() -> Any:
        return AiohttpTransport(
            verify=entry.url.startswith("https:"),
            proxy=httpx.Proxy(proxy) if proxy else None,
            limits=httpx.Limits(max_connections=UNLIMITED),
        )

    return _of_this_loop(("ollama", entry.server, proxy or ""), make)


def unused_sync_client() -> Any:
    """ChatOpenAI insists on a synchronous client too; ours never asks with it."""
    import httpx2

    if not _SYNC_CLIENT:
        _SYNC_CLIENT.append(httpx2.Client(trust_env=False, follow_redirects=False, verify=False))
    return _SYNC_CLIENT[0]


def _of_this_loop(key: tuple[str, ...], make: Callable[[], Any]) -> Any:
    clients = _CLIENTS.setdefault(asyncio.get_running_loop(), {})
    if key not in clients:
        clients[key] = make()
        clients[(*key, "closer")] = closer = _close_at_the_end(clients[key])
        with suppress(StopIteration):
            closer.__anext__().send(None)
    return clients[key]


async def _close_at_the_end(client: Any) -> AsyncGenerator[None]:
    """Closes a client when its event loop ends: `asyncio.run` closes every open async generator."""
    try:
        yield
    finally:
        await client.aclose()
