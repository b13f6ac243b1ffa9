"""How many model calls run at once, per server and per session, and what a session may use at all."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from dataclasses import dataclass

from swarm_graph.errors import OverBudget
from swarm_graph.settings import SessionLimits


class Budget:
    """What a session may still use: calls, tokens and seconds, beside what its earlier runs have used."""

    def __init__(self, limits: SessionLimits, calls: int = 0, tokens: int = 0, seconds: float = 0.0) -> None:
        self._limits, self._calls, self._tokens = limits, calls, tokens
        self._began = time.monotonic() - seconds

    def begin_call(self) -> None:
        """Counts a call that begins. Raises OverBudget, before it does, when there is nothing left for it."""
        used = {
            "calls": self._calls,
            "tokens": self._tokens,
            "seconds": time.monotonic() - self._began,
        }
        for name, amount in used.items():
            limit = getattr(self._limits, name)
            if limit is not None and amount >= limit:
                raise OverBudget(
                    f"the session has used {amount:.0f} of {limit:g} {name} (limits.{name}); raise it and "
                    "resume, what was finished is kept"
                )
        self._calls += 1

    def end_call(self, tokens: int) -> None:
        self._tokens += tokens


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
