"""How long a run waits for a store that is not ours: a server that hangs must not hang the run."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from langgraph.store.base import BaseStore

from swarm_graph.errors import StorageError

T = TypeVar("T")

TIMEOUT_S = 60.0
"""How long a run waits for a search, or for all that the end of a session keeps."""
ENDING_S = 1.0
"""How long a call has to end after that; one that does not is left to itself."""


async def in_time(work: Awaitable[T], store: BaseStore) -> T:
    """The result of work on a store. Ours has limits of its own, in the database and the embedding model.

    Raises:
        StorageError: The store did not answer in time.
    """
    from swarm_graph.memory.store import SwarmStore

    if isinstance(store, SwarmStore):
        return await work
    call = asyncio.ensure_future(work)
    call.add_done_callback(_retrieve)
    try:
        await asyncio.wait({call}, timeout=TIMEOUT_S)
        if call.done():
            return call.result()
    finally:
        call.cancel()
    await asyncio.wait({call}, timeout=ENDING_S)
    raise StorageError(
        f"the store {type(store).__name__} did not answer within {TIMEOUT_S:g} s; does its server run?"
    )


def _retrieve(call: asyncio.Future[T]) -> None:
    """Take note of an error that comes too late, so that asyncio does not log it."""
    if not call.cancelled():
        call.exception()
