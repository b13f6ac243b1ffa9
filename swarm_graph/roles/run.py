"""What the nodes of one run share: the session's cap, their siblings, the journal, the wish to stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver

from swarm_graph.checkpoints.journal import Journal
from swarm_graph.errors import ModelError, Stopped, SwarmError
from swarm_graph.models.slots import Budget, Slots

RUN = "swarm_run"
"""The key in a run's `configurable` under which its nodes find their Run."""

GRACE_S = 0.02
"""How long a failed branch waits for LangGraph to take what its last sibling returned."""


class Run:
    """One run of a graph. `output` and `config_file` are recorded with its session.

    `saver`: the graph's checkpointer. `journal` is set while that is one of ours. `failure`: why a custom
    session's tasks have failed in this run. `budget`: what its calls may use.
    """

    def __init__(self, *, output: str = "", config_file: str = "") -> None:
        self.output, self.config_file = output, config_file
        self.saver: BaseCheckpointSaver[Any] | None = None
        self.journal: Journal | None = None
        self.failure: ModelError | None = None
        self.budget: Budget | None = None
        self._stopping = False
        self._slots: Slots | None = None
        self._working = 0
        self._idle = asyncio.Event()

    def slots(self, limit: int) -> Slots:
        """The cap on this run's calls; the first caller sets it."""
        self._slots = self._slots or Slots(limit)
        return self._slots

    def stop(self) -> None:
        """Lets the calls in flight end and begins no other; the run then raises Stopped."""
        self._stopping = True

    def check(self) -> None:
        """Raises Stopped once the run is to stop."""
        if self._stopping:
            raise Stopped("stopped; what had been finished is kept")

    @asynccontextmanager
    async def branch(self) -> AsyncIterator[None]:
        """A node at work. One that fails raises only after its siblings have ended.

        LangGraph cancels the siblings of a node that raises; what they had written would be lost.
        """
        self._working += 1
        self._idle.clear()
        try:
            self.check()
            yield
        except SwarmError:
            self._leave()
            await self._quiet()
            raise
        except BaseException:
            self._leave()
            raise
        self._leave()

    async def _quiet(self) -> None:
        """Waits until nobody works, and nobody begins while LangGraph takes what the last one returned."""
        while True:
            await self._idle.wait()
            await asyncio.sleep(GRACE_S)
            if self._idle.is_set():
                return

    def _leave(self) -> None:
        self._working -= 1
        if not self._working:
            self._idle.set()
