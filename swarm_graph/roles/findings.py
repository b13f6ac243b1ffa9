"""Findings and reviews: how they are merged into one judgement, and how a person reads them."""

from __future__ import annotations

from textwrap import indent

from swarm_graph.sandbox import evidence
from swarm_graph.state import Finding, Review, Severity

SEVERITIES: tuple[Severity, ...] = ("critical", "major", "minor", "info")
GRAVE: tuple[Severity, ...] = ("critical", "major")
"""A review with such a finding is no approval, even when it says that it is one."""


def judge(reviews: list[Review]) -> tuple[bool, list[Finding]]:
    """Approved only when every review that does not abstain approved; the findings of all, merged.

    Two remarks about the same place and problem become one that names who saw it, with the graver
    severity; the gravest come first, and among equals the order of the reviews stays.
    """
    merged: dict[tuple[str, str], Finding] = {}
    for review in reviews:
        for finding in review["findings"]:
            key = (same(finding["location"]), same(finding["problem"]))
            merged[key] = _merge(merged[key], finding) if key in merged else finding
    findings = sorted(merged.values(), key=lambda finding: SEVERITIES.index(finding["severity"]))
    votes = [review["approved"] for review in reviews if not abstains(review)]
    return bool(votes) and all(vote is True for vote in votes), findings


def abstains(review: Review) -> bool:
    """Whether a review neither approves nor refuses: tests that were not run, and need not be."""
    not_run = review.get("evidence", {}).get("outcome") == "not_run"
    return not_run and review["approved"] is None


def same(text: str) -> str:
    """A text as it is compared: without case, spaces and a full stop."""
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


def finding_line(finding: Finding) -> str:
    """One finding on one line: severity, place, problem, suggestion, who saw it."""
    suggestion = f" Suggestion: {finding['suggestion']}" if finding["suggestion"] else ""
    seen = f" (seen by {', '.join(finding['seen_by'])})" if finding["seen_by"] else ""
    return f"[{finding['severity']}] {finding['location']} — {finding['problem']}{suggestion}{seen}"


def findings_text(findings: list[Finding]) -> str:
    """Findings as a numbered list."""
    return "\n".join(f"{number}. {finding_line(finding)}" for number, finding in enumerate(findings, 1))


def review_text(review: Review) -> str:
    """One review: who, what it came to, and its findings."""
    outcome = {True: "approved", False: "changes wanted", None: "could not be read: no approval"}[
        review["approved"]
    ]
    if "evidence" in review:
        outcome = evidence.line(review["evidence"])
    lines = [
        f"{review['node']}: {outcome}",
        *(f"  - {finding_line({**f, 'seen_by': []})}" for f in review["findings"]),
    ]
    failures = review["evidence"]["failures"] if "evidence" in review else []
    lines += [indent(f"{failure['test']}\n{failure['text']}", "    ") for failure in failures]
    return "\n".join(lines)
