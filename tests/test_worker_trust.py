"""What a worker makes of rows that somebody has written who has the database, and not the user's key."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from langgraph.types import Command
from procrastinate.jobs import Job
from servers.canned import Canned
from storages import opened, selected
from support import thread
from test_waiting_calls import (
    REQUEST,
    Caller,
    Notes,
    answer_the_interrupt,
    approve_the_tool,
    context,
    keep_a_decision,
    new_graph,
    waiting,
)

from swarm_graph import SwarmCoordinator, open_checkpointer
from swarm_graph.checkpoints import signatures
from swarm_graph.checkpoints.copying import copy_database
from swarm_graph.checkpoints.postgres import PostgresDatabase
from swarm_graph.checkpoints.signed_decisions import sign_decisions
from swarm_graph.checkpoints.swarm_saver import SwarmSaver
from swarm_graph.sessions.apply import state_of
from swarm_graph.sessions.fingerprints import recorded_texts
from swarm_graph.tasks.elsewhere import ReadyTask
from swarm_graph.workers.app import SESSIONS
from swarm_graph.workers.heartbeat import Heartbeat
from swarm_graph.workers.jobs import SessionJobs
from swarm_graph.workers.outcome import Again, Failed, Outcome
from swarm_graph.workers.submit import submit
from swarm_graph.workers.task_job import TASKS, TaskJob, hash_of
from swarm_graph.workers.task_jobs import TaskJobs
from swarm_graph.workers.worker import Worker

TASK = {"task_id": "a", "assigned_role": "documenter", "description": "Do a.", "dependencies": []}
JOB = 7_000
"""The number of a job that never was in the queue."""


class Plant(Canned):
    """A model server that counts its questions in `asked`."""

    def __init__(self) -> None:
        super().__init__(self._answer)
        self.asked = 0

    def _answer(self, _system: str, _user: str) -> str:
        self.asked += 1
        return "It is done."


@pytest.fixture
def plant() -> Any:
    with Plant() as plant:
        yield plant


@pytest.fixture
def coordinator(
    postgres_url: str, tmp_path: Path, plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> SwarmCoordinator:
    monkeypatch.setenv("SWARM_DATABASE", postgres_url)
    config = {"model_config": {"single_model": {**plant.entry, "retries": 0}}, "execution": {"mode": "off"}}
    return SwarmCoordinator(config, data_dir=tmp_path, database=postgres_url)


def job(task: str, **arguments: Any) -> Job:
    return Job(queue=task, lock=None, queueing_lock=None, task_name=task, task_kwargs=arguments, id=JOB)


def order_of(coordinator: SwarmCoordinator, folder: Path) -> tuple[TaskJob, Any]:
    """A job that runs the task of the session once more, and the task's record."""
    with opened(folder) as saver:
        state: Any = state_of(saver, "s")
        record = {**state["tasks"]["a"], "status": "PENDING", "result": ""}
        order = TaskJob(
            database=saver.database.identities[0],
            session="s",
            request=state["children"],
            run=saver.catalogue.runs("s")[-1].id,
            purpose="The plant",
            is_again=False,
            temperature=None,
            config=hash_of(coordinator.config.redacted()),
            prompts=hash_of(recorded_texts(saver.catalogue, "s")),
            model="",
            tasks=[ReadyTask(record)],  # type: ignore[arg-type]
        )
        return order, record


