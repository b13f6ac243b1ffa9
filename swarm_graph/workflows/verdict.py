"""The verdict on a round: approve or revise. It calls no model."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from typing import Any, cast

from swarm_graph.roles.answered_change import base_files, current_files, gone_files
from swarm_graph.roles.emitter import Origin
from swarm_graph.roles.findings import SEVERITIES, comparable, judge
from swarm_graph.roles.locations import located_reviews
from swarm_graph.roles.run import node_emitter
from swarm_graph.roles.syntax import syntax_problem
from swarm_graph.sandbox.evidence import RUN_TESTS
from swarm_graph.state import (
    CHANGE,
    ChangeState,
    Finding,
    Review,
    SwarmState,
    UnapprovedRound,
    end_phase,
    own_review,
)

NO_FILES: Mapping[str, str] = {}
SYNTAX = "syntax"
"""Stands for the node of the findings that the parsers make."""


def reviews_of_round(state: SwarmState) -> list[Review]:
    """The reviews of the current round, sorted by their nodes, and a refusal of code that does not parse."""
    iteration = max(state.get("iteration", 0), 1)
    reviews = [review for review in state.get("reviews", []) if review["iteration"] == iteration]
    unparsable = list(syntax_findings(state.get("code", {}), base_files(state)))
    if unparsable:
        reviews.append(Review(node=SYNTAX, iteration=iteration, approved=False, findings=unparsable))
    return sorted(reviews, key=lambda review: review["node"])


def syntax_findings(code: Mapping[str, str], before: Mapping[str, str] = NO_FILES) -> Iterator[Finding]:
    """A finding for each file that does not parse, and one for code of which every file is empty.

    Args:
        code: Path to text.
        before: The files of a repository before the change: what did not parse there need not parse now.
    """
    if code and not any(map(str.strip, code.values())):
        yield _syntax_finding(next(iter(code)), "Every file of the code is empty.")
    for path, text in code.items():
        problem = syntax_problem(path, text)
        if problem and not ((old := before.get(path)) and syntax_problem(path, old)):
            place = f"{path}:{problem.line}" if problem.line else path
            yield _syntax_finding(place, f"The file does not parse: {problem.message}.")


def _syntax_finding(location: str, problem: str) -> Finding:
    return Finding(severity="critical", location=location, problem=problem, suggestion="", seen_by=[SYNTAX])


def is_done(state: SwarmState, max_iterations: int) -> bool:
    """Whether no further round follows: approved, circling, or no round left."""
    in_circles = bool(state.get("circling"))
    return state["approved"] or in_circles or state.get("iteration", 0) >= max_iterations


def verdict_node(max_iterations: int, *, ends: bool) -> Callable[..., dict[str, Any]]:
    """The node `verdict` of a workflow.

    Args:
        max_iterations: How many rounds there are at the most.
        ends: Whether the workflow is complete after the last verdict.
    """

    def verdict(state: SwarmState) -> dict[str, Any]:
        approved, findings = judge(_located(reviews_of_round(state), state))
        iteration = max(state.get("iteration", 0), 1)
        emit = node_emitter(Origin("", "verdict", iteration=iteration))
        emit("verdict", approved=approved, findings=len(findings), exit_code=_exit_code(state, iteration))
        update: dict[str, Any] = {"approved": approved, "findings": findings, "iteration": iteration}
        if not approved and iteration < max_iterations:
            update |= _unapproved(state, findings, iteration)
        if ends and (approved or iteration >= max_iterations or update.get("circling")):
            update["phase"] = end_phase({**state, **update})  # type: ignore[typeddict-item]
        return update

    return verdict


def _located(reviews: list[Review], state: SwarmState) -> list[Review]:
    """The reviews; those of a repository with findings at `path:line` of files that there are."""
    if state.get("kind") != CHANGE:
        return reviews
    return located_reviews(reviews, current_files(state), gone_files(state))


def _unapproved(state: SwarmState, findings: list[Finding], iteration: int) -> dict[str, Any]:
    """What is kept of a round that is not approved. Rounds that circle bring the best attempt back."""
    this_round = UnapprovedRound(
        iteration=iteration, code=state.get("code", {}), tests=state.get("tests", {}), findings=findings
    )
    if "deleted" in state:  # of a repository
        this_round["deleted"] = cast("ChangeState", state)["deleted"]
    best = min([this_round, *filter(None, [state.get("best")])], key=gravity)
    made = [this_round["code"], *([sorted(gone)] if (gone := this_round.get("deleted")) else [])]
    fingerprint = sha256(json.dumps(made, sort_keys=True)[1:-1].encode()).hexdigest()[:16]
    update: dict[str, Any] = {"best": best, "codes": [*state.get("codes", []), fingerprint]}
    if circling := _circling(state, fingerprint, iteration):
        kept = {key: value for key, value in best.items() if key != "iteration"}
        update |= {"circling": circling, **kept}
    return update


def gravity(judged: UnapprovedRound) -> list[int]:
    """The number of a round's findings by severity, gravest first; the smallest is the best round."""
    counts = Counter(finding["severity"] for finding in judged["findings"])
    return [counts[severity] for severity in SEVERITIES]


def _circling(state: SwarmState, fingerprint: str, iteration: int) -> str:
    """Which earlier round this one repeats, in words; empty when none."""
    findings = judge(reviews_of_round(state))[1]  # as the reviewers wrote them, as those of earlier rounds
    codes = state.get("codes", [])
    if fingerprint in codes:
        return f"round {iteration} has the code of round {codes.index(fingerprint) + 1} again"
    for earlier in range(1, iteration):
        reviews = [review for review in state.get("reviews", []) if review["iteration"] == earlier]
        if findings and _problems(judge(reviews)[1]) == _problems(findings):
            return f"round {iteration} has the findings of round {earlier} again"
    return ""


def _problems(findings: list[Finding]) -> set[tuple[str, str]]:
    return {(comparable(finding["location"]), comparable(finding["problem"])) for finding in findings}


def _exit_code(state: SwarmState, iteration: int) -> int | None:
    """The exit code of this round's test run; None where none ran to its end."""
    review = own_review(RUN_TESTS, state)
    return review["evidence"]["exit_code"] if review and review["iteration"] == iteration else None


def complete_own(state: SwarmState) -> dict[str, Any]:
    """The node that ends a user's own workflow. One without reviews is neither approved nor refused."""
    return complete(state) if reviews_of_round(state) else {"approved": None, "phase": end_phase(state)}


def complete_unreviewed(state: SwarmState) -> dict[str, Any]:
    """The node that ends a workflow without reviewers: tests, parsers and people may refuse, none approve."""
    reviews = reviews_of_round(state)
    findings = judge(_located(reviews, state))[1]
    refused = any(review["approved"] is False for review in reviews)
    return {"approved": False if refused else None, "findings": findings, "phase": end_phase(state)}


def complete(state: SwarmState) -> dict[str, Any]:
    """The node that ends a workflow whose last roles have pauses: a rejection there revokes the approval."""
    approved, findings = judge(_located(reviews_of_round(state), state))
    if state.get("circling"):
        return {"phase": end_phase(state)}
    return {"approved": approved, "findings": findings, "phase": end_phase(state)}
