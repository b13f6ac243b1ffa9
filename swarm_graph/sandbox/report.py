"""The report of a repository's test run: the lines of `reporter.py`, read and checked.

The code under test runs beside the reporter and can forge its lines. So they only name the tests: a run has
passed only if the exit code that the host reads says so, too.
"""

from __future__ import annotations

import json
from typing import Any

from swarm_graph.sandbox.job import shortened, without_addresses
from swarm_graph.state import Failure
from swarm_graph.text import printable

MAX_LINE_BYTES = 64 << 10
MAX_NAME_CHARACTERS = 500
RESULTS = ("passed", "failed", "errored", "skipped")
_OUTCOMES = ("passed", "failed", "skipped")


class Report:
    """The results that the lines tell of.

    Attributes:
        results: Each test with one of RESULTS; a file that cannot be collected has one, too.
        failures: Why tests failed; the reporter sends the first ones only.
        uncollected: The files, or modules, that could not be collected.
        exit_code: The exit code that the test runner meant to end with; None if it did not come to its end.
        left: How many tests were collected and not run.
        unusable: Why no test could be started; empty if one could.
        foreign: Whether there were lines that the reporter does not write.
    """

    def __init__(self, data: bytes) -> None:
        self.results: dict[str, str] = {}
        self.failures: list[Failure] = []
        self.uncollected: set[str] = set()
        self.exit_code: int | None = None
        self.unusable, self.foreign, self.left = "", False, 0
        self._started = ""
        for line in data.split(b"\n"):
            if line and not self._read(line):
                self.foreign = True

    @property
    def running(self) -> str:
        """The test that was running when the lines ended; empty if none was."""
        return "" if self._started in self.results else self._started

    def counts(self) -> dict[str, int]:
        """The number of tests with each result."""
        found = list(self.results.values())
        return {name: found.count(name) for name in RESULTS}

    def _read(self, line: bytes) -> bool:
        """Read one line; whether it is one of the reporter's."""
        entry = _entry(line)
        match entry:
            case {"kind": "started", "test": str(test)}:
                self._started = _name(test)
            case {"kind": "outcome", "test": str(test), "when": str(when), "outcome": str(outcome)}:
                if outcome in _OUTCOMES:
                    self._count(_name(test), when, outcome)
            case {"kind": "failure", "test": str(), "place": str(), "problem": str(), "text": str()}:
                self.failures.append(_failure(entry))
            case {"kind": "end", "exit_code": int(code), "left": int(left)}:
                self.exit_code, self.left = code, left
            case {"kind": "unusable", "problem": str(problem)}:
                self.unusable = _name(problem)
            case _:
                return False
        return True

    def _count(self, test: str, when: str, outcome: str) -> None:
        """Count a test as passed only if nothing of it failed or was skipped."""
        if when == "collect":
            self.uncollected.add(test)
        if outcome == "passed":
            if when == "call":
                self.results.setdefault(test, outcome)
        elif outcome == "failed" and self.results.get(test) != "failed":
            self.results[test] = "failed" if when == "call" else "errored"
        elif outcome == "skipped":
            self.results.setdefault(test, outcome)


def _entry(line: bytes) -> Any:
    if len(line) > MAX_LINE_BYTES:
        return None
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _name(text: str) -> str:
    return " ".join(printable(without_addresses(text)).split())[:MAX_NAME_CHARACTERS]


def _failure(entry: dict[str, Any]) -> Failure:
    return Failure(
        test=_name(entry["test"]),
        place=_name(entry["place"]),
        problem=_name(entry["problem"]),
        text=printable(without_addresses(shortened(entry["text"]))),
        by_tests=False,
    )