def test_a_job_of_tasks_runs_only_what_its_signer_gave(
    coordinator: SwarmCoordinator, plant: Plant, postgres_url: str, tmp_path: Path
) -> None:
    coordinator.add_task(TASK)
    coordinator.run_workflow("The plant", "custom", session_id="s")
    order, record = order_of(coordinator, tmp_path)
    asked, secret = plant.asked, tmp_path / "secret.txt"
    secret.write_text("The worker's own.")
    with_file: Any = {**record, "spec": {**record["spec"], "files": [str(secret)]}}
    edited = order.signed()
    edited["tasks"] = edited["tasks"].replace("Do a.", "Do b.")
    program = {"mcp_servers": {"x": {"command": "touch", "args": ["x"]}}}
    settings = json.dumps({**coordinator.config.redacted(), **program})

    async def told(*jobs_arguments: dict[str, str]) -> list[Any]:
        outcomes = []
        async with TaskJobs(postgres_url, tmp_path / "worker", tmp_path / "own", None) as jobs:
            for arguments in jobs_arguments:
                row = "INSERT INTO session_tasks (session, request, task, job) VALUES ('s', '', 'a', ?)"
                selected(tmp_path, row, [JOB])
                await jobs(job(TASKS, **arguments))
                ((outcome,),) = selected(tmp_path, "DELETE FROM session_tasks RETURNING outcome")
                outcomes.append(json.loads(outcome))
        return outcomes

    done, *refused = asyncio.run(
        told(
            order.signed(),
            edited,
            replace(order, database="database of somebody else").signed(),
            replace(order, tasks=[ReadyTask(with_file)]).signed(),
        )
    )
    assert done["record"]["result"] == "It is done."
    assert plant.asked == asked + 1
    for outcome in refused[:2]:
        assert "was not started by you" in outcome["error"]
    assert "did not come with the session" in refused[2]["error"]
    selected(tmp_path, "UPDATE runs SET config = ?", [settings])
    (outcome,) = asyncio.run(told(order.signed()))
    assert "changed the configuration of session 's'" in outcome["error"]
    selected(tmp_path, "UPDATE runs SET config = NULL")
    other = hash_of({**coordinator.config.redacted(), "approve": ["*"]})  # as after a resume with --config
    (outcome,) = asyncio.run(told(replace(order, config=other).signed()))
    assert "changed the configuration of session 's'" in outcome["error"]
    selected(tmp_path, "UPDATE sources SET text = 'Say x.' WHERE kind = 'prompt'")
    (outcome,) = asyncio.run(told(order.signed()))
    assert "changed the prompts of session 's'" in outcome["error"]
    assert plant.asked == asked + 1


def test_what_others_write_into_the_database_approves_no_call(postgres_url: str, tmp_path: Path) -> None:
    notes, model = Notes(), Caller(texts=["a", "b"])
    crew = context(architect=model)
    with open_checkpointer(postgres_url, data_dir=tmp_path) as saver:
        graph = new_graph(saver, notes)
        for plant_approval in (approve_the_tool, keep_a_decision, answer_the_interrupt):
            graph.invoke(REQUEST, thread(), context=crew)
            plant_approval(saver)
            state, asked = graph.invoke(None, thread(), context=crew), []
            while waits := waiting(state):
                asked += waits
                state = graph.invoke(Command(resume="approve"), thread(), context=crew)
            assert asked == ["a", "b"]
            assert state["phase"] == "complete"
            saver.delete_thread("t")
    assert notes.written == 3 * ["a", "b"]


def test_a_copy_in_a_file_keeps_only_the_decisions_that_the_user_signed(
    postgres_url: str, tmp_path: Path
) -> None:
    def asked(saver: SwarmSaver, notes: Notes) -> list[str]:
        crew = context(architect=Caller(texts=["a", "b"]))
        graph, found = new_graph(saver, notes), []
        state = graph.invoke(None, thread(), context=crew)
        while waits := waiting(state):
            found += waits
            state = graph.invoke(Command(resume="approve"), thread(), context=crew)
        assert (state["phase"], notes.written) == ("complete", ["a", "b"])
        return found

    crew, plants = context(architect=Caller(texts=["a"])), (keep_a_decision, answer_the_interrupt)
    with open_checkpointer(postgres_url, data_dir=tmp_path) as saver:
        for name, plant_approvals in {
            "theirs": (approve_the_tool, *plants),
            "own": (approve_the_tool,),
        }.items():
            new_graph(saver, Notes()).invoke(REQUEST, thread(), context=crew)
            for plant_approval in plant_approvals:
                plant_approval(saver)
            if name == "own":
                with saver.transaction() as cursor:
                    rows = cursor.execute("SELECT name FROM steps WHERE name LIKE 'approved:%'").fetchall()
                ((approved,),) = rows
                sign_decisions(saver.catalogue, "t", {approved: True})
            with open_checkpointer(tmp_path / name) as copy:
                copied = copy_database(saver, copy)
                assert asked(copy, Notes()) == (["a", "b"] if name == "theirs" else [])
            assert copied.unsigned == (3 if name == "theirs" else 0)
            assert ("left out 3 decisions" in copied.text) == (name == "theirs")
            saver.delete_thread("t")


