"""The judge: what a session has answered, and the score that it gets."""

import json
from dataclasses import replace

import pytest

from swarm_graph.errors import SandboxError
from swarm_graph.settings import Execution
from swarm_graph.state import Finding, Severity
from swarm_graph.suites.case import Case, Planted
from swarm_graph.suites.judge import MAX_RANGE, judge
from swarm_graph.suites.load_suite import load_suite
from swarm_graph.suites.score import Score

SECRET = "91827"
CASE = Case(
    suite="own",
    name="double",
    request="Write double(x) in double.py.",
    hidden={
        "test_hidden.py": "from double import double\n\n\n"
        f"def test_double():\n    assert double({SECRET}) == {2 * int(SECRET)}\n\n\n"
        "def test_zero():\n    assert double(0) == 0\n"
    },
)
RIGHT = {"double.py": "def double(x):\n    return 2 * x\n"}


def scored(text: str, **others: str) -> Score:
    return judge(CASE, {"double.py": text, **others}, [], Execution())


def test_right_code_is_solved_wherever_it_stands() -> None:
    assert judge(CASE, RIGHT, [], Execution()) == Score(solved=True, outcome="passed", passed=2)
    assert judge(CASE, {"src/double.py": RIGHT["double.py"]}, [], Execution()).solved


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("def double(x):\n    return x\n", "1 of 2 hidden tests fail"),
        (
            "def triple(x):\n    return 3 * x\n",
            "the files cannot be loaded: ImportError: cannot import name",
        ),
        ("import nowhere\n", "the files cannot be loaded: ModuleNotFoundError: No module named 'nowhere'"),
        ("def double(x:\n", "the files cannot be loaded: SyntaxError"),
        ("import sys\nsys.exit(0)\n", "the files cannot be loaded"),
        (
            "import os\n\n\ndef double(x):\n    os._exit(0)\n",
            "the result of the hidden tests cannot be trusted",
        ),
        ("x = []\nwhile True:\n    x.append(bytes(99999999))\n", "the files cannot be loaded: MemoryError"),
        ("import pytest\npytest.skip(allow_module_level=True)\n", "no hidden test ran"),
    ],
)
def test_every_failure_is_a_score_with_a_reason(text: str, reason: str) -> None:
    score = scored(text)
    assert not score.solved
    assert score.reason.startswith(reason)
    assert score.reason
    assert "\n" not in score.reason
    assert SECRET not in score.reason


def test_an_endless_loop_that_prints_is_stopped() -> None:
    score = judge(
        replace(CASE, seconds=2.0), {"double.py": "while True:\n    print('x' * 99)\n"}, [], Execution()
    )
    assert score == Score(
        solved=False, outcome="timed_out", reason="the hidden tests were still running after 2 s"
    )


def test_files_of_the_session_replace_no_hidden_test() -> None:
    passing = "def test_double():\n    pass\n"
    steering = "import pytest\n\n\ndef pytest_collection_modifyitems(items):\n    items.clear()\n"
    for name in ("test_hidden.py", "src/test_hidden.py", "tests/test_hidden.py", "test_hidden/__init__.py"):
        score = scored("def double(x):\n    return x\n", **{name: passing, "conftest.py": steering})
        assert (score.solved, score.failed) == (False, 1)
    assert scored(RIGHT["double.py"], **{"tests/test_hidden.py": "syntax error"}).solved


def test_a_session_without_files_needs_no_sandbox() -> None:
    nowhere = Execution(python="/nowhere/python")
    assert judge(CASE, {}, [], nowhere).reason == judge(CASE, {"a.py": " \n"}, [], nowhere).reason
    assert judge(CASE, {}, [], nowhere) == Score(
        solved=False, outcome="failed", reason="the session has written no file"
    )


def test_no_sandbox_is_no_score() -> None:
    docker = Execution(sandbox="docker", mode="off")  # without an image there is none
    with pytest.raises(SandboxError):
        judge(CASE, RIGHT, [], docker)


def test_settings_of_the_user_change_no_score() -> None:
    own = Execution(mode="off", command=["true"], packages=["numpy"])
    assert not judge(CASE, {"double.py": "def double(x):\n    return x\n"}, [], own).solved


SHOWN = {"pkg/queue.py": "\n" * 40, "other.py": "\n" * 40}
REVIEW = Case(
    suite="own",
    name="review",
    request="Review this.",
    hidden={},
    assignment="review",
    shown=SHOWN,
    planted=Planted("pkg/queue.py", (10, 11), "Queue.put", "<= became <"),
)


def finding(location: str, severity: Severity = "major") -> Finding:
    return Finding(severity=severity, location=location, problem="wrong", suggestion="", seen_by=["reviewer"])


@pytest.mark.parametrize(
    ("location", "found"),
    [
        ("pkg/queue.py:10", True),
        ("queue.py:8", True),
        ("queue.py, line 13", True),
        ("pkg/queue.py:1-9", True),
        (f"pkg/queue.py:5-{5 + MAX_RANGE}", False),  # it names half of the file
        ("pkg/queue.py:7", False),
        ("pkg/queue.py:14", False),
        ("other.py:10", False),
        ("pkg/queue.py:put", True),
        ("Queue.put", True),
        ("queue.Queue.put()", True),
        ("`put` in pkg/queue.py", True),
        ("OtherQueue.put", False),
        ("Queue.put_back", False),
        ("pkg/queue.py", False),
        ("", False),
    ],
)
def test_the_place_of_a_planted_bug(location: str, found: bool) -> None:
    score = judge(REVIEW, {}, [finding(location)], Execution())
    assert (score.solved, score.found, score.alarms) == (found, found, int(not found))


def test_only_grave_findings_count() -> None:
    lighter = [finding("queue.py:10", "minor"), finding("other.py:3", "info")]
    score = judge(REVIEW, {}, lighter, Execution())
    assert (score.solved, score.found, score.alarms) == (False, False, 0)
    score = judge(REVIEW, {}, [*lighter, finding("put", "critical"), finding("other.py:3")], Execution())
    assert (score.solved, score.found, score.alarms) == (True, True, 1)


def test_a_line_alone_names_a_place_in_a_single_file() -> None:
    single = replace(REVIEW, shown={"pkg/queue.py": SHOWN["pkg/queue.py"]})
    assert judge(single, {}, [finding("line 12")], Execution()).found
    assert not judge(REVIEW, {}, [finding("line 12")], Execution()).found


def test_clean_code_is_solved_without_alarms() -> None:
    clean = replace(REVIEW, planted=None, is_clean=True)
    assert judge(clean, {}, [finding("queue.py:10", "minor")], Execution()) == Score(True, "passed", alarms=0)
    score = judge(clean, {}, [finding("queue.py:10"), finding("", "critical")], Execution())
    assert score == Score(False, "failed", alarms=2, reason="2 false alarms")


def test_hidden_tests_read_the_findings() -> None:
    [case] = [case for case in load_suite("smoke").cases if case.name == "review-relief-isolated"]
    hazard = json.loads(case.solution["findings.json"])
    assert judge(case, {}, hazard, Execution()).found
    score = judge(case, {}, [], Execution())
    assert (score.solved, score.found, score.reason) == (False, False, "1 of 2 hidden tests fail")
