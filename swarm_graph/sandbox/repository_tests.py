"""Run a repository's own tests in a sandbox, on a copy, and return the evidence."""

from __future__ import annotations

import re
import threading
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from swarm_graph.errors import ConfigError, SandboxError
from swarm_graph.repository.snapshot import Snapshot
from swarm_graph.repository.test_commands import CONFIGURED, BaseFiles, TestCommand
from swarm_graph.repository.test_settings import judging_settings, source_folders
from swarm_graph.sandbox.choice import sandbox_for_tests
from swarm_graph.sandbox.command_output import results_in
from swarm_graph.sandbox.evidence import make_evidence
from swarm_graph.sandbox.interpreter import any_interpreter, outermost
from swarm_graph.sandbox.job import MAX_CHARACTERS, limits_of, module, program, run_job, without_addresses
from swarm_graph.sandbox.project_copy import ProjectCopy, pieces
from swarm_graph.sandbox.protocol import Finished, Limits, Sandbox
from swarm_graph.sandbox.report import RESULTS, Report
from swarm_graph.sandbox.testlog import exit_text, stop_outcome
from swarm_graph.settings import Execution
from swarm_graph.state import Evidence, Failure, Outcome
from swarm_graph.text import format_count, printable

_LACKS_PACKAGES = re.compile(r"No module named|No package metadata|unrecognized arguments|no pytest")
READY = b"ready\n"
MAX_FAILURES = 10
MAX_RESULTS = 20_000
"""The most tests that are kept by name; all are counted."""
NO_TESTS_COLLECTED = 5
_OF_A_TEST = (
    "ImportError",
    "ModuleNotFoundError",
    "NameError",
    "SyntaxError",
    "IndentationError",
    "fixture '",
    "async def functions are not natively",
)
"""The beginnings of problems that show a fault of the test, not of the code."""


def run_repository_tests(
    snapshot: Snapshot,
    changed: Mapping[str, bytes],
    deleted: Collection[str],
    command: TestCommand,
    settings: Execution,
    cancelled: threading.Event | None = None,
    *,
    tests: Collection[str] = (),
    modes: Mapping[str, str] = {},
) -> Evidence:
    """Run a repository's tests on a copy of a commit with a change, and return the evidence.

    If they cannot be run, the outcome is `not_run` with the reason.

    Args:
        snapshot: The base commit.
        changed: The files that the change wrote, as bytes; empty for the tests of the base commit.
        deleted: The paths that the change deletes.
        command: What runs the tests, found in the base commit.
        settings: The section `execution` of the config.
        cancelled: Stops the test run when another thread sets it.
        tests: The paths that the tester wrote: a failure there may be the test's own fault.
        modes: The modes of changed files that differ from what the commit has.

    Raises:
        SandboxError: The tests could not be started, or `settings.mode` is required and they cannot be run.
        ConfigError: `settings.python` or `settings.readable` cannot be used.
        RepositoryError: Git cannot read the commit.
    """
    sandbox, reason = sandbox_for_tests(settings)
    if sandbox is None:
        return make_evidence("not_run", reason=reason)
    judging = judging_settings(BaseFiles(snapshot), changed, deleted, command)
    project = ProjectCopy(snapshot, judging.changed, judging.deleted, modes)
    run = _RepositoryRun(project, command, settings, sandbox, judging.notes)
    return _blamed(run.evidence(cancelled), tests)