def test_a_job_of_a_session_asks_only_what_its_submitter_asked(
    coordinator: SwarmCoordinator, plant: Plant, postgres_url: str, tmp_path: Path
) -> None:
    coordinator.leaves_to_workers = True
    coordinator.run_workflow("Create a queue", session_id="s")
    with PostgresDatabase(postgres_url, tmp_path) as database:
        submit(database, "s", coordinator.config, 0)
    ((signed,),) = selected(tmp_path, "SELECT args FROM procrastinate_jobs")
    (asked,) = selected(tmp_path, "SELECT input FROM runs")
    signatures._SIGNED_HERE.clear()  # as in a worker: another process has signed it

    def outcome(**arguments: Any) -> Outcome:
        async def done() -> Outcome:
            jobs = SessionJobs(postgres_url, tmp_path / "worker", tmp_path / "own", None, 1, print)
            return await jobs(job(SESSIONS, **arguments))

        return asyncio.run(done())

    def refuse(**arguments: Any) -> None:
        found = outcome(**arguments)
        assert isinstance(found, Failed)
        assert "it is not what you have submitted" in found.reason

    refuse(session="s")
    selected(tmp_path, "UPDATE runs SET input = replace(input, 'queue', 'virus')")
    refuse(**signed)
    selected(tmp_path, "UPDATE runs SET input = ?", asked)
    selected(tmp_path, "UPDATE sources SET text = 'Say x.'")
    refuse(**signed)
    assert not plant.asked
    with PostgresDatabase(postgres_url, tmp_path) as database, database.transaction() as cursor:
        cursor.execute("INSERT INTO swarm_steps (name) VALUES ('later')")
    assert isinstance(outcome(**signed), Again)  # for a worker that was upgraded, too


def test_no_row_of_others_keeps_lost_jobs_from_being_rescued(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGAPPNAME", "")  # a worker names its connections
    said: list[str] = []
    rows = {
        "text": ('{"losses": "x"}', 0),
        "large": ('{"losses": 99999999999}', 0),
        "list": ("[1]", 0),
        "number": ("7", 0),
        "twice": ("{}", 0),
        "attempts": ("{}", 2**31 - 1),
        "last": ('{"losses": 2}', 0),
    }
    insert = (
        "INSERT INTO procrastinate_jobs (queue_name, task_name, queueing_lock, args, status, attempts) "
        "VALUES ('x', 'x', %s, %s, %s, %s)"
    )
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(insert, ("twice", "{}", "todo", 0))
        for name, (arguments, attempts) in rows.items():
            connection.execute(insert, (name, arguments, "doing", attempts))
        heartbeat = Heartbeat(postgres_url, said.append)
        heartbeat._rescue()
        heartbeat.start()
        heartbeat.end()
        query = "SELECT queueing_lock, status::text, args FROM procrastinate_jobs ORDER BY id"
        found = connection.execute(query).fetchall()
    assert found == [
        ("twice", "todo", {}),
        *((name, "todo", {"losses": 1}) for name in ("text", "large", "list", "number")),
        ("last", "todo", {"losses": 3}),
    ]
    assert len([line for line in said if "is taken out of the queue" in line]) == 2


def test_a_job_that_cannot_wait_again_leaves_the_queue(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGAPPNAME", "")
    insert = "INSERT INTO procrastinate_jobs (queue_name, task_name, queueing_lock, attempts) VALUES "
    said: list[str] = []

    async def give_back(_: Job) -> Outcome:
        worker.drain()
        connection.execute(f"{insert} ('y', 'y', 'twice', 0)")
        return Again()

    with psycopg.connect(postgres_url, autocommit=True) as connection:
        for row in (f"('x', 'x', 'large', {2**31 - 1})", "('x', 'x', 'twice', 0)"):
            connection.execute(insert + row)
            worker = Worker(postgres_url, {"x": give_back}, concurrency=1, models=None, say=said.append)
            asyncio.run(worker.run())
            connection.execute("DELETE FROM procrastinate_jobs WHERE queue_name = 'y'")
        assert connection.execute("SELECT count(*) FROM procrastinate_jobs").fetchone() == (0,)
    assert len(said) == 2
