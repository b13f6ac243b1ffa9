"""Workers in processes and folders of their own on one PostgreSQL server, as many machines have them.

`Audit` compares the model server's own log with what the database had committed at several moments.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import DEVNULL
from typing import Any, Literal

import psycopg
import warm
from langgraph.checkpoint.base import BaseCheckpointSaver

from chaos.driver import steady
from chaos.model_server import Asked, ModelServer
from swarm_graph import SwarmCoordinator, open_checkpointer

KEY = re.compile(r"\b[0-9a-f]{16}\b")
"""A key of a question, which every answer of the model server repeats, in whatever is made of the answer."""
DRAWN = ("children",)
"""What is drawn at random: under which name the threads of a graph's tasks are kept."""
TASK_RESULT = re.compile(r"Task (\S+) says ([0-9a-f]{16})")


def until(is_so: Callable[[], bool], what: str, seconds: float = 120.0) -> None:
    """Wait until something is so; fail if it does not come."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.02)


class Machine:
    """A machine: its folder, its configuration, its URL of the database, and its worker."""

    def __init__(self, folder: Path, url: str, config: dict[str, Any], concurrency: int) -> None:
        self.folder, self.concurrency = folder, concurrency
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps(config))
        self._environment = {**warm.ENVIRONMENT, "SWARM_DATABASE": url}
        self._worker: warm.Process | None = None

    @property
    def log(self) -> str:
        """What its workers have printed."""
        path = self.folder / "log"
        return path.read_text() if path.exists() else ""

    @property
    def is_running(self) -> bool:
        return self._worker is not None and self._worker.poll() is None

    def start(self) -> None:
        """Start its worker."""
        with (self.folder / "log").open("a") as log:
            self._worker = warm.Process(
                "worker", "--concurrency", str(self.concurrency),
                cwd=self.folder, env=self._environment, stdin=DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    def send(self, number: int) -> None:
        """Send its worker a signal."""
        assert self._worker
        self._worker.send_signal(number)

    def wait(self) -> int:
        """The exit code of its worker; negative: the signal that ended it."""
        assert self._worker
        return self._worker.wait()

    def kill(self) -> None:
        """Kill its worker, if it has one."""
        if self._worker:
            self._worker.kill()
            self._worker.wait()

    def run(self, *arguments: str | Path) -> str:
        """Run a command there, which must end well; what it prints."""
        done = warm.run(*arguments, cwd=self.folder, env=self._environment, text=True)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return str(done.stdout)

    def submit(self, session: str, request: str, *options: str | Path) -> None:
        """Submit a session."""
        self.run("submit", "run", request, "--session", session, *options)


@contextmanager
def machines(
    folder: Path, urls: Iterable[str], config: dict[str, Any], concurrency: int = 4
) -> Iterator[list[Machine]]:
    """A machine for each URL, without a worker yet; their workers are killed at the end."""
    with ExitStack() as stack:
        made = []
        for number, url in enumerate(urls):
            machine = Machine(folder / f"machine-{number}", url, config, concurrency)
            stack.callback(machine.kill)
            made.append(machine)
        yield made


def config_of(server: ModelServer, slots: int, **settings: Any) -> dict[str, Any]:
    """A configuration for all machines: one model server with so many slots over all of them."""
    entry = {"url": server.url, "model": "chaos", "retries": 9, "slots": slots}
    return {"model_config": {"single_model": entry}, "execution": {"mode": "off"}, **settings}


def states_of(place: str | Path, folder: Path, sessions: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The states of sessions in a database, without times and what is drawn at random."""
    with open_checkpointer(place, data_dir=folder) as saver:
        return {session: _state_of(saver, session) for session in sessions}


def _state_of(saver: BaseCheckpointSaver[Any], session: str) -> dict[str, Any]:
    found = saver.get_tuple({"configurable": {"thread_id": session, "checkpoint_ns": ""}})
    assert found, session
    values = found.checkpoint["channel_values"]
    state = {name: value for name, value in values.items() if ":" not in name and name not in DRAWN}
    steadied: dict[str, Any] = steady(json.loads(json.dumps(state, default=str)))
    return steadied


def states_alone(
    folder: Path,
    workflow: Literal["standard", "review_only"],
    requests: Mapping[str, str],
    graphs: Mapping[str, list[dict[str, Any]]],
    settings: dict[str, Any],
) -> dict[str, dict[str, Any]]:
    """The states of sessions, by their ids, that one machine runs and that nobody interrupts."""
    with ModelServer(latency=0) as server:
        config = config_of(server, 1, workflow=settings)
        swarm = SwarmCoordinator(config, data_dir=folder / ".swarm", output_dir=folder / "out")
        for session, request in requests.items():
            swarm.run_workflow(request, workflow, session_id=session)
        for session, tasks in graphs.items():
            for task in tasks:
                swarm.add_task(task)
            swarm.run_workflow("", "custom", session_id=session)
    return states_of(folder / ".swarm" / "swarm.db", folder, [*requests, *graphs])


