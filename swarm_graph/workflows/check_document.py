"""The node `check_document`: it checks the coder's document as text. It runs nothing and calls no model."""

from __future__ import annotations

import time

from swarm_graph.roles.document_checks import Check, check_documents
from swarm_graph.sandbox.evidence import CHECK_DOCUMENT, TEXT_ONLY, make_evidence
from swarm_graph.state import Evidence, Failure, Finding, Review, SwarmState
from swarm_graph.text import format_count
from swarm_graph.workflows.evidence_node import EvidenceNode, Found

MAX_FAILURES = 40
"""Checks that do not hold and are named in the evidence; all are counted."""


class CheckDocumentNode(EvidenceNode):
    """Appends a review with evidence, which approves only if every check holds."""

    name = CHECK_DOCUMENT

    async def evidence(self, state: SwarmState, iteration: int) -> Found:
        return Found(check_evidence(state))

    def review(self, evidence: Evidence, iteration: int) -> Review:
        return review(evidence, iteration)


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
