"""Limiters for concurrent calls and sessions, across threads and event loops."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections import deque
from dataclasses import dataclass


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