class _RepositoryRun:
    """One run of a repository's tests."""

    def __init__(
        self,
        copy: ProjectCopy,
        command: TestCommand,
        settings: Execution,
        sandbox: Sandbox,
        notes: list[str],
    ) -> None:
        self.copy, self.command, self.notes = copy, command, notes
        self.settings, self.sandbox = settings, sandbox
        self.has_reporter = _has_reporter(command)
        self.paths = source_folders(copy.base, copy.files)
        self.readable = [_existing(folder) for folder in settings.readable]
        modules = next((folder for folder in self.readable if Path(folder).name == "node_modules"), "")
        if modules and "package.json" in self.copy.files:
            self.copy.link("node_modules", modules)

    def evidence(self, cancelled: threading.Event | None) -> Evidence:
        if self.copy.problem:
            return self._not_run(self.copy.problem)
        python = any_interpreter(self.settings.python)
        python = replace(python, folders=(*python.folders, *outermost(self.readable)))
        with closing(self.copy.archive()) as archive:
            ran = run_job(self._job(), pieces(archive), self.sandbox, python, self._limits(), cancelled)
        return self._read(ran.finished)

    def _job(self) -> dict[str, Any]:
        """The job for `inside.py`, which hands it to `inside_copy.py`."""
        pytest, unittest = self.command.pytest_arguments, self.command.unittest_arguments
        runner = "pytest" if pytest is not None else "unittest" if unittest is not None else ""
        arguments = _every_result(pytest) if pytest is not None else unittest
        has_own_environment = self.settings.python is not None or self.sandbox.disk == "hidden"
        return {
            "command": list(self.command.arguments if arguments is None else arguments),
            "runner": runner,
            "reporter": program("reporter") if runner else "",
            "paths": self.paths,
            "programs": [str(folder) for folder in map(_programs, self.readable) if folder],
            "plugins": has_own_environment,
            "ready": READY.decode(),
            "modules": {"inside_copy": module("inside_copy")},
        }

    def _limits(self) -> Limits:
        """The limits of the settings, and room for the copy; where files lie in memory, there too."""
        limits, size = limits_of(self.settings.limits), self.copy.size
        return replace(
            limits,
            disk=limits.disk + size,
            files=limits.files + 2 * len(self.copy.files),
            memory=limits.memory + (0 if self.sandbox.disk == "host" else size),
        )

    def _read(self, finished: Finished) -> Evidence:
        """The evidence of a finished run."""
        output = printable(without_addresses(finished.stderr.decode(errors="replace").strip()))
        report = Report(finished.stdout.removeprefix(READY))
        if not finished.stdout.startswith(READY):
            return self._not_started((output.splitlines() or [finished.stopped or "it printed nothing"])[-1])
        if report.unusable:
            return self._not_run(report.unusable)
        if not self.has_reporter:
            report.results = results_in(output)
        outcome, reason = _judged(report, finished) if self.has_reporter else _by_exit_code(finished)
        failures = report.failures if self.has_reporter else _named_failures(report, outcome)
        return make_evidence(
            outcome,
            exit_code=finished.exit_code,
            seconds=round(finished.seconds, 3),
            sandbox=self.sandbox.name,
            reason="; ".join(filter(None, [reason, *self._notes(outcome)])),
            failures=failures,
            output="" if failures or outcome == "passed" else output[-MAX_CHARACTERS:],
            rests_on=self._rests_on(),
            results=_by_result(report.results),
            by_report=self.has_reporter,
            ended=report.exit_code is not None and not report.left and not finished.stopped,
            **report.counts(),
        )

    def _notes(self, outcome: Outcome) -> list[str]:
        notes = self.notes if outcome == "passed" else [*self.notes, self.command.note]
        return [printable(note) for note in notes]

    def _not_started(self, cause: str) -> Evidence:
        reason = f"{self.sandbox.name} did not start the tests: {cause}"
        if self.settings.mode == "required":
            raise SandboxError(reason)
        return self._not_run(reason)

    def _not_run(self, reason: str) -> Evidence:
        return make_evidence("not_run", reason=reason, rests_on=self._rests_on())

    def _rests_on(self) -> str:
        return rests_on(self.command, self.settings)


def _every_result(pytest: Sequence[str]) -> list[str]:
    """The arguments of pytest, with options that make one failure hide no other test."""
    options = ["--continue-on-collection-errors", "--maxfail=0", "--color=no", "--tb=short"]
    end = pytest.index("--") if "--" in pytest else len(pytest)
    return [*pytest[:end], *options, *pytest[end:]]


