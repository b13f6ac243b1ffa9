"""The tests of a change: before and after it, what is a finding, and what the node run_tests makes of it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import psutil
import pytest
from langgraph.graph import END, START, StateGraph
from repositories import git, make_repository
from support import config

from swarm_graph.sandbox.comparison import baseline, compared, passed_alone
from swarm_graph.sandbox.evidence import evidence_findings, evidence_line, evidence_text, make_evidence
from swarm_graph.sandbox.repository_tests import lending_cure
from swarm_graph.settings import Execution
from swarm_graph.state import ChangeState, Evidence, Failure, Repository, SwarmState
from swarm_graph.workflows.before_and_after import run_change_tests
from swarm_graph.workflows.run_tests import RunTestsNode, review, run_in_thread

# --- Comparing ------------------------------------------------------------------------------------

COMMAND = "the exit code and report of `python -m pytest`, found by pytest.ini"


def failure(test: str, *, by_tests: bool = False) -> Failure:
    place = test.partition("::")[0]
    return Failure(test=test, place=place, problem="assert False", text="text", by_tests=by_tests)


def ran(
    exit_code: int | None = None, *, by_report: bool = True, ended: bool = True, **results: str
) -> Evidence:
    """A test run: its tests by result, separated by spaces."""
    named = {kind: results.get(kind, "").split() for kind in ("passed", "failed", "errored", "skipped")}
    failing = named["failed"] + named["errored"]
    return make_evidence(
        "failed" if failing or exit_code else "passed",
        exit_code=(1 if failing else 0) if exit_code is None else exit_code,
        failures=[failure(test) for test in failing],
        rests_on=COMMAND,
        results=named,
        by_report=by_report,
        ended=ended,
        **{kind: len(tests) for kind, tests in named.items()},
    )


def test_what_failed_before_is_told_and_no_finding() -> None:
    before = ran(passed="t.py::a t.py::b", failed="t.py::c t.py::d", errored="t.py::e")
    after = ran(passed="t.py::a t.py::b t.py::d", failed="t.py::c", errored="t.py::e")
    found = compared(before, after)
    assert (found["outcome"], found["failures"], found["exit_code"]) == ("passed", [], 1)
    assert found["reason"] == (
        "2 tests failed before, too (t.py::c, t.py::e); 1 test failed before and passes now (t.py::d)"
    )
    assert "results" not in found
    assert evidence_findings(found) == []
    assert review(found, 1, required=False)["approved"] is True


def test_what_the_change_broke_is_a_finding() -> None:
    before = ran(passed="t.py::a t.py::b", failed="t.py::c")
    found = compared(before, ran(passed="t.py::b", failed="t.py::a t.py::c"))
    assert (found["outcome"], [failed["test"] for failed in found["failures"]]) == ("failed", ["t.py::a"])
    assert found["reason"] == "1 test failed before, too (t.py::c)"
    [finding] = evidence_findings(found)
    assert finding["problem"] == "Fails: t.py::a: assert False"


def test_a_test_that_is_gone_is_a_finding_unless_its_file_was_edited() -> None:
    before = ran(passed="t.py::a t.py::b[1] t.py::b[2] u.py::c v.py::d")
    after = ran(passed="t.py::b[3]")
    found = compared(before, after, {"u.py"})
    assert found["outcome"] == "failed"
    assert [failed["test"] for failed in found["failures"]] == ["t.py::a", "v.py::d"]
    assert found["reason"] == "1 test is gone with a file that the change edits (u.py::c)"
    told = compared(before, after, {"t.py", "u.py", "v.py"})
    assert told["outcome"] == "passed"
    assert "3 tests are gone with a file that the change edits (t.py::a, u.py::c, v.py::d)" in told["reason"]


def test_tests_of_a_renamed_file_are_compared_under_their_new_names() -> None:
    before = ran(passed="old/t.py::a[1] v.T.a", failed="old/t.py::b", errored="old/e.py m.test_x.C.t")
    after = ran(passed="new/t.py::a[1] u.T.a", failed="new/t.py::b", errored="e2.py m.test_y.C.t")
    renamed = {"old/t.py": "new/t.py", "v.py": "u.py", "old/e.py": "e2.py", "s/m/test_x.py": "s/m/test_y.py"}
    found = compared(before, after, {*renamed, *renamed.values()}, renamed)
    assert (found["outcome"], found["failures"]) == ("passed", [])
    assert found["reason"] == "3 tests failed before, too (e2.py, m.test_y.C.t, new/t.py::b)"
    broken = compared(ran(passed="old/t.py::a"), ran(failed="new/t.py::a"), {"old/t.py"}, renamed)
    assert [failed["test"] for failed in broken["failures"]] == ["new/t.py::a"]


def test_of_very_many_tests_only_failures_are_compared() -> None:
    before, after = ran(failed="t.py::a t.py::b"), ran(failed="t.py::b")
    before["passed"], after["passed"] = 30_000, 30_001
    found = compared(before, after)
    assert (found["outcome"], found["reason"]) == ("passed", "1 test failed before, too (t.py::b)")


def test_unittest_names_are_found_in_their_files() -> None:
    before = ran(passed="tests.test_app.AppTest.test_a tests.test_app.AppTest.test_b")
    after = ran(passed="tests.test_app.AppTest.test_b")
    assert compared(before, after, {"tests/test_app.py"})["outcome"] == "passed"
    assert compared(before, after, {"app.py"})["outcome"] == "failed"


def test_tests_of_a_file_that_cannot_be_collected_any_more_are_one_finding() -> None:
    found = compared(ran(passed="t.py::a t.py::b u.py::c"), ran(passed="u.py::c", errored="t.py"), {"app.py"})
    assert [failed["test"] for failed in found["failures"]] == ["t.py"]


def test_only_faults_of_the_testers_tests_go_back_to_the_tester() -> None:
    before, after = ran(passed="t.py::a"), ran(passed="t.py::a", errored="new.py")
    after["failures"] = [failure("new.py", by_tests=True)]
    assert compared(before, after)["outcome"] == "broken"
    after = ran(passed="", errored="new.py", failed="t.py::a")
    after["failures"] = [failure("new.py", by_tests=True), failure("t.py::a")]
    assert compared(before, after)["outcome"] == "failed"


def test_exit_codes_must_agree() -> None:
    passed = ran(passed="t.py::a")
    assert compared(passed, ran(3, passed="t.py::a"))["outcome"] == "failed"
    assert compared(ran(1, passed="t.py::a"), ran(1, passed="t.py::a"))["outcome"] == "passed"
    assert compared(passed, ran(1, passed="t.py::a"))["outcome"] == "failed"


def test_a_run_that_did_not_come_to_its_end_never_passes() -> None:
    """Not even if the base commit's run ended in the same way, or with failures that are known."""
    for exit_code in (1, 137):
        cut = {**ran(exit_code, passed="t.py::a", failed="t.py::b", ended=False), "reason": "signal 9"}
        found = compared(ran(1, passed="t.py::a t.py::c", failed="t.py::b"), cast("Evidence", cut))
        assert (found["outcome"], found["failures"]) == ("failed", [])
        assert found["reason"] == "signal 9; 1 test failed before, too (t.py::b)"
        assert "ended" not in found
        unusable = baseline(cast("Evidence", cut))
        assert (unusable["outcome"], unusable["reason"]) == (
            "not_run",
            "the repository's tests did not come to their end on the base commit: signal 9",
        )


