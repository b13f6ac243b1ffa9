"""Sessions that call tools are killed (SIGKILL) around their commits: no finished call is made again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from chaos.driver import ToolSession, Worker
from chaos.model_server import ModelServer
from servers.postgres import PostgresServer
from storages import Databases

pytestmark = pytest.mark.slow

CALLS = 6
"""At least; as many in tasks."""
TASKS = [
    {"task_id": "Look", "assigned_role": "reviewer", "description": "Task Look: judge."},
    {
        "task_id": "Mend",
        "assigned_role": "coder",
        "dependencies": ["Look"],
        "description": "Task Mend: mend it.",
    },
]
KINDS: dict[str, dict[str, Any]] = {
    "workflow": {"workflow": "review_only", "tools": ("reviewer",)},
    "tasks": {"workflow": "custom", "tools": ("reviewer", "coder"), "tasks": TASKS},
    "tasks with MCP": {"workflow": "custom", "tools": ("reviewer", "coder"), "tasks": TASKS, "by_mcp": True},
    "tasks in postgres": {"workflow": "custom", "tools": ("reviewer", "coder"), "tasks": TASKS},
    "sqlite": {"workflow": "review_only", "tools": ("reviewer",), "saver": "sqlite"},
    "async sqlite": {"workflow": "review_only", "tools": ("reviewer",), "saver": "async"},
    "tasks in sqlite": {
        "workflow": "custom",
        "tools": ("reviewer", "coder"),
        "tasks": TASKS,
        "saver": "sqlite",
    },
}
"""Reviewers side by side, or two tasks one after the other, with two calls each or with four, of which one
repeats another and is refused."""

EVERY = {
    "workflow": 17,
    "tasks": 5,
    "tasks with MCP": 29,
    "tasks in postgres": 29,
    "sqlite": 7,
    "async sqlite": 7,
    "tasks in sqlite": 7,
}
"""Which commits are tried. All of them take minutes; the numbers do not divide the commits of a call, so that
each kind of commit is met."""


@pytest.fixture
def new_database(kind: str, request: pytest.FixtureRequest) -> Databases:
    """Makes the database of one session, if its kind needs a server."""
    if "postgres" not in kind:
        return str
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return lambda: server.url(server.new_database())


def session_of(folder: Path, kind: str, server: ModelServer, database: str) -> ToolSession:
    folder.mkdir()
    return ToolSession(folder, request="x = 1", server=server, database=database, **KINDS[kind])


def calls_of_turn(kind: str) -> int:
    return 2 if "saver" in KINDS[kind] and "tasks" not in KINDS[kind] else 4


@pytest.mark.parametrize("kind", KINDS)
def test_killed_around_any_commit_no_finished_call_is_made_again(
    kind: str, workers: list[Worker], new_database: Databases, tmp_path: Path
) -> None:
    with ModelServer(latency=0, tool_calls=calls_of_turn(kind)) as server:
        unbroken = session_of(tmp_path / "unbroken", kind, server, new_database())
        unbroken.finish(workers[0])
    assert unbroken.points() > 3 * CALLS
    points = range(1, unbroken.points() + 1, EVERY[kind])
    assert {*unbroken.made().values()} == {1}
    assert unbroken.made().total() >= CALLS

    def part(number: int) -> int:
        mine = points[number :: len(workers)]
        for point in mine:
            die_and_go_on(workers[number], tmp_path / str(point), kind, point, unbroken, new_database())
        return len(mine)

    with ThreadPoolExecutor(len(workers)) as pool:
        assert sum(pool.map(part, range(len(workers)))) == len(points)


def die_and_go_on(
    worker: Worker, folder: Path, kind: str, point: int, unbroken: ToolSession, database: str
) -> None:
    with ModelServer(latency=0, tool_calls=calls_of_turn(kind)) as server:
        session = session_of(folder, kind, server, database)
        session.kill_at(worker, point)
        session.finish(worker)
    ((kept, before),) = session.found
    made = session.made()
    assert kept <= before.keys(), point
    assert session.made_again() == [], point
    assert made.keys() == unbroken.made().keys(), point
    assert all(made[call] <= before[call] + 1 for call in made), point
    assert session.outcome() == unbroken.outcome(), point
