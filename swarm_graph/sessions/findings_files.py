"""The findings of a session for editors and forges: as lines, JSON and SARIF."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from swarm_graph.roles.locations import place_of
from swarm_graph.sessions.sarif import sarif_log
from swarm_graph.state import CHANGE, Finding, SwarmState
from swarm_graph.text import printable, to_json, without_lone_surrogates, without_loops

FINDINGS_FILES = ("findings.json", "findings.sarif")
"""The files that `findings_files` writes."""


def findings_files(state: SwarmState) -> dict[str, str]:
    """The files of findings of a session on a repository: name to text; none before its first verdict."""
    if state.get("kind") != CHANGE or not has_verdict(state):
        return {}
    findings = state.get("findings", [])
    texts = (to_json(findings_rows(findings)), to_json(findings_sarif(findings)))
    return dict(zip(FINDINGS_FILES, texts, strict=True))


def has_verdict(state: SwarmState) -> bool:
    """Whether the findings are those of a verdict: a forge takes an empty file for code without a fault."""
    is_judged = state.get("phase") in ("complete", "not_converged") and state.get("approved") is not None
    return is_judged or bool(state.get("findings") or state.get("approved"))


def findings_lines(findings: Iterable[Finding]) -> str:
    """A line for each finding, `path:line: severity: problem (suggestion)`: editors make a link of it."""
    return "".join(f"{_line(_clean(finding))}\n" for finding in findings)


def findings_rows(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """Each finding with the path and the lines of its location, which are null if it names none."""
    return [_row(_clean(finding)) for finding in findings]


def findings_sarif(findings: Iterable[Finding]) -> dict[str, Any]:
    """A log in SARIF 2.1.0."""
    return sarif_log([_clean(finding) for finding in findings])


def _clean(finding: Finding) -> Finding:
    """A finding without control characters and loops of its model."""
    problem, suggestion, location = (
        without_lone_surrogates(printable(without_loops(finding[key]))).strip()
        for key in ("problem", "suggestion", "location")
    )
    return {**finding, "problem": problem, "suggestion": suggestion, "location": location}


def _line(finding: Finding) -> str:
    place = place_of(finding["location"])
    # Tools read `path:line:`; a range would be no line for them.
    where = f"{place.path}:{max(place.line, 1)}" if place else finding["location"]
    advice = f" ({finding['suggestion']})" if finding["suggestion"] else ""
    parts = [where, finding["severity"], f"{finding['problem']}{advice}"]
    return " ".join(": ".join(filter(None, parts)).split())


def _row(finding: Finding) -> dict[str, Any]:
    place = place_of(finding["location"])
    return {
        "path": place.path if place else None,
        "line": place.line or None if place else None,
        "last_line": place.last or None if place else None,
        **finding,
    }
