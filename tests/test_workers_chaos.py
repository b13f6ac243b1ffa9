"""Workers are killed, stopped, and cut off from PostgreSQL: no session is lost, no answer asked for again."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from chaos.machines import Audit, Machine, config_of, machines, states_alone, states_of, until
from chaos.model_server import ModelServer
from servers.postgres import PostgresServer, running_server
from servers.relay import Relay
from support import dead_port

pytestmark = pytest.mark.slow

SLOTS = 2
STANDARD = {"reviewers": ["style"], "max_iterations": 1}
"""One call after the other."""
GRAPH: list[dict[str, Any]] = [
    {"task_id": "g-a", "assigned_role": "architect", "description": "Task g-a: do it."},
    {"task_id": "g-b", "assigned_role": "coder", "description": "Task g-b: do it.", "dependencies": ["g-a"]},
    {"task_id": "g-c", "assigned_role": "coder", "description": "Task g-c: do it.", "dependencies": ["g-a"]},
    {
        "task_id": "g-d",
        "assigned_role": "documenter",
        "description": "Task g-d: do it.",
        "dependencies": ["g-b", "g-c"],
    },
]
SESSIONS = ("a", "b", "c")
TAKEN_OVER = "another process may have taken over"


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server with a port, that a test may restart."""
    with running_server(dead_port()) as server:
        yield server


def request(session: str) -> str:
    return f"Request {session}: a queue."


def has_asked(server: ModelServer, questions: int) -> bool:
    return len(server.asked) >= questions


def submit(machine: Machine) -> None:
    (machine.folder / "graph.json").write_text(json.dumps({"tasks": GRAPH}))
    machine.run("submit", "run", "--workflow", "custom", "--tasks", "graph.json", "--session", "g")
    for session in SESSIONS:
        machine.submit(session, request(session))


def test_killed_cut_off_and_with_a_server_that_restarts_workers_end_every_session(
    own_postgres: PostgresServer, tmp_path: Path
) -> None:
    name = own_postgres.new_database()
    with ModelServer(latency=0.05) as server, Relay() as relay:
        relay.mend(f"127.0.0.1:{own_postgres.port}")
        urls = [own_postgres.url(name), own_postgres.tcp_url(name, relay.port)]
        config = config_of(server, SLOTS, workflow=STANDARD)
        audit = Audit(server, own_postgres.url(name))
        with machines(tmp_path, urls, config) as (first, second):
            submit(first)
            first.start()
            second.start()
            for number, harm in enumerate((first.kill, own_postgres.restart, relay.cut)):
                until(partial(has_asked, server, 4 * number + 1), "the sessions go on")
                harm()
                audit.look()
                relay.mend(f"127.0.0.1:{own_postgres.port}")
                if not first.is_running:
                    first.start()
            until(lambda: audit.phases() == {"complete": 4}, f"every session ends: {first.log} {second.log}")
        requests = {session: request(session) for session in SESSIONS}
        wanted = states_alone(tmp_path / "alone", "standard", requests, {"g": GRAPH}, STANDARD)
        assert states_of(own_postgres.url(name), tmp_path, wanted) == wanted
        assert audit.asked_though_committed() == []
        assert audit.most_in_flight() <= SLOTS


def test_a_stopped_worker_that_wakes_neither_writes_to_sessions_that_others_have_nor_asks(
    own_postgres: PostgresServer, tmp_path: Path
) -> None:
    """One of its two sessions has a question in flight, and the other waits for the only slot."""
    url = own_postgres.url(own_postgres.new_database())
    with ModelServer(held=True) as server:
        config, audit = config_of(server, 1, workflow=STANDARD), Audit(server, url)
        waits = "SELECT count(*) FROM leases WHERE granted_at IS NULL"
        with machines(tmp_path, [url, url], config) as (stopped, other):
            for session in ("a", "b"):
                stopped.submit(session, request(session))
            stopped.start()
            until(lambda: len(server.in_flight) == 1, "the first question")
            until(lambda: audit.query(waits) == [(1,)], "the other session waits")
            stopped.send(signal.SIGSTOP)
            other.start()
            until(lambda: len(server.asked) == 2, f"another worker takes a session over: {other.log}")
            server.held = False
            server.release("")
            until(lambda: audit.phases() == {"complete": 2}, f"both end: {other.log}")
            audit.look()
            before = audit.query("SELECT * FROM calls ORDER BY rowid"), states_of(url, tmp_path, ["a", "b"])
            stopped.send(signal.SIGCONT)
            until(lambda: stopped.log.count(TAKEN_OVER) == 2, f"it hears of both: {stopped.log}")
            stopped.send(signal.SIGTERM)
            stopped.wait()
            after = audit.query("SELECT * FROM calls ORDER BY rowid"), states_of(url, tmp_path, ["a", "b"])
    assert after == before
    assert audit.asked_though_committed() == []
    assert audit.asked_again() == 1


def test_one_worker_takes_larger_priorities_first(postgres_url: str, tmp_path: Path) -> None:
    priorities = {"low": 0, "high": 9, "middle": 5, "later": 9}
    with ModelServer(latency=0) as server:
        config, audit = config_of(server, 1, workflow=STANDARD), Audit(server, postgres_url)
        with machines(tmp_path, [postgres_url], config, concurrency=1) as (machine,):
            for session, priority in priorities.items():
                machine.submit(session, request(session), "--priority", str(priority))
            machine.start()
            until(lambda: audit.phases() == {"complete": 4}, f"every session ends: {machine.log}")
            machine.send(signal.SIGTERM)
            assert machine.wait() == 128 + signal.SIGTERM, machine.log
    order = dict.fromkeys(asked.request for asked in server.asked)
    assert [*order] == ["high", "later", "middle", "low"]
