"""Makes the test results of several candidates comparable: no candidate's code decides what is counted.

The code runs in the process of its tests. It can add tests to the test file that imports it, and tests may
take their cases from it (`@pytest.mark.parametrize("color", list(Color))`). Without this, the candidate with
more of them would pass more tests than the others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from swarm_graph.workflows.choice import PASSED, Tried

_WORST_FIRST = ("errored", "failed", "skipped", PASSED)


def comparable(tried: Sequence[Tried], tests: Mapping[str, str]) -> list[Tried]:
    """The candidates with the results that count.

    A test counts if the test files name it. The cases of a test count as one where they are not the same for
    every candidate whose test run came to its end.

    Args:
        tried: The candidates with the results of their test runs.
        tests: The test files, path to text.
    """
    words = set(re.findall(r"\w+", "\n".join(tests.values())))
    named = [
        replace(one, results={result: _named(found, tests, words) for result, found in one.results.items()})
        for one in tried
    ]
    differing = _differing(named)
    return [replace(one, results=_joined(one, differing)) for one in named]


def _named(found: Iterable[str], tests: Mapping[str, str], words: set[str]) -> list[str]:
    """Those of the tests whose file, class and function stand in the test files."""
    parts = {test: _function(test).split("::") for test in found}
    return [test for test, (path, *names) in parts.items() if path in tests and words.issuperset(names)]


def _function(test: str) -> str:
    """The test without its case: `tests/test_a.py::test_b` for `tests/test_a.py::test_b[1]`."""
    return test.partition("[")[0]


def _differing(tried: Sequence[Tried]) -> set[str]:
    """The tests whose cases differ among the candidates."""
    cases: dict[str, set[frozenset[str]]] = {}
    for one in tried:
        found: dict[str, set[str]] = {}
        for names in one.results.values() if one.is_complete else ():
            for test in names:
                found.setdefault(_function(test), set()).add(test)
        for function, own in found.items():
            cases.setdefault(function, set()).add(frozenset(own))
    return {function for function, sets in cases.items() if len(sets) > 1}


def _joined(one: Tried, differing: set[str]) -> dict[str, list[str]]:
    """The results of a candidate, where each of these tests has one result: the worst of its cases."""
    joined: dict[str, list[str]] = {}
    worst: dict[str, str] = {}
    for result in _WORST_FIRST:
        for test in one.results.get(result, ()):
            if (function := _function(test)) in differing:
                worst.setdefault(function, result)
            else:
                joined.setdefault(result, []).append(test)
    for function, result in worst.items():
        if result != PASSED or one.is_complete:
            joined.setdefault(result, []).append(function)
    return joined
