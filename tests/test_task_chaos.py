"""Custom sessions are killed (SIGKILL, real processes) at any point, then resume without a loss."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from chaos.driver import CustomSession, Worker
from chaos.model_server import ModelServer
from chaos.tasks import Ideal, random_tasks
from storages import Databases

from swarm_graph.state import TaskStatus

pytestmark = pytest.mark.slow

Tasks = list[dict[str, Any]]

KILLS, KILLS_ON_A_SERVER = 40, 10
EVERY_ON_A_SERVER = 11
"""On a server each session needs a database of its own: every eleventh point is tried."""
KILLS_A_SESSION = 8
LATENCY_S = 0.02
MARGIN_S = 5.0
"""Wide, for a machine under load: `make soak` uses 50 ms. What is committed is checked without a margin."""
MALFORMED = 0.2


def unbroken(
    worker: Worker, folder: Path, tasks: Tasks, cap: int, malformed: float = MALFORMED, database: str = ""
) -> CustomSession:
    """A session that nobody interrupts."""
    folder.mkdir(parents=True)
    with ModelServer(latency=0, malformed=malformed) as server:
        session = CustomSession(folder, server, tasks, cap, database=database)
        session.finish(worker)
    return session


# --- at random moments ---------------------------------------------------------------------------


def test_killed_at_random_moments_every_task_ends_with_its_own_result(
    workers: list[Worker], databases: Databases, tmp_path: Path
) -> None:
    wanted = KILLS_ON_A_SERVER if databases() else KILLS

    def part(number: int) -> int:
        kills = 0
        for seed in count(number, len(workers)):
            kills += attacked(workers[number], tmp_path / str(seed), seed, databases())
            if kills >= wanted / len(workers):
                return kills
        raise AssertionError

    with ThreadPoolExecutor(len(workers)) as pool:
        assert sum(pool.map(part, range(len(workers)))) >= wanted


def attacked(worker: Worker, folder: Path, seed: int, database: str) -> int:
    """One random graph, killed on its way and compared; how many times it was killed."""
    dice = random.Random(seed)
    tasks, cap = random_tasks(dice), dice.choice([1, 2, 4])
    expected = unbroken(worker, folder / "unbroken", tasks, cap).state()
    with ModelServer(latency=LATENCY_S, malformed=MALFORMED) as server:
        session = CustomSession(folder, server, tasks, cap, awaits=seed % 4 > 1, database=database)
        for _ in range(KILLS_A_SESSION):
            questions = dice.randrange(5)
            if not session.kill_after(worker, dice.uniform(0, 3 * LATENCY_S), questions):
                break
        session.finish(worker)
        assert session.asked_though_committed() == [], seed
        assert session.asked_again(MARGIN_S) == [], seed
    assert session.state() == expected, seed
    assert session.phases() == ["complete"], seed
    assert strangers(expected["tasks"]) == [], seed
    assert session.recorded_ends() == completed(expected["tasks"]), seed
    return session.killed


def completed(records: dict[str, Any]) -> list[str]:
    """The completed tasks, sorted."""
    return sorted(name for name, record in records.items() if record["status"] == TaskStatus.COMPLETED)


def strangers(records: dict[str, Any]) -> list[str]:
    """Tasks whose result names another task, or none."""
    return [
        name
        for name, record in records.items()
        if record["status"] == TaskStatus.COMPLETED
        and set(re.findall(r"Task (\S+) says", record["result"])) != {name}
    ]


def test_the_random_graphs_expand_branch_and_skip(workers: list[Worker], tmp_path: Path) -> None:
    """What the test above goes through, so that it shows what it says."""
    seen = []
    for seed in range(6):
        tasks = random_tasks(random.Random(seed))
        seen += unbroken(workers[0], tmp_path / str(seed), tasks, 4).state()["tasks"].values()
    judged = [record for record in seen if "when" in record["spec"]]
    assert {record["status"] for record in judged} == {TaskStatus.COMPLETED, TaskStatus.SKIPPED}
    assert {record["value"]["verdict"] for record in seen if "value" in record} == {"approve", "revise"}
    assert {len(record["rank"]) for record in seen} == {1, 2, 3}
    assert "repaired" in {record.get("note") for record in seen}


# --- after every commit --------------------------------------------------------------------------

SMALL: Tasks = [
    {"task_id": "Plan", "assigned_role": "architect", "expands": True, "description": "Task Plan: split it."},
    {"task_id": "Look", "assigned_role": "reviewer", "description": "Task Look: judge."},
    {
        "task_id": "Mend",
        "assigned_role": "coder",
        "dependencies": ["Look"],
        "when": "Look.verdict == 'revise'",
        "description": "Task Mend: mend it.",
    },
    {
        "task_id": "Keep",
        "assigned_role": "documenter",
        "when": "Look.verdict == 'approve'",
        "description": "Task Keep: keep it.",
    },
    {
        "task_id": "Sum",
        "assigned_role": "optimizer",
        "dependencies": ["Plan", "Mend", "Keep"],
        "description": "Task Sum: sum up.",
    },
]


def test_killed_after_any_commit_nothing_committed_is_asked_again(
    workers: list[Worker], databases: Databases, tmp_path: Path
) -> None:
    """Each point is tried once; how many there are depends on how many events are committed together."""
    first = unbroken(workers[0], tmp_path / "one", SMALL, 1, database=databases())
    expected, every = first.state(), EVERY_ON_A_SERVER if databases() else 1
    statuses = [expected["tasks"][name]["status"] for name in ("Mend", "Keep")]
    assert sorted(statuses) == [TaskStatus.COMPLETED, TaskStatus.SKIPPED]

    def part(number: int) -> int:
        mine = range(1 + number * every, first.points() + 1, len(workers) * every)
        return sum(
            die_and_go_on(workers[number], tmp_path / str(point), point, expected, databases())
            for point in mine
        )

    with ThreadPoolExecutor(len(workers)) as pool:
        assert sum(pool.map(part, range(len(workers)))) > 20 / every


def die_and_go_on(worker: Worker, folder: Path, point: int, expected: dict[str, Any], database: str) -> bool:
    """Whether the session died at the point; False if it had fewer."""
    folder.mkdir()
    with ModelServer(latency=0, malformed=MALFORMED) as server:
        session = CustomSession(folder, server, SMALL, 1, database=database)
        if not session.kill_at(worker, point):
            return False
        session.finish(worker)
    assert session.state() == expected, point
    assert session.phases() == ["complete"], point
    assert session.asked_though_committed() == [], point
    ended = "SELECT task FROM events WHERE kind = 'task_ended' GROUP BY task HAVING count(*) > 1"
    assert session.rows(ended) == [], point
    (asked, answers) = session.committed[0]
    assert len(server.asked) - asked == len({ask.key for ask in server.asked}) - answers.total(), point
    return True


# --- priorities and the cap ----------------------------------------------------------------------


@pytest.mark.parametrize("cap", [1, 3])
@pytest.mark.parametrize("seed", range(3))
def test_after_a_kill_the_highest_priority_that_is_ready_is_asked_first(
    cap: int, seed: int, workers: list[Worker], tmp_path: Path
) -> None:
    """The server lets one answer go at a time, and each time it has exactly the questions that it should."""
    tasks = random_tasks(random.Random(f"order {seed}"))
    in_lock_step(workers[seed % 2], tmp_path, tasks, cap, seed)


LATE_NEWS: Tasks = [
    {"task_id": "First", "priority": 6},
    {"task_id": "Slow", "priority": 5},
    {"task_id": "Low", "priority": 0, "dependencies": ["First"]},
    {"task_id": "Lower", "priority": 0, "dependencies": ["Low"]},
    {"task_id": "Urgent", "priority": 9, "dependencies": ["Lower"]},
    *({"task_id": f"Bulk{n}", "priority": 4, "dependencies": ["Slow"]} for n in range(8)),
]


@pytest.mark.parametrize("cap", [1, 2, 3])
def test_what_an_urgent_task_waited_for_is_known_before_anything_is_asked_again(
    cap: int, workers: list[Worker], databases: Databases, tmp_path: Path
) -> None:
    """Before the kill all of its long chain had ended; the many that are ready beside it must not pass it."""
    tasks = [
        {**task, "assigned_role": "optimizer", "description": f"Task {task['task_id']}: do it."}
        for task in LATE_NEWS
    ]
    order = ["First", "Low", "Lower", "Slow"] if cap > 1 else ["First", "Slow", "Bulk0", "Bulk1"]
    in_lock_step(workers[0], tmp_path, tasks, cap, 0, order, databases())


def in_lock_step(
    worker: Worker,
    folder: Path,
    tasks: Tasks,
    cap: int,
    seed: int,
    order: Sequence[str] = (),
    database: str = "",
) -> None:
    """Runs a session one answer at a time; kills it after those of `order`, or two times on the way."""
    dice = random.Random(f"steps {seed} {cap}")
    expected = unbroken(worker, folder / "unbroken", tasks, cap, malformed=0).state()
    ideal = Ideal(expected["tasks"], cap)
    stops = [len(order)] if order else sorted(dice.sample(range(1, len(ideal.asked)), 2))
    with ModelServer(latency=0, held=True) as server:
        session = CustomSession(folder, server, tasks, cap, database=database)
        for stop in stops:
            with session.at_work(worker):
                advance(server, ideal, stop, dice, order)
                assert server.wait_for(set(ideal.begin())) == sorted(ideal.in_flight)
                assert session.wait_kept(len(ideal.done))
            server.drop()
            ideal.in_flight.clear()
        with session.at_work(worker):
            advance(server, ideal, len(ideal.asked), dice, order)
        server.held = False
        session.finish(worker)
        assert max(asked.beside for asked in server.asked) == ideal.widest <= cap
    assert session.state() == expected
    assert session.asked_though_committed() == []


def advance(server: ModelServer, ideal: Ideal, stop: int, dice: random.Random, order: Sequence[str]) -> None:
    """Lets answers go, one at a time, until so many are done; those of `order` first."""
    while len(ideal.done) < stop:
        assert server.wait_for(set(ideal.begin())) == sorted(ideal.in_flight)
        number = len(ideal.done)
        name = order[number] if number < len(order) else dice.choice(ideal.in_flight)
        server.release(name)
        ideal.end(name)


# --- in the middle of a split document -----------------------------------------------------------


def test_killed_after_any_commit_a_split_document_goes_on_with_the_missing_part(
    worker: Worker, databases: Databases, tmp_path: Path
) -> None:
    document = tmp_path / "long.txt"
    document.write_text(
        "\n\n".join(f"{number}. Open valve XV-{number}. {'Wait. ' * 30}" for number in range(3))
    )
    tasks: Tasks = [
        {
            "task_id": "Long",
            "assigned_role": "documenter",
            "description": "Sum it up.",
            "files": [str(document)],
            "split": 100,
        }
    ]
    first = unbroken(worker, tmp_path / "one", tasks, 1, database=databases())
    expected, questions = first.state(), sum(first.answers().values())
    assert expected["tasks"]["Long"]["note"].startswith("asked in 3 parts: ")
    assert questions > 4  # some are repair questions

    for point in range(1, first.points() + 1, EVERY_ON_A_SERVER if databases() else 1):
        with ModelServer(latency=0, malformed=MALFORMED) as server:
            session = CustomSession(tmp_path / str(point), server, tasks, 1, database=databases())
            session.folder.mkdir()
            session.kill_at(worker, point)
            asked, committed = session.committed[-1]
            session.finish(worker)
            assert len(server.asked) - asked == questions - sum(committed.values()), point
        assert session.state() == expected, point
