"""Tasks of a session as jobs of their own: any worker runs them, the process of the session conducts."""

from __future__ import annotations

import asyncio
import csv
import json
import re
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import warm
from servers.canned import Canned
from support import write_config

from swarm_graph import SwarmCoordinator
from swarm_graph.checkpoints.catalogue import Catalogue
from swarm_graph.checkpoints.postgres import PostgresDatabase
from swarm_graph.tasks.elsewhere import ELSEWHERE
from swarm_graph.workers.announcements import Announcements
from swarm_graph.workers.conductor import Conductors
from swarm_graph.workers.task_job import TASKS
from swarm_graph.workers.task_jobs import TaskJobs
from swarm_graph.workers.worker import Worker

PATIENCE_S = 120
"""After this a test that waits for something has failed; the machine may be busy."""
TYPED = {
    "type": "object",
    "properties": {"kind": {"enum": ["pump", "valve"]}},
    "required": ["kind"],
    "additionalProperties": False,
}


def task(name: str, *dependencies: str, **more: Any) -> dict[str, Any]:
    return {
        "task_id": name,
        "assigned_role": "documenter",
        "description": f"Do {name}.",
        "dependencies": [*dependencies],
        **more,
    }


class Plant(Canned):
    """A model server that says which task it was asked about, or what `answers` holds for it.

    Attributes:
        answers: What is said in place of that, by task; a callable gets the prompt.
        asked: How often it was asked, by task.
    """

    def __init__(self) -> None:
        super().__init__(self._answer)
        self.answers: dict[str, Any] = {}
        self.asked: Counter[str] = Counter()
        self.prompts: dict[str, str] = {}
        self._changed = threading.Condition()

    def wait_for_question(self, name: str, times: int = 1) -> None:
        """Return when a task's question has come so often."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.asked[name] >= times, PATIENCE_S), self.asked

    def _answer(self, system: str, user: str) -> str:
        found = re.search(r"Do ([\w.-]+)\.", user)
        name = found[1] if found else ""
        with self._changed:
            self.asked[name] += 1
            self.prompts[name] = user
            self._changed.notify_all()
        answer = self.answers.get(name, f"I am {name}.")
        return answer(user) if callable(answer) else str(answer)

    def config(self, **sections: Any) -> dict[str, Any]:
        models = {"single_model": {**self.entry, "retries": 0}}
        return {"model_config": models, "execution": {"mode": "off"}, **sections}


@pytest.fixture
def plant() -> Any:
    with Plant() as plant:
        yield plant


@asynccontextmanager
async def working(url: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Worker]:
    """A worker for tasks in this process; the sessions that it begins are conducted."""
    monkeypatch.setenv("PGAPPNAME", "")
    jobs = TaskJobs(url, folder / "worker", folder / "own", None)
    worker = Worker(url, {TASKS: jobs}, concurrency=4, models=None, say=print)
    async with Announcements(url) as announcements, jobs:
        running = asyncio.create_task(worker.run())
        token = ELSEWHERE.set(Conductors(announcements))
        try:
            yield worker
        finally:
            ELSEWHERE.reset(token)
            worker.drain()
            await running


class Site:
    """What a test needs of a session whose tasks a worker runs."""

    def __init__(self, url: str, folder: Path, plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
        self.url, self.folder, self.plant, self.monkeypatch = url, folder, plant, monkeypatch

    def coordinator(self, **sections: Any) -> SwarmCoordinator:
        return SwarmCoordinator(
            self.plant.config(**sections),
            data_dir=self.folder / "data",
            output_dir=self.folder / "out",
            database=self.url,
        )

    def run(self, *tasks: dict[str, Any], **sections: Any) -> SwarmCoordinator:
        return asyncio.run(self._run(*tasks, **sections))

    async def _run(
        self,
        *tasks: dict[str, Any],
        begun: Callable[[SwarmCoordinator], None] = lambda _: None,
        **sections: Any,
    ) -> SwarmCoordinator:
        coordinator = self.coordinator(**sections)
        begun(coordinator)
        for one in tasks:
            coordinator.add_task(one)
        async with working(self.url, self.folder, self.monkeypatch):
            await coordinator.arun_workflow("The plant", "custom", session_id="s")
        return coordinator

    def resume(self, *given: Any, **sections: Any) -> SwarmCoordinator:
        return asyncio.run(self._resume(*given, **sections))

    async def _resume(self, *given: Any, **sections: Any) -> SwarmCoordinator:
        coordinator = self.coordinator(**sections)
        async with working(self.url, self.folder, self.monkeypatch):
            await coordinator.aresume("s", *given)
        return coordinator

    def left(self) -> list[int]:
        """How many rows are left of the tasks' jobs."""
        with PostgresDatabase(self.url, self.folder) as database, database.view() as cursor:
            return [
                cursor.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
                for table in ("session_tasks", "procrastinate_jobs")
            ]


@pytest.fixture
def site(postgres_url: str, tmp_path: Path, plant: Plant, monkeypatch: pytest.MonkeyPatch) -> Site:
    return Site(postgres_url, tmp_path, plant, monkeypatch)


def statuses(coordinator: SwarmCoordinator) -> dict[str, str]:
    return {name: record["status"] for name, record in coordinator.state["tasks"].items()}


