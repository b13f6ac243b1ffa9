"""The verdict: what all reviews of a round come to. It asks no model."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from langgraph.runtime import Runtime

from swarm_graph.events import Event
from swarm_graph.evidence import RUN_TESTS
from swarm_graph.state import Finding, Review, SwarmContext, SwarmState, own_review

SEVERITIES = ("critical", "major", "minor", "info")


def judge(reviews: list[Review]) -> tuple[bool, list[Finding]]:
    """Approved only when every review that does not abstain approved; the findings of all, merged.

    Two remarks about the same place and problem become one that names who saw it, with the graver
    severity; the gravest come first, and among equals the order of the reviews stays.
    """
    merged: dict[tuple[str, str], Finding] = {}
    for review in reviews:
        for finding in review["findings"]:
            key = (_same(finding["location"]), _same(finding["problem"]))
            merged[key] = _merge(merged[key], finding) if key in merged else finding
    findings = sorted(merged.values(), key=lambda finding: SEVERITIES.index(finding["severity"]))
    votes = [review["approved"] for review in reviews if not abstains(review)]
    return bool(votes) and all(vote is True for vote in votes), findings


def abstains(review: Review) -> bool:
    """Whether a review neither approves nor refuses: tests that were not run, and need not be."""
    not_run = review.get("evidence", {}).get("outcome") == "not_run"
    return not_run and review["approved"] is None


def this_round(state: SwarmState) -> list[Review]:
    """The reviews of the current round, in the order of their nodes' names."""
    iteration = max(state.get("iteration", 0), 1)
    reviews = [review for review in state.get("reviews", []) if review["iteration"] == iteration]
    return sorted(reviews, key=lambda review: review["node"])


def is_done(state: SwarmState, max_iterations: int) -> bool:
    """Whether the rounds end here: approved, or no round is left."""
    return state["approved"] or state.get("iteration", 0) >= max_iterations


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
        if ends and (approved or iteration >= max_iterations):
            update["phase"] = "complete"
        return update

    return verdict


def _exit_code(state: SwarmState, iteration: int) -> int | None:
    """The exit code of this round's run of the tests; None where none ran to its end."""
    review = own_review(RUN_TESTS, state)
    return review["evidence"]["exit_code"] if review and review["iteration"] == iteration else None


def completed(state: SwarmState) -> dict[str, Any]:
    """The end of a workflow whose last roles have pauses: a rejection there takes the approval back."""
    approved, findings = judge(this_round(state))
    return {"approved": approved, "findings": findings, "phase": "complete"}


def _same(text: str) -> str:
    return " ".join(text.lower().split()).rstrip(".")


def _merge(first: Finding, second: Finding) -> Finding:
    graver = min(first, second, key=lambda finding: SEVERITIES.index(finding["severity"]))
    seen_by = [*first["seen_by"], *(node for node in second["seen_by"] if node not in first["seen_by"])]
    return {
        **first,
        "severity": graver["severity"],
        "suggestion": first["suggestion"] or second["suggestion"],
        "seen_by": seen_by,
    }
