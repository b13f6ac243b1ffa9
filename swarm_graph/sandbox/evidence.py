"""The evidence of a test run: as a line for people, as text for the roles, as findings for the verdict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swarm_graph.state import Evidence, Finding, Outcome, SwarmState, own_review

RUN_TESTS = "run_tests"
"""The node that runs the tests."""
CHOOSE = "choose"
"""The node that chooses among candidates of the coder."""
CHECK_DOCUMENT = "check_document"
"""The node that checks a document, in place of `run_tests`."""
TEXT_ONLY = "none, only text was checked"
"""What the evidence of a document names in place of a sandbox."""
MAX_TEXT_CHARACTERS = 8000

_OUTCOME_TEXT: dict[Outcome, str] = {
    "passed": "passed",
    "failed": "failed",
    "broken": "the tests themselves are broken",
    "no_tests": "no test was run",
    "timed_out": "stopped",
    "stopped": "stopped",
    "tampered": "the test log cannot be trusted",
    "not_run": "tests not run",
}
_COUNTS = ("passed", "failed", "errored", "skipped")


def make_evidence(outcome: Outcome, **fields: Any) -> Evidence:
    """Evidence with the given fields; the others are empty or zero."""
    empty = Evidence(
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
    return Evidence(**{**empty, **fields})  # type: ignore[typeddict-item]


def latest_evidence(state: SwarmState) -> Evidence | None:
    """The evidence of the latest test run, or of a document's latest checks; None if there was none."""
    review = own_review(RUN_TESTS, state) or own_review(CHECK_DOCUMENT, state)
    return review.get("evidence") if review else None


def evidence_line(evidence: Mapping[str, Any]) -> str:
    """One line for people: outcome, reason, exit code, counts and sandbox.

    Args:
        evidence: An `Evidence`, or a row of the table `test_runs`, which has the same keys.
    """
    text = _OUTCOME_TEXT[evidence["outcome"]]
    if evidence["reason"]:
        text = f"{text}: {evidence['reason']}"
    if evidence["outcome"] == "not_run":
        return text
    facts = [] if evidence["exit_code"] is None else [f"exit code {evidence['exit_code']}"]
    facts += [f"{evidence[name]} {name}" for name in _COUNTS if evidence[name]]
    facts.append(f"sandbox: {evidence['sandbox']}")
    facts += [f"by {evidence['rests_on']}"] if evidence.get("rests_on") else []
    return f"{text} ({', '.join(facts)})"


def evidence_text(evidence: Evidence) -> str:
    """The evidence as a prompt shows it, with the tracebacks.

    It leaves out times and the sandbox: after a crash the same prompt must be built again, because the
    journal finds an answer by its question.
    """
    if evidence["outcome"] == "not_run":
        return evidence_line(evidence)
    parts = [_heading(evidence)]
    parts += [f"This is {evidence['rests_on']}."] if evidence.get("rests_on") else []
    parts += [evidence["reason"]] if evidence["reason"] else []
    for failure in evidence["failures"]:
        fault = " (the test itself is at fault)" if failure["by_tests"] else ""
        parts.append(f"{failure['test']}{fault}\n{failure['text']}")
    parts += [evidence["output"]] if evidence["output"] else []
    text = "\n\n".join(parts)
    return text if len(text) <= MAX_TEXT_CHARACTERS else f"{text[:MAX_TEXT_CHARACTERS]}\n[...]"


def _heading(evidence: Evidence) -> str:
    """The first line of the evidence in a prompt."""
    outcome = _OUTCOME_TEXT[evidence["outcome"]]
    if evidence["sandbox"] == TEXT_ONLY:
        return f"{outcome}: {evidence['passed']} checks hold, {evidence['failed']} do not"
    exit_code = "stopped" if evidence["exit_code"] is None else f"exit code {evidence['exit_code']}"
    counts = ", ".join(f"{evidence[name]} {name}" for name in _COUNTS)  # type: ignore[literal-required]
    return f"{outcome}: {exit_code}; {counts}"


def has_broken_tests(evidence: Evidence) -> bool:
    """Whether the tests are at fault, not the code."""
    return evidence["outcome"] in ("broken", "no_tests")


def evidence_findings(evidence: Evidence) -> list[Finding]:
    """A finding for each failure, and one for the test run itself if the failures do not explain it."""
    if evidence["outcome"] == "passed":
        return []
    findings = [
        _finding(failure["place"], f"{_blame(failure['by_tests'])} {failure['test']}: {failure['problem']}")
        for failure in evidence["failures"]
    ]
    if findings and evidence["outcome"] in ("failed", "broken"):
        return findings
    return [_finding("", f"Running the tests: {evidence_line(evidence)}"), *findings]


def _blame(by_tests: bool) -> str:
    return "The test itself is at fault, not the code:" if by_tests else "Fails:"


def _finding(location: str, problem: str) -> Finding:
    return Finding(severity="major", location=location, problem=problem, suggestion="", seen_by=[RUN_TESTS])
