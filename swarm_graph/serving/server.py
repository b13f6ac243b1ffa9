"""Uvicorn's server, as a part of a program of ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn


class Server(uvicorn.Server):
    """Without uvicorn's own handlers of signals."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the caller, who stops the sessions first."""
        yield
