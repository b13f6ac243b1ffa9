"""The node `run_tests`: it runs the tester's tests, or a repository's own. It calls no model."""

from __future__ import annotations

import asyncio
import threading
from typing import cast

from swarm_graph import aio
from swarm_graph.sandbox.evidence import RUN_TESTS, evidence_findings, has_broken_tests
from swarm_graph.settings import Execution
from swarm_graph.state import ChangeState, Evidence, Review, SwarmState, own_review
from swarm_graph.workflows.evidence_node import EvidenceNode, Found

MAX_REWRITES = 2
"""How often the tester rewrites broken tests in one round."""


class RunTestsNode(EvidenceNode):
    """Appends a review with evidence. Tests that were not run neither approve nor refuse."""

    name = RUN_TESTS

    async def evidence(self, state: SwarmState, iteration: int) -> Found:
        found = await run_in_thread(state, self.config.execution)
        found.evidence["attempt"] = attempt_number(state, iteration)
        return found

    def review(self, evidence: Evidence, iteration: int) -> Review:
        return review(evidence, iteration, required=self.config.execution.mode == "required")


async def run_in_thread(state: SwarmState, settings: Execution) -> Found:
    """Run the tests of a state in a thread. When the caller is cancelled, the run is stopped first."""
    cancelled = threading.Event()
    return await aio.stopped_first(asyncio.to_thread(_run, state, settings, cancelled), cancelled)


def _run(state: SwarmState, settings: Execution, cancelled: threading.Event) -> Found:
    """The repository's own tests if the session changes one, else the tester's."""
    if "repo" in state:
        from swarm_graph.workflows.before_and_after import run_change_tests

        found = run_change_tests(cast("ChangeState", state), settings, cancelled)
        is_new = found.baseline is not state.get("baseline")
        return Found(found.evidence, {"baseline": found.baseline} if is_new else {})
    from swarm_graph.sandbox.runner import run_tests

    return Found(run_tests(state.get("code", {}), state.get("tests", {}), settings, cancelled))


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
