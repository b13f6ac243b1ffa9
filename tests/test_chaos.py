"""Sessions are killed (SIGKILL, real processes) at any point, then resume without a loss."""

from __future__ import annotations

import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from chaos.driver import Session, Worker, moments, unbroken
from chaos.kept import kept_in
from chaos.model_server import ModelServer
from storages import Databases
from support import sandbox

from swarm_graph import open_checkpointer

pytestmark = pytest.mark.slow

WORKFLOWS = ("standard", "full", "review_only")
REQUEST = "Request 7: a queue."
"""It takes full and standard three rounds."""
TWO_ROUNDS = {"workflow": {"max_iterations": 2}}
MARGIN_S = 5.0
"""Wide, for a machine under load; `make soak` holds it to 50 ms, the points below to nothing at all."""
CANDIDATES = {"workflow": {"candidates": 3}, "agent_parameters": {"coder": {"seed": 1}}}
"""A seed: the server gives each candidate an answer of its own."""
SETTINGS: dict[str, dict[str, Any]] = {"full": TWO_ROUNDS, "review_only": TWO_ROUNDS, "single": CANDIDATES}
EVERY = {"full": 1 if os.environ.get("EVERY_POINT") else 3, "review_only": 1, "single": 2}
"""Every third point costs a third of the time; `make soak` tries each."""
SPARSER = 1 if os.environ.get("EVERY_POINT") else 11
"""On a server, where each session needs a database of its own, every eleventh of them is tried."""


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_killed_at_random_moments_a_session_ends_as_if_nothing_had_been(
    workflow: str, worker: Worker, databases: Databases, tmp_path: Path
) -> None:
    expected, _ = unbroken(worker, tmp_path / "unbroken", workflow, REQUEST)
    with ModelServer(latency=0.05) as server:
        session = Session(tmp_path, workflow, REQUEST, server, database=databases())
        for moment in moments(seed=WORKFLOWS.index(workflow), count=6, longest=0.6):
            session.kill_after(worker, moment)
        session.finish(worker)
        assert session.files() == expected
        assert session.asked_again(MARGIN_S) == []


def test_killed_at_random_moments_tests_are_run_again(worker: Worker, tmp_path: Path) -> None:
    settings = {"execution": {"mode": "auto"}}
    expected, _ = unbroken(worker, tmp_path / "unbroken", "full", REQUEST, settings)
    with ModelServer(latency=0.02) as server:
        session = Session(tmp_path, "full", REQUEST, server, settings)
        for moment in moments(seed=4, count=8, longest=1.2):
            session.kill_after(worker, moment)
        session.finish(worker)
        assert session.files() == expected
        assert f'"sandbox": "{sandbox()}"' in expected["swarm_state_s.json"]
        assert session.asked_again(MARGIN_S) == []


@pytest.mark.parametrize("workflow", ["full", "review_only", "single"])
def test_killed_around_any_commit_or_write_nothing_is_asked_again(
    workflow: str, workers: list[Worker], databases: Databases, tmp_path: Path
) -> None:
    """A point is tried once: an answer that is committed is never asked for again.

    Right before a commit of a group, what several nodes and calls have written is lost.
    """
    settings = SETTINGS[workflow]
    place = tmp_path / "unbroken"
    expected, last = unbroken(workers[0], place, workflow, REQUEST, settings, database=databases())
    points = range(1, last + 1, EVERY[workflow] * (SPARSER if databases() else 1))

    def part(number: int) -> int:
        mine = points[number :: len(workers)]
        for point in mine:
            die_and_go_on(workers[number], workflow, tmp_path / str(point), point, expected, databases())
        return len(mine)

    with ThreadPoolExecutor(len(workers)) as pool:
        assert sum(pool.map(part, range(len(workers)))) == len(points) > (5 if databases() else 20)


def die_and_go_on(
    worker: Worker, workflow: str, folder: Path, point: int, expected: dict[str, str], database: str
) -> None:
    folder.mkdir()
    with ModelServer(latency=0) as server:
        session = Session(folder, workflow, REQUEST, server, SETTINGS[workflow], database=database)
        session.kill_at(worker, point)
        ((asked, answers),) = session.committed
        session.finish(worker)
    assert session.files() == expected, point
    questions = len({ask.key for ask in server.asked})
    assert len(server.asked) - asked <= questions - answers.total(), point


def test_a_model_server_that_dies_and_comes_back_changes_nothing(worker: Worker, tmp_path: Path) -> None:
    expected, _ = unbroken(worker, tmp_path / "unbroken", "full", REQUEST)
    with ModelServer(latency=0.1) as server:
        session = Session(tmp_path, "full", REQUEST, server)
        worker.start(session.job())
        for _ in range(2):
            threading.Event().wait(0.3)
            server.stop()
            threading.Event().wait(0.3)
            server.start()
        code = worker.wait()
        while code != 0:  # its retries were spent while the server was away
            code = worker.do(session.job())
        assert session.files() == expected


def test_calls_that_fail_change_nothing(worker: Worker, tmp_path: Path) -> None:
    expected, _ = unbroken(worker, tmp_path / "unbroken", "review_only", REQUEST)
    for seed in range(20):  # which questions fail depends on the prompts
        with ModelServer(latency=0.02, failing=0.2, seed=seed) as server:
            session = Session(tmp_path / str(seed), "review_only", REQUEST, server, idle_timeout=0.5)
            session.finish(worker)
            assert session.files() == expected
            if len(server.asked) > len({ask.key for ask in server.asked}):
                return
    pytest.fail("nothing failed")


def test_answers_that_must_be_repaired_are_repaired_once_and_recorded(worker: Worker, tmp_path: Path) -> None:
    expected, _ = unbroken(worker, tmp_path / "unbroken", "full", REQUEST, TWO_ROUNDS, malformed=0.5)
    with ModelServer(latency=0.05, malformed=0.5) as server:
        session = Session(tmp_path, "full", REQUEST, server, TWO_ROUNDS)
        for moment in moments(seed=7, count=4, longest=0.6):
            session.kill_after(worker, moment)
        session.finish(worker)
        assert session.files() == expected
    with open_checkpointer(tmp_path / ".swarm" / "swarm.db") as saver:
        assert "repaired" in {task["note"] for task in saver.catalogue.tasks("s")}


def test_many_processes_share_one_database(databases: Databases, tmp_path: Path) -> None:
    """8 processes with 25 sessions each: all end, none meets a lock, the database is whole."""
    database = databases()
    entry = {"model": "simulated", "api_type": "simulated"}
    job = {
        "folder": str(tmp_path),
        "workflow": "review_only",
        "config": {"model_config": {"single_model": entry}},
        "sessions": 25,
        "processes": 8,
        "database": database,
    }
    with Worker(tmp_path / "log") as worker:
        assert worker.do(job) == 0, (tmp_path / "log").read_text()
    kept = kept_in(database or tmp_path / ".swarm" / "swarm.db")
    kept.check()
    phases = kept.rows("SELECT phase, count(*) AS number FROM sessions GROUP BY phase")
    assert phases == [{"phase": "complete", "number": 200}]
    assert len(list((tmp_path / "output").glob("*/swarm_state_*.json"))) == 200
    assert not list((tmp_path / ".swarm").glob("*.lock"))
    state = json.loads((tmp_path / "output" / "p7_24" / "swarm_state_p7_24.json").read_text())
    assert state["request"] == "p7_24"
