"""The node `run_tests`: it runs the tester's tests on the coder's code. It calls no model."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from langchain_core.runnables import Runnable, RunnableConfig
from langgraph.runtime import get_runtime

from swarm_graph import aio
from swarm_graph.config import SwarmConfig
from swarm_graph.roles.emitter import Emitter, Origin
from swarm_graph.roles.run import current_run
from swarm_graph.sandbox.evidence import RUN_TESTS, evidence_findings, has_broken_tests
from swarm_graph.settings import Execution
from swarm_graph.state import Evidence, Review, SwarmState, own_review

MAX_REWRITES = 2
"""How often the tester rewrites broken tests in one round."""


class RunTestsNode(Runnable[SwarmState, dict[str, Any]]):
    """Appends a review with evidence. Tests that were not run neither approve nor refuse."""

    name = RUN_TESTS

    def __init__(self, config: SwarmConfig) -> None:
        self.config = config

    def invoke(self, input: SwarmState, config: RunnableConfig | None = None, **_: Any) -> dict[str, Any]:
        return aio.run(self._run(input, config or {}))

    async def ainvoke(
        self, input: SwarmState, config: RunnableConfig | None = None, **_: Any
    ) -> dict[str, Any]:
        return await self._run(input, config or {})

    async def _run(self, state: SwarmState, config: RunnableConfig) -> dict[str, Any]:
        run, settings = current_run(self.config), self.config.execution
        session = str(config["configurable"].get("thread_id", ""))
        iteration = max(state.get("iteration", 0), 1)
        emit = Emitter(Origin(session, RUN_TESTS, iteration=iteration), get_runtime().stream_writer)
        async with run.branch():
            emit("tests_started")
            evidence = await run_in_thread(state, settings)
            evidence["attempt"] = attempt_number(state, iteration)
            if run.journal:
                await run.journal.record_test_run(evidence, iteration)
            emit("tests_ended", **{key: value for key, value in evidence.items() if key != "failures"})
        return {"reviews": [review(evidence, iteration, required=settings.mode == "required")]}


async def run_in_thread(state: SwarmState, settings: Execution) -> Evidence:
    """Run the tests of a state in a thread. When the caller is cancelled, the run is stopped first."""
    from swarm_graph.sandbox.runner import run_tests

    cancelled = threading.Event()
    work = asyncio.ensure_future(
        asyncio.to_thread(run_tests, state.get("code", {}), state.get("tests", {}), settings, cancelled)
    )
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        cancelled.set()
        await asyncio.gather(work, return_exceptions=True)
        raise


def attempt_number(state: SwarmState, iteration: int) -> int:
    """The number of the next test run in its round, from 1."""
    last = own_review(RUN_TESTS, state)
    return last["evidence"]["attempt"] + 1 if last and last["iteration"] == iteration else 1


def review(evidence: Evidence, iteration: int, *, required: bool) -> Review:
    """Evidence as a review.

    Args:
        evidence: What the test run showed.
        iteration: The round.
        required: Whether tests that were not run refuse the code; otherwise they abstain.
    """
    abstains = evidence["outcome"] == "not_run" and not required
    return Review(
        node=RUN_TESTS,
        iteration=iteration,
        approved=None if abstains else evidence["outcome"] == "passed",
        findings=[] if abstains else evidence_findings(evidence),
        evidence=evidence,
    )


def next_step(state: SwarmState) -> str:
    """`rewrite` while the tests are broken and may be rewritten, else `done`."""
    last = own_review(RUN_TESTS, state)
    assert last is not None
    evidence = last["evidence"]
    return "rewrite" if has_broken_tests(evidence) and evidence["attempt"] <= MAX_REWRITES else "done"