def test_what_failed_before_is_no_finding_of_a_run_that_was_stopped() -> None:
    stopped = {**ran(passed="t.py::a", failed="t.py::b t.py::c"), "outcome": "timed_out", "reason": "60 s"}
    found = compared(ran(passed="t.py::a", failed="t.py::b"), cast("Evidence", stopped))
    assert (found["outcome"], [failed["test"] for failed in found["failures"]]) == ("timed_out", ["t.py::c"])


def test_a_test_that_is_skipped_now_is_a_finding_unless_its_file_was_edited() -> None:
    before = ran(passed="t.py::a t.py::b[1] t.py::b[2] u.py::c", skipped="t.py::d")
    after = ran(passed="t.py::b[1]", skipped="t.py::a t.py::b[2] t.py::d u.py::c")
    found = compared(before, after, {"u.py"})
    assert found["outcome"] == "failed"
    assert [(failed["test"], failed["problem"]) for failed in found["failures"]] == [
        ("t.py::a", "is skipped now, and its file is unchanged")
    ]
    assert found["reason"] == "1 test is skipped now, in a file that the change edits (u.py::c)"
    told = compared(before, after, {"t.py", "u.py"})
    assert told["outcome"] == "passed"
    assert told["reason"] == "2 tests are skipped now, in a file that the change edits (t.py::a, u.py::c)"


