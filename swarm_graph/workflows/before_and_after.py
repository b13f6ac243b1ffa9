"""Run a repository's own tests before and after a change: on the base commit and on the changed files."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from swarm_graph.repository.files import RepositoryFiles
from swarm_graph.repository.snapshot import Snapshot, snapshot
from swarm_graph.repository.test_commands import PYTEST, BaseFiles, TestCommand, find_test_command
from swarm_graph.repository.test_places import is_python_test
from swarm_graph.sandbox.comparison import baseline, compared, passed_alone
from swarm_graph.sandbox.evidence import make_evidence
from swarm_graph.sandbox.repository_tests import lending_cure, rests_on, run_repository_tests
from swarm_graph.settings import Execution
from swarm_graph.state import ChangeState, Evidence, changed_texts

MAX_RUN_AGAIN = 10
SHARE_OF_LIMIT = 1 / 3
"""New failures are run again if all tests together took at most this share of the time limit."""


class ChangeTests(NamedTuple):
    """The result of the tests of a change.

    Attributes:
        evidence: The tests that the change broke, and those that were broken before.
        baseline: The tests on the base commit.
    """

    evidence: Evidence
    baseline: Evidence


def run_change_tests(
    state: ChangeState, settings: Execution, cancelled: threading.Event | None = None
) -> ChangeTests:
    """Run the repository's own tests on the changed files; on the base commit, too, unless that is known.

    Args:
        state: The state of the session.
        settings: The section `execution` of the config.
        cancelled: Stops the test runs when another thread sets it.

    Raises:
        SandboxError: The tests could not be started, or are required and cannot be run.
        ConfigError: `settings.python` cannot be used.
        InputError: The repository is gone.
        RepositoryError: Git cannot read the commit.
    """
    repo = state["repo"]
    base = snapshot(repo["path"], repo["base"])
    files = RepositoryFiles(repo, changed_texts(state), state.get("deleted", []))
    change = _Change(files.encoded(), files.deleted, list(state.get("tests", {})), files)
    command = _command(base, change.written, settings)
    if command is None:
        reason = "no tests are found in the repository; name their command in execution.command"
        return ChangeTests(make_evidence("not_run", reason=reason), make_evidence("no_tests"))
    run = _Runs(base, command, settings, cancelled)
    before = state.get("baseline")
    if before is None or not run.can_compare_with(before):
        before = run.before()
    if before["outcome"] == "not_run" and before["exit_code"] is None:
        return ChangeTests(before, before)
    return ChangeTests(run.after(before, change), before)


class _Change(NamedTuple):
    """A change: the files as bytes, the deleted paths, and the paths that the tester wrote."""

    written: dict[str, bytes]
    deleted: list[str]
    tests: list[str]
    files: RepositoryFiles

    @property
    def modes(self) -> dict[str, str]:
        return {path: self.files.mode(path) for path in self.written}


class _Runs(NamedTuple):
    """The runs of a repository's tests in one round."""

    base: Snapshot
    command: TestCommand
    settings: Execution
    cancelled: threading.Event | None

    def can_compare_with(self, before: Evidence) -> bool:
        """Whether an earlier run on the base commit stands: the settings may have changed since.

        One that could not run never does: what kept it from running may be gone.
        """
        same = before.get("rests_on") == rests_on(self.command, self.settings)
        return same and before["outcome"] != "not_run"

    def before(self) -> Evidence:
        """The tests on the base commit."""
        found = run_repository_tests(self.base, {}, [], self.command, self.settings, self.cancelled)
        return baseline(found, lending_cure(found, self.base.git.folder, self.settings))

    def after(self, before: Evidence, change: _Change) -> Evidence:
        """The tests on the changed files, compared; what fails by chance is run once more."""
        found = self._changed(change, self.command)
        evidence = self._compared(before, found, change)
        alone = self._alone(before, evidence, found)
        if alone is None or self._changed(change, alone)["outcome"] != "passed":
            return evidence
        again = self._changed(change, self.command)
        return passed_alone(evidence, self._compared(before, again, change))

    def _compared(self, before: Evidence, found: Evidence, change: _Change) -> Evidence:
        if before["outcome"] == found["outcome"] == "no_tests" and not change.tests:
            reason = (
                f"`{self.command.text}` finds no tests in the repository; name another in execution.command"
            )
            return make_evidence("not_run", reason=reason)
        return compared(before, found, {*change.written, *change.deleted}, change.files.renamed)

    def _changed(self, change: _Change, command: TestCommand) -> Evidence:
        return run_repository_tests(
            self.base,
            change.written,
            change.deleted,
            command,
            self.settings,
            self.cancelled,
            tests=change.tests,
            modes=change.modes,
        )

    def _alone(self, before: Evidence, evidence: Evidence, found: Evidence) -> TestCommand | None:
        """The command that runs the new failures alone; None if that is not possible, or not cheap."""
        failed = [failure["test"] for failure in evidence["failures"]]
        is_cheap = found["seconds"] <= SHARE_OF_LIMIT * self.settings.limits.seconds
        is_pytest = self.command.pytest_arguments is not None
        new = {name for kind in ("failed", "errored") for name in _only_in(found, before, kind)}
        can_pass = evidence["outcome"] == "failed" and new == set(failed) <= {*found["results"]["failed"]}
        if not (failed and can_pass and is_cheap and is_pytest and len(failed) <= MAX_RUN_AGAIN):
            return None
        return replace(self.command, arguments=(*PYTEST, "--", *failed))


def _only_in(found: Evidence, before: Evidence, kind: str) -> set[str]:
    """The tests with a result that they do not have before."""
    names = found.get("results", {}).get(kind, [])
    return {*names} - {*before.get("results", {}).get(kind, [])}


def _command(base: Snapshot, changed: Mapping[str, bytes], settings: Execution) -> TestCommand | None:
    """The command of the base commit; pytest for the first tests of a Python project."""
    found = find_test_command(BaseFiles(base), settings.command)
    own = [path for path in changed if is_python_test(path)]
    return found or (TestCommand(PYTEST, own[0]) if own else None)
