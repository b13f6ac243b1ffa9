"""What is done with a LangGraph store, written once for sync and async callers.

A store has `batch` and `abatch`. Code that would need both is a generator of the type `Work`: it yields a
batch of operations, or a call that may block, and is sent the result. `do` and `ado` run it:

    def size(collection: str) -> Work[int]:
        (items,) = yield [SearchOp((*KNOWLEDGE, collection))]
        return len(items)

    do(size("plant"), store)
    await ado(size("plant"), store)
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from functools import partial
from typing import Any, TypeVar

from langgraph.store.base import (
    BaseStore,
    ListNamespacesOp,
    MatchCondition,
    Op,
    Result,
    SearchItem,
    SearchOp,
)
from langgraph.store.base.batch import AsyncBatchedBaseStore

from swarm_graph.aio import in_daemon_thread
from swarm_graph.errors import InputError

T = TypeVar("T")
Work = Generator[Sequence[Op] | Callable[[], Any], Any, T]

PAGE = 500
"""Items that a store is asked for at once."""
MAX_LABELS = 10_000
MAX_WAIT = 10.0
"""Seconds in which the event loop of a store must answer."""


def do(work: Work[T], store: BaseStore) -> T:
    """Do a work on a store, and return its result."""
    with closing(work):
        try:
            step = next(work)
            while True:
                try:
                    result = step() if callable(step) else store.batch(step)
                except Exception as error:  # the work handles it, or lets it pass
                    step = work.throw(error)
                else:
                    step = work.send(result)
        except StopIteration as done:
            value: T = done.value
            return value


async def ado(work: Work[T], store: BaseStore) -> T:
    """`do` for async callers."""
    with closing(work):
        try:
            step = next(work)
            while True:
                try:
                    result = await (asyncio.to_thread(step) if callable(step) else abatch(store, step))
                except Exception as error:
                    step = work.throw(error)
                else:
                    step = work.send(result)
        except StopIteration as done:
            value: T = done.value
            return value


async def abatch(store: BaseStore, ops: Sequence[Op]) -> list[Result]:
    """The results of a batch of any store, in any event loop.

    Raises:
        InputError: The store is bound to an event loop that waits for this call.
    """
    if isinstance(store, AsyncBatchedBaseStore) and store._loop is not asyncio.get_running_loop():
        # Such a store, as AsyncSqliteStore, works only in the event loop that opened it.
        await _answer_of(store._loop)
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(store.abatch(ops), store._loop))
    try:
        return await store.abatch(ops)
    except NotImplementedError:  # as of SqliteStore, which is for synchronous callers only
        return await in_daemon_thread(partial(store.batch, ops), "the store of memory")


async def _answer_of(loop: asyncio.AbstractEventLoop) -> None:
    try:
        if not loop.is_running():
            raise TimeoutError
        answer = asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop)
        await asyncio.wait_for(asyncio.wrap_future(answer), MAX_WAIT)
    except TimeoutError:
        raise InputError(
            "the store works only in the event loop that opened it, and that one does not answer, as while "
            "it waits for a synchronous call; use the async one, such as `await graph.ainvoke(...)`"
        ) from None


def all_items(*namespace: str, most: int = sys.maxsize) -> Work[list[SearchItem]]:
    """All items below a namespace, or as many as `most`."""
    found: list[SearchItem] = []
    while True:
        (page,) = yield [SearchOp(namespace, limit=PAGE, offset=len(found))]
        found += page
        if len(page) < PAGE or len(found) >= most:
            return found[:most]


def labels(above: tuple[str, ...]) -> Work[list[str]]:
    """The labels that follow a namespace: the collections of documents, or the kinds of experiences."""
    condition = MatchCondition("prefix", above)
    (found,) = yield [ListNamespacesOp((condition,), max_depth=len(above) + 1, limit=MAX_LABELS)]
    return sorted({namespace[-1] for namespace in found if len(namespace) == len(above) + 1})
