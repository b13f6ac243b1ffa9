"""What the nodes `run_tests` and `check_document` share: they judge the work of a round, and ask no model."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from langchain_core.runnables import Runnable, RunnableConfig

from swarm_graph import aio
from swarm_graph.config import SwarmConfig
from swarm_graph.roles.emitter import Origin
from swarm_graph.roles.run import current_run, node_emitter
from swarm_graph.state import Evidence, Review, SwarmState

_LARGE = ("failures", "results")
"""What events leave out of the evidence."""


class Found(NamedTuple):
    """What a node finds.

    Attributes:
        evidence: The evidence of the round.
        more: Other keys of the state that the node writes.
    """

    evidence: Evidence
    more: Mapping[str, Any] = MappingProxyType({})


class EvidenceNode(Runnable[SwarmState, dict[str, Any]]):
    """A node that appends a review with evidence. It emits and records the evidence, too.

    Attributes:
        name: The node.
        config: The configuration.
    """

    name: str

    def __init__(self, config: SwarmConfig) -> None:
        self.config = config

    def iteration(self, state: SwarmState) -> int:
        """The round that it judges."""
        return max(state.get("iteration", 0), 1)

    @abstractmethod
    async def evidence(self, state: SwarmState, iteration: int) -> Found:
        """The evidence about a state in this round."""

    @abstractmethod
    def review(self, evidence: Evidence, iteration: int) -> Review:
        """The evidence as a review."""

    def invoke(self, input: SwarmState, config: RunnableConfig | None = None, **_: Any) -> dict[str, Any]:
        return aio.run(self._run(input, config or {}))

    async def ainvoke(
        self, input: SwarmState, config: RunnableConfig | None = None, **_: Any
    ) -> dict[str, Any]:
        return await self._run(input, config or {})

    async def _run(self, state: SwarmState, config: RunnableConfig) -> dict[str, Any]:
        run = current_run(self.config)
        session = str(config["configurable"].get("thread_id", ""))
        iteration = self.iteration(state)
        emit = node_emitter(Origin(session, self.name, iteration=iteration))
        async with run.branch():
            emit("tests_started")
            evidence, more = await self.evidence(state, iteration)
            if run.journal:
                await run.journal.record_test_run(evidence, iteration)
            emit("tests_ended", **{key: value for key, value in evidence.items() if key not in _LARGE})
        return {"reviews": [self.review(evidence, iteration)], **more}
