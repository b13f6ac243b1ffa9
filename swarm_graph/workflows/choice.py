"""Which of several candidates is the best: those that pass the same tests form a group, and groups compete.

The groups are CodeT's (arXiv 2207.10397), which multiplies the candidates in a group and the tests that they
pass. Its authors had a hundred candidates and as many tests. With four candidates of a weak model, wrong code
that is wrong in the same way outvotes the right one: there a sum does better, in which tests weigh more. Of
a strong model the sum chooses about as well as the product (`benchmarks/candidates.py` compares the rules).
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from swarm_graph.roles.syntax import syntax_problem
from swarm_graph.sandbox.evidence import evidence_line
from swarm_graph.state import Evidence
from swarm_graph.text import format_count

PASSED = "passed"
SKIPPED = "skipped"
AGREEMENT = 0.5
"""What one more candidate in a group counts for, in tests passed."""
ALL = 1
"""What it counts for that a group passes every test, in tests passed."""
_WITH_DOCSTRING = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class Tried:
    """A candidate, and what its test run showed.

    Attributes:
        number: Its number.
        code: Path to text.
        evidence: The evidence of its test run.
        results: The names of the tests by result.
    """

    number: int
    code: Mapping[str, str]
    evidence: Evidence
    results: Mapping[str, list[str]]

    @property
    def passed(self) -> frozenset[str]:
        """The tests that it passes."""
        return frozenset(self.results.get(PASSED, ()))

    @property
    def is_complete(self) -> bool:
        """Whether its test run came to its end, so that every test has a result."""
        return self.evidence["outcome"] in ("passed", "failed", "broken") and not self.evidence["reason"]

    @property
    def parses(self) -> bool:
        """Whether it has code, and every file of it parses."""
        texts = self.code.items()
        return any(map(str.strip, self.code.values())) and not any(syntax_problem(*one) for one in texts)


class Choice(NamedTuple):
    """The best candidate.

    Attributes:
        best: It.
        groups: The groups, the best first; the numbers of the candidates in each.
        reason: Why it was chosen, in words.
    """

    best: Tried
    groups: list[list[int]]
    reason: str


def choose(tried: Sequence[Tried]) -> Choice:
    """The best of several candidates.

    Where a candidate passes a test, those that pass the same tests form a group. Where none does, or no test
    ran, those form a group that have the same code, apart from comments, docstrings and layout.

    1. The number of tests passed decides, and half a test for each candidate in the group, and one more for
       a group that passes every test; then the larger group, then code that parses, then the lowest number.
    2. In the group, code that parses comes before other code, then what most of the group have written, then
       the lowest number.

    Tests that every candidate skips do not count.

    Args:
        tried: The candidates that have code, by number.
    """
    results = [found for one in tried for found in one.results.items()]
    tests = {test for result, names in results if result != SKIPPED for test in names}
    by_tests = any(one.passed for one in tried)
    written = {one.number: same_code(one.code) for one in tried}
    groups = _groups(tried, (lambda one: one.passed) if by_tests else (lambda one: written[one.number]))
    ordered = sorted(groups, key=lambda group: _rank(group, len(tests)))
    first = ordered[0]
    copies = Counter(written[one.number] for one in first)
    best = min(first, key=lambda one: (not one.parses, -copies[written[one.number]], one.number))
    reason = (
        _by_tests(first, tried, len(tests))
        if by_tests
        else _by_agreement(best, len(first), len(tried), bool(tests))
    )
    return Choice(best, [[one.number for one in group] for group in ordered], reason)


def _groups(tried: Sequence[Tried], key: Callable[[Tried], Hashable]) -> list[list[Tried]]:
    groups: dict[Hashable, list[Tried]] = {}
    for one in tried:
        groups.setdefault(key(one), []).append(one)
    return list(groups.values())


def _rank(group: Sequence[Tried], tests: int) -> tuple[object, ...]:
    """Sorts groups, the best first."""
    parses = any(one.parses for one in group)
    score = len(group[0].passed) + AGREEMENT * len(group) + ALL * _all_pass(group, tests)
    return -score, -len(group), not parses, group[0].number


def _all_pass(group: Sequence[Tried], tests: int) -> bool:
    return len(group[0].passed) == tests and group[0].evidence["outcome"] == PASSED


def _by_tests(group: Sequence[Tried], tried: Sequence[Tried], tests: int) -> str:
    agree = f"{len(group)} of {len(tried)} candidates pass" if len(group) > 1 else "it alone passes"
    passed, evidence = len(group[0].passed), group[0].evidence
    if _all_pass(group, tests):
        return f"{agree} {'the one test' if tests == 1 else f'all {tests} tests'}"
    same = "the same " if len(group) > 1 else ""
    if passed < tests:
        return f"{agree} {same}{passed} of {tests} tests"
    return f"{agree} {same}{format_count(passed, 'test')} ({failure_reason(evidence)})"


def _by_agreement(best: Tried, same: int, candidates: int, has_results: bool) -> str:
    why = "no candidate passes a test" if has_results else f"no tests chose: {failure_reason(best.evidence)}"
    agree = f"{same} of {candidates} candidates have the same code" if same > 1 else "no two are alike"
    return f"{why}; {agree}"


def failure_reason(evidence: Evidence) -> str:
    """Why a test run did not pass: its reason, else a failure (of the tests themselves, if there is one)."""
    if evidence["reason"] or not evidence["failures"]:
        return evidence["reason"] or evidence_line(evidence)
    failure = max(evidence["failures"], key=lambda failure: failure["by_tests"])
    return f"{failure['test']}: {failure['problem']}"


def same_code(code: Mapping[str, str]) -> Hashable:
    """What is equal for code that does the same: Python without comments, docstrings and layout."""
    return tuple(sorted((path, _normalized(path, text)) for path, text in code.items()))


def _normalized(path: str, text: str) -> str:
    if not path.endswith(".py"):
        return text.strip()
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return text.strip()
    for node in ast.walk(tree):
        if isinstance(node, _WITH_DOCSTRING) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
    return ast.dump(tree)
