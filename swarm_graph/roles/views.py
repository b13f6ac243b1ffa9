"""What prompts show besides the keys of the state."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from swarm_graph.roles import repository_context
from swarm_graph.roles.file_blocks import fenced
from swarm_graph.sandbox.evidence import RUN_TESTS, evidence_text, has_broken_tests, latest_evidence
from swarm_graph.state import CHANGE, Kind, SwarmState, own_review


def test_run(state: SwarmState) -> str:
    """The latest test run; empty when there was none."""
    evidence = latest_evidence(state)
    return evidence_text(evidence) if evidence else ""


def broken_tests(state: SwarmState) -> str:
    """The tests of this round if they are broken themselves, and why; empty otherwise."""
    review = own_review(RUN_TESTS, state)
    if (
        not review
        or review["iteration"] != state.get("iteration")
        or not has_broken_tests(review["evidence"])
    ):
        return ""
    return f"{fenced(state.get('tests', {}))}\n\n{evidence_text(review['evidence'])}"


VIEWS: dict[str, Callable[[SwarmState], str]] = {
    "test_run": test_run,
    "broken_tests": broken_tests,
}
"""The views by the names that prompts use for them."""

REPOSITORY_VIEWS = (
    "conventions",
    "repository_map",
    "files",
    "changes",
    "project_tests",
    "project_documents",
)
"""The views of sessions on a repository; elsewhere, keys of the state may have these names."""


def views(kind: Kind) -> dict[str, Callable[[SwarmState], str]]:
    """The views of a kind of session."""
    if kind != CHANGE:
        return VIEWS
    return {**VIEWS, **{name: partial(repository_context.view, name) for name in REPOSITORY_VIEWS}}
