"""Read the names and results of tests from the output of a test command, in known formats.

The code under test can print the same lines, so they are hints: the exit code alone decides.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress

_LINES = (
    re.compile(r"^test (?P<name>\S+) \.\.\. (?P<result>ok|FAILED|ignored)\b"),  # cargo
    re.compile(r"^(?P<result>ok|not ok) \d+ (?:- )?(?P<name>[^#\n]+?)(?P<skip>\s+# SKIP.*)?$", re.I),  # TAP
    re.compile(r"^\s*\d+/\d+ Test\s+#\d+: (?P<name>\S+) \.*\s*(?P<result>Passed|\*\*\*\S+)"),  # ctest
    re.compile(r"^(?P<result>PASSED|FAILED|ERROR|SKIPPED) (?P<name>\S+::\S+)"),  # pytest -rA
    re.compile(r"^(?P<name>\S+::\S+) (?P<result>PASSED|FAILED|ERROR|SKIPPED)\b"),  # pytest -v
    re.compile(r"^(?P<name>test\w* \([\w.]+\)).* \.\.\. (?P<result>ok|FAIL|ERROR|skipped)\b"),  # unittest -v
    re.compile(r"^(?P<result>FAIL|ERROR): (?P<name>test\w* \([\w.]+\))"),  # unittest
    re.compile(
        r"^\s*(?P<result>[✓✔√✕✗✖\u00d7○]) (?P<name>.+?[^:\s])(?: \(\d+(?:\.\d+)? ?m?s\))?$"
    ),  # jest, node, mocha
    re.compile(r"^\[\s*(?P<result>OK|FAILED)\s*\] (?P<name>[\w./]+)"),  # GoogleTest
)
_PASSED = ("ok", "passed", "✓", "✔", "√")
_SKIPPED = ("ignored", "skipped", "skip", "○")
_GO = {"pass": "passed", "fail": "failed", "skip": "skipped"}


def results_in(output: str) -> dict[str, str]:
    """Each test that an output names, as passed, failed or skipped; empty if no known format is found."""
    results: dict[str, str] = {}
    for line in output.splitlines():
        for name, result in _read(line):
            # A test that is named twice has failed if one of its lines says so.
            if results.get(name) != "failed":
                results[name] = result
    return results


def _read(line: str) -> Iterator[tuple[str, str]]:
    if line.startswith("{"):
        yield from _of_go(line)
        return
    for form in _LINES:
        if found := form.match(line):
            result = found["result"].lower()
            skipped = result in _SKIPPED or ("skip" in form.groupindex and found["skip"])
            yield found["name"].strip(), "skipped" if skipped else "passed" if result in _PASSED else "failed"
            return


def _of_go(line: str) -> Iterator[tuple[str, str]]:
    """A line of `go test -json`."""
    with suppress(ValueError, RecursionError):
        event = json.loads(line)
        match event:
            case {"Action": str(action), "Package": str(package), "Test": str(test)} if action in _GO:
                yield f"{package}.{test}", _GO[action]
