"""Limits how many runs the process has open, and opens, at once; the others wait in the order of arrival.

Without these limits a thousand sessions that begin together would need more files than the process may open,
and the steps of all of them would come in the same turn of the event loop and block it for seconds.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, nullcontext
from contextvars import ContextVar
from typing import TypeVar

from swarm_graph.models.slots import named_slots, session_slots

T = TypeVar("T")

OPENINGS = 4
"""Runs that open at once. They take turns in the database's thread, so more would not be faster."""


_IS_INSIDE_RUN: ContextVar[bool] = ContextVar("_IS_INSIDE_RUN", default=False)
"""Whether a node of one of our runs is around the caller; a foreign graph between the two changes nothing."""


def open_runs() -> AbstractAsyncContextManager[None]:
    """Hold the slot of an open run. A run inside another one takes no slot: it could wait for ever."""
    return nullcontext() if _IS_INSIDE_RUN.get() else session_slots()


def openings() -> AbstractAsyncContextManager[None]:
    """Hold a slot while a run opens."""
    return named_slots("openings", OPENINGS)


async def inside_run(parts: AsyncIterator[T]) -> AsyncIterator[T]:
    """The parts of a run's stream. What the run starts is inside it; the caller that takes them is not."""
    while True:
        before = _IS_INSIDE_RUN.set(True)
        try:
            part = await anext(parts)
        except StopAsyncIteration:
            return
        finally:
            _IS_INSIDE_RUN.reset(before)
        yield part