@pytest.mark.parametrize(
    ("before", "reason"),
    [
        (ran(errored="t.py"), "the repository's tests cannot be collected: assert False; lend it"),
        (
            ran(failed="t.py::a"),
            "none of the repository's tests passes on the base commit: assert False",
        ),
        (
            make_evidence("timed_out", reason="it was still running after 60 s"),
            "the repository's tests were stopped on the base commit: it was still running after 60 s; raise "
            "execution.limits, or name fewer tests in execution.command",
        ),
        (
            {**ran(4), "output": "x\nERROR: usage: x\npytest: error: unrecognized arguments: --cov\n  more"},
            "the repository's tests cannot be collected: unrecognized arguments: --cov; lend it",
        ),
    ],
)
def test_a_base_that_says_nothing_abstains(before: Evidence, reason: str) -> None:
    unusable = baseline(before, "lend it")
    assert (unusable["outcome"], unusable["reason"]) == ("not_run", reason)
    found = compared(unusable, ran(failed="t.py::a"))
    assert (found["outcome"], found["reason"]) == ("not_run", reason)
    assert review(found, 1, required=False)["approved"] is None
    assert review(found, 1, required=True)["approved"] is False
    fixed = compared(unusable, ran(passed="t.py::a"))
    assert (fixed["outcome"], fixed["reason"]) == ("passed", reason)


def test_a_command_without_a_report_is_judged_by_its_exit_code() -> None:
    def command(exit_code: int, failed: str = "") -> Evidence:
        return {
            **ran(exit_code, by_report=False, failed=failed),
            "rests_on": "the exit code of `make test`, found by Makefile",
        }

    assert compared(command(0), command(0))["outcome"] == "passed"
    assert compared(command(0), command(2))["outcome"] == "failed"
    assert compared(command(2), command(0))["reason"] == "the tests failed before"
    both = compared(command(2, failed="a"), command(2, failed="a"))
    assert (both["outcome"], both["reason"]) == (
        "not_run",
        "`make test` failed before, too (exit code 2), so its result says nothing about the change",
    )
    said: Any = {**command(127), "output": "sh: 1: bun: not found\nnpm: complete log of this run: /tmp/x\n"}
    assert "too (exit code 127: sh: 1: bun: not found), so" in compared(said, said)["reason"]
    new = compared(command(2, failed="a"), command(2, failed="a b"))
    assert (new["outcome"], [failed["test"] for failed in new["failures"]]) == ("failed", ["b"])
    assert new["reason"] == "1 test failed before, too (a)"


def test_without_a_base_the_tests_stand_for_themselves() -> None:
    assert compared(None, ran(failed="t.py::a"))["outcome"] == "failed"
    assert compared(make_evidence("no_tests"), ran(passed="t.py::a"))["outcome"] == "passed"
    not_run = make_evidence("not_run", reason="execution.mode is off")
    assert compared(ran(passed="t.py::a"), not_run) == not_run


def test_what_fails_by_chance_is_told_and_what_fails_with_the_others_is_a_finding() -> None:
    before = ran(passed="t.py::a t.py::b")
    evidence = compared(before, ran(passed="t.py::b", failed="t.py::a"))
    found = passed_alone(evidence, compared(before, ran(passed="t.py::a t.py::b")))
    assert (found["outcome"], found["failures"]) == ("passed", [])
    assert found["reason"] == "1 test failed at first and passes in a second run (t.py::a)"
    found = passed_alone(evidence, compared(before, ran(passed="t.py::b", failed="t.py::a")))
    assert (found["outcome"], found["failures"]) == ("failed", evidence["failures"])
    assert found["reason"] == "1 test fails with the others and passes alone (t.py::a)"


