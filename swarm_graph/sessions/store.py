"""What earlier runs of a session left in the database, and the saver for the present run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

from langchain_core.runnables import RunnableConfig
from langgraph.graph import START

from swarm_graph.checkpoints.saver import open_checkpointer
from swarm_graph.checkpoints.swarm_saver import SwarmSaver
from swarm_graph.config import SwarmConfig
from swarm_graph.database_place import place_of
from swarm_graph.state import SwarmState, before_rounds, begins_round
from swarm_graph.workflows.graph import SwarmGraph
from swarm_graph.workflows.pauses import Pause, waiting_pauses


class Position(NamedTuple):
    """Where a session stands.

    Attributes:
        ended: The nodes that have ended while their siblings have not, and the functions of an own workflow
            that ran in the present round: the state does not show which those are.
        following: The next nodes.
    """

    ended: frozenset[str]
    following: frozenset[str]


@dataclass(frozen=True)
class SessionStore:
    """The store of one session.

    Attributes:
        session_id: The session.
        saver: Its saver; None without checkpointing: then there is nothing to read.
    """

    session_id: str
    saver: SwarmSaver | None

    @property
    def thread(self) -> RunnableConfig:
        """LangGraph's configuration of the session's thread."""
        return {"configurable": {"thread_id": self.session_id}}

    async def state(self) -> SwarmState:
        """The latest state; empty for a new session."""
        if self.saver is None:
            return {}
        saved = await self.saver.aget_tuple(self.thread)
        return cast("SwarmState", saved.checkpoint["channel_values"] if saved else {})

    async def calls(self) -> list[dict[str, Any]]:
        """The model calls of earlier runs, a row each."""
        if self.saver is None:
            return []
        return await self.saver.database.run(self.saver.catalogue.calls, self.session_id)

    async def test_runs(self) -> list[dict[str, Any]]:
        """The test runs of earlier runs, a row each."""
        if self.saver is None:
            return []
        return await self.saver.database.run(self.saver.catalogue.test_runs, self.session_id)

    async def tools(self) -> list[dict[str, Any]]:
        """The calls of tools that ended in earlier runs, a row each."""
        if self.saver is None:
            return []
        rows = await self.saver.database.run(self.saver.catalogue.tool_figures, self.session_id)
        return [row for row in rows if row["outcome"]]

    async def usual_seconds(self, workflow: str, config: SwarmConfig) -> float | None:
        """The usual seconds of a session of this workflow and models; None after too few sessions."""
        if self.saver is None:
            return None
        usual = self.saver.catalogue.usual_seconds
        return await self.saver.database.run(usual, workflow, config.redacted())

    async def seconds_before(self) -> float:
        """The seconds that earlier runs worked on the session."""
        if self.saver is None:
            return 0.0
        seconds = await self.saver.database.run(self.saver.catalogue.working_seconds, self.session_id)
        return seconds.get(self.session_id, 0.0)

    async def position(self, graph: SwarmGraph) -> Position:
        """Where the session stands in its graph."""
        if self.saver is None:
            return Position(frozenset(), frozenset())
        snapshot = await graph.aget_state(self.thread)
        following = frozenset(snapshot.next)
        ended = {*(task.name for task in snapshot.tasks), *await self._functions_that_ran(graph)}
        return Position(frozenset(ended) - following, following)

    async def _functions_that_ran(self, graph: SwarmGraph) -> set[str]:
        """The functions of an own workflow that ran in the present round, or for all rounds before the coder.

        LangGraph notes the version of the channel that made each node run; versions grow with each superstep.
        """
        saved = await self.saver.aget_tuple(self.thread) if self.saver and graph.silent_nodes else None
        seen = saved.checkpoint["versions_seen"] if saved else {}
        ran: dict[str, Any] = {node: max(versions.values()) for node, versions in seen.items() if versions}
        if START not in ran:
            return set()
        nodes, request = list(graph.nodes), ran[START]
        run_once = before_rounds(nodes)
        this_round = max([request, *(ran[node] for node in nodes if begins_round(node) and node in ran)])
        return {
            node
            for node in graph.silent_nodes
            if node in ran and ran[node] >= (request if node in run_once else this_round)
        }

    async def pauses(self) -> list[Pause]:
        """The pauses at which the session waits for a person."""
        return waiting_pauses(await self.saver.aget_tuple(self.thread)) if self.saver else []


@contextmanager
def open_session_store(
    data_dir: Path, session_id: str, *, checkpointing: bool, database: str | Path = ""
) -> Iterator[SessionStore]:
    """Open the store of a session.

    Args:
        data_dir: The data folder, which is made if it is missing.
        session_id: The session.
        checkpointing: Whether sessions are kept at all (`features.enable_checkpointing`).
        database: Where it is kept; empty for the usual place (see `place_of`).

    Raises:
        StorageError: The database cannot be used.
    """
    if not checkpointing:
        yield SessionStore(session_id, None)
        return
    with open_checkpointer(place_of(data_dir, database), data_dir=data_dir) as saver:
        yield SessionStore(session_id, saver)
