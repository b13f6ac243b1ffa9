"""How many model calls run at once: per server over the whole process, and per session."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from swarm_graph.errors import SwarmError


@dataclass(eq=False)
class _Ticket:
    loop: asyncio.AbstractEventLoop
    called: asyncio.Future[None]
    holds: bool = False


class Slots:
    """At most `limit` holders at once, over all threads and event loops; first come, first served.

    `async with slots:` waits for one. (asyncio's own semaphores serve a single event loop.)
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._held = 0
        self._lock = threading.RLock()  # the garbage collector may end an abandoned waiter at any moment
        self._waiting: deque[_Ticket] = deque()

    async def __aenter__(self) -> None:
        loop = asyncio.get_running_loop()
        with self._lock:
            if self._held < self.limit and not self._waiting:
                self._held += 1
                return
            ticket = _Ticket(loop, loop.create_future())
            self._waiting.append(ticket)
        try:
            await ticket.called
        except BaseException:  # cancelled, or its event loop was closed under it
            self._give_up(ticket)
            raise

    async def __aexit__(self, *_: object) -> None:
        self._release()

    def resize(self, limit: int) -> None:
        """A new limit; holders above it end first."""
        with self._lock:
            self.limit = limit
            self._admit()

    def _release(self) -> None:
        with self._lock:
            self._held -= 1
            self._admit()

    def _give_up(self, ticket: _Ticket) -> None:
        with self._lock:
            if ticket in self._waiting:
                self._waiting.remove(ticket)
            elif ticket.holds:
                self._release()

    def _admit(self) -> None:
        while self._waiting and self._held < self.limit:
            ticket = self._waiting.popleft()
            try:
                ticket.loop.call_soon_threadsafe(_call, ticket.called)
            except RuntimeError:  # its event loop was closed: nobody waits there any more
                continue
            ticket.holds = True
            self._held += 1


def _call(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


_SERVERS: dict[str, Slots] = {}
_SERVERS_LOCK = threading.Lock()


def server_slots(server: str, limit: int) -> Slots:
    """The one limiter of a server (scheme://host:port); the latest configuration sets its limit."""
    with _SERVERS_LOCK:
        slots = _SERVERS.setdefault(server, Slots(limit))
    if slots.limit != limit:
        slots.resize(limit)
    return slots


GRACE_S = 0.02
"""How long a failed branch waits for LangGraph to take what its last sibling returned."""


class Run:
    """What the branches of one run of a graph share: the session's cap, and how many are at work."""

    def __init__(self) -> None:
        self._slots: Slots | None = None
        self._working = 0
        self._idle = asyncio.Event()

    def slots(self, limit: int) -> Slots:
        """The cap on this run's calls; the first caller sets it."""
        self._slots = self._slots or Slots(limit)
        return self._slots

    @asynccontextmanager
    async def branch(self) -> AsyncIterator[None]:
        """A node at work. One that fails raises only after its siblings have ended.

        LangGraph cancels the siblings of a node that raises; what they had written would be lost.
        """
        self._working += 1
        self._idle.clear()
        try:
            yield
        except SwarmError:
            self._leave()
            await self._quiet()
            raise
        except BaseException:
            self._leave()
            raise
        self._leave()

    async def _quiet(self) -> None:
        """Waits until nobody works, and nobody begins while LangGraph takes what the last one returned."""
        while True:
            await self._idle.wait()
            await asyncio.sleep(GRACE_S)
            if self._idle.is_set():
                return

    def _leave(self) -> None:
        self._working -= 1
        if not self._working:
            self._idle.set()
