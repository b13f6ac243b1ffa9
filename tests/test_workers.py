"""Sessions that are submitted, and the workers that work on them: real processes over one PostgreSQL."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import warm
from chaos.model_server import ModelServer
from repositories import git, make_repository
from servers.page_user import PageUser, fields
from servers.web_page import running_page
from support import write_config

from swarm_graph.checkpoints.postgres import PostgresDatabase
from swarm_graph.workers import queue as job_queue

WAIT_S = 60.0
"""How long a test waits for something that takes a second or two on a machine that does nothing else."""


class Plant:
    """Machines with a folder each, and one database."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url
        self._stack = ExitStack()

    def machine(self, name: str) -> Path:
        """The folder of a machine."""
        place = self.folder / name
        place.mkdir(exist_ok=True)
        return place

    def environment(self, **more: str) -> dict[str, str]:
        return {**warm.ENVIRONMENT, "SWARM_DATABASE": self.url, **more}

    def run(self, *arguments: str | Path, at: str = "office", code: int = 0, **more: str) -> str:
        """Run a command at a machine; returns what it prints."""
        done = warm.run(*arguments, cwd=self.machine(at), env=self.environment(**more), text=True)
        assert done.returncode == code, done.stderr
        return str(done.stdout) if code == 0 else str(done.stderr)

    def worker(self, name: str, *options: str | Path) -> warm.Process:
        """Start a worker; it is killed at the end if it still runs."""
        with (self.machine(name) / "worker.log").open("a") as log:
            process = warm.Process(
                "worker", *options, cwd=self.machine(name), env=self.environment(), stderr=log
            )
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        self._stack.callback(process.send_signal, signal.SIGCONT)
        return process

    def wait(self, *session_ids: str) -> dict[str, str]:
        """Wait until sessions have left the queue or failed; returns their phases."""
        with PostgresDatabase(self.url, self.folder) as database:
            for _ in range(int(WAIT_S / 0.1)):
                jobs = [job_queue.job_of(database, name) for name in session_ids]
                if all(job is None or job.status == "failed" for job in jobs):
                    break
                time.sleep(0.1)
            with database.view() as cursor:
                return dict(cursor.execute("SELECT session, phase FROM sessions").fetchall())

    def jobs(self) -> list[tuple[str, str, str]]:
        """The session, status and reason of each job, in the order of the queue."""
        found = json.loads(self.run("queue", "--json"))["jobs"]
        return [(job["session"], job["status"], job["reason"]) for job in found]

    def close(self) -> None:
        self._stack.close()


@pytest.fixture
def plant(tmp_path: Path, postgres_url: str) -> Iterator[Plant]:
    found = Plant(tmp_path, postgres_url)
    yield found
    found.close()


@pytest.fixture
def model() -> Iterator[ModelServer]:
    with ModelServer(held=True) as server:
        yield server
        server.drop()


def config_for(folder: Path, model: ModelServer, **sections: Any) -> Path:
    """A config file for sessions that ask a model server."""
    entry = {"url": model.url, "model": "m", "slots": 8, "retries": 0}
    return write_config(folder, model_config={"mode": "single", "single_model": entry}, **sections)


def in_flight(model: ModelServer, count: int) -> list[str]:
    """The keys of the questions in flight, as soon as there are so many."""
    with model._changed:
        assert model._changed.wait_for(lambda: len(model.in_flight) == count, WAIT_S)
        return [asked.key for asked in model.in_flight]


def let_go(model: ModelServer) -> None:
    """From now on every question is answered at once."""
    with model._changed:
        model.held = False
        model._changed.notify_all()


def test_documents_travel_to_a_worker_and_its_answers_back(plant: Plant) -> None:
    office = plant.machine("office")
    documents = office / "docs"
    documents.mkdir()
    for number in range(3):
        (documents / f"d{number}.txt").write_text(f"valve V-{number}")
    prompts = office / "prompts"
    prompts.mkdir()
    (prompts / "extract.md").write_text("Name the valves: $files")
    batch = ("batch", "docs/*.txt", "--prompt", "extract", "--prompts", "prompts", "--session", "lao")
    assert plant.run("submit", *batch, "--simulate", "--priority", "2") == "lao\n"
    assert plant.jobs() == [("lao", "todo", "")]
    assert "queued" in plant.run("sessions", "list")
    for folder in (documents, prompts):  # the worker reads what came with the session
        folder.rename(office / f"no-{folder.name}")
    worker = plant.worker("shop")
    assert plant.wait("lao") == {"lao": "complete"}
    assert plant.jobs() == []
    assert not [*plant.machine("shop").rglob("d0.txt")]  # nothing is left at the worker
    (office / "no-prompts").rename(prompts)
    plant.run("resume", "lao", "--output", "answers", at="lab")
    rows = (plant.machine("lab") / "answers" / "results.jsonl").read_text().splitlines()
    assert [json.loads(row)["task_id"] for row in rows] == ["d0", "d1", "d2"]
    asked = plant.run("log", "lao", "--task", "d1")
    assert "Name the valves" in asked
    assert "valve V-1" in asked
    worker.send_signal(signal.SIGTERM)
    assert worker.wait() == 143


