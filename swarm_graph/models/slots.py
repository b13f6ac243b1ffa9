"""Limiters for concurrent calls and sessions, across threads, event loops and, by the database, machines."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import threading
from collections import deque
from contextlib import AbstractAsyncContextManager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from swarm_graph.checkpoints.storage import Grant, SharedLimits, Wanted
from swarm_graph.serving.listen import is_loopback

CALL_PRIORITY: ContextVar[int] = ContextVar("CALL_PRIORITY", default=0)
"""The priority of the calls that a job makes, among those of all machines; higher goes first."""


class Limiter(Protocol):
    """`async with limiter:` waits for a slot, and holds it."""

    async def __aenter__(self) -> None: ...

    async def __aexit__(self, *_: object) -> None: ...

    def kept(self) -> AbstractAsyncContextManager[None]:
        """Do something while the slot is held.

        Raises:
            SlotLost: Another machine may have the slot by now; what was done was cancelled.
        """


@dataclass(eq=False)
class _Waiter:
    loop: asyncio.AbstractEventLoop
    turn: asyncio.Future[None]
    """Done when it is this waiter's turn."""
    granted: bool = False
    """Holds a slot already, though its event loop may not have run since."""


class Slots:
    """At most `limit` holders at once, first come, first served. `async with slots:` waits for a slot.

    Works across threads and event loops, unlike asyncio's semaphores, which are bound to one event loop.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._held = 0
        # Reentrant: the garbage collector may close an abandoned waiter while this thread holds the lock.
        self._lock = threading.RLock()
        self._waiting: deque[_Waiter] = deque()

    async def __aenter__(self) -> None:
        loop = asyncio.get_running_loop()
        with self._lock:
            if self._held < self.limit and not self._waiting:
                self._held += 1
                return
            waiter = _Waiter(loop, loop.create_future())
            self._waiting.append(waiter)
        try:
            await waiter.turn
        except BaseException:  # cancelled, or its event loop was closed under it
            self._give_up(waiter)
            raise

    async def __aexit__(self, *_: object) -> None:
        self._release()

    def kept(self) -> AbstractAsyncContextManager[None]:
        """Nothing but the holder ends a slot of this process."""
        return nullcontext()

    def resize(self, limit: int) -> None:
        """Set a new limit. Holders above a lower limit keep their slots until they finish."""
        with self._lock:
            self.limit = limit
            self._admit()

    def _release(self) -> None:
        with self._lock:
            self._held -= 1
            self._admit()

    def _give_up(self, waiter: _Waiter) -> None:
        with self._lock:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
            elif waiter.granted:
                self._release()

    def _admit(self) -> None:
        while self._waiting and self._held < self.limit:
            waiter = self._waiting.popleft()
            try:
                waiter.loop.call_soon_threadsafe(_wake, waiter.turn)
            except RuntimeError:  # the event loop is closed, so the waiter is gone
                continue
            waiter.granted = True
            self._held += 1


def _wake(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_result(None)


class SharedSlots:
    """A slot of a model server that all machines share, for one call at a time."""

    def __init__(self, limits: SharedLimits, wanted: Wanted) -> None:
        self._limits, self._wanted = limits, wanted
        self._grant: Grant | None = None

    async def __aenter__(self) -> None:
        self._grant = await self._limits.take(self._wanted)

    async def __aexit__(self, *_: object) -> None:
        if self._grant:
            self._grant.release()
            self._grant = None

    def kept(self) -> AbstractAsyncContextManager[None]:
        """Do something while the slot is held; see `Limiter`."""
        return self._grant.kept() if self._grant else nullcontext()


@dataclass(frozen=True)
class SessionSlots:
    """The slots that the calls of one session share with other machines.

    Attributes:
        limits: The limits of all sessions.
        session: Its id.
        parallel: How many of its calls may be in flight at once, on all machines together.
    """

    limits: SharedLimits
    session: str
    parallel: int

    def slots(self, server: str, limit: int, model: str, number: int | None = None) -> SharedSlots:
        """A slot of a server for one call.

        Args:
            server: Its `scheme://host:port`.
            limit: How many calls it takes at once.
            model: The model that is asked.
            number: The number of the slot that the call must have.
        """
        wanted = Wanted(
            server=_seen_from_all(server),
            server_slots=limit,
            session=self.session,
            session_slots=self.parallel,
            slot="" if number is None else str(number),
            model=model,
            priority=CALL_PRIORITY.get(),
        )
        return SharedSlots(self.limits, wanted)


def _seen_from_all(server: str) -> str:
    """The address of a server that no other machine's server has."""
    is_here = is_loopback(urlsplit(server).hostname or "")
    return f"{server} on {socket.gethostname()}" if is_here else server


CONNECTIONS, SESSIONS = "connections", "sessions"
"""The names of the limiters of the whole process."""
FILES_PER_SLOT = {CONNECTIONS: 4, SESSIONS: 2}
"""Every fourth file that the process may open can be a connection, every second one the lock of a session."""

_NAMED: dict[str, Slots] = {}
_NAMED_LOCK = threading.Lock()


def _after_fork_in_child() -> None:
    """Free all slots: a fork does not copy the threads that hold them or wait for them."""
    global _NAMED_LOCK
    _NAMED_LOCK = threading.Lock()
    _NAMED.clear()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork_in_child)


def connection_slots() -> Slots:
    """The limiter of this process's connections to all model servers together; other calls queue."""
    return _process_slots(CONNECTIONS)


def session_slots() -> Slots:
    """The limiter of the sessions that this process runs at once in its event loops; others queue."""
    return _process_slots(SESSIONS)


def _process_slots(name: str) -> Slots:
    found = _NAMED.get(name)
    return found or named_slots(name, max(1, _max_files() // FILES_PER_SLOT[name]))


def _max_files() -> int:
    """How many files, connections included, the process may have open."""
    if sys.platform == "win32":
        return 2**13
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 2**20 if limit == resource.RLIM_INFINITY else limit


def named_slots(name: str, limit: int) -> Slots:
    """The limiter with a name, shared by all sessions of this process.

    Args:
        name: Of a server its `scheme://host:port`.
        limit: Concurrent holders; the latest caller's limit holds.
    """
    with _NAMED_LOCK:
        slots = _NAMED.setdefault(name, Slots(limit))
    if slots.limit != limit:
        slots.resize(limit)
    return slots
