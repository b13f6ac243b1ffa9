"""Compare a repository's tests before and after a change: only what the change broke is a finding."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping

from swarm_graph.sandbox.evidence import make_evidence
from swarm_graph.state import Evidence, Failure, Outcome
from swarm_graph.text import format_count

MAX_FAILURES = 10
MAX_NAMED = 3
_FAILING = ("failed", "errored")
_STOPPED = ("timed_out", "stopped")
_LOG = re.compile(r"complete log of this run")
"""npm ends with the place of its log, which is gone with the sandbox."""
TESTS_FAILED = 1
"""The exit code of pytest and unittest when tests failed."""


def compared(
    before: Evidence | None,
    after: Evidence,
    touched: Collection[str] = (),
    renamed: Mapping[str, str] | None = None,
) -> Evidence:
    """The evidence of a change: failures that the base commit also has are reported but are no findings.

    Args:
        before: The tests on the base commit; None if they did not run there.
        after: The tests on the changed files.
        touched: The paths that the change wrote or deleted. Tests that are missing with them are reported;
            other missing tests are findings.
        renamed: Old path to new path of renamed files: their tests are compared under their new names.
    """
    if before is None or after["outcome"] == "not_run" or before["outcome"] == "no_tests":
        return _without_results(after)
    before = baseline(before)
    if before["outcome"] == "not_run":
        return _without_results(_noted(after, [before["reason"]]) if after["outcome"] == "passed" else before)
    if after["outcome"] in (*_STOPPED, "tampered", "no_tests") or not after.get("by_report"):
        return _without_results(_by_exit_code(before, after))
    return _without_results(_Comparison(_renamed(before, renamed or {}), after, touched).evidence())


def baseline(before: Evidence, cure: str = "") -> Evidence:
    """The tests of the base commit, as a baseline for a change; `not_run` if no change can be judged by them.

    Args:
        before: The test run.
        cure: What the user can do if the tests cannot be collected.
    """
    reason = _why_unusable(before, cure)
    if not reason:
        lacking = [_cause(before), cure] if cure else []
        return _noted(before, ["; ".join(lacking)])
    exit_code, rests_on = before["exit_code"], before.get("rests_on", "")
    return make_evidence("not_run", reason=reason, exit_code=exit_code, rests_on=rests_on)


def _why_unusable(before: Evidence, cure: str) -> str:
    if before["outcome"] in _STOPPED:
        more = "raise execution.limits, or name fewer tests in execution.command"
        return f"the repository's tests were stopped on the base commit: {before['reason']}; {more}"
    if before["outcome"] == "tampered":
        return (
            f"the result of the repository's tests on the base commit cannot be trusted: {before['reason']}"
        )
    if not before.get("by_report") or before["outcome"] == "no_tests":
        return ""
    if not before.get("ended", True):
        return f"the repository's tests did not come to their end on the base commit: {before['reason']}"
    if before["passed"]:
        return ""
    cause = _cause(before)
    if before["failed"] or before["skipped"]:
        return f"none of the repository's tests passes on the base commit: {cause}"
    return "; ".join(filter(None, [f"the repository's tests cannot be collected: {cause}", cure]))


def _cause(before: Evidence) -> str:
    """Why tests could not run, as far as it is known."""
    problems = [failure["problem"] for failure in before["failures"]]
    return problems[0] if problems else _last_line(before["output"]) or before["reason"]


def _last_line(output: str) -> str:
    """What a command says when it cannot start: pytest's last error, else the last line of the output."""
    lines = [line.strip() for line in output.splitlines() if line.strip() and not _LOG.search(line)]
    errors = [line for line in lines if re.match(r"(?:E  |ERROR:|.*: error:)", line)]
    return re.sub(r"^(?:E|ERROR:|\S+: error:)\s+", "", (errors or lines or [""])[-1])


def _by_exit_code(before: Evidence, after: Evidence) -> Evidence:
    """The evidence of a command without a report; names in its output are hints."""
    old, new = _names(before, _FAILING), _names(after, _FAILING)
    failures = [failure for failure in after["failures"] if failure["test"] not in old]
    own: Evidence = {**after, "failures": failures}
    if before["outcome"] == "passed" or after["outcome"] != "failed":
        failed_before = before["outcome"] == "failed" and after["outcome"] == "passed"
        return _noted(own, ["the tests failed before"] if failed_before else [])
    if new - old:
        return _noted(own, _told("failed before, too", old & new))
    command = after.get("rests_on", "").partition("`")[2].partition("`")[0]
    said = _last_line(before["output"])
    cause = f"exit code {before['exit_code']}" + (f": {said}" if said else "")
    return make_evidence(
        "not_run",
        reason=f"`{command}` failed before, too ({cause}), so its result says nothing about the change",
        rests_on=after.get("rests_on", ""),
    )


