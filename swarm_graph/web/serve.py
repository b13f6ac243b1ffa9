"""The life of the page's server: from its socket to the stop of its sessions."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable
from contextlib import suppress

import uvicorn

from swarm_graph.serving.server import Server
from swarm_graph.sessions.background import BackgroundSessions
from swarm_graph.web.app import new_app
from swarm_graph.web.login import Login
from swarm_graph.web.settings import PageSettings
from swarm_graph.web.site import Site

MAX_CONNECTIONS = 200
Say = Callable[[str], None]
"""Prints a line for the operator."""


async def serve(settings: PageSettings, listener: socket.socket, token: str, say: Say) -> int:
    """Serve until a signal comes, then stop the sessions; they can be resumed.

    Args:
        settings: What users may do.
        listener: Where the server listens.
        token: What users present once.
        say: Prints a line for the operator.

    Returns:
        The number of the signal.
    """
    background = BackgroundSessions(settings.max_sessions, say)
    site = Site(settings, Login(token, listener.getsockname()[1]), background)
    config = uvicorn.Config(
        new_app(site),
        http="h11",
        ws="none",
        loop="none",
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        lifespan="off",
        proxy_headers=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=1,
    )
    web, received = Server(config), list[int]()
    loop = asyncio.get_running_loop()

    def stop(number: int) -> None:
        received.append(number)
        web.should_exit = True
        if len(received) > 1:
            background.cancel_calls()

    for number in (signal.SIGINT, signal.SIGTERM):
        with suppress(NotImplementedError):  # Windows: Ctrl-C raises KeyboardInterrupt
            loop.add_signal_handler(number, stop, number)
    try:
        await web.serve(sockets=[listener])
    finally:
        await background.close()
    return received[0] if received else signal.SIGINT