@pytest.mark.slow
def test_documents_that_were_moved_travel_under_their_recorded_names(plant: Plant) -> None:
    documents = plant.machine("office") / "docs"
    for number in range(2):
        (documents / f"{number}").mkdir(parents=True)
        (documents / f"{number}" / "d.txt").write_text(f"valve V-{number}")
    (documents.parent / "extract.md").write_text("Name the valves: $files")
    batch = ("batch", "docs/*/*.txt", "--prompt", "extract", "--prompts", ".", "--session", "lao")
    plant.run("submit", *batch, "--simulate")
    plant.run("queue", "cancel", "lao")
    documents.rename(documents.with_name("moved"))
    with PostgresDatabase(plant.url, plant.folder) as database, database.transaction() as cursor:
        cursor.execute("DELETE FROM session_files")  # as if nothing had been sent before the move
    plant.run("submit", "resume", "lao", "--inputs", "moved")
    plant.worker("shop")
    assert plant.wait("lao") == {"lao": "complete"}
    log = plant.run("log", "lao", "--full")
    assert "valve V-0" in log
    assert "valve V-1" in log


def test_a_repository_travels_as_a_bundle_and_the_commits_come_back(plant: Plant) -> None:
    office = plant.machine("office")
    project = make_repository(office / "project", {"src/a.py": "x = 1\n"})
    config = write_config(office, workflow={"pause_after": ["reviewer"]})
    first = plant.worker("one")
    request = ("run", "Add a function", "--repo", project, "--simulate", "--session", "fix")
    plant.run("submit", *request, "-c", config, "--wait", "--output", "out", code=3)
    plant.run("submit", "resume", "fix", "--approve", at="lab")
    assert plant.wait("fix")["fix"] == "paused"  # in round 2
    plant.run("resume", "fix", "--output", "out", code=3)
    made = git(project, "rev-parse", "swarm/fix")
    assert made != git(project, "rev-parse", "HEAD")
    first.kill()
    plant.worker("two")  # which has the commit of round 1 from the database, and adds its own
    plant.run("submit", "resume", "fix", "--approve", at="lab")
    assert plant.wait("fix")["fix"] == "complete"
    plant.run("resume", "fix", "--output", "out")
    assert (office / "out" / "changes.patch").read_text().startswith("From ")
    commits = git(project, "log", "--format=%H", "swarm/fix").splitlines()
    assert made in commits[1:]
    assert not git(project, "status", "--short")


def test_a_killed_worker_costs_the_calls_in_flight_and_nothing_else(plant: Plant, model: ModelServer) -> None:
    config = config_for(plant.machine("office"), model)
    plant.run("submit", "run", "Create a FIFO queue", "--session", "s", "-c", config)
    first = plant.worker("one")
    (plan,) = in_flight(model, 1)
    with model._changed:
        model.in_flight[0].released = True
        model._changed.notify_all()
        assert model._changed.wait_for(lambda: len({asked.key for asked in model.asked}) > 1, WAIT_S)
    lost = {asked.key for asked in model.in_flight}
    first.kill()
    model.drop()
    plant.worker("two")
    let_go(model)
    assert plant.wait("s") == {"s": "complete"}
    keys = [asked.key for asked in model.asked]
    assert keys.count(plan) == 1
    assert {key for key in keys if keys.count(key) > 1} <= lost


@pytest.mark.slow
def test_a_stopped_worker_that_wakes_up_writes_nothing(plant: Plant, model: ModelServer) -> None:
    config = config_for(plant.machine("office"), model)
    plant.run("submit", "run", "Create a FIFO queue", "--session", "s", "-c", config)
    first = plant.worker("one")
    in_flight(model, 1)
    first.send_signal(signal.SIGSTOP)
    plant.worker("two")
    in_flight(model, 2)  # after STALLED_S the other one asks, too
    first.send_signal(signal.SIGCONT)
    let_go(model)
    assert plant.wait("s") == {"s": "complete"}
    first.send_signal(signal.SIGTERM)
    assert first.wait() == 143
    assert "may have taken over" in (plant.machine("one") / "worker.log").read_text()
    with PostgresDatabase(plant.url, plant.folder) as database, database.view() as cursor:
        kinds = cursor.execute("SELECT phase FROM runs ORDER BY id").fetchall()
        assert [phase for (phase,) in kinds] == ["queued", "interrupted", "complete"]
        assert plant.jobs() == []


