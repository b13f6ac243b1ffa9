"""Uvicorn's server, as a part of a program of ours."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn


class Server(uvicorn.Server):
    """Without uvicorn's own handlers of signals."""

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
