"""The node `check_document`: it checks the coder's document as text. It runs nothing and calls no model."""

from __future__ import annotations

import time
from typing import Any

from langchain_core.runnables import Runnable, RunnableConfig
from langgraph.runtime import get_runtime

from swarm_graph import aio
from swarm_graph.config import SwarmConfig
from swarm_graph.roles.document_checks import Check, check_documents
from swarm_graph.roles.emitter import Emitter, Origin
from swarm_graph.roles.run import current_run
from swarm_graph.sandbox.evidence import CHECK_DOCUMENT, TEXT_ONLY, make_evidence
from swarm_graph.state import Evidence, Failure, Finding, Review, SwarmState
from swarm_graph.text import format_count

MAX_FAILURES = 40
"""Checks that do not hold and are named in the evidence; all are counted."""


class CheckDocumentNode(Runnable[SwarmState, dict[str, Any]]):
    """Appends a review with evidence, which approves only if every check holds."""

    name = CHECK_DOCUMENT

    def __init__(self, config: SwarmConfig) -> None:
        self.config = config

    def invoke(self, input: SwarmState, config: RunnableConfig | None = None, **_: Any) -> dict[str, Any]:
        return aio.run(self._run(input, config or {}))

    async def ainvoke(
        self, input: SwarmState, config: RunnableConfig | None = None, **_: Any
    ) -> dict[str, Any]:
        return await self._run(input, config or {})

    async def _run(self, state: SwarmState, config: RunnableConfig) -> dict[str, Any]:
        run = current_run(self.config)
        session = str(config["configurable"].get("thread_id", ""))
        iteration = max(state.get("iteration", 0), 1)
        emit = Emitter(Origin(session, CHECK_DOCUMENT, iteration=iteration), get_runtime().stream_writer)
        async with run.branch():
            emit("tests_started")
            evidence = check_evidence(state)
            if run.journal:
                await run.journal.record_test_run(evidence, iteration)
            emit("tests_ended", **{key: value for key, value in evidence.items() if key != "failures"})
        return {"reviews": [review(evidence, iteration)]}


def check_evidence(state: SwarmState) -> Evidence:
    """The evidence of the checks of a state's documents."""
    started = time.monotonic()
    checked = check_documents(state)
    checks, open_values = checked.checks, checked.open_values
    failures = [_failure(check) for check in checks if check.problem]
    count = format_count(open_values, "value")
    return make_evidence(
        "failed" if failures else "passed",
        passed=len(checks) - len(failures),
        failed=len(failures),
        failures=failures[:MAX_FAILURES],
        reason=f"{count} left open for a person" if open_values else "",
        output=checked.counts,
        sandbox=TEXT_ONLY,
        seconds=time.monotonic() - started,
    )


def _failure(check: Check) -> Failure:
    place = f"{check.place}: " if check.place else ""
    return Failure(
        test=check.name,
        place=check.place,
        problem=check.problem,
        text=f"{place}{check.problem}",
        by_tests=False,
    )


def review(evidence: Evidence, iteration: int) -> Review:
    """Evidence as a review.

    Args:
        evidence: What the checks showed.
        iteration: The round.
    """
    findings = [
        Finding(
            severity="major",
            location=failure["place"],
            problem=f"Check of {failure['test']}: {failure['problem']}",
            suggestion="",
            seen_by=[CHECK_DOCUMENT],
        )
        for failure in evidence["failures"]
    ]
    return Review(
        node=CHECK_DOCUMENT,
        iteration=iteration,
        approved=evidence["outcome"] == "passed",
        findings=findings,
        evidence=evidence,
    )
