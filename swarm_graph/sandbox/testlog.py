"""The test log: read its entries, count the results, and check that nothing contradicts them.

The code under test runs in the same process as pytest. The judge (`inside.py`), a process of its own, writes
the test log: it signs what it saw. Nothing else is taken on trust: a test that must fail has to have failed,
every test that the files define must have a result, a test that passed must have run to its end and through
its assertions, and the exit code that the host reads must agree with all of it.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, NamedTuple

from swarm_graph.sandbox.protocol import Finished
from swarm_graph.state import Outcome

MAX_FAILURES = 10
USAGE_ERROR, NO_TESTS_COLLECTED = 4, 5
"""Exit codes of pytest; it also ends with the first if a conftest.py cannot be imported."""

Entry = dict[str, Any]
"""An entry of the test log: its `kind`, and data as `inside.py` adds them."""


class TestRunOutcome(NamedTuple):
    outcome: Outcome
    reason: str
    """Why, if the failures do not say it; else empty."""


class SignedEntries(NamedTuple):
    entries: list[Entry]
    genuine: bool
    """Whether there was nothing else in the log."""


def signed(entry: Entry, key: bytes) -> str:
    """The line of a test log for an entry."""
    text = json.dumps(entry)
    return f"{_signature(text.encode(), key)} {text}\n"


def _signature(entry: bytes, key: bytes) -> str:
    return hashlib.blake2b(entry, key=key, digest_size=16).hexdigest()


def read_test_log(data: bytes, key: bytes) -> SignedEntries:
    """The entries of a test log that are signed with the key."""
    entries, genuine = [], True
    for line in data.splitlines():
        signature, _, entry = line.partition(b" ")
        if signature.decode(errors="replace") != _signature(entry, key):
            genuine = False
            continue
        entries.append(json.loads(entry))
    return SignedEntries(entries, genuine)


class TestLog:
    """The results that a test log holds, and the outcome that they prove.

    Args:
        entries: The signed entries, in order.
        genuine: Whether there was nothing else in the log.
        has_code: Whether there is code to judge.
    """

    def __init__(self, entries: list[Entry], *, genuine: bool, has_code: bool) -> None:
        self._entries, self._has_code = entries, has_code
        self._genuine = genuine and not self.all("foreign")
        self._results: dict[str, str] = {}
        """passed, failed, errored or skipped, by test."""
        for entry in self.all("outcome"):
            self._count(entry)
        self._unusable_files = {
            entry["test"] for entry in self.all("failure") if entry["when"] in ("collect", "parse")
        }

    def all(self, kind: str) -> list[Entry]:
        """The entries of a kind."""
        return [entry for entry in self._entries if entry["kind"] == kind]

    def last(self, kind: str) -> Entry | None:
        """The last entry of a kind."""
        entries = self.all(kind)
        return entries[-1] if entries else None

    def failures(self) -> list[Entry]:
        """The first failures."""
        return self.all("failure")[:MAX_FAILURES]

    def counts(self) -> dict[str, int]:
        """The number of tests that passed, failed, errored and were skipped; an unusable file is an error."""
        results = list(self._results.values())
        counts = {name: results.count(name) for name in ("passed", "failed", "errored", "skipped")}
        return {**counts, "errored": counts["errored"] + len(self._unusable_files)}

    def results(self) -> dict[str, list[str]]:
        """The names of the tests by result; one that passed only if its end was seen."""
        seen = {entry["test"] for entry in self.all("judged")}
        found: dict[str, list[str]] = {}
        for test, result in self._results.items():
            if result != "passed" or test in seen:
                found.setdefault(result, []).append(test)
        return found

    def judge(self, finished: Finished) -> TestRunOutcome:
        """The outcome of the test run, and the reason for it.

        Args:
            finished: How the process ended, as the host saw it.
        """
        counts, end = self.counts(), self.last("end")
        if finished.stopped:
            return TestRunOutcome(stop_outcome(finished), f"it {finished.stopped}{self._in_test()}")
        if end is None and finished.exit_code != 0:
            ending = exit_text(finished.exit_code)
            return TestRunOutcome("failed", f"its process ended with {ending}{self._in_test()}")
        if reason := self._contradiction(finished, end):
            return TestRunOutcome("tampered", reason)
        if interference := self.all("interference"):
            failed = counts["failed"] or counts["errored"]
            return TestRunOutcome("failed" if failed else "tampered", interference[0]["problem"])
        if any(failure["by_tests"] for failure in self.failures()):
            return TestRunOutcome("broken", "")
        if counts["failed"] or counts["errored"]:
            return TestRunOutcome("failed", "")
        if finished.exit_code == USAGE_ERROR:
            return TestRunOutcome("broken", "pytest could not start")
        if finished.exit_code not in (0, NO_TESTS_COLLECTED):
            return TestRunOutcome("failed", f"pytest ended with {exit_text(finished.exit_code)}")
        if not counts["passed"]:
            return TestRunOutcome("no_tests", self._why_no_test())
        if self._has_code and (reason := self._why_no_judgement()):
            return TestRunOutcome("broken", reason)
        return TestRunOutcome("passed", "")

    def _why_no_test(self) -> str:
        if self.all("no_test_file"):
            return "there is no test file; pytest collects test_*.py and *_test.py"
        return "" if self._results or self.all("skipped_file") else "the test files define no test"

    def _why_no_judgement(self) -> str:
        """Why the tests that passed say nothing about the code; empty if one does."""
        asserted = [entry for entry in self.all("judged") if entry["asserted"]]
        if not asserted:
            return "the tests assert nothing; at least one must check what the code does"
        if not any(entry["used"] for entry in asserted):
            return "the tests never use the code; one that asserts must import it, start it or read its files"
        return ""

    def _count(self, entry: Entry) -> None:
        """Count a test as passed if its call passed and neither setup nor teardown failed."""
        test = entry["test"]
        if entry["outcome"] == "failed":
            self._results[test] = "failed" if entry["when"] == "call" else "errored"
        elif entry["outcome"] == "skipped":
            self._results[test] = "skipped"  # pytest gives an expected failure the same outcome
        elif entry["when"] == "call" and test not in self._results:
            self._results[test] = "passed"

    def _contradiction(self, finished: Finished, end: Entry | None) -> str:
        """Why the test log cannot be trusted; empty if it can."""
        if end is None:
            return f"its process ended with exit code 0 before the tests were over{self._in_test()}"
        if not self._genuine:
            return "something else wrote to the test log"
        if changed := self.all("changed"):
            return f"{changed[0]['path']} was changed while the tests ran"
        if end["exit_code"] != finished.exit_code:
            return (
                f"the test log says exit code {end['exit_code']}, the process ended with {finished.exit_code}"
            )
        if self._unusable_files:
            return ""  # pytest ran no test, so there are no results to check
        return self._contradicting_results(finished)

    def _contradicting_results(self, finished: Finished) -> str:
        defined = self.last("defined") or {"tests": [], "canaries": 0}
        failed_canaries = sum(entry["failed"] for entry in self.all("canary"))
        results = self._results.values()
        if failed_canaries != defined["canaries"] and "passed" in results:
            return "a test that must fail did not fail"
        if finished.exit_code == 0 and not {"failed", "errored"}.isdisjoint(results):
            return "tests failed, but the exit code is 0"
        if unproven := self.all("unproven"):
            return f"{unproven[0]['test']} was reported as passed, but did not run through its assertions"
        seen = {entry["test"] for entry in self.all("judged")}
        for test, result in self._results.items():
            if result == "passed" and test not in seen:
                return f"{test} was reported as passed, but its end was not seen"
        excused = {entry["test"] for entry in self.all("outcome") if entry["excused"]}
        for test, result in self._results.items():
            if result == "skipped" and test not in excused:
                return f"{test} was skipped, but the tests do not skip it"
        for entry in self.all("raised"):
            if self._results.get(entry["test"]) == "passed":
                return f"{entry['test']} failed and was reported as passed"
        return self._missing_results(defined["tests"])

    def _missing_results(self, defined: list[str]) -> str:
        """Tests that the files define and that have no result."""
        with_result = {test.partition("[")[0] for test in self._results}
        skipped_files = tuple(f"{entry['test']}::" for entry in self.all("skipped_file"))
        has_begun = self._results or self.all("started")
        missing = [test for test in defined if test not in with_result and not test.startswith(skipped_files)]
        return f"tests were left out: {', '.join(missing[:5])}" if missing and has_begun else ""

    def _in_test(self) -> str:
        """The test that was running at the end, as the end of a sentence."""
        started = [entry["test"] for entry in self.all("started") if entry["test"] not in self._results]
        return f", in {started[-1]}" if started else ""


def stop_outcome(finished: Finished) -> Outcome:
    """The outcome of a test run that was stopped."""
    return "timed_out" if finished.stopped.startswith("was still running") else "stopped"


def exit_text(exit_code: int | None) -> str:
    """The exit code or signal; a shell reports a signal as 128 + its number."""
    code = exit_code or 0
    return f"signal {code - 128}" if code > 128 else f"signal {-code}" if code < 0 else f"exit code {code}"