@dataclass
class Audit:
    """Looks into the database while workers work, and says afterwards what went wrong.

    A session is called as its request is: `--session a "Request a: …"`; the ids of tasks are unique among all
    sessions.
    """

    server: ModelServer
    url: str
    looks: list[tuple[int, Counter[str]]] = field(default_factory=list)
    """How many questions had been asked after each look, and the answers that were committed before it."""

    def query(self, sql: str, *given: Any) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            return connection.execute(sql, given).fetchall()

    def look(self) -> None:
        """Note which answers are committed, by session and by task."""
        rows = self.query("SELECT session, task FROM calls WHERE outcome = 'answered'")
        self.looks.append((len(self.server.asked), Counter(name for row in rows for name in row)))

    def phases(self) -> Counter[str]:
        """How many sessions the database says are in each phase."""
        return Counter(phase for (phase,) in self.query("SELECT phase FROM sessions"))

    def asked_though_committed(self) -> list[str]:
        """Questions that were asked again although a look had found their answers in the database."""
        numbers = self._numbers()
        return [
            name_of(asked)
            for count, answers in self.looks
            for asked in self.server.asked[count:]
            if numbers[asked.key] < answers[name_of(asked)]
        ]

    def history(self, name: str) -> list[str]:
        """What happened to the questions of a session or task, one line each, in seconds of the clock."""
        offset = time.time() - time.monotonic()
        asked = [one for one in self.server.asked if name_of(one) == name]
        lines = [(one.begun + offset, f"asked {one.key}") for one in asked]
        lines += [(one.delivered + offset, f"delivered {one.key}") for one in asked if one.delivered]
        rows = self.query(
            "SELECT time, outcome, attempt, key, error FROM calls WHERE session = %s OR task = %s", name, name
        )
        lines += [(row[0], f"recorded {row[1:]}") for row in rows]
        return [f"{at:.2f} {what}" for at, what in sorted(lines)]

    def asked_again(self) -> int:
        """How many questions were asked more than once, each time after the first."""
        return len(self.server.asked) - len({asked.key for asked in self.server.asked})

    def most_in_flight(self) -> int:
        """How many calls the server had at once at most, by its own log."""
        return max(asked.beside for asked in self.server.asked)

    def misplaced(self, session: str, state: dict[str, Any]) -> list[str]:
        """What stands in a session's state that was not answered to it, and not to the task that has it."""
        tasks = state.get("tasks") or {}
        asked = {(name_of(one), one.key) for one in self.server.asked}
        wrong = [
            f"{session}: {name} has {found[0]} of {found[1]}"
            for name, record in tasks.items()
            for found in [TASK_RESULT.search(json.dumps(record.get("result")))]
            if found and (found[1] != name or (name, found[2]) not in asked)
        ]
        names = {session, *tasks}
        keys = {key for name, key in asked if name in names}
        wrong += [f"{session}: {key} of another" for key in KEY.findall(json.dumps(state)) if key not in keys]
        return wrong

    def taken_before_larger(self, tolerance_s: float) -> list[str]:
        """Jobs that were taken while one of a larger priority waited in the same queue.

        Args:
            tolerance_s: How long a job must have waited, and have gone on waiting, to count.
        """
        query = """
            WITH changes AS (
                SELECT job_id, type, at, lead(at) OVER (PARTITION BY job_id ORDER BY id) AS until
                FROM procrastinate_events
            ), waits AS (
                SELECT * FROM changes JOIN procrastinate_jobs ON job_id = procrastinate_jobs.id
                WHERE type IN ('deferred', 'deferred_for_retry', 'retried') AND scheduled_at IS NULL
            )
            SELECT taken.id, taken.priority, waits.job_id, waits.priority
            FROM changes JOIN procrastinate_jobs AS taken ON job_id = taken.id AND type = 'started'
            JOIN waits ON waits.queue_name = taken.queue_name AND waits.priority > taken.priority
            AND changes.at > waits.at + make_interval(secs => %(s)s)
            AND changes.at < waits.until - make_interval(secs => %(s)s)
            ORDER BY changes.at"""
        with psycopg.connect(self.url, autocommit=True) as connection:
            rows = connection.execute(query, {"s": tolerance_s}).fetchall()
        return [
            f"job {job} of priority {own} was taken while job {other} of {larger} waited"
            for job, own, other, larger in rows
        ]

    def _numbers(self) -> dict[str, int]:
        """The number of each question among those of its task or session, in the order first asked."""
        counts: Counter[str] = Counter()
        numbers: dict[str, int] = {}
        for asked in self.server.asked:
            if asked.key not in numbers:
                numbers[asked.key] = counts[name_of(asked)]
                counts[name_of(asked)] += 1
        return numbers


def name_of(asked: Asked) -> str:
    """The task of a question, or the session."""
    return asked.task or asked.request
