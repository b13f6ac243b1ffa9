"""What prompts show besides the keys of the state."""

from __future__ import annotations

from collections.abc import Callable

from swarm_graph.roles.file_blocks import fenced
from swarm_graph.sandbox.evidence import RUN_TESTS, details, is_broken, latest
from swarm_graph.state import SwarmState, own_review


def test_run(state: SwarmState) -> str:
    """The latest run of the tests, for a prompt; empty when there was none."""
    shown = latest(state)
    return details(shown) if shown else ""


def broken_tests(state: SwarmState) -> str:
    """The tests of this round that are at fault themselves, and why, for a prompt; empty when none are."""
    review = own_review(RUN_TESTS, state)
    if not review or review["iteration"] != state.get("iteration") or not is_broken(review["evidence"]):
        return ""
    return f"{fenced(state.get('tests', {}))}\n\n{details(review['evidence'])}"


VIEWS: dict[str, Callable[[SwarmState], str]] = {
    "test_run": test_run,
    "broken_tests": broken_tests,
}
"""The views by the names that prompts use for them."""
