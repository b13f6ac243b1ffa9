"""Limits how many runs the process has open, and opens, at once; the others wait in the order of arrival.

Without these limits a thousand sessions that begin together would need more files than the process may open,
and the steps of all of them would come in the same turn of the event loop and block it for seconds.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, nullcontext

from swarm_graph.models.slots import named_slots, session_slots
from swarm_graph.roles.run import is_inside_run

OPENINGS = 4
"""Runs that open at once. They take turns in the database's thread, so more would not be faster."""


def open_runs() -> AbstractAsyncContextManager[None]:
    """Hold the slot of an open run. A run inside another one takes no slot: it could wait for ever."""
    return nullcontext() if is_inside_run() else session_slots()


def openings() -> AbstractAsyncContextManager[None]:
    """Hold a slot while a run opens."""
    return named_slots("openings", OPENINGS)
