"""How many runs the process has open, and opens, at once; the others wait in the order in which they came.

Without these limits a thousand sessions that begin together would need more files than the process may open,
and each step of all of them would come in the same turn of the event loop, which would be late for seconds.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, nullcontext

from swarm_graph.models.slots import server_slots, session_slots
from swarm_graph.roles.run import is_inside_run

OPENINGS = 4
"""Runs that open at once. They take turns in the database's thread, so more would not be faster."""


def open_runs() -> AbstractAsyncContextManager[None]:
    """Holds the place of an open run. A run inside a run has that one's place: it must not wait for it."""
    return nullcontext() if is_inside_run() else session_slots()


def openings() -> AbstractAsyncContextManager[None]:
    """Holds the place of a run while it opens."""
    return server_slots("openings", OPENINGS)
