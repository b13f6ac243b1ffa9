"""Tells the conductors of this process that tasks of their sessions have ended, as the workers announce it.

One connection listens for all of them. What it misses while it is lost, the conductors find by themselves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Self

import psycopg

from swarm_graph.checkpoints.postgres import KEEPALIVE
from swarm_graph.workers.task_board import ENDED

PAUSE_S = 0.5
"""Between attempts to connect anew."""


class Announcements:
    """Listens to a database. Use it in `async with`.

    Args:
        url: The database.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._events: dict[str, asyncio.Event] = {}

    async def __aenter__(self) -> Self:
        self._listening = asyncio.create_task(self._listen())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listening.cancel()
        await asyncio.gather(self._listening, return_exceptions=True)

    @contextmanager
    def of(self, session: str) -> Iterator[asyncio.Event]:
        """Lend an event that is set whenever tasks of a session have ended."""
        event = self._events[session] = asyncio.Event()
        try:
            yield event
        finally:
            del self._events[session]

    async def _listen(self) -> None:
        while True:
            with suppress(psycopg.Error):
                connection = await psycopg.AsyncConnection.connect(self._url, autocommit=True, **KEEPALIVE)
                async with connection:
                    await connection.execute(f"LISTEN {ENDED}")
                    async for said in connection.notifies():
                        if said.payload in self._events:
                            self._events[said.payload].set()
            await asyncio.sleep(PAUSE_S)
