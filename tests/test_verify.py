"""Runs of generated tests from the outside: the command line, its figures and files, kills and signals."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import warm
from support import sandbox
from test_cli import swarm
from test_run_tests import RIGHT, TESTS, WRONG

from swarm_graph import SwarmCoordinator, SwarmManager

SLOW = TESTS.replace("def test_sum():\n", "def test_sum():\n    import time\n    time.sleep(2)\n")
AGREED = '{"findings": [], "approved": true}'


def scripted(folder: Path, coder: str = RIGHT, tests: str = TESTS, **execution: Any) -> None:
    """A config whose simulated model writes this code and these tests, in every round."""
    answers = {"coder": coder, "tester": tests, "reviewer": AGREED, "security": AGREED}
    script = folder / "script.md"
    script.write_text("".join(f"<!-- {role} 1 -->\n{text}\n" for role, text in answers.items()))
    entry = {"model": "s", "api_type": "simulated", "simulation": {"script": str(script)}}
    settings = {"model_config": {"single_model": entry}, "workflow": {"max_iterations": 1}}
    (folder / "config.json").write_text(json.dumps({**settings, "execution": execution}))


def recorded(folder: Path) -> list[tuple[Any, ...]]:
    query = "SELECT kind, iteration, attempt, outcome, exit_code, passed, failed FROM test_runs ORDER BY time"
    with closing(sqlite3.connect(folder / ".swarm/swarm.db")) as database:
        return database.execute(query).fetchall()


def run_full(folder: Path, *more: str) -> str:
    done = swarm("run", "Add.", "--workflow", "full", "--session", "s", *more, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


def test_what_the_tests_showed_stands_everywhere(tmp_path: Path) -> None:
    scripted(tmp_path, coder=WRONG)
    said = f"failed (exit code 1, 1 passed, 1 failed, sandbox: {sandbox()})"
    assert f"Tests in round 1: {said}" in run_full(tmp_path)
    output = tmp_path / "swarm-output/s"
    reviews = (output / "review_results.txt").read_text()
    assert f"Round 1 - run_tests: {said}" in reviews
    assert "E   assert -1 == 5" in reviews
    assert reviews.endswith(f"\n\nTests: {said}\n\nApproved: no, after round 1\n")
    state = json.loads((output / "swarm_state_s.json").read_text())
    [shown] = state["evidence"]
    assert (shown["iteration"], shown["outcome"], shown["exit_code"]) == (1, "failed", 1)
    assert state["test_metrics"]["outcomes"] == {"failed": 1}
    assert state["test_metrics"]["seconds"] == shown["seconds"] > 0
    assert recorded(tmp_path) == [("run", 1, 1, "failed", 1, 1, 1)]
    assert said in swarm("sessions", "show", "s", cwd=tmp_path).stdout.decode()


def test_verify_runs_the_tests_of_a_past_session_again(tmp_path: Path) -> None:
    scripted(tmp_path)
    run_full(tmp_path)
    done = swarm("verify", "s", cwd=tmp_path)
    assert done.returncode == 0
    said = f"Session s: passed (exit code 0, 2 passed, sandbox: {sandbox()})\n"
    assert done.stdout.decode() == said
    document = json.loads(swarm("verify", "s", "--json", cwd=tmp_path).stdout)
    assert (document["session"], document["outcome"], document["exit_code"]) == ("s", "passed", 0)
    passed = ("passed", 0, 2, 0)
    assert recorded(tmp_path) == [
        ("run", 1, 1, *passed),
        ("verify", 1, 1, *passed),
        ("verify", 1, 2, *passed),
    ]
    shown = SwarmCoordinator(tmp_path / "config.json", data_dir=tmp_path / ".swarm").verify("s")
    assert shown["exit_code"] == 0
    told = SwarmManager(data_dir=tmp_path / ".swarm").analyze_session("s")
    assert told.figures()["test_runs"] == "1 passed", "the session ran them once"


def test_verify_ends_with_4_when_they_fail_and_shows_why(tmp_path: Path) -> None:
    scripted(tmp_path, coder=WRONG)
    run_full(tmp_path)
    done = swarm("verify", "s", cwd=tmp_path)
    assert done.returncode == 4
    assert b"E   assert -1 == 5" in done.stdout


def test_verify_ends_with_1_when_they_cannot_be_run(tmp_path: Path) -> None:
    scripted(tmp_path, sandbox="docker")
    said = run_full(tmp_path)
    assert "approved in round 1 of 1 by the reviewers alone\n" in said
    assert "Tests in round 1: tests not run: no sandbox can be used here (docker: " in said
    done = swarm("verify", "s", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout.startswith(b"Session s: tests not run: no sandbox can be used here (docker: ")


def test_verify_of_a_session_without_tests_says_so(tmp_path: Path) -> None:
    scripted(tmp_path)
    swarm("run", "Add.", "--session", "s", cwd=tmp_path)
    done = swarm("verify", "s", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, b"Session s: tests not run: there are no tests\n")
    assert swarm("verify", "nosuch", cwd=tmp_path).returncode == 2


def test_a_wrong_interpreter_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    scripted(tmp_path, python="/nosuch/python")
    done = swarm("run", "Add.", "--workflow", "full", cwd=tmp_path)
    assert done.returncode == 2
    assert b"execution.python: cannot run '/nosuch/python'" in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_required_without_a_sandbox_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    scripted(tmp_path, mode="required", sandbox="docker")
    done = swarm("run", "Add.", "--workflow", "full", "--session", "s", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(b"swarm-graph: no sandbox can be used here (docker: ")
    assert not (tmp_path / "swarm-output/s/swarm_state_s.json").exists()


def test_unsafe_says_so_on_every_run(tmp_path: Path) -> None:
    scripted(tmp_path, sandbox="docker", unsafe=True)
    assert "passed (exit code 0, 2 passed, sandbox: none (unsafe))" in run_full(tmp_path)
    done = swarm("verify", "s", cwd=tmp_path)
    assert b"sandbox: none (unsafe)" in done.stdout
    assert b"the tests run WITHOUT a sandbox (execution.unsafe)" in done.stderr


def test_doctor_says_which_sandbox_is_used_and_what_it_lacks(tmp_path: Path) -> None:
    scripted(tmp_path)
    said = swarm("doctor", cwd=tmp_path).stdout.decode()
    assert "ok    generated tests: run by Python " in said
    assert f"ok    sandbox {sandbox()}: is used; it lacks: " in said
    scripted(tmp_path, mode="required", sandbox="docker")
    done = swarm("doctor", cwd=tmp_path)
    assert done.returncode == 1
    assert b"FAIL  generated tests: no sandbox: they are not run" in done.stdout
    assert b"warn  sandbox docker: " in done.stdout


# --- Kills and signals ---------------------------------------------------------------------------


@contextmanager
def at_its_tests(folder: Path) -> Iterator[tuple[warm.Process, list[psutil.Process]]]:
    """A session whose tests are running, and all processes below it."""
    arguments = ["run", "Add.", "--workflow", "full", "--session", "s"]
    with warm.Process(*arguments, cwd=folder, stdout=subprocess.DEVNULL) as running:
        below: list[psutil.Process] = []
        while not any(is_sandboxed_python(process) for process in below):
            assert running.poll() is None
            below = psutil.Process(running.pid).children(recursive=True)
            time.sleep(0.01)
        yield running, below


def is_sandboxed_python(process: psutil.Process) -> bool:
    try:
        return process.cmdline()[1:3] == ["-s", "-c"]
    except psutil.Error:
        return False


@pytest.mark.slow
@pytest.mark.parametrize(
    ("signals", "code"),
    [([signal.SIGKILL], -signal.SIGKILL), ([signal.SIGINT] * 2, 130), ([signal.SIGTERM] * 2, 143)],
)
def test_stopped_while_tests_run_nothing_is_left_and_resume_runs_them_again(
    signals: list[signal.Signals], code: int, tmp_path: Path
) -> None:
    scripted(tmp_path, tests=SLOW)
    with at_its_tests(tmp_path) as (running, below):
        for number in signals:
            running.send_signal(number)
            time.sleep(0.1)
        assert running.wait() == code
    assert not psutil.wait_procs(below, timeout=10)[1]
    assert recorded(tmp_path) == []
    done = swarm("resume", "s", cwd=tmp_path)
    assert done.returncode == 0
    assert b"approved in round 1 of 1" in done.stdout
    assert recorded(tmp_path) == [("run", 1, 1, "passed", 0, 2, 0)]
    with closing(sqlite3.connect(tmp_path / ".swarm/swarm.db")) as database:
        asked = database.execute("SELECT node, count(*) FROM calls GROUP BY node").fetchall()
    assert {count for _, count in asked} == {1}


@pytest.mark.slow
def test_the_first_signal_lets_the_tests_end(tmp_path: Path) -> None:
    scripted(tmp_path, tests=SLOW)
    with at_its_tests(tmp_path) as (running, _):
        running.send_signal(signal.SIGINT)
        assert running.wait() == 130
    assert recorded(tmp_path) == [("run", 1, 1, "passed", 0, 2, 0)]


@pytest.mark.slow
def test_the_interpreter_of_the_test_run_is_the_configured_one(tmp_path: Path) -> None:
    tests = (
        TESTS
        + "\n```python path=tests/test_python.py\nimport click\ndef test_python():\n    assert click\n```"
    )
    scripted(tmp_path, tests=tests)
    assert "No module named 'click' (not in execution.packages)" in run_full(tmp_path)
    scripted(tmp_path, tests=tests, python=sys.prefix)
    assert swarm("verify", "s", "--config", "config.json", cwd=tmp_path).returncode == 0
    scripted(tmp_path, tests=tests, packages=["click"])
    assert swarm("verify", "s", "--config", "config.json", cwd=tmp_path).returncode == 0
