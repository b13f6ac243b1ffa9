"""Findings and reviews: merged into one verdict, and as text for people."""

from __future__ import annotations

from collections.abc import Iterable
from textwrap import indent
from typing import NamedTuple

from swarm_graph.sandbox.evidence import CHECK_DOCUMENT, evidence_line
from swarm_graph.state import Finding, Review, Severity
from swarm_graph.text import shortened, without_loops

SEVERITIES: tuple[Severity, ...] = ("critical", "major", "minor", "info")
"""From the gravest to the lightest."""
GRAVE: tuple[Severity, ...] = ("critical", "major")
"""A review with such a finding is no approval, whatever it says."""


_ENDS = (".", "!", "?", "…", ":", ";")
"""After these no full stop is set between a problem and its suggestion."""


class RoundVerdict(NamedTuple):
    """The result of a round's reviews: whether they approve, and their findings, merged."""

    approved: bool
    findings: list[Finding]


def judge(reviews: list[Review]) -> RoundVerdict:
    """Merge the reviews of a round.

    The round is approved only when every review that does not abstain approves. Two findings about the same
    place and problem become one: it names everyone who made it, and has the graver severity. Findings are
    sorted by severity, and by the order of the reviews within a severity.
    """
    merged = distinct(finding for review in reviews for finding in review["findings"])
    findings = sorted(merged, key=lambda finding: SEVERITIES.index(finding["severity"]))
    votes = [review["approved"] for review in reviews if not abstains(review)]
    # An unreadable review votes None, which is no approval; and without any vote nothing is approved.
    return RoundVerdict(bool(votes) and all(vote is True for vote in votes), findings)


def distinct(findings: Iterable[Finding]) -> list[Finding]:
    """The findings without repetitions; two about the same place and problem are one."""
    merged: dict[tuple[str, str], Finding] = {}
    for finding in findings:
        key = (comparable(finding["location"]), comparable(finding["problem"]))
        merged[key] = _merge(merged[key], finding) if key in merged else finding
    return list(merged.values())


def abstains(review: Review) -> bool:
    """Whether a review neither approves nor refuses: tests that were not run, and need not be."""
    not_run = review.get("evidence", {}).get("outcome") == "not_run"
    return not_run and review["approved"] is None


def comparable(text: str) -> str:
    """A text without the differences that do not count: case, spaces, a final full stop."""
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


def finding_line(finding: Finding, max_characters: int | None = None) -> str:
    """A finding on one line: severity, place, problem, suggestion, and who made it.

    Args:
        finding: The finding. What its model repeats over and over stands in the line once.
        max_characters: Of the problem and of the suggestion; more is cut, and the line says so.
    """
    texts = map(without_loops, (finding["location"], finding["problem"], finding["suggestion"]))
    location, problem, suggestion = (
        shortened(text, max_characters) if max_characters else text for text in texts
    )
    what = " — ".join(filter(None, [location, problem])).rstrip()
    advice = ""
    if suggestion and comparable(suggestion) != comparable(problem):
        advice = f"{'' if what.endswith(_ENDS) else '.'} Suggestion: {suggestion}"
    seen = f" (seen by {', '.join(finding['seen_by'])})" if finding["seen_by"] else ""
    return f"[{finding['severity']}] {what}{advice}{seen}"


def findings_text(findings: list[Finding]) -> str:
    """Findings as a numbered list."""
    return "\n".join(f"{number}. {finding_line(finding)}" for number, finding in enumerate(findings, 1))


def review_text(review: Review) -> str:
    """A review: its node, its outcome, its findings, and the failures of a test run."""
    outcome = {True: "approved", False: "changes wanted", None: "could not be read: no approval"}[
        review["approved"]
    ]
    if "evidence" in review:
        outcome = evidence_line(review["evidence"])
    lines = [
        f"{review['node']}: {outcome}",
        *(f"  - {finding_line({**finding, 'seen_by': []})}" for finding in review["findings"]),
    ]
    failures = review["evidence"]["failures"] if "evidence" in review else []
    if review["node"] == CHECK_DOCUMENT and "evidence" in review:
        return "\n".join([*lines, f"  {review['evidence']['output']}"])  # its findings say the same
    lines += [indent(f"{failure['test']}\n{failure['text']}", "    ") for failure in failures]
    return "\n".join(lines)
