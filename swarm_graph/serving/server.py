"""Uvicorn's server, as a part of a program of ours."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import uvicorn

if TYPE_CHECKING:
    from starlette.types import ASGIApp


class Server(uvicorn.Server):
    """Without uvicorn's own handlers of signals, logs and websockets.

    Args:
        app: What serves the requests.
        options: Further options of `uvicorn.Config`.
    """

    def __init__(self, app: ASGIApp, **options: Any) -> None:
        given: Any = app  # uvicorn and starlette declare applications differently
        config = uvicorn.Config(
            given,
            ws="none",
            loop="none",
            log_config=None,
            log_level="critical",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=1,
            **options,
        )
        super().__init__(config)

    async def serve_on(self, listener: socket.socket, end_streams: Callable[[], None] = lambda: None) -> None:
        """Serve until this is cancelled; answers that are being sent get a second to end.

        Args:
            listener: Where the server listens.
            end_streams: Called first in the end; it ends the answers that have no end of their own.
        """
        serving = asyncio.ensure_future(self.serve(sockets=[listener]))
        try:
            await asyncio.shield(serving)
        except asyncio.CancelledError:
            self.should_exit = True
            end_streams()
            await serving
            raise

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the caller, who stops the sessions first."""
        yield
