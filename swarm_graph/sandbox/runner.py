"""Run a project's tests in a sandbox and return the evidence."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from swarm_graph.errors import SandboxError
from swarm_graph.sandbox.choice import choose, sandbox_for_tests
from swarm_graph.sandbox.evidence import make_evidence
from swarm_graph.sandbox.interpreter import any_interpreter, interpreter
from swarm_graph.sandbox.job import MAX_CHARACTERS, limits_of, module, run_job, shortened, without_addresses
from swarm_graph.sandbox.protocol import Finished, Sandbox
from swarm_graph.sandbox.testlog import Entry, TestLog, read_test_log, signed, stop_outcome
from swarm_graph.settings import Execution
from swarm_graph.state import Evidence, Failure, Outcome


def run_tests(
    code: Mapping[str, str],
    tests: Mapping[str, str],
    settings: Execution,
    cancelled: threading.Event | None = None,
    *,
    with_results: bool = False,
) -> Evidence:
    """Run a project's tests on its code and return the evidence.

    If the tests cannot be run, the outcome is `not_run` with the reason.

    Args:
        code: Path to text.
        tests: Path to text; a test file replaces a file of the code with the same path.
        settings: The section `execution` of the config.
        cancelled: Stops the test run when another thread sets it.
        with_results: Whether the evidence names each test by its result; those of pytest only.

    Raises:
        SandboxError: The tests could not be started, or `settings.mode` is required and they cannot be run.
        ConfigError: `settings.python` cannot be used.
    """
    if settings.mode != "off" and (reason := _nothing_to_run(code, tests, settings)):
        return make_evidence("not_run", reason=reason)
    sandbox, reason = sandbox_for_tests(settings)
    if sandbox is None:
        return make_evidence("not_run", reason=reason)
    return _TestRun(code, tests, settings, sandbox, with_results=with_results).run(cancelled)


def check_execution(settings: Execution, *, needs_pytest: bool = True) -> None:
    """Fail before any model is called if the tests can never be run as the settings demand.

    Args:
        settings: The section `execution` of the config.
        needs_pytest: Whether the interpreter must have pytest; a repository's own tests may need none.

    Raises:
        ConfigError: `settings.python` cannot be used.
        SandboxError: `settings.mode` is required and no sandbox works on this machine.
    """
    if settings.mode != "off" and settings.python:
        (interpreter if needs_pytest else any_interpreter)(settings.python)
    if settings.mode == "required":
        choose(settings)


def _nothing_to_run(code: Mapping[str, str], tests: Mapping[str, str], settings: Execution) -> str:
    if not tests:
        return "there are no tests"
    if settings.command or any(path.endswith(".py") for path in [*code, *tests]):
        return ""
    return "nothing here is Python; set execution.command for other languages"


class _TestRun:
    """One test run: its project, its sandbox, and the key that signs its test log."""

    def __init__(
        self,
        code: Mapping[str, str],
        tests: Mapping[str, str],
        settings: Execution,
        sandbox: Sandbox,
        *,
        with_results: bool = False,
    ) -> None:
        self.settings, self.sandbox, self.with_results = settings, sandbox, with_results
        self.limits = limits_of(settings.limits)
        self.key = secrets.token_bytes(32)
        self.job: dict[str, Any] = {
            "code": self._allowed(code, tests),
            "tests": dict(tests),
            "command": settings.command,
            "packages": settings.allowed_packages,
            "ready": signed({"kind": "ready"}, self.key),
            "modules": {name: module(name) for name in ("marks", "judged")},
        }

    def _allowed(self, code: Mapping[str, str], tests: Mapping[str, str]) -> dict[str, str]:
        """The code without what steers pytest, which only the tests may do.

        A conftest.py is left out. The `__init__.py` of a folder of tests is empty: loading the tests runs it.
        """
        if self.settings.command:
            return dict(code)
        allowed = {path: text for path, text in code.items() if PurePosixPath(path).name != "conftest.py"}
        for folder in {PurePosixPath(path).parent for path in tests}:
            if folder.name in ("test", "tests") and f"{folder}/__init__.py" in allowed:
                allowed[f"{folder}/__init__.py"] = ""
        return allowed

    def _has_code(self) -> bool:
        code, tests = self.job["code"], self.job["tests"]
        return any(text.strip() for path, text in code.items() if path not in tests)

    def run(self, cancelled: threading.Event | None) -> Evidence:
        python = interpreter(self.settings.python)
        ran = run_job(self.job, [self.key], self.sandbox, python, self.limits, cancelled)
        return self._evidence(*ran)

    def _evidence(self, finished: Finished, project: str) -> Evidence:
        """The evidence of a finished test run; `project` is the path of its folder, with a slash."""
        entries, genuine = read_test_log(finished.stdout, self.key)
        entries = [_relative(entry, project) for entry in entries]
        output = without_addresses(finished.stderr.decode(errors="replace").strip())[-MAX_CHARACTERS:]
        fields = {
            "exit_code": finished.exit_code,
            "seconds": round(finished.seconds, 3),
            "sandbox": self.sandbox.name,
        }
        if not any(entry["kind"] == "ready" for entry in entries):
            cause = output.splitlines()[-1] if output else finished.stopped or "it printed nothing"
            reason = f"{self.sandbox.name} did not start the tests: {cause}"
            if self.settings.mode == "required":
                raise SandboxError(reason)
            return make_evidence("not_run", **{**fields, "reason": reason})
        if self.settings.command:
            return _command_evidence(finished, fields, output)
        test_log = TestLog(entries, genuine=genuine, has_code=self._has_code())
        evidence = _pytest_evidence(test_log, finished, fields, output)
        if self.with_results and evidence["outcome"] not in ("tampered", "not_run"):
            evidence["results"] = test_log.results()
        return evidence


def _command_evidence(finished: Finished, fields: Mapping[str, Any], output: str) -> Evidence:
    """The evidence of a command for another language: only its exit code and output are known."""
    if finished.stopped:
        reason = f"it {finished.stopped}"
        return make_evidence(stop_outcome(finished), **{**fields, "reason": reason, "output": output})
    outcome: Outcome = "passed" if finished.exit_code == 0 else "failed"
    return make_evidence(outcome, **{**fields, "output": output})


def _pytest_evidence(
    test_log: TestLog, finished: Finished, fields: Mapping[str, Any], output: str
) -> Evidence:
    if unusable := test_log.last("unusable"):
        return make_evidence("not_run", **{**fields, "reason": str(unusable["problem"])})
    outcome, reason = test_log.judge(finished)
    failures = [_failure(entry) for entry in test_log.failures()]
    needs_output = outcome in ("failed", "broken") and finished.exit_code != 0 and not failures
    details = {"failures": failures, "reason": reason, "output": output if needs_output else ""}
    return make_evidence(outcome, **{**fields, **test_log.counts(), **details})


def _failure(entry: Entry) -> Failure:
    return Failure(
        test=str(entry["test"]),
        place=str(entry["place"]),
        problem=without_addresses(str(entry["problem"])),
        text=without_addresses(shortened(str(entry["text"]))),
        by_tests=bool(entry["by_tests"]),
    )


def _relative(entry: Entry, project: str) -> Entry:
    """The entry with paths relative to the project's folder."""
    return {
        key: value.replace(project, "") if isinstance(value, str) else value for key, value in entry.items()
    }
