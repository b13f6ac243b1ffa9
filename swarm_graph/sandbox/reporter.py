"""Inside a sandbox: run pytest or unittest as the repository does, and report each result as a line.

The arguments are a descriptor for the lines, the folders of the project's modules, `pytest` or `unittest`,
and the arguments of that. A line is a JSON object with the key `kind`. The code under test runs in the same
process and can write such lines, too: they decide nothing alone (docs/sandbox.md).

Runs on any Python from 3.9 on, and imports nothing of swarm_graph.
"""

from __future__ import annotations

import sys

sys.path[:] = [entry for entry in sys.path if entry]  # no module of the project takes the place of these

import json  # noqa: E402
import os  # noqa: E402
import re  # noqa: E402
import traceback  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

MAX_FAILURES = 200
MAX_TEXT_CHARACTERS = 4000
MAX_PROBLEM_CHARACTERS = 500
NO_TESTS = 5


class Report:
    """Writes lines to a descriptor that no child process inherits."""

    def __init__(self, descriptor: int) -> None:
        os.set_inheritable(descriptor, False)
        self._descriptor, self._process, self._failures = descriptor, os.getpid(), 0
        self._project = str(Path.cwd()) + os.sep

    def send(self, kind: str, **data: Any) -> None:
        if os.getpid() != self._process:
            return  # a copy of the process that a test has forked
        line = json.dumps({"kind": kind, **data}).encode() + b"\n"
        while line:
            line = line[os.write(self._descriptor, line) :]

    def failure(self, test: str, when: str, place: str, problem: str, text: str) -> None:
        """Report why a test failed; after MAX_FAILURES only its outcome is reported."""
        self._failures += 1
        if self._failures <= MAX_FAILURES:
            self.send(
                "failure",
                test=test,
                when=when,
                place=self.inside(place),
                problem=self.inside(problem)[:MAX_PROBLEM_CHARACTERS],
                text=shortened(self.inside(text)),
            )

    def inside(self, text: str) -> str:
        """The text with paths relative to the project."""
        return text.replace(self._project, "")


def shortened(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip(" ^~")]
    text, half = "\n".join(lines), MAX_TEXT_CHARACTERS // 2
    return text if len(text) <= MAX_TEXT_CHARACTERS else f"{text[:half]}\n[...]\n{text[-half:]}"


