"""Judge a session: hidden tests in the sandbox for files, the place of the planted bug for findings."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from swarm_graph.errors import SandboxError
from swarm_graph.roles.findings import GRAVE
from swarm_graph.roles.locations import Place, located, place_of
from swarm_graph.sandbox.runner import run_tests
from swarm_graph.settings import Execution
from swarm_graph.state import Evidence, Finding
from swarm_graph.suites.case import FINDINGS, Case, Planted
from swarm_graph.suites.score import Score
from swarm_graph.text import format_count, in_one_line

NEAR_LINES = 2
"""How far from the planted lines a finding may point."""
MAX_RANGE = 20
"""A finding about more lines than this names no place."""


def judge(
    case: Case,
    files: Mapping[str, str],
    findings: Sequence[Finding],
    execution: Execution,
    cancelled: threading.Event | None = None,
) -> Score:
    """The score of what a session has answered. The same answer always gets the same score.

    A review of code is scored by the places of its findings, everything else by the hidden tests.

    Args:
        case: The case.
        files: Path to text of the session's files.
        findings: The findings of the session's last round.
        execution: The section `execution` of the config: it chooses the sandbox and the interpreter.
        cancelled: Stops the hidden tests when another thread sets it.

    Raises:
        SandboxError: The hidden tests could not be run. That is never a score.
        ConfigError: `execution.python` cannot be used.
    """
    if case.is_clean:
        return _score_of_clean(findings)
    if case.planted:
        return _score_of_planted(case, case.planted, findings)
    if case.assignment == "write" and not any(map(str.strip, files.values())):
        return Score(solved=False, outcome="failed", reason="the session has written no file")
    return _score_of_tests(case, files, findings, execution, cancelled)


def _score_of_clean(findings: Sequence[Finding]) -> Score:
    alarms = len(_grave(findings))
    reason = format_count(alarms, "false alarm") if alarms else ""
    return Score(not alarms, "failed" if alarms else "passed", alarms=alarms, reason=reason)


def _score_of_planted(case: Case, planted: Planted, findings: Sequence[Finding]) -> Score:
    hits = [_hits(finding, planted, case.shown) for finding in _grave(findings)]
    found = any(hits)
    reason = "" if found else "no critical or major finding names the place of the bug"
    return Score(found, "passed" if found else "failed", found=found, alarms=hits.count(False), reason=reason)


def _grave(findings: Sequence[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding["severity"] in GRAVE]


def _hits(finding: Finding, planted: Planted, shown: Mapping[str, str]) -> bool:
    """Whether a finding names the place of the bug: lines near it, or the function or class around it."""
    place = _place(finding, shown)
    names = (rf"(?<![\w.]){re.escape(name)}(?!\w)" for name in _names(planted))
    return (place is not None and _is_near(place, planted)) or any(
        re.search(name, finding["location"]) for name in names
    )


def _is_near(place: Place, planted: Planted) -> bool:
    is_narrow = place.line > 0 and place.last - place.line < MAX_RANGE
    first, last = planted.lines[0] - NEAR_LINES, planted.lines[1] + NEAR_LINES
    return place.path == planted.path and is_narrow and place.line <= last and first <= place.last


def _place(finding: Finding, shown: Mapping[str, str]) -> Place | None:
    """The place that a finding names; with a single file, a line alone is one, too."""
    place = place_of(located(finding, shown)["location"])
    if place is None and len(shown) == 1:
        whole = f"{next(iter(shown))}: {finding['location']}"
        place = place_of(located({**finding, "location": whole}, shown)["location"])
    return place


def _names(planted: Planted) -> set[str]:
    """The names of the function or class with the bug, by itself and in its class and module."""
    if not planted.symbol:
        return set()
    module = PurePosixPath(planted.path).stem
    return {planted.symbol, planted.symbol.rpartition(".")[2], f"{module}.{planted.symbol}"}


def _score_of_tests(
    case: Case,
    files: Mapping[str, str],
    findings: Sequence[Finding],
    execution: Execution,
    cancelled: threading.Event | None,
) -> Score:
    code = {**_answered(case, files), FINDINGS: json.dumps([*findings], indent=2)}
    evidence = run_tests(code, case.hidden, _strict(case, execution), cancelled)
    if evidence["outcome"] == "not_run":
        raise SandboxError(f"the hidden tests of {case.id} were not run: {evidence['reason']}")
    failed = evidence["failed"] + evidence["errored"]
    solved = evidence["outcome"] == "passed"
    found = solved if case.assignment == "review" else None
    return Score(
        solved, evidence["outcome"], evidence["passed"], failed, found, reason=_reason(case, evidence)
    )


def _answered(case: Case, files: Mapping[str, str]) -> dict[str, str]:
    """The session's files without those that a hidden test could be mistaken for."""
    stems = {PurePosixPath(path).stem for path in case.hidden}
    return {path: text for path, text in files.items() if PurePosixPath(path).stem not in stems}


def _strict(case: Case, execution: Execution) -> Execution:
    """The settings of the hidden tests: the case's packages and time, pytest, and a sandbox in any case."""
    limits = execution.limits.model_copy(update={"seconds": case.seconds})
    own = {"mode": "required", "command": [], "packages": [*case.packages], "limits": limits}
    return execution.model_copy(update=own)


def _reason(case: Case, evidence: Evidence) -> str:
    """Why the hidden tests do not pass, in one line without what they hold."""
    if evidence["outcome"] == "passed":
        return ""
    if evidence["outcome"] == "timed_out":
        return f"the hidden tests were still running after {case.seconds:g} s"
    if evidence["outcome"] == "tampered":
        return "the result of the hidden tests cannot be trusted"
    if evidence["outcome"] == "no_tests":
        return "no hidden test ran"
    failed, passed = evidence["failed"] + evidence["errored"], evidence["passed"]
    if evidence["errored"] and failed == evidence["errored"] and not passed:
        return f"the files cannot be loaded{_error(evidence)}"
    if failed:
        return f"{failed} of {failed + passed} hidden tests fail"
    # The reason of a run without results may end with the test that was running.
    return f"the hidden tests: {evidence['reason'].partition(', in ')[0] or evidence['outcome']}"


def _error(evidence: Evidence) -> str:
    """The first error, as the end of a sentence; its message only if it names a file or module."""
    for failure in evidence["failures"]:
        name, _, message = in_one_line(failure["problem"]).partition(":")
        tells = re.fullmatch(r"(ModuleNotFound|Import|Syntax|Indentation)Error", name)
        return f": {name}:{message}" if tells else f": {name}"
    return ""
