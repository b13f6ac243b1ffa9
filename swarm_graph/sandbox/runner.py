"""Running a project's tests in a sandbox, and what the report of that run is worth.

The code under test runs in the same process as pytest, so nothing that process says is taken on trust:
the report's lines are signed, a test that must fail has to have failed, every test that the files define
must have been reported on, and the process's own exit code must agree with all of it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import secrets
import tempfile
import threading
from collections.abc import Mapping
from importlib import resources
from pathlib import PurePosixPath
from typing import Any

from swarm_graph.errors import SandboxError
from swarm_graph.sandbox import process
from swarm_graph.sandbox.bare import UNSAFE
from swarm_graph.sandbox.choice import choose
from swarm_graph.sandbox.evidence import evidence
from swarm_graph.sandbox.interpreter import interpreter
from swarm_graph.sandbox.protocol import MIB, Finished, Limits, Sandbox
from swarm_graph.settings import Execution, ExecutionLimits
from swarm_graph.state import Evidence, Failure, Outcome

log = logging.getLogger("swarm_graph")

SHOWN_FAILURES = 10
SHOWN_CHARACTERS = 2000
USAGE_ERROR, NO_TESTS_COLLECTED = 4, 5
"""Exit codes of pytest; the first is also that of a conftest.py that cannot be imported."""
ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,}")
Line = dict[str, Any]


def run_tests(
    code: Mapping[str, str],
    tests: Mapping[str, str],
    settings: Execution,
    cancelled: threading.Event | None = None,
) -> Evidence:
    """Runs the tests of a project, path → text, on its code and says what came of it.

    Where they cannot be run the outcome is `not_run` with the reason, unless `settings.mode` is required:
    then SandboxError. `cancelled` stops the run from another thread.
    """
    if settings.mode == "off":
        return evidence("not_run", reason="execution.mode is off")
    if reason := _nothing_to_run(code, tests, settings):
        return evidence("not_run", reason=reason)
    try:
        sandbox = choose(settings)
    except SandboxError as error:
        if settings.mode == "required":
            raise
        return evidence("not_run", reason=str(error))
    if sandbox.name == UNSAFE:
        log.warning("the tests run WITHOUT a sandbox (execution.unsafe): they can do whatever you can")
    return _Job(code, tests, settings, sandbox).run(cancelled)


def check(settings: Execution) -> None:
    """Says before anything is asked when tests can never be run as the settings want it.

    Raises ConfigError for an interpreter that cannot be used, SandboxError when tests are required and no
    sandbox is possible.
    """
    if settings.mode != "off" and settings.python:
        interpreter(settings.python)
    if settings.mode == "required":
        choose(settings)


def _nothing_to_run(code: Mapping[str, str], tests: Mapping[str, str], settings: Execution) -> str:
    if not tests:
        return "there are no tests"
    if settings.command or any(path.endswith(".py") for path in [*code, *tests]):
        return ""
    return "nothing here is Python; set execution.command for other languages"


class _Job:
    """One run: its project, its sandbox, and the key that signs its report."""

    def __init__(
        self, code: Mapping[str, str], tests: Mapping[str, str], settings: Execution, sandbox: Sandbox
    ) -> None:
        self.settings, self.sandbox = settings, sandbox
        self.limits = _limits(settings.limits)
        self.key, self.canary = secrets.token_bytes(32), f"test_{secrets.token_hex(8)}"
        self.given: dict[str, Any] = {
            "code": {path: text for path, text in code.items() if self._may_be_there(path)},
            "tests": dict(tests),
            "command": settings.command,
            "packages": settings.allowed_packages,
            "limits": sandbox.kernel_limits(self.limits),
            "filter": sandbox.filter().hex(),
            "key": self.key.hex(),
            "canary": self.canary,
        }

    def _may_be_there(self, path: str) -> bool:
        """A conftest.py steers pytest: the tests may have one, the code that they judge may not."""
        return bool(self.settings.command) or PurePosixPath(path).name != "conftest.py"

    def run(self, cancelled: threading.Event | None) -> Evidence:
        folder = tempfile.mkdtemp(prefix="swarm-run-") if self.sandbox.disk == "host" else ""
        place = self.sandbox.place(folder)
        try:
            finished = self._finish(folder, place, cancelled)
        except OSError as error:
            raise SandboxError(f"the tests could not be started in {self.sandbox.name}: {error}") from error
        finally:
            if folder:
                process.remove(folder)
        return self._judged(finished, place)

    def _finish(self, folder: str, place: str, cancelled: threading.Event | None) -> Finished:
        python = interpreter(self.settings.python)
        program = resources.files("swarm_graph.sandbox").joinpath("inside.py").read_text(encoding="utf-8")
        command = self.sandbox.command([python.path, "-s", "-c", program], python, self.limits, folder)
        return process.run(
            command,
            json.dumps({**self.given, "folder": place}).encode(),
            self.limits,
            environment=self.sandbox.environment(folder),
            folder=place,
            disk=self.sandbox.disk,
            cancelled=cancelled,
            stop=self.sandbox.stop,
        )

    def _judged(self, finished: Finished, place: str) -> Evidence:
        lines, genuine = read_report(finished.report, self.key)
        lines = [_from_project(line, f"{place}/project/") for line in lines]
        known: dict[str, Any] = {"exit_code": finished.exit_code, "seconds": round(finished.seconds, 3)}
        known |= {"sandbox": self.sandbox.name}
        said = _plain(finished.output.decode(errors="replace").strip())[-SHOWN_CHARACTERS:]
        if not any(line["kind"] == "ready" for line in lines):
            last = said.splitlines()[-1] if said else finished.stopped or "it said nothing"
            reason = f"{self.sandbox.name} did not start the tests: {last}"
            if self.settings.mode == "required":
                raise SandboxError(reason)
            return evidence("not_run", **{**known, "reason": reason})
        if self.settings.command:
            return _of_command(finished, known, said)
        run = _Run(lines, genuine, skips=_mention_skips(self.given["tests"]))
        return _of_pytest(run, finished, known, said)


def _limits(settings: ExecutionLimits) -> Limits:
    return Limits(
        seconds=settings.seconds,
        memory=settings.memory_mb * MIB,
        processes=settings.processes,
        disk=settings.disk_mb * MIB,
        files=settings.files,
        output=settings.output_mb * MIB,
    )


def read_report(report: bytes, key: bytes) -> tuple[list[Line], bool]:
    """The signed lines of a report, and whether there was nothing else in it."""
    lines, genuine = [], True
    for raw in report.splitlines():
        seal, _, text = raw.partition(b" ")
        if seal.decode(errors="replace") != hashlib.blake2b(text, key=key, digest_size=16).hexdigest():
            genuine = False
            continue
        lines.append(json.loads(text))
    return lines, genuine


def _of_command(finished: Finished, known: Mapping[str, Any], said: str) -> Evidence:
    """A command for another language says no more than its exit code."""
    if finished.stopped:
        return evidence(_stopped(finished), **{**known, "reason": f"it {finished.stopped}", "output": said})
    return evidence("passed" if finished.exit_code == 0 else "failed", **{**known, "output": said})


def _stopped(finished: Finished) -> Outcome:
    return "timed_out" if finished.stopped.startswith("was still running") else "stopped"


def _mention_skips(tests: Mapping[str, str]) -> bool:
    """Whether any test may be skipped, or expected to fail, of its own will."""
    return any(word in text for text in tests.values() for word in ("skip", "xfail"))


def _of_pytest(run: _Run, finished: Finished, known: Mapping[str, Any], said: str) -> Evidence:
    if problem := run.said("unusable"):
        return evidence("not_run", **{**known, "reason": str(problem["problem"])})
    outcome, reason = run.outcome(finished)
    output = said if outcome in ("failed", "broken") and not run.failures else ""
    found = {"failures": run.failures, "reason": reason, "output": output}
    return evidence(outcome, **{**known, **run.counts(), **found})


class _Run:
    """What the lines of a report come to.

    `genuine`: nothing else stood between them; `skips`: whether the tests themselves may skip any.
    """

    def __init__(self, lines: list[Line], genuine: bool, *, skips: bool) -> None:
        self.lines, self.genuine, self.skips = lines, genuine, skips
        self.tests: dict[str, str] = {}
        for line in lines:
            if line["kind"] == "outcome":
                self._count(line)
        self.broken_files = {
            line["test"] for line in self._of("failure") if line["when"] in ("collect", "parse")
        }
        self.failures = [_failure(line) for line in self._of("failure")[:SHOWN_FAILURES]]

    def _of(self, kind: str) -> list[Line]:
        return [line for line in self.lines if line["kind"] == kind]

    def said(self, kind: str) -> Line | None:
        found = self._of(kind)
        return found[-1] if found else None

    def _count(self, line: Line) -> None:
        """A test has passed when its call did and nothing around it failed."""
        before = self.tests.get(line["test"])
        if line["outcome"] == "failed":
            self.tests[line["test"]] = "failed" if line["when"] == "call" else "errored"
        elif line["outcome"] == "skipped":
            self.tests[line["test"]] = "skipped"  # one that is expected to fail shows no more than that
        elif line["when"] == "call" and before is None:
            self.tests[line["test"]] = "passed"

    def counts(self) -> dict[str, int]:
        values = list(self.tests.values())
        count = {name: values.count(name) for name in ("passed", "failed", "errored", "skipped")}
        return {**count, "errored": count["errored"] + len(self.broken_files)}

    def outcome(self, finished: Finished) -> tuple[Outcome, str]:
        """The outcome with its reason, where the failures do not say it."""
        counts, end = self.counts(), self.said("end")
        if finished.stopped:
            return _stopped(finished), f"it {finished.stopped}{self._while()}"
        if end is None and finished.exit_code != 0:
            return "failed", f"its process ended with {_code(finished.exit_code)}{self._while()}"
        if reason := self._lie(finished, end):
            return "tampered", reason
        if any(failure["by_tests"] for failure in self.failures):
            return "broken", ""
        if counts["failed"] or counts["errored"]:
            return "failed", ""
        if finished.exit_code == USAGE_ERROR:
            return "broken", "pytest could not begin"
        if finished.exit_code not in (0, NO_TESTS_COLLECTED):
            return "failed", f"pytest ended with {_code(finished.exit_code)}"
        if not counts["passed"]:
            return "no_tests", ""
        return "passed", ""

    def _lie(self, finished: Finished, end: Line | None) -> str:
        """Why the report cannot be believed; empty when it can."""
        if end is None:
            return f"its process ended with exit code 0 before the tests were over{self._while()}"
        if not self.genuine:
            return "something else wrote into its report"
        if changed := self._of("changed"):
            return f"{changed[0]['path']} was changed while the tests ran"
        if end["exit_code"] != finished.exit_code:
            return f"it reported exit code {end['exit_code']}, its process ended with {finished.exit_code}"
        if self.broken_files:
            return ""
        defined = self.said("defined") or {"tests": [], "canaries": 0}
        failed = sum(line["failed"] for line in self._of("canary"))
        if failed != defined["canaries"] and "passed" in self.tests.values():
            return "a test that must fail did not"
        if finished.exit_code == 0 and any(value in ("failed", "errored") for value in self.tests.values()):
            return "tests failed, and its exit code is 0"
        skipped = [test for test, how in self.tests.items() if how == "skipped"]
        if skipped and not self.skips:
            return f"{skipped[0]} was skipped, and the tests skip none"
        if turned := [
            line["test"] for line in self._of("raised") if self.tests.get(line["test"]) == "passed"
        ]:
            return f"{turned[0]} failed and was reported as passed"
        return self._left_out(defined["tests"])

    def _left_out(self, defined: list[str]) -> str:
        """Tests that their files define and nobody reported on."""
        reported = {test.partition("[")[0] for test in self.tests}
        skipped = tuple(f"{line['test']}::" for line in self._of("skipped_file"))
        missing = [test for test in defined if test not in reported and not test.startswith(skipped)]
        return f"tests were left out: {', '.join(missing[:5])}" if missing and self.tests else ""

    def _while(self) -> str:
        """Which test was running at the end."""
        started = [line["test"] for line in self._of("started") if line["test"] not in self.tests]
        return f", in {started[-1]}" if started else ""


def _code(exit_code: int | None) -> str:
    code = exit_code or 0
    return f"signal {code - 128}" if code > 128 else f"signal {-code}" if code < 0 else f"exit code {code}"


def _failure(line: Line) -> Failure:
    text = str(line["text"])
    if len(text) > SHOWN_CHARACTERS:
        half = SHOWN_CHARACTERS // 2
        text = f"{text[:half]}\n[...]\n{text[-half:]}"
    return Failure(
        test=str(line["test"]),
        place=str(line["place"]),
        problem=_plain(str(line["problem"])),
        text=_plain(text),
        by_tests=bool(line["by_tests"]),
    )


def _from_project(line: Line, project: str) -> Line:
    """A line of a report with its paths as they are in the project."""
    return {
        key: value.replace(project, "") if isinstance(value, str) else value for key, value in line.items()
    }


def _plain(text: str) -> str:
    """Without memory addresses: the same failure reads the same in every run."""
    return ADDRESS.sub("0x…", text)
