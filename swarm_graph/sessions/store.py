"""What one run of a session works with: the graph, its run, its saver."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, cast

from langchain_core.runnables import RunnableConfig

from swarm_graph.checkpoints.saver import SwarmSaver
from swarm_graph.config import SwarmConfig
from swarm_graph.roles.run import RUN, Run
from swarm_graph.state import SwarmContext, SwarmState
from swarm_graph.workflows.graph import SwarmGraph
from swarm_graph.workflows.pauses import Pause, waiting


@dataclass(frozen=True)
class Desk:
    """What one run of a session works with: the graph and, with checkpointing, its saver."""

    session: str
    graph: SwarmGraph
    run: Run
    saver: SwarmSaver | None

    @property
    def thread(self) -> RunnableConfig:
        return {"configurable": {"thread_id": self.session, RUN: self.run}}

    def stream(self, given: Any, context: SwarmContext | None) -> AsyncGenerator[tuple[str, Any]]:
        modes = ["values", "updates", "custom"]
        parts = self.graph.astream(given, self.thread, context=context, stream_mode=modes)
        return cast("AsyncGenerator[tuple[str, Any]]", parts)

    async def saved(self) -> SwarmState:
        """The state that earlier runs of the session left; empty for a new one."""
        if self.saver is None:
            return {}
        saved = await self.saver.aget_tuple(self.thread)
        return cast("SwarmState", saved.checkpoint["channel_values"] if saved else {})

    async def calls(self) -> list[dict[str, Any]]:
        """The calls that earlier runs of the session made."""
        if self.saver is None:
            return []
        return await self.saver.database.run(self.saver.catalogue.calls, self.session)

    async def test_runs(self) -> list[dict[str, Any]]:
        """The runs of its tests in earlier runs of the session."""
        if self.saver is None:
            return []
        return await self.saver.database.run(self.saver.catalogue.test_runs, self.session)

    async def usual_seconds(self, config: SwarmConfig) -> float | None:
        """How long sessions of this workflow with these models usually take; None while nobody knows."""
        if self.saver is None:
            return None
        usual = self.saver.catalogue.usual_seconds
        return await self.saver.database.run(usual, self.graph.name, config.kept())

    async def seconds_at_work(self) -> float:
        """How long the session was worked on before."""
        if self.saver is None:
            return 0.0
        worked = await self.saver.database.run(self.saver.catalogue.seconds_at_work, self.session)
        return worked.get(self.session, 0.0)

    async def pauses(self) -> list[Pause]:
        """Where the session waits for a person."""
        return waiting(await self.saver.aget_tuple(self.thread)) if self.saver else []