def test_what_it_rests_on_is_said() -> None:
    found = compared(ran(passed="t.py::a"), ran(passed="t.py::a"))
    assert evidence_line(found).endswith(f"by {COMMAND})")
    assert f"This is {COMMAND}." in evidence_text(found)


# --- A session ------------------------------------------------------------------------------------

SUMS = {
    "pytest.ini": "[pytest]\n",
    "sums.py": "def add(a, b):\r\n    return a + b\r\n",
    "tests/test_sums.py": (
        "from sums import add\n\n\ndef test_add():\n    assert add(1, 2) == 3\n\n\n"
        "def test_bug():\n    assert add(1, 1) == 3\n"
    ),
}


def state_of(folder: Path, files: Mapping[str, str] = SUMS, **state: Any) -> ChangeState:
    """The state of a session that changes a new repository."""
    user = make_repository(folder / "user", files)
    repo = Repository(
        path=str(user),
        start="HEAD",
        base=git(user, "rev-parse", "HEAD"),
        branch="swarm/s",
        only=[],
        read_only=[],
        compared_with="",
    )
    return cast("ChangeState", {"request": "x", "repo": repo, "iteration": 1, **state})


def showed(state: ChangeState, **execution: Any) -> Evidence:
    return run_change_tests(state, Execution.model_validate(execution)).evidence


def test_a_change_is_judged_by_what_it_broke(tmp_path: Path) -> None:
    state = state_of(tmp_path, code={"sums.py": "def add(a, b):\n    return b + a\n"})
    found = run_change_tests(state, Execution())
    assert (found.baseline["outcome"], found.baseline["failed"]) == ("failed", 1)
    assert (found.evidence["outcome"], found.evidence["exit_code"]) == ("passed", 1)
    assert found.evidence["reason"] == "1 test failed before, too (tests/test_sums.py::test_bug)"
    state["code"] = {"sums.py": "def add(a, b):\n    return a - b\n"}
    state["baseline"] = found.baseline
    broken = showed(state)
    assert broken["outcome"] == "failed"
    [only] = broken["failures"]
    assert (only["test"], only["place"]) == ("tests/test_sums.py::test_add", "tests/test_sums.py:5")


def test_the_baseline_runs_once(tmp_path: Path) -> None:
    state = state_of(tmp_path, code={"sums.py": "def add(a, b):\n    return a - b\n"})
    known = ran(failed="tests/test_sums.py::test_add tests/test_sums.py::test_bug", passed="tests/x.py::y")
    state["baseline"] = known
    found = run_change_tests(state, Execution())
    assert found.baseline is known
    assert "2 tests failed before, too" in found.evidence["reason"]
    for other in ({"python": sys.prefix}, {"command": ["pytest", "tests"]}):
        found = run_change_tests(state, Execution.model_validate(other))
        assert found.baseline["results"]["passed"] == ["tests/test_sums.py::test_add"]


def test_tests_that_the_tester_adds_run_in_their_place(tmp_path: Path) -> None:
    tests = {"tests/test_more.py": "from sums import add\n\n\ndef test_more():\n    assert add(2, 2) == 4\n"}
    assert showed(state_of(tmp_path, tests=tests))["passed"] == 2
    broken = {
        "tests/test_more.py": "from sums import plus\n\n\ndef test_more():\n    assert plus(2, 2) == 4\n"
    }
    found = showed(state_of(tmp_path / "b", tests=broken))
    assert found["outcome"] == "broken"
    assert found["failures"][0]["problem"].startswith("ImportError: cannot import name 'plus'")


def test_deleted_and_edited_tests_are_told(tmp_path: Path) -> None:
    found = showed(
        state_of(
            tmp_path, deleted=["tests/test_sums.py"], tests={"tests/test_a.py": "def test_a():\n    pass\n"}
        )
    )
    assert found["outcome"] == "passed"
    assert "2 tests are gone with a file that the change edits" in found["reason"]


