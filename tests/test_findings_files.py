"""Findings for editors and forges: lines, JSON and SARIF, from a state and by the command line."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import jsonschema
import pytest
import warm

from swarm_graph import __version__
from swarm_graph.sessions.findings_files import (
    findings_files,
    findings_lines,
    findings_rows,
    findings_sarif,
)
from swarm_graph.state import Finding, Severity, SwarmState

TEXT = {"type": "object", "required": ["text"], "properties": {"text": {"type": "string", "minLength": 1}}}
LEVEL = {"enum": ["none", "note", "warning", "error"]}
REGION = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "startLine": {"type": "integer", "minimum": 1},
        "endLine": {"type": "integer", "minimum": 1},
    },
}
ARTIFACT = {
    "type": "object",
    "additionalProperties": False,
    "properties": {"uri": {"type": "string", "format": "uri-reference"}, "uriBaseId": {"type": "string"}},
}
SARIF: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["version", "runs"],
    "properties": {
        "version": {"enum": ["2.1.0"]},
        "runs": {
            "type": "array",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["tool"],
                "properties": {
                    "columnKind": {"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
                    "originalUriBaseIds": {
                        "type": "object",
                        "additionalProperties": {
                            "type": "object",
                            "additionalProperties": False,
                            "properties": {"description": TEXT},
                        },
                    },
                    "tool": {
                        "type": "object",
                        "additionalProperties": False,
                        "required": ["driver"],
                        "properties": {
                            "driver": {
                                "type": "object",
                                "additionalProperties": False,
                                "required": ["name"],
                                "properties": {
                                    "name": {"type": "string"},
                                    "version": {"type": "string"},
                                    "rules": {
                                        "type": "array",
                                        "uniqueItems": True,
                                        "items": {
                                            "type": "object",
                                            "additionalProperties": False,
                                            "required": ["id"],
                                            "properties": {
                                                "id": {"type": "string"},
                                                "shortDescription": TEXT,
                                                "defaultConfiguration": {
                                                    "type": "object",
                                                    "additionalProperties": False,
                                                    "properties": {"level": LEVEL},
                                                },
                                            },
                                        },
                                    },
                                },
                            }
                        },
                    },
                    "results": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "additionalProperties": False,
                            "required": ["message"],
                            "properties": {
                                "ruleId": {"type": "string"},
                                "ruleIndex": {"type": "integer", "minimum": -1},
                                "level": LEVEL,
                                "message": TEXT,
                                "locations": {
                                    "type": "array",
                                    "uniqueItems": True,
                                    "items": {
                                        "type": "object",
                                        "additionalProperties": False,
                                        "properties": {
                                            "physicalLocation": {
                                                "type": "object",
                                                "additionalProperties": False,
                                                "required": ["artifactLocation"],
                                                "properties": {
                                                    "artifactLocation": ARTIFACT,
                                                    "region": REGION,
                                                },
                                            }
                                        },
                                    },
                                },
                                "partialFingerprints": {
                                    "type": "object",
                                    "additionalProperties": {"type": "string"},
                                },
                                "properties": {"type": "object"},
                            },
                        },
                    },
                },
            },
        },
    },
}
"""What the schema of SARIF 2.1.0 (OASIS) says of the objects that we write; nothing else is allowed."""


def finding(location: str, severity: Severity = "major", **more: Any) -> Finding:
    found = Finding(
        severity=severity,
        location=location,
        problem="It divides by zero.",
        suggestion="Check n.",
        seen_by=["reviewer"],
    )
    return cast("Finding", {**found, **more})


FINDINGS = [
    finding("src/calc.py:12-15", "critical", seen_by=["review_security", "reviewer"]),
    finding("docs/my guide #1.md:2", "minor", suggestion=""),
    finding("src/calc.py", "info"),
    finding("src/calc.py:99 (the file has 40 lines)"),
    finding("the whole module"),
    finding("", problem=""),
    finding("a.py:1", problem="\x1b[31mred\x1b[0m\nsecond line \u202e \ud800", suggestion="a b " * 50),
]


def results(log: Mapping[str, Any]) -> list[Any]:
    jsonschema.validate(log, SARIF)
    return list(log["runs"][0]["results"])


def test_lines_are_links_for_editors() -> None:
    assert findings_lines(FINDINGS).split("\n") == [
        "src/calc.py:12: critical: It divides by zero. (Check n.)",
        "docs/my guide #1.md:2: minor: It divides by zero.",
        "src/calc.py:1: info: It divides by zero. (Check n.)",
        "src/calc.py:99 (the file has 40 lines): major: It divides by zero. (Check n.)",
        "the whole module: major: It divides by zero. (Check n.)",
        "major: (Check n.)",
        "a.py:1: major: [31mred[0m second line (a b … repeated 50 times)",
        "",
    ]
    assert findings_lines([]) == ""


def test_rows_have_path_and_lines() -> None:
    rows = findings_rows(FINDINGS)
    assert [(row["path"], row["line"], row["last_line"]) for row in rows[:5]] == [
        ("src/calc.py", 12, 15),
        ("docs/my guide #1.md", 2, 2),
        ("src/calc.py", None, None),
        (None, None, None),
        (None, None, None),
    ]
    assert rows[3]["location"] == "src/calc.py:99 (the file has 40 lines)"


def test_sarif_holds_to_its_schema() -> None:
    log = findings_sarif(FINDINGS)
    found = results(log)
    driver = log["runs"][0]["tool"]["driver"]
    assert (driver["name"], driver["version"]) == ("swarm-graph", __version__)
    assert "http" not in json.dumps(log)
    assert [result["level"] for result in found] == [
        "error",
        "warning",
        "note",
        "error",
        "error",
        "error",
        "error",
    ]
    assert [driver["rules"][result["ruleIndex"]]["id"] for result in found] == [
        one["ruleId"] for one in found
    ]
    assert found[0]["ruleId"] == "review_security/critical"
    assert found[0]["locations"][0]["physicalLocation"] == {
        "artifactLocation": {"uri": "src/calc.py", "uriBaseId": "SRCROOT"},
        "region": {"startLine": 12, "endLine": 15},
    }
    assert (
        found[1]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "docs/my%20guide%20%231.md"
    )
    assert found[3]["locations"] == []
    assert found[3]["message"]["text"].startswith("src/calc.py:99 (the file has 40 lines): It divides")
    assert results(findings_sarif([])) == []


def test_a_fingerprint_outlives_a_moved_line_and_other_words_around_it() -> None:
    def fingerprint(one: Finding) -> str:
        (result,) = results(findings_sarif([one]))
        return str(result["partialFingerprints"]["swarmFinding/v1"])

    first = fingerprint(finding("src/calc.py:12"))
    assert first == fingerprint(
        finding("src/calc.py:40", "minor", problem="it  divides by zero", suggestion="")
    )
    assert first != fingerprint(finding("src/other.py:12"))
    assert first != fingerprint(finding("src/calc.py:12", problem="It leaks."))


def test_only_sessions_on_a_repository_write_files_of_findings() -> None:
    state = SwarmState(kind="change", findings=FINDINGS)
    files = findings_files(state)
    assert [*files] == ["findings.json", "findings.sarif"]
    assert len(results(json.loads(files["findings.sarif"]))) == len(json.loads(files["findings.json"])) == 7
    files["findings.sarif"].encode()  # no half characters
    assert findings_files(SwarmState(kind="change")) == {}
    assert findings_files(SwarmState(kind="code", findings=FINDINGS)) == {}


def test_without_a_verdict_there_are_no_files_of_findings() -> None:
    """A forge takes an empty file for code without a fault."""
    begun = SwarmState(kind="change", findings=[], approved=False, phase="failed")
    assert findings_files(begun) == {}
    assert findings_files({**begun, "phase": "complete", "approved": None}) == {}
    assert len(findings_files({**begun, "approved": True})) == 2
    assert len(findings_files({**begun, "phase": "complete"})) == 2


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    run = ["run", "--simulate", "--workflow", "review_only", "--session", "s", "--json", "x = 1"]
    warm.run(*run, cwd=tmp_path, text=True)
    return tmp_path


def test_the_command_prints_findings_in_each_form(folder: Path) -> None:
    def shown(*arguments: str) -> str:
        return str(warm.run("sessions", "show", "s", *arguments, cwd=folder, text=True).stdout)

    rows = json.loads(shown("--findings", "json"))
    assert rows == json.loads(shown("--findings", "text", "--json"))
    assert (
        len(rows)
        == len(results(json.loads(shown("--findings", "sarif"))))
        == shown("--findings", "text").count("\n")
    )
    assert json.loads(shown("--findings", "json", "--at", "0")) == []
    begun = warm.run("sessions", "show", "--findings", "sarif", "--at", "0", cwd=folder, text=True)
    assert begun.stderr == "swarm-graph: note: there is no verdict yet, so there are no findings\n"
    refused = warm.run("sessions", "show", "--findings", "xml", cwd=folder, text=True)
    assert refused.returncode == 2
    assert "'xml' is not one of 'text', 'json', 'sarif'" in refused.stderr