class PytestPlugin:
    """The plugin of pytest that reports the results. pytest-xdist's workers send theirs to it."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.waiting: set[str] = set()

    def pytest_collection_finish(self, session: Any) -> None:
        self.waiting = {item.nodeid for item in session.items}

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self.report.send("outcome", test=report.nodeid, when="collect", outcome="failed")
            self.explain(report, "collect")

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.report.send("started", test=nodeid)

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "teardown" or report.failed:
            self.waiting.discard(report.nodeid)
        if report.when == "call" or not report.passed:
            self.report.send("outcome", test=report.nodeid, when=report.when, outcome=report.outcome)
        if report.failed:
            self.explain(report, report.when)

    def explain(self, report: Any, when: str) -> None:
        text = report.longreprtext
        errors = [line[1:].strip() for line in text.splitlines() if re.match("E  |E$", line)]
        errors = [line for line in errors if line] or text.strip().splitlines() or ["no reason given"]
        # What ends a collection is the last exception; what a test says is its first line.
        problem = re.sub(r"^AssertionError: ", "", errors[-1 if when == "collect" else 0])
        self.report.failure(report.nodeid, when, self.place(report), problem, text)

    def place(self, report: Any) -> str:
        """Path and line of the innermost frame in the project."""
        chain = getattr(report.longrepr, "reprtraceback", None)
        for entry in reversed(getattr(chain, "reprentries", [])):
            found = getattr(entry, "reprfileloc", None)
            path = Path.cwd() / found.path if found is not None else Path()
            if found is not None and path.is_relative_to(Path.cwd()) and path.is_file():
                return f"{path}:{found.lineno}"
        return str(report.nodeid.partition("::")[0])


def run_pytest(report: Report, own: str, arguments: list[str]) -> tuple[int, int]:
    """Run pytest; returns its exit code, and how many tests it collected and did not run."""
    import pytest

    let_find(own)
    plugin = PytestPlugin(report)
    return int(pytest.main(arguments, plugins=[plugin])), len(plugin.waiting)


def run_unittest(report: Report, own: str, arguments: list[str]) -> tuple[int, int]:
    """As `run_pytest`, for unittest."""
    import unittest

    let_find(own)

    class Result(unittest.TextTestResult):
        def startTest(self, test: Any) -> None:  # noqa: N802
            report.send("started", test=name_of(test))
            super().startTest(test)

        def stopTest(self, test: Any) -> None:  # noqa: N802
            super().stopTest(test)
            report.send("outcome", test=name_of(test), when="call", outcome="passed")

        def addSkip(self, test: Any, reason: str) -> None:  # noqa: N802
            super().addSkip(test, reason)
            report.send("outcome", test=name_of(test), when="call", outcome="skipped")

        def addExpectedFailure(self, test: Any, err: Any) -> None:  # noqa: N802
            super().addExpectedFailure(test, err)
            report.send("outcome", test=name_of(test), when="call", outcome="skipped")

        def addUnexpectedSuccess(self, test: Any) -> None:  # noqa: N802
            super().addUnexpectedSuccess(test)
            self.failed(test, "call", "it was expected to fail, and passed", "")

        def addFailure(self, test: Any, err: Any) -> None:  # noqa: N802
            super().addFailure(test, err)
            self.raised(test, "call", err)

        def addError(self, test: Any, err: Any) -> None:  # noqa: N802
            super().addError(test, err)
            is_loaded = type(test).__name__ not in ("_FailedTest", "_ErrorHolder")
            self.raised(test, "call" if is_loaded else "collect", err)

        def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:  # noqa: N802
            super().addSubTest(test, subtest, err)
            if err is not None:
                self.raised(test, "call", err)

        def raised(self, test: Any, when: str, err: Any) -> None:
            frames = [
                frame for frame in traceback.extract_tb(err[2]) if frame.filename.startswith(str(Path.cwd()))
            ]
            place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""
            text = "".join(traceback.format_exception(*err))
            lines = [line for line in str(err[1]).splitlines() if line.strip()] or [""]
            # The exception of a module that cannot be loaded holds a traceback as its text.
            message = lines[-1] if when == "collect" else lines[0]
            name = "" if issubclass(err[0], AssertionError) or when == "collect" else f"{err[0].__name__}: "
            self.failed(test, when, f"{name}{message}", text, place)

        def failed(self, test: Any, when: str, problem: str, text: str, place: str = "") -> None:
            report.send("outcome", test=name_of(test), when=when, outcome="failed")
            report.failure(name_of(test), when, place or name_of(test), problem, text or problem)

    class Runner(unittest.TextTestRunner):
        def _makeResult(self) -> Any:  # noqa: N802
            return Result(self.stream, self.descriptions, self.verbosity)

    argv = ["python -m unittest", *arguments]
    result = unittest.main(module=None, argv=argv, testRunner=Runner, exit=False).result
    if not result.testsRun and not result.errors and not result.skipped:
        return NO_TESTS, 0
    return (0 if result.wasSuccessful() else 1), 0


def let_find(own: str) -> None:
    """Let the tests, and the processes that they start, import the project's modules."""
    sys.path[:0] = ["", *own.split(os.pathsep)]
    os.environ["PYTHONPATH"] = own


def name_of(test: Any) -> str:
    """The name of a test, or of a module that cannot be loaded."""
    return str(test.id()).replace("unittest.loader._FailedTest.", "")


def main() -> None:
    descriptor, own, runner, *arguments = sys.argv[1:]
    report, leave, flush = Report(int(descriptor)), os._exit, sys.stderr.flush
    sys.argv[1:] = arguments
    try:
        run = run_pytest if runner == "pytest" else run_unittest
        exit_code, left = run(report, own, arguments)
    except ImportError as error:
        if error.name != runner:
            raise
        report.send("unusable", problem=f"this interpreter has no {runner}")
        exit_code, left = NO_TESTS, 0
    report.send("end", exit_code=exit_code, left=left)
    sys.stdout.flush()
    flush()
    leave(exit_code)  # what the code left behind, exit handlers and threads, must not change the exit code


if __name__ == "__main__":
    main()