def _judged(report: Report, finished: Finished) -> tuple[Outcome, str]:
    """The outcome of a run with a report, and the reason for it: report and exit code must agree."""
    where = f", in {report.running}" if report.running else ""
    if finished.stopped:
        return stop_outcome(finished), f"it {finished.stopped}{where}"
    if report.exit_code is None:
        ending = exit_text(finished.exit_code)
        if finished.exit_code == 0:
            return "tampered", f"its process ended with {ending} before the tests were over{where}"
        return "failed", f"its process ended with {ending}{where}"
    if report.exit_code != finished.exit_code:
        return "tampered", f"the report says exit code {report.exit_code}, not {finished.exit_code}"
    if report.foreign:
        return "tampered", "something else wrote to the report"
    if report.left:
        outcome: Outcome = "tampered" if finished.exit_code == 0 else "failed"
        return (
            outcome,
            f"it ended before {format_count(report.left, 'test')} that it collected had run{where}",
        )
    results = set(report.results.values())
    if {"failed", "errored"} & results:
        return "failed", ""
    if finished.exit_code == NO_TESTS_COLLECTED or (finished.exit_code == 0 and "passed" not in results):
        return "no_tests", ""
    if finished.exit_code == 0:
        return "passed", ""
    return "failed", f"no test failed, and yet it ended with {exit_text(finished.exit_code)}"


def rests_on(command: TestCommand, settings: Execution) -> str:
    """What the outcome of a test run rests on: runs that rest on the same can be compared."""
    report = "exit code and report" if _has_reporter(command) else "exit code"
    found = "" if command.found_by == CONFIGURED else f", found by {command.found_by}"
    python = f", with the Python of {settings.python}" if settings.python else ""
    return printable(f"the {report} of `{command.text}`{found}{python}")


def _has_reporter(command: TestCommand) -> bool:
    return command.pytest_arguments is not None or command.unittest_arguments is not None


def _by_exit_code(finished: Finished) -> tuple[Outcome, str]:
    """The outcome of a command without a report: its exit code alone decides."""
    if finished.stopped:
        return stop_outcome(finished), f"it {finished.stopped}"
    return "passed" if finished.exit_code == 0 else "failed", ""


def _named_failures(report: Report, outcome: Outcome) -> list[Failure]:
    """The failing tests that the output names; none if the exit code says that all passed."""
    names = [name for name, result in report.results.items() if result == "failed"]
    return [
        Failure(test=name, place="", problem="failed, as the output says", text="", by_tests=False)
        for name in names
        if outcome != "passed"
    ]


def _by_result(results: Mapping[str, str]) -> dict[str, list[str]]:
    if len(results) > MAX_RESULTS:
        results = {name: result for name, result in results.items() if result in ("failed", "errored")}
    return {kind: [name for name, result in results.items() if result == kind] for kind in RESULTS}


def _blamed(evidence: Evidence, tests: Collection[str]) -> Evidence:
    """The evidence, with the failures marked that are the fault of tests that the tester wrote."""
    for failure in evidence["failures"]:
        path = failure["place"].partition(":")[0]
        failure["by_tests"] = path in tests and failure["problem"].startswith(_OF_A_TEST)
    return evidence


def _existing(folder: str) -> str:
    path = Path(folder).expanduser().absolute()
    if not path.is_dir():
        raise ConfigError(f"execution.readable: '{folder}' is not a folder; name one that exists")
    return str(path)


def _programs(folder: str) -> Path | None:
    """The folder of programs in a folder that was lent, or the folder itself."""
    path = Path(folder)
    return next((found for found in (path / "bin", path / ".bin") if found.is_dir()), None) or (
        path if path.name == "bin" else None
    )


def lending_cure(found: Evidence, folder: Path, settings: Execution) -> str:
    """The cure for packages that the tests lack; empty if they lack none.

    Args:
        found: The tests on the base commit.
        folder: The user's working tree.
        settings: The section `execution` of the config.
    """
    texts = [found["output"], *(failure["text"] for failure in found["failures"])]
    if not any(map(_LACKS_PACKAGES.search, texts)):
        return ""
    if found["sandbox"] in ("docker", "podman"):
        return f"install what is missing in the image '{settings.image}'"
    if settings.python:
        return f"install what is missing in '{settings.python}' (execution.python)"
    own = next(
        (path for path in (folder / ".venv", folder / "venv") if (path / "pyvenv.cfg").is_file()), None
    )
    return f"lend its environment: set execution.python to {own or 'the folder of its virtual environment'}"