def test_no_test_is_gone_with_a_renamed_file(tmp_path: Path) -> None:
    renamed = {"tests/test_addition.py": SUMS["tests/test_sums.py"]}
    found = showed(state_of(tmp_path, deleted=["tests/test_sums.py"], code=renamed))
    assert found["outcome"] == "passed"
    assert "gone" not in found["reason"]
    assert "1 test failed before, too (tests/test_addition.py::test_bug)" in found["reason"]


def test_a_change_cannot_leave_tests_out(tmp_path: Path) -> None:
    wrong = "def add(a, b):\n    return a - b\n"
    hook = (
        "def pytest_collection_modifyitems(items):\n"
        "    items[:] = [item for item in items if item.name != 'test_add']\n"
    )
    files = {**SUMS, "tests/test_more.py": "def test_more():\n    pass\n"}
    found = showed(state_of(tmp_path, files, code={"sums.py": wrong, "conftest.py": hook}))
    assert found["outcome"] == "failed"
    [finding] = evidence_findings(found)
    assert finding["problem"].endswith("test_add: has no result any more, and its file is unchanged")
    assert "the change edits conftest.py, which the tests rest on" in found["reason"]


def test_the_first_tests_of_a_project(tmp_path: Path) -> None:
    files = {"sums.py": SUMS["sums.py"]}
    tests = {"tests/test_sums.py": "from sums import add\n\n\ndef test_add():\n    assert add(1, 2) == 3\n"}
    found = run_change_tests(state_of(tmp_path, files, tests=tests), Execution())
    assert (found.baseline["outcome"], found.evidence["outcome"]) == ("no_tests", "passed")


def test_a_repository_without_tests_is_said(tmp_path: Path) -> None:
    found = showed(state_of(tmp_path, {"README.md": "hello\n"}, code={"a.txt": "x\n"}))
    assert found["outcome"] == "not_run"
    assert found["reason"] == "no tests are found in the repository; name their command in execution.command"


def test_a_suite_without_tests_says_nothing(tmp_path: Path) -> None:
    """As long as the tester has written none."""
    state = state_of(tmp_path, {"pytest.ini": "[pytest]\n", "sums.py": ""}, code={"sums.py": "x = 1\n"})
    found = run_change_tests(state, Execution())
    assert (found.baseline["outcome"], found.evidence["outcome"]) == ("no_tests", "not_run")
    assert found.evidence["reason"] == (
        "`python -m pytest` finds no tests in the repository; name another in execution.command"
    )
    state["tests"] = {"tests/helper.py": "x = 1\n"}
    assert showed(state)["outcome"] == "no_tests"


def test_missing_packages_are_said_with_the_cure(tmp_path: Path) -> None:
    files = {"tests/test_a.py": "import pytest\nimport nosuch_package\n\n\ndef test_a():\n    pass\n"}
    state = state_of(tmp_path, files, code={"a.py": "x = 1\n"})
    found = showed(state)
    cannot = (
        "the repository's tests cannot be collected: ModuleNotFoundError: No module named 'nosuch_package'"
    )
    assert (found["outcome"], found["reason"]) == (
        "not_run",
        f"{cannot}; lend its environment: set execution.python to the folder of its virtual environment",
    )


def test_the_cure_for_missing_packages_names_the_environment(tmp_path: Path) -> None:
    lacking = make_evidence("failed", output="E   ModuleNotFoundError: No module named 'nosuch'")
    environment = tmp_path / ".venv"
    environment.mkdir()
    lend = "lend its environment: set execution.python to "
    assert lending_cure(lacking, tmp_path, Execution()) == f"{lend}the folder of its virtual environment"
    (environment / "pyvenv.cfg").touch()
    assert lending_cure(lacking, tmp_path, Execution()) == f"{lend}{environment}"
    lent = Execution(python=str(environment))
    assert (
        lending_cure(lacking, tmp_path, lent)
        == f"install what is missing in '{environment}' (execution.python)"
    )
    assert lending_cure(make_evidence("failed", output="E   assert 0"), tmp_path, Execution()) == ""


