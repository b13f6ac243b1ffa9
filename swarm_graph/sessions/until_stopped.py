"""The life of a server that runs sessions: until it is stopped, or its clients leave."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress

from swarm_graph.sessions.background import BackgroundSessions


async def until_stopped(
    serving: Awaitable[None], background: BackgroundSessions, say: Callable[[str], None], grace_s: float
) -> int | None:
    """Serve until a signal comes or the serving ends; then stop the sessions, which can be resumed.

    A second signal cancels the calls in flight.

    Args:
        serving: Serves until it is cancelled.
        background: The sessions.
        say: Prints a line for the operator.
        grace_s: How long calls in flight may go on, for the line.

    Returns:
        The number of the signal; None if the serving ended by itself.
    """
    task, loop, received = asyncio.ensure_future(serving), asyncio.get_running_loop(), list[int]()

    def stop(number: int) -> None:
        received.append(number)
        task.cancel()
        if task.done() or len(received) > 1:
            background.cancel_calls()

    for number in (signal.SIGINT, signal.SIGTERM):
        with suppress(NotImplementedError):  # Windows: Ctrl-C raises KeyboardInterrupt
            loop.add_signal_handler(number, stop, number)
    try:
        await task
    except asyncio.CancelledError:
        if not received:
            raise
    finally:
        if background.count:
            say(
                f"stopping {background.count} running: calls in flight get {grace_s:g} s to end, a second "
                "signal stops now; `swarm-graph resume ID` goes on"
            )
        await background.close()
    return received[0] if received else None