def test_a_worker_that_ends_leaves_its_session_to_others(plant: Plant, model: ModelServer) -> None:
    config = config_for(plant.machine("office"), model)
    plant.run("submit", "run", "Create a FIFO queue", "--session", "s", "-c", config)
    worker = plant.worker("one")
    (plan,) = in_flight(model, 1)
    worker.send_signal(signal.SIGTERM)
    with model._changed:
        model.in_flight[0].released = True
        model._changed.notify_all()
    assert worker.wait() == 143
    assert plant.jobs() == [("s", "todo", "")]
    let_go(model)
    plant.worker("two")
    assert plant.wait("s") == {"s": "complete"}
    assert [asked.key for asked in model.asked].count(plan) == 1


def test_priority_cancel_failure_retry_and_a_pause(plant: Plant, model: ModelServer) -> None:
    office = plant.machine("office")
    config = config_for(office, model, workflow={"pause_after": ["architect"]})
    for name in ("low", "gone", "high"):
        plant.run("submit", "run", name, "--session", name, "-c", config)
    plant.run("queue", "priority", "high", "3")
    plant.run("queue", "cancel", "gone")
    assert "waits in the queue already" in plant.run("submit", "resume", "low", code=2)
    assert [name for name, *_ in plant.jobs()] == ["high", "low"]
    model.stop()
    plant.worker("shop", "--concurrency", "1")
    assert plant.wait("high", "low") == {"low": "failed", "high": "failed", "gone": "cancelled"}
    jobs = plant.jobs()
    assert all(status == "failed" and str(model.port) in reason for _, status, reason in jobs)
    assert "has failed" in plant.run("queue", "priority", "low", "3", code=2)
    model.start()
    let_go(model)
    plant.run("queue", "retry", "high")
    assert plant.wait("high")["high"] == "paused"
    plant.run("submit", "resume", "high", "--approve", at="lab")
    assert plant.wait("high")["high"] == "complete"
    assert plant.wait("low")["low"] == "failed"


def test_what_somebody_else_submits_runs_with_the_workers_own_models(
    plant: Plant, model: ModelServer
) -> None:
    config = config_for(plant.machine("office"), model)
    home = str(plant.machine("their-home"))
    request = ("run", "Create a FIFO queue", "--session", "s", "-c", config)
    plant.run("submit", *request, XDG_DATA_HOME=home)
    worker = plant.worker("shop")
    assert plant.wait("s") == {"s": "failed"}
    ((_, status, reason),) = plant.jobs()
    assert status == "failed"
    assert "was not started by you" in reason
    assert not model.asked
    worker.kill()
    with ModelServer() as own:
        plant.worker("shop", "--config", config_for(plant.machine("shop"), own))
        plant.run("queue", "retry", "s")
        assert plant.wait("s") == {"s": "complete"}
        assert own.asked
    assert not model.asked


def test_the_page_shows_the_queue_and_workers_go_on_after_an_answer(plant: Plant) -> None:
    office = plant.machine("office")
    write_config(office, workflow={"pause_before": ["coder"]})
    for name in ("s", "other"):
        plant.run("submit", "run", "Create a FIFO queue", "--session", name, "--workflow", "single")
    with running_page(office, SWARM_DATABASE=plant.url) as page:
        user = PageUser(page, "Ann")
        assert "No worker runs now" in user.get("/queue")
        assert user.do("/queue/s/priority", priority="7").startswith("/queue")
        assert "whole number" in user.refusal("/queue/s/priority", priority="9" * 9)
        assert plant.jobs() == [("s", "todo", ""), ("other", "todo", "")]
        assert "waits for a worker" in user.get("/sessions/s")
        assert "waits for a worker" in user.refusal("/sessions/s/resume")
        user.do("/sessions/other/stop")
        assert (user.phase("other"), len(plant.jobs())) == ("cancelled", 1)
        first = plant.worker("shop")
        assert user.wait("s", "paused") == "paused"
        plant.wait("s")
        first.kill()
        first.wait()
        shown = {name: fields(user.get("/decisions"), name)[0] for name in ("pause", "shown")}
        user.do("/sessions/s/decide", decision="approve", **shown)
        assert user.phase("s") == "queued"
        assert user.do("/sessions/other/resume").endswith("note=queued")
        plant.worker("shop")
        assert user.wait("s", "complete", "failed") == "complete"
        assert user.wait("other", "paused", "failed") == "paused"


def test_without_a_server_the_commands_say_what_is_missing(tmp_path: Path) -> None:
    for command in (["worker"], ["queue"], ["submit", "run", "x", "--simulate"]):
        done = warm.run(*command, cwd=tmp_path, text=True)
        assert done.returncode == 2
        assert "set `database` in the configuration" in done.stderr
    assert not [*tmp_path.iterdir()]
