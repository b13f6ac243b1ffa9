"""One event loop of our own, in a thread, for callers that are not asynchronous."""

from __future__ import annotations

import asyncio
import atexit
import threading
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop
_thread: threading.Thread | None = None


def run(coroutine: Coroutine[Any, Any, T]) -> T:
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
    """The loop; a new one in a forked process, where its thread has no copy."""
    global _thread
    with _lock:
        if _thread is None or not _thread.is_alive():
            ready = threading.Event()
            _thread = threading.Thread(target=_serve, args=(ready,), name="swarm_graph", daemon=True)
            _thread.start()
            ready.wait()
        return _loop


def _serve(ready: threading.Event) -> None:
    """Runs the loop until it is stopped, also on when somebody's code in it wants to leave (SystemExit)."""
    global _loop
    with asyncio.Runner() as runner:
        _loop = runner.get_loop()
        ready.set()
        stopped = False
        while not stopped:
            with suppress(SystemExit, KeyboardInterrupt):
                _loop.run_forever()
                stopped = True


@atexit.register
def _stop() -> None:
    if _thread is not None and _thread.is_alive():
        _loop.call_soon_threadsafe(_loop.stop)
        _thread.join(timeout=5)
