"""Findings as a log in SARIF 2.1.0 (OASIS), which editors and forges read."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from swarm_graph import __version__
from swarm_graph.roles.findings import comparable
from swarm_graph.roles.locations import place_of
from swarm_graph.state import Finding, Severity

ROOT = "SRCROOT"
"""The name of the repository's root; paths are relative to it."""
_LEVELS: dict[Severity, str] = {"critical": "error", "major": "error", "minor": "warning", "info": "note"}
_FINGERPRINT = "swarmFinding/v1"


def sarif_log(findings: Sequence[Finding]) -> dict[str, Any]:
    """The log: one run, a rule for each reviewer and severity, a result for each finding.

    It names no address: nothing that reads it is led to a server. A finding without a place in a file has no
    location; its message says what its reviewer named instead.
    """
    rules = sorted({_rule(finding) for finding in findings})
    severities = {_rule(finding): finding["severity"] for finding in findings}
    driver = {
        "name": "swarm-graph",
        "version": __version__,
        "rules": [_description(rule, severities[rule]) for rule in rules],
    }
    run = {
        "tool": {"driver": driver},
        "originalUriBaseIds": {ROOT: {"description": {"text": "The root of the repository."}}},
        "columnKind": "unicodeCodePoints",
        "results": [_result(finding, rules) for finding in findings],
    }
    return {"version": "2.1.0", "runs": [run]}


def _rule(finding: Finding) -> str:
    """The id of a finding's rule: its first reviewer, and its severity."""
    return f"{finding['seen_by'][0] if finding['seen_by'] else 'review'}/{finding['severity']}"


def _description(rule: str, severity: Severity) -> dict[str, Any]:
    reviewer = rule.partition("/")[0].replace("_", " ")
    return {
        "id": rule,
        "shortDescription": {"text": f"A {severity} finding of {reviewer}"},
        "defaultConfiguration": {"level": _LEVELS[severity]},
    }


def _result(finding: Finding, rules: Sequence[str]) -> dict[str, Any]:
    rule = _rule(finding)
    return {
        "ruleId": rule,
        "ruleIndex": rules.index(rule),
        "level": _LEVELS[finding["severity"]],
        "message": {"text": _message(finding)},
        "locations": _locations(finding),
        "partialFingerprints": {_FINGERPRINT: _fingerprint(finding)},
        "properties": {"severity": finding["severity"], "seenBy": finding["seen_by"]},
    }


def _message(finding: Finding) -> str:
    where = "" if place_of(finding["location"]) or not finding["location"] else f"{finding['location']}: "
    advice = f" Suggestion: {finding['suggestion']}" if finding["suggestion"] else ""
    return f"{where}{finding['problem']}{advice}".strip() or "(no text)"


def _locations(finding: Finding) -> list[dict[str, Any]]:
    place = place_of(finding["location"])
    if not place:
        return []
    physical: dict[str, Any] = {"artifactLocation": {"uri": quote(place.path), "uriBaseId": ROOT}}
    if place.line:
        physical["region"] = {"startLine": place.line, "endLine": max(place.last, place.line)}
    return [{"physicalLocation": physical}]


def _fingerprint(finding: Finding) -> str:
    """The same for the same problem in the same file, wherever in the file it stands now."""
    place = place_of(finding["location"])
    what = [place.path if place else finding["location"], comparable(finding["problem"])]
    return hashlib.sha256("\n".join(what).encode()).hexdigest()
