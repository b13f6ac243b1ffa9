"""Check a suite: its references pass the hidden tests, and its wrong answers and planted bugs fail them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

from swarm_graph.errors import SandboxError
from swarm_graph.sandbox.runner import run_tests
from swarm_graph.settings import Execution
from swarm_graph.suites.case import FINDINGS, Case, Suite

MAX_ANSWERS = 100
"""How many answers are tried in one run of the sandbox."""
SECONDS_TO_START = 30.0
ALL_TESTS = "test_answers.py"
_NUMBER = re.compile(r"\[(\d+)\]$")


@dataclass(frozen=True)
class Answer:
    """An answer to a case, with tests that it must pass, or must not.

    Attributes:
        case: The case.
        what: What it is, for people: `the reference`, `wrong answer 2`.
        files: Path to text.
        tests: Path to text.
        must_pass: Whether all tests must pass; otherwise one must fail.
    """

    case: Case
    what: str
    files: Mapping[str, str]
    tests: Mapping[str, str]
    must_pass: bool

    @property
    def problem(self) -> str:
        """The line that says that it does not do what it must."""
        tests = "visible" if self.tests is self.case.visible else "hidden"
        done = f"does not pass the {tests} tests" if self.must_pass else f"passes the {tests} tests"
        return f"{self.case.id}: {self.what} {done}"


def check_suite(suite: Suite, execution: Execution) -> list[str]:
    """What is wrong with a suite, one line for each problem; empty if nothing is.

    Args:
        suite: The suite.
        execution: The section `execution` of the config: it chooses the sandbox and the interpreter.

    Raises:
        SandboxError: The tests could not be run.
        ConfigError: `execution.python` cannot be used.
    """
    unproven = [f"{case.id} has no reference solution" for case in suite.cases if not _has_reference(case)]
    answers = [answer for case in suite.cases for answer in _answers(case)]
    return unproven + [answer.problem for answer in unexpected(answers, execution)]


def unexpected(answers: Sequence[Answer], execution: Execution) -> list[Answer]:
    """The answers that do not do what they must. Many are tried in one run of the sandbox.

    Raises:
        SandboxError: The tests could not be run.
        ConfigError: `execution.python` cannot be used.
    """
    found = []
    for start in range(0, len(answers), MAX_ANSWERS):
        found += _unexpected(answers[start : start + MAX_ANSWERS], execution)
    return found


def _unexpected(answers: Sequence[Answer], execution: Execution) -> list[Answer]:
    data = [
        {
            "files": dict(answer.files),
            "tests": dict(answer.tests),
            "seconds": answer.case.seconds,
            "must_pass": answer.must_pass,
        }
        for answer in answers
    ]
    driver = resources.files("swarm_graph.suites").joinpath("answers_inside.py").read_text("utf-8")
    code, tests = {"answers.json": json.dumps(data)}, {ALL_TESTS: driver}
    evidence = run_tests(code, tests, _generous(answers, execution))
    if evidence["outcome"] == "passed":
        return []
    numbers = [_NUMBER.search(failure["test"]) for failure in evidence["failures"]]
    if evidence["outcome"] != "failed" or None in numbers or not numbers:
        reason = evidence["reason"] or evidence["output"] or evidence["outcome"]
        raise SandboxError(f"the answers of the suite could not be tried: {' '.join(reason.split())}")
    if evidence["failed"] == len(numbers):
        return [answers[int(number[1])] for number in numbers if number]
    half = len(answers) // 2  # the evidence names the first failures only
    return _unexpected(answers[:half], execution) + _unexpected(answers[half:], execution)


def _generous(answers: Sequence[Answer], execution: Execution) -> Execution:
    """The settings of a run that tries many answers."""
    packages = sorted({package for answer in answers for package in answer.case.packages})
    seconds = SECONDS_TO_START + sum(answer.case.seconds for answer in answers)
    limits = execution.limits.model_copy(update={"seconds": seconds})
    own = {"mode": "required", "command": [], "packages": packages, "limits": limits}
    return execution.model_copy(update=own)


def _has_reference(case: Case) -> bool:
    return bool(case.solution) or case.is_clean


def _answers(case: Case) -> Iterator[Answer]:
    """The answers that prove a case."""
    if case.hidden and case.solution:
        yield Answer(case, "the reference", _with_shown(case, case.solution), case.hidden, must_pass=True)
    if case.visible and case.solution:
        yield Answer(case, "the reference", case.solution, case.visible, must_pass=True)
    if case.hidden and (case.is_clean or case.planted):
        what = "the clean code" if case.is_clean else "the code with the planted bug"
        yield Answer(case, what, case.shown, case.hidden, must_pass=case.is_clean)
    if not case.planted and not case.is_clean:
        for number, files in enumerate(case.wrong, 1):
            yield Answer(
                case, f"wrong answer {number}", _with_shown(case, files), case.hidden, must_pass=False
            )


def _with_shown(case: Case, files: Mapping[str, str]) -> dict[str, str]:
    """The files as the hidden tests of the case see them."""
    is_of_findings = case.assignment == "review" and not case.planted and not case.is_clean
    return {FINDINGS: "[]", **files} if not is_of_findings else dict(files)
