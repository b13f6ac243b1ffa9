"""One event loop of our own, in a thread, for callers that are not asynchronous."""

from __future__ import annotations

import asyncio
import atexit
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None


def call(coroutine: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine in our event loop and waits for it, also inside another running loop.

    It sees the caller's context variables. When the caller is interrupted, it is cancelled.
    """
    future = asyncio.run_coroutine_threadsafe(coroutine, _running_loop())
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


def _running_loop() -> asyncio.AbstractEventLoop:
    global _loop
    with _lock:
        if _loop is None:
            ready = threading.Event()
            thread = threading.Thread(
                target=asyncio.run, args=(_serve(ready),), name="swarm_graph", daemon=True
            )
            thread.start()
            ready.wait()
            atexit.register(_stop, thread)
        assert _loop is not None
        return _loop


_stopped: asyncio.Event


async def _serve(ready: threading.Event) -> None:
    global _loop, _stopped
    _loop, _stopped = asyncio.get_running_loop(), asyncio.Event()
    ready.set()
    await _stopped.wait()


def _stop(thread: threading.Thread) -> None:
    if _loop is not None:
        _loop.call_soon_threadsafe(_stopped.set)
    thread.join(timeout=5)
