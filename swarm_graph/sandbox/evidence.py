"""What a run of the tests showed, in words: for people, for the roles that work on from it, as findings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swarm_graph.state import Evidence, Finding, Outcome, SwarmState, own_review

RUN_TESTS = "run_tests"
"""The node that runs the tests."""
DETAIL_CHARACTERS = 8000

WORDS: dict[Outcome, str] = {
    "passed": "passed",
    "failed": "failed",
    "broken": "the tests themselves are broken",
    "no_tests": "no test was run",
    "timed_out": "stopped",
    "stopped": "stopped",
    "tampered": "the report of the tests cannot be believed",
    "not_run": "tests not run",
}


def evidence(outcome: Outcome, **known: Any) -> Evidence:
    """Evidence of which only some is known."""
    nothing = Evidence(
        outcome=outcome,
        exit_code=None,
        passed=0,
        failed=0,
        errored=0,
        skipped=0,
        failures=[],
        reason="",
        output="",
        sandbox="",
        seconds=0.0,
        attempt=1,
    )
    return Evidence(**{**nothing, **known})  # type: ignore[typeddict-item]


def latest(state: SwarmState) -> Evidence | None:
    """What the latest run of the tests showed; None when there was none."""
    review = own_review(RUN_TESTS, state)
    return review.get("evidence") if review else None


def line(shown: Mapping[str, Any]) -> str:
    """One line for people, of evidence or its row: how it ended, exit code, counts, where it ran."""
    words = WORDS[shown["outcome"]]
    if shown["reason"]:
        words = f"{words}: {shown['reason']}"
    if shown["outcome"] == "not_run":
        return words
    facts = [] if shown["exit_code"] is None else [f"exit code {shown['exit_code']}"]
    facts += [f"{shown[name]} {name}" for name in ("passed", "failed", "errored", "skipped") if shown[name]]
    facts.append(f"sandbox: {shown['sandbox']}")
    return f"{words} ({', '.join(facts)})"


def details(shown: Evidence) -> str:
    """What a role needs to work on from it. No times and places of this machine: it reads the same again."""
    if shown["outcome"] == "not_run":
        return line(shown)
    facts = "stopped" if shown["exit_code"] is None else f"exit code {shown['exit_code']}"
    counts = ", ".join(f"{shown[name]} {name}" for name in ("passed", "failed", "errored", "skipped"))
    parts = [f"{WORDS[shown['outcome']]}: {facts}; {counts}"]
    parts += [shown["reason"]] if shown["reason"] else []
    for failure in shown["failures"]:
        fault = " (the test itself is at fault)" if failure["by_tests"] else ""
        parts.append(f"{failure['test']}{fault}\n{failure['text']}")
    parts += [shown["output"]] if shown["output"] else []
    text = "\n\n".join(parts)
    return text if len(text) <= DETAIL_CHARACTERS else f"{text[:DETAIL_CHARACTERS]}\n[...]"


def is_broken(shown: Evidence) -> bool:
    """Whether the tests are at fault, not the code."""
    return shown["outcome"] in ("broken", "no_tests")


def findings(shown: Evidence) -> list[Finding]:
    """Each failure as a finding; one for the run where it has none."""
    if shown["outcome"] == "passed":
        return []
    found = [
        _finding(failure["place"], f"{_what(failure['by_tests'])} {failure['test']}: {failure['problem']}")
        for failure in shown["failures"]
    ]
    if found and shown["outcome"] in ("failed", "broken"):
        return found
    return [_finding("", f"Running the tests: {line(shown)}"), *found]


def _what(by_tests: bool) -> str:
    return "The test itself is at fault, not the code:" if by_tests else "Fails:"


def _finding(location: str, problem: str) -> Finding:
    return Finding(severity="major", location=location, problem=problem, suggestion="", seen_by=[RUN_TESTS])