def test_a_graph_ends_as_on_one_machine(site: Site) -> None:
    added = {"task_id": "x", "assigned_role": "documenter", "description": "Do more.x."}
    site.plant.answers = {
        "kind": json.dumps({"kind": "pump"}),
        "more": json.dumps({"plan": "p", "tasks": [added]}),
    }
    done = site.run(
        task("a"),
        task("b", "a"),
        task("kind", answer=TYPED),
        task("pump", "kind", when="kind.kind == 'pump'"),
        task("valve", "kind", when="kind.kind == 'valve'"),
        task("more", expands=True),
        task("end", "b", "pump", "valve", "more"),
    )
    tasks = done.state["tasks"]
    assert statuses(done) == {name: "SKIPPED" if name == "valve" else "COMPLETED" for name in tasks}
    assert "more.x" in tasks
    for name in ("a", "b", "pump", "more.x", "end"):
        assert tasks[name]["result"] == f"I am {name}."
    assert "I am a." in site.plant.prompts["b"]
    assert "I am more.x." in site.plant.prompts["end"]
    assert set(site.plant.asked.values()) == {1}
    assert {(call["node"], call["outcome"]) for call in done._run.tracker.calls} == {
        (name, "answered") for name in site.plant.asked
    }
    assert done.get_metrics_summary()["agents"]["documenter"]["total_calls"] == 7
    assert site.left() == [0, 0]


def test_a_resume_runs_only_what_has_failed(site: Site) -> None:
    site.plant.answers = {"bad": ""}
    failed = site.run(task("good"), task("bad"), task("after", "bad", "good"))
    assert statuses(failed) == {"good": "COMPLETED", "bad": "FAILED", "after": "SKIPPED"}
    assert "the documenter's answer is empty" in failed.state["tasks"]["bad"]["error"]
    assert failed.state["phase"] == "failed"
    site.plant.answers = {}
    done = site.resume()
    assert set(statuses(done).values()) == {"COMPLETED"}
    assert "I am good." in site.plant.prompts["after"]
    assert site.plant.asked["good"] == 1
    assert site.left() == [0, 0]


def test_the_budget_counts_the_calls_of_all_workers(site: Site) -> None:
    tasks = [task(f"t{number}") for number in range(12)]
    over = site.run(*tasks, limits={"calls": 5}, workflow={"max_parallel_agents": 6})
    assert over.state["phase"] == "over_budget"
    assert "5 of 5 calls" in over.stopped_by
    assert site.plant.asked.total() == 5
    still_over = site.resume(limits={"calls": 5})
    assert still_over.state["phase"] == "over_budget"
    assert site.plant.asked.total() == 5
    done = site.resume(limits={"calls": 12})
    assert set(statuses(done).values()) == {"COMPLETED"}
    assert set(site.plant.asked.values()) == {1}
    assert site.left() == [0, 0]


def test_a_stop_lets_calls_in_flight_end_and_begins_no_other(site: Site) -> None:
    coordinators: list[SwarmCoordinator] = []

    def stop(_: str) -> str:
        coordinators[0].stop()
        return "I am t0."

    site.plant.answers = {"t0": stop}
    stopped = site.run(*(task(f"t{number}") for number in range(30)), begun=coordinators.append)
    assert stopped.state["phase"] == "cancelled"
    assert statuses(stopped)["t0"] == "COMPLETED"
    assert "PENDING" in statuses(stopped).values()
    assert site.left() == [0, 0]
    done = site.resume()
    assert set(statuses(done).values()) == {"COMPLETED"}
    assert set(site.plant.asked.values()) == {1}


def test_another_process_stops_the_tasks_of_a_session(site: Site) -> None:
    def stop(_: str) -> str:
        with PostgresDatabase(site.url, site.folder) as database:
            assert Catalogue(database).request_stop("s")
        return "I am t0."

    site.plant.answers = {"t0": stop}
    stopped = site.run(*(task(f"t{number}") for number in range(30)))
    assert stopped.state["phase"] == "cancelled"
    assert "PENDING" in statuses(stopped).values()
    assert set(site.plant.asked.values()) == {1}


@pytest.mark.slow
def test_killed_workers_and_a_killed_conductor_lose_nothing(
    postgres_url: str, tmp_path: Path, plant: Plant
) -> None:
    never = threading.Event()

    def first_time_never(name: str) -> Callable[[str], str]:
        def answer(_: str) -> str:
            if plant.asked[name] == 1:
                never.wait(PATIENCE_S)
            return f"I am {name}."

        return answer

    names = [f"t{number}" for number in range(12)]
    plant.answers = {name: first_time_never(name) for name in ("t0", "t1")}
    config = write_config(tmp_path, **plant.config(database=postgres_url))
    graph = tmp_path / "graph.json"
    graph.write_text(json.dumps([*map(task, names), task("end", *names)]))

    def worker(name: str) -> warm.Process:
        given = ("--config", config, "--data-dir", tmp_path / name, "--concurrency", "1")
        with (tmp_path / f"{name}.log").open("wb") as log:
            return warm.Process("worker", *given, cwd=tmp_path, stdout=log, stderr=log)

    submit = ("submit", "run", "--tasks", graph, "--session", "s", "--wait", "--output", tmp_path / "out")
    quiet = subprocess.DEVNULL
    with (
        worker("a") as conductor,
        warm.Process(*submit, "--config", config, cwd=tmp_path, stdout=quiet, stderr=quiet) as submitted,
    ):
        plant.wait_for_question("t0")
        with worker("b") as second:
            plant.wait_for_question("t1")
            second.kill()
        with worker("c") as third:
            plant.wait_for_question("t1", times=2)
            conductor.kill()
            assert submitted.wait() == 0
            third.send_signal(signal.SIGTERM)
    never.set()
    with (tmp_path / "out" / "results.csv").open() as file:
        results = {row["task_id"]: row["result"] for row in csv.DictReader(file)}
    assert results == {name: f"I am {name}." for name in (*names, "end")}
    assert {name: count for name, count in plant.asked.items() if count > 1} == {"t0": 2, "t1": 2}