def test_a_part_that_lacks_packages_is_said_with_the_cure(tmp_path: Path) -> None:
    state = state_of(tmp_path, {**SUMS, "tests/test_b.py": "import nosuch\n"}, code={"a.py": "x = 1\n"})
    found = showed(state)
    assert found["outcome"] == "passed"
    assert "2 tests failed before, too (tests/test_b.py, tests/test_sums.py::test_bug); " in found["reason"]
    assert "No module named 'nosuch'; lend its environment: set execution.python to " in found["reason"]


def test_a_base_that_takes_too_long_is_not_run_twice(tmp_path: Path) -> None:
    slow = {"tests/test_a.py": "import pytest, time\n\n\ndef test_a():\n    time.sleep(60)\n"}
    state = state_of(tmp_path, slow, code={"a.py": "x = 1\n"})
    found = run_change_tests(state, Execution.model_validate({"limits": {"seconds": 1}}))
    assert found.evidence["outcome"] == found.baseline["outcome"] == "not_run"
    assert "raise execution.limits" in found.evidence["reason"]


ORDER = {
    "sums.py": "seen = []\nLIMIT = 2\n",
    "tests/test_order.py": (
        "import pytest\nimport sums\n\n\ndef test_a():\n    sums.seen.append(1)\n\n\n"
        "@pytest.mark.parametrize('n', range(N))\ndef test_b(n):\n    assert len(sums.seen) < sums.LIMIT\n"
    ),
}


@pytest.mark.parametrize("number", [1, 11])
def test_new_failures_that_pass_alone_are_findings_if_they_fail_again(tmp_path: Path, number: int) -> None:
    files = {**ORDER, "tests/test_order.py": ORDER["tests/test_order.py"].replace("N", str(number))}
    state = state_of(tmp_path, files, code={"sums.py": "seen = []\nLIMIT = 1\n"})
    found = showed(state)
    assert (found["outcome"], found["failed"], len(found["failures"])) == ("failed", number, min(number, 10))
    alone = "1 test fails with the others and passes alone (tests/test_order.py::test_b[0])"
    assert found["reason"] == (alone if number == 1 else "")


def test_the_node_writes_a_review_and_the_baseline(tmp_path: Path) -> None:
    graph = StateGraph(ChangeState)
    graph.add_node("run_tests", RunTestsNode(config(execution={"mode": "required"})))
    graph.add_edge(START, "run_tests")
    graph.add_edge("run_tests", END)
    state = state_of(tmp_path, code={"sums.py": "def add(a, b):\n    return a - b\n"})
    events = list(graph.compile().stream(state, stream_mode="custom"))
    result = graph.compile().invoke(state)
    [one] = result["reviews"]
    assert (one["node"], one["approved"], one["evidence"]["attempt"]) == ("run_tests", False, 1)
    assert one["findings"][0]["problem"].startswith("Fails: tests/test_sums.py::test_add: assert -1 == 3")
    assert result["baseline"]["results"]["failed"] == ["tests/test_sums.py::test_bug"]
    again = asyncio.run(
        run_in_thread(cast("SwarmState", {**state, "baseline": result["baseline"]}), Execution())
    )
    assert again.more == {}, "a baseline that stands is written once: it names every test"
    assert json.dumps(result["baseline"])
    [ended] = [event for event in events if "tests_ended" in str(event)]
    assert "results" not in str(ended)


def test_a_cancelled_session_stops_the_test_run(tmp_path: Path) -> None:
    slow = {"tests/test_a.py": "import pytest, time\n\n\ndef test_a():\n    time.sleep(60)\n"}
    state = cast("SwarmState", state_of(tmp_path, slow, code={"a.py": "x = 1\n"}))

    async def cancel() -> None:
        task = asyncio.create_task(run_in_thread(state, Execution()))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    before = {child.pid for child in psutil.Process().children(recursive=True)}
    asyncio.run(cancel())
    assert {child.pid for child in psutil.Process().children(recursive=True)} <= before
