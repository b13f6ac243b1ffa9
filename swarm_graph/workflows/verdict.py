"""The verdict: what all reviews of a round come to. It asks no model."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from hashlib import sha256
from typing import Any

from langgraph.runtime import Runtime

from swarm_graph.events import Event
from swarm_graph.roles.findings import SEVERITIES, judge, same
from swarm_graph.sandbox.evidence import RUN_TESTS
from swarm_graph.state import Attempt, Finding, Review, SwarmContext, SwarmState, end_phase, own_review


def this_round(state: SwarmState) -> list[Review]:
    """The reviews of the current round, in the order of their nodes' names."""
    iteration = max(state.get("iteration", 0), 1)
    reviews = [review for review in state.get("reviews", []) if review["iteration"] == iteration]
    return sorted(reviews, key=lambda review: review["node"])


def is_done(state: SwarmState, max_iterations: int) -> bool:
    """Whether the rounds end here: approved, in circles, or no round is left."""
    in_circles = bool(state.get("circling"))
    return state["approved"] or in_circles or state.get("iteration", 0) >= max_iterations


def verdict_node(max_iterations: int, *, ends: bool) -> Callable[..., dict[str, Any]]:
    """The node of a workflow; `ends`: nothing comes after its last verdict."""

    def verdict(state: SwarmState, runtime: Runtime[SwarmContext]) -> dict[str, Any]:
        approved, findings = judge(this_round(state))
        iteration = max(state.get("iteration", 0), 1)
        data = {"approved": approved, "findings": len(findings), "exit_code": _exit_code(state, iteration)}
        runtime.stream_writer(
            Event("verdict", time.time(), "", "verdict", iteration=iteration, data=data).plain()
        )
        update: dict[str, Any] = {"approved": approved, "findings": findings, "iteration": iteration}
        if not approved and iteration < max_iterations:
            update |= _unapproved(state, findings, iteration)
        if ends and (approved or iteration >= max_iterations or update.get("circling")):
            update["phase"] = end_phase({**state, **update})  # type: ignore[typeddict-item]
        return update

    return verdict


def _unapproved(state: SwarmState, findings: list[Finding], iteration: int) -> dict[str, Any]:
    """What is kept of a round after which others could follow; in circles the best attempt comes back."""
    now = Attempt(
        iteration=iteration, code=state.get("code", {}), tests=state.get("tests", {}), findings=findings
    )
    best = min([now, *filter(None, [state.get("best")])], key=gravity)
    fingerprint = sha256(json.dumps(now["code"], sort_keys=True).encode()).hexdigest()[:16]
    codes = state.get("codes", [])
    update: dict[str, Any] = {"best": best, "codes": [*codes, fingerprint]}
    if circling := _circling(state, fingerprint, findings, iteration):
        kept = {key: best[key] for key in ("code", "tests", "findings")}
        update |= {"circling": circling, **kept}
    return update


def gravity(attempt: Attempt) -> list[int]:
    """How grave an attempt's findings are: their numbers, the gravest severity first."""
    counts = Counter(finding["severity"] for finding in attempt["findings"])
    return [counts[severity] for severity in SEVERITIES]


def _circling(state: SwarmState, code: str, findings: list[Finding], iteration: int) -> str:
    """Whether a round brought the code or the findings of an earlier one again, in words."""
    codes = state.get("codes", [])
    if code in codes:
        return f"round {iteration} has the code of round {codes.index(code) + 1} again"
    for earlier in range(1, iteration):
        reviews = [review for review in state.get("reviews", []) if review["iteration"] == earlier]
        if findings and _remarks(judge(reviews)[1]) == _remarks(findings):
            return f"round {iteration} has the findings of round {earlier} again"
    return ""


def _remarks(findings: list[Finding]) -> set[tuple[str, str]]:
    return {(same(finding["location"]), same(finding["problem"])) for finding in findings}


def _exit_code(state: SwarmState, iteration: int) -> int | None:
    """The exit code of this round's run of the tests; None where none ran to its end."""
    review = own_review(RUN_TESTS, state)
    return review["evidence"]["exit_code"] if review and review["iteration"] == iteration else None


def completed(state: SwarmState) -> dict[str, Any]:
    """The end of a workflow whose last roles have pauses: a rejection there takes the approval back."""
    approved, findings = judge(this_round(state))
    if state.get("circling"):
        return {"phase": end_phase(state)}
    return {"approved": approved, "findings": findings, "phase": end_phase(state)}
