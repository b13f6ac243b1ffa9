"""Work that waits for the database's own thread, to be done in one hop and committed in one transaction.

A hop to the thread and back takes as long as the work itself, so work that may wait for a moment does.
No caller gets a result before it is committed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

LINGER_S = 0.01
"""How long work that need not be done at once waits for other work."""
MAX_TOGETHER = 64
"""The most that one transaction holds: other processes wait for it."""


class GroupFailed(Exception):
    """Internal: a transaction of a group was not completed, so each work is done again by itself."""


class Work:
    """Something to do with the database, and the coroutine that waits for its result, if one does."""

    def __init__(self, do: Callable[[], Any], future: asyncio.Future[Any] | None = None) -> None:
        self._do, self._future = do, future
        self._result: Any = None
        self._error: Exception | None = None

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop of the coroutine that waits; None if none does."""
        return self._future.get_loop() if self._future else None

    @property
    def error(self) -> Exception | None:
        """The error with which it ended the last time; None if it did not."""
        return self._error

    def do(self) -> None:
        """Do it, and keep its result or its error.

        Raises:
            GroupFailed: The transaction of its group cannot be completed.
        """
        self._result = self._error = None
        try:
            self._result = self._do()
        except GroupFailed:
            raise
        except Exception as error:
            self._error = error

    def fail(self, error: Exception) -> None:
        """End it with an error: it cannot be done."""
        self._result, self._error = None, error

    def resolve(self) -> None:
        """Hand the result over, in the event loop of the coroutine that waits."""
        if self._future is None or self._future.done():  # done: cancelled
            return
        if self._error:
            self._future.set_exception(self._error)
        else:
            self._future.set_result(self._result)


class WorkQueue:
    """The work that waits for one database, in order, and the thread that does it.

    Args:
        work_off: Takes all that waits, and does it; it is called in the thread.
    """

    def __init__(self, work_off: Callable[[], None]) -> None:
        self._work_off, self._waiting = work_off, deque[Work]()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="swarm-database")
        self._is_called = False
        self._timers: dict[asyncio.AbstractEventLoop, asyncio.TimerHandle] = {}

    def add(self, work: Work, *, may_wait: bool) -> None:
        """Append work.

        Args:
            work: The work.
            may_wait: Whether it may wait for LINGER_S for other work, where an event loop can call the thread
                later. All that waits is done with the next work that may not.
        """
        self._waiting.append(work)
        loop = _running_loop()
        if loop is None or not may_wait:
            self.call()
        elif loop not in self._timers:
            self._forget_closed_loops()
            self._timers[loop] = loop.call_later(LINGER_S, self.call)

    def call(self) -> None:
        """Have the thread do what waits."""
        loop = _running_loop()
        if loop and (timer := self._timers.pop(loop, None)):
            timer.cancel()
        if self._waiting and not self._is_called:
            self._is_called = True
            self._start()

    def finish(self) -> None:
        """Return when all is done that waits; a caller that holds the lock would wait for ever."""
        if self._waiting and (done := self._start()):
            done.result()

    def _start(self) -> Future[None] | None:
        try:
            return self._thread.submit(self._work_off)
        except RuntimeError:  # the interpreter is at its end, and starts no thread
            self._work_off()
            return None

    def begin(self) -> int:
        """How much there is to do; what is added from now on calls the thread again."""
        self._is_called = False
        return len(self._waiting)

    def take(self, most: int) -> list[Work]:
        """The next work, up to so much of it and at most MAX_TOGETHER; call it only with the lock held."""
        return [self._waiting.popleft() for _ in range(min(most, MAX_TOGETHER, len(self._waiting)))]

    def _forget_closed_loops(self) -> None:
        for loop in [*self._timers]:
            if loop.is_closed():
                self._timers.pop(loop, None)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    """The event loop of this thread; None if none runs, as in a node that LangGraph runs in a thread."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def hand_over(works: Iterable[Work]) -> None:
    """Wake the coroutines that wait for the results: each event loop once."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Work]] = {}
    for work in works:
        if loop := work.loop:
            by_loop.setdefault(loop, []).append(work)
    for loop, results in by_loop.items():
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_resolve, results)


def _resolve(works: list[Work]) -> None:
    for work in works:
        work.resolve()