class _Comparison:
    """Two test runs with a known result for each test."""

    def __init__(self, before: Evidence, after: Evidence, touched: Collection[str]) -> None:
        self.before, self.after = before, after
        self.old, self.new = _names(before, _FAILING), _names(after, _FAILING)
        failing = [*after["results"]["failed"], *after["results"]["errored"]]
        self.broken = [name for name in failing if name not in self.old]
        gone, skipped = list(self._gone()), self._skipped()
        self.left = [name for name in gone if _is_in(name, touched)]
        self.missing = [name for name in gone if not _is_in(name, touched)]
        self.edited = [name for name in skipped if _is_in(name, touched)]
        self.skipped = [name for name in skipped if not _is_in(name, touched)]

    def evidence(self) -> Evidence:
        explained = {failure["test"]: failure for failure in self.after["failures"]}
        failures = [explained.get(name) or _failure(name, "failed") for name in self.broken]
        failures += [
            _failure(name, "has no result any more, and its file is unchanged") for name in self.missing
        ]
        failures += [_failure(name, "is skipped now, and its file is unchanged") for name in self.skipped]
        evidence: Evidence = {
            **self.after,
            "failures": failures[:MAX_FAILURES],
            "outcome": self._outcome(failures),
        }
        if evidence["outcome"] == "passed":
            evidence["output"] = ""
        told = _told("failed before, too", self.old & self.new)
        told += _told("failed before", self.old & _names(self.after, ("passed",)), "and passes now")
        told += [self.before["reason"]]
        told += _told("is gone with a file that the change edits", self.left)
        told += _told("is skipped now, in a file that the change edits", self.edited)
        return _noted(evidence, told)

    def _outcome(self, failures: list[Failure]) -> Outcome:
        if not self.after.get("ended", True):
            return self.after["outcome"]
        if failures:
            return "broken" if all(failure["by_tests"] for failure in failures) else "failed"
        if not self.after["passed"]:
            return "no_tests"
        same = self.after["exit_code"] == self.before["exit_code"]
        excused = self.after["exit_code"] == TESTS_FAILED and bool(self.new)
        return "passed" if self.after["exit_code"] == 0 or same or excused else self.after["outcome"]

    def _gone(self) -> Iterator[str]:
        """The tests of the base commit that have no result any more; parameters do not count."""
        if not self.after.get("ended", True) or self.after["exit_code"] not in (0, TESTS_FAILED):
            return
        if len(self.after["results"]["passed"]) != self.after["passed"]:
            return  # there are too many tests to keep their names
        now = {_function(name) for name in _names(self.after, ("passed", "skipped", *_FAILING))}
        files = tuple(f"{name}::" for name in self.new if "::" not in name)
        for name in dict.fromkeys(map(_function, self._had_results())):
            if name not in now and not (files and name.startswith(files)):
                yield name

    def _skipped(self) -> list[str]:
        """The tests that passed on the base commit and are skipped now, with all of their parameters."""
        ran = set(map(_function, _names(self.after, ("passed", *_FAILING))))
        passed = set(map(_function, _names(self.before, ("passed",)))) - ran
        return sorted(passed & set(map(_function, _names(self.after, ("skipped",)))))

    def _had_results(self) -> Iterator[str]:
        for kind, names in self.before["results"].items():
            yield from (name for name in names if kind != "errored" or "::" in name)


def _renamed(before: Evidence, renamed: Mapping[str, str]) -> Evidence:
    """The tests of the base commit under the names that they have since their files were renamed."""
    results = {
        kind: [_new_name(name, renamed) for name in names] for kind, names in before["results"].items()
    }
    return {**before, "results": results}


def _new_name(test: str, renamed: Mapping[str, str]) -> str:
    """The name of a test since its file was renamed; the same if it was not."""
    for old, new in renamed.items():
        if not _is_in(test, [old]):
            continue
        if test.startswith(old):
            return new + test.removeprefix(old)
        module, *names = test.rsplit(".", 2)
        hidden = old.count("/") - module.count(".")  # unittest leaves out the folders above its start
        return ".".join([*_module(new).split(".")[hidden:], *names])
    return test


def _names(evidence: Evidence, kinds: Iterable[str]) -> set[str]:
    results = evidence.get("results", {})
    return {name for kind in kinds for name in results.get(kind, [])}


def _function(test: str) -> str:
    """A test without its parameters, which may come from the code."""
    return test.partition("[")[0]


def _is_in(test: str, paths: Collection[str]) -> bool:
    """Whether a test, by pytest's name or unittest's, is in one of these files."""
    file, is_pytest, _ = test.partition("::")
    if is_pytest or file in paths:
        return file in paths
    module = test.rsplit(".", 2)[0]
    return any(f".{_module(path)}".endswith(f".{module}") for path in paths)


def _module(path: str) -> str:
    return path.removesuffix(".py").replace("/", ".")


def _failure(test: str, problem: str) -> Failure:
    place = test.partition("::")[0]
    return Failure(test=test, place=place, problem=problem, text=problem, by_tests=False)


def _told(what: str, names: Collection[str], more: str = "") -> list[str]:
    """A note that names some tests; no note without tests."""
    if not names:
        return []
    shown = ", ".join(sorted(names)[:MAX_NAMED]) + (", …" if len(names) > MAX_NAMED else "")
    if len(names) > 1:
        what, more = what.replace("is ", "are ", 1).replace("fails ", "fail "), more.replace("passes", "pass")
    return [" ".join(filter(None, [format_count(len(names), "test"), what, more, f"({shown})"]))]


def _noted(evidence: Evidence, notes: Iterable[str]) -> Evidence:
    return {**evidence, "reason": "; ".join(filter(None, [evidence["reason"], *notes]))}


def _without_results(evidence: Evidence) -> Evidence:
    """The evidence that is kept of a round: without the names of all tests, with the first failures."""
    kept: Evidence = {**evidence, "failures": evidence["failures"][:MAX_FAILURES]}
    kept.pop("results", None)
    kept.pop("by_report", None)
    kept.pop("ended", None)
    return kept


def passed_alone(evidence: Evidence, again: Evidence) -> Evidence:
    """The evidence of a change whose new failures pass alone, after all tests were run once more.

    Args:
        evidence: What `compared` returned at first, with failures.
        again: What it returned of the second run.
    """
    failed = [failure["test"] for failure in evidence["failures"]]
    if again["outcome"] == "passed":
        return _noted(again, _told("failed at first", failed, "and passes in a second run"))
    return _noted(evidence, _told("fails with the others", failed, "and passes alone"))
