"""Runs coroutines for synchronous callers, in an event loop of our own that lives in a thread; deadlines.

anyio's BlockingPortal does the same, but a forked child hangs in it, and a coroutine that calls `sys.exit`
ends it for every later caller.
"""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from contextvars import Context
from typing import Any, TypeVar, cast

from swarm_graph.errors import InputError

T = TypeVar("T")

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop
_thread: threading.Thread | None = None


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine and return its result; works inside another running event loop, too.

    The coroutine sees the caller's context variables, and is cancelled when the caller is interrupted.

    Raises:
        InputError: The caller runs in our event loop, which would wait for itself.
    """
    try:
        refuse_to_wait()
    except InputError:
        coroutine.close()
        raise
    future = asyncio.run_coroutine_threadsafe(coroutine, _running_loop())
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


def set_deadline(timeout: asyncio.Timeout, when: float) -> None:
    """Let a timeout end at a time of its loop, and keep nothing alive until then.

    asyncio keeps a cancelled timer, with the context variables of its creator, until its time has come. Those
    of LangGraph hold the graph, its models, and so the server of an embedded one.
    """
    Context().run(timeout.reschedule, when)


async def in_daemon_thread(work: Callable[[], T], name: str) -> T:
    """What blocking work returns. Its thread is a daemon: a stuck one holds up neither the loop nor the exit.

    Args:
        work: The work; it sees the caller's context variables.
        name: What works, as a message calls it: `the tool`.

    Raises:
        RuntimeError: The work tried to end the program.
    """
    loop, context = asyncio.get_running_loop(), contextvars.copy_context()
    ended: asyncio.Future[tuple[Any, BaseException | None]] = loop.create_future()

    def settle(value: Any, error: BaseException | None) -> None:
        if not ended.done():
            ended.set_result((value, error))

    def call() -> None:
        value, problem = None, None
        try:
            value = context.run(work)
        except BaseException as error:  # also SystemExit: nobody else waits for this thread
            problem = error
        with suppress(RuntimeError):  # the run is over, and its loop closed
            loop.call_soon_threadsafe(settle, value, problem)

    threading.Thread(target=call, name=f"swarm_graph: {name}", daemon=True).start()
    result, error = await ended
    if isinstance(error, Exception):
        raise error
    if error is not None:
        raise RuntimeError(f"{name} tried to end the program") from error
    return cast("T", result)


async def stopped_first(work: Awaitable[T], stop: threading.Event) -> T:
    """The result of some work in threads. When the caller is cancelled, the work is stopped and ends first.

    Args:
        work: The work.
        stop: Ends it early when it is set.
    """
    running = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.gather(running, return_exceptions=True)
        raise


def refuse_to_wait() -> None:
    """Raise InputError for a caller that runs in our event loop and is about to wait for it."""
    if threading.current_thread() is _thread:
        raise InputError(
            "a synchronous call, as of graph.invoke, in swarm_graph's own event loop would wait for itself "
            "for ever; use `await graph.ainvoke(...)` or `await asyncio.to_thread(graph.invoke, ...)`"
        )


def _running_loop() -> asyncio.AbstractEventLoop:
    """The loop; a new one if there is none yet."""
    global _thread
    with _lock:
        if _thread is None or not _thread.is_alive():
            ready = threading.Event()
            _thread = threading.Thread(target=_serve, args=(ready,), name="swarm_graph", daemon=True)
            _thread.start()
            ready.wait()
        return _loop


def _serve(ready: threading.Event) -> None:
    """Run the loop until it is stopped. A coroutine that raises SystemExit does not end it."""
    global _loop
    with asyncio.Runner() as runner:
        _loop = runner.get_loop()
        ready.set()
        stopped = False
        while not stopped:
            with suppress(SystemExit, KeyboardInterrupt):
                _loop.run_forever()
                stopped = True


def _after_fork_in_child() -> None:
    """Start anew: a fork copies no thread, and another one may have held the lock."""
    global _lock, _thread
    _lock, _thread = threading.Lock(), None


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork_in_child)


@atexit.register
def _stop() -> None:
    if _thread is not None and _thread.is_alive():
        _loop.call_soon_threadsafe(_loop.stop)
        _thread.join(timeout=5)
