"""Kills sessions and resumes them: the results must equal those of an uninterrupted run."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

from langgraph.checkpoint.sqlite import SqliteSaver

from chaos.kept import Kept, kept_in
from chaos.model_server import ModelServer

TESTS = Path(__file__).parents[1]
VOLATILE = {
    "completed_at", "created_at", "total_calls", "avg_response_time", "model_seconds", "queued_seconds",
    "seconds", "p50_seconds", "p95_seconds", "first_token_seconds", "tokens_per_second",
    "success_rate", "cut_tokens", "tool_seconds",
}  # fmt: skip


class Worker:
    """The warm process of `worker.py`. Use it in `with`; its processes' errors go to `log`."""

    def __init__(self, log: Path) -> None:
        self._log = log.open("a")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "chaos.worker"],
            cwd=TESTS,
            env={name: value for name, value in os.environ.items() if not name.startswith("SWARM_")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()
        self._log.close()

    def start(self, job: dict[str, Any]) -> int:
        """Starts a job in a process of its own; returns its pid."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def wait(self) -> int:
        """The exit code of the job's process; negative: the signal that ended it."""
        assert self._process.stdout
        return int(self._process.stdout.readline())

    def do(self, job: dict[str, Any]) -> int:
        self.start(job)
        return self.wait()


@dataclass(frozen=True)
class Kill:
    """When it was, and how many seconds the machine had made the process or its killer wait before."""

    at: float
    late: float


@dataclass
class Session:
    """A session under attack, in a folder of its own."""

    folder: Path
    workflow: str
    request: str
    server: ModelServer
    settings: dict[str, Any] = field(default_factory=dict)
    kills: list[Kill] = field(default_factory=list)
    killed: int = 0
    """How many kills found it alive."""
    committed: list[tuple[int, Counter[str]]] = field(default_factory=list)
    """At each kill: how many questions had been asked, and how many answers each task had committed."""
    idle_timeout: float = 30.0
    """Short only for a server that stalls: a machine under load can stall too."""
    database: str = ""
    """The URL of a PostgreSQL database that is its own; empty for the file in its folder."""

    def job(self, die_at: int = 0) -> dict[str, Any]:
        entry = {"url": self.server.url, "model": "chaos", "retries": 9, "idle_timeout": self.idle_timeout}
        config = {"model_config": {"single_model": entry}, "execution": {"mode": "off"}, **self.settings}
        return {
            "folder": str(self.folder),
            "session": "s",
            "workflow": self.workflow,
            "request": self.request,
            "config": config,
            "die_at": die_at,
            "database": self.database,
        }

    def finish(self, worker: Worker) -> None:
        assert worker.do(self.job()) == 0, "the session did not end"

    def kill_at(self, worker: Worker, point: int) -> bool:
        """Lets the session die right after a commit or write; False when it ended before."""
        return self._killed(worker.do(self.job(die_at=point)))

    def kill_after(self, worker: Worker, seconds: float, questions: int = 0) -> bool:
        """Kills the session some time after it asked so many questions; False when it ended before."""
        wanted = len(self.server.asked) + questions
        pid, late = worker.start(self.job()), 0.0
        while len(self.server.asked) < wanted and _lives(pid):
            late += _nap(0.002)
        return self.kill(worker, pid, late + _nap(seconds))

    def kill(self, worker: Worker, pid: int, late: float = 0.0) -> bool:
        self.kills.append(Kill(time.monotonic(), late + _waited(pid)))
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        return self._killed(worker.wait())

    def _killed(self, code: int) -> bool:
        assert code in (0, -signal.SIGKILL), code
        self._kept.check()
        self.killed += code != 0
        self.committed.append((len(self.server.asked), self.answers()))
        return code != 0

    def points(self) -> int:
        """How many commits and writes its last run had."""
        return int((self.folder / "points").read_text())

    def phases(self) -> list[str]:
        """How the database says that the folder's sessions stand."""
        return [row["phase"] for row in self.rows("SELECT phase FROM sessions")]

    def answers(self) -> Counter[str]:
        """How many answers of each task the database holds."""
        return Counter(row["task"] for row in self.rows("SELECT task FROM calls WHERE outcome = 'answered'"))

    def recorded_ends(self) -> list[str]:
        """The tasks of the events `task_ended` in the database, sorted."""
        query = "SELECT task FROM events WHERE kind = 'task_ended' ORDER BY task"
        return [row["task"] for row in self.rows(query)]

    def rows(self, query: str) -> list[dict[str, Any]]:
        """What a query finds in the database; nothing if it has no tables yet."""
        return self._kept.rows(query)

    @property
    def place(self) -> str | Path:
        """Where its database is."""
        return self.database or self.folder / ".swarm" / "swarm.db"

    @property
    def _kept(self) -> Kept:
        return kept_in(self.place)

    def files(self) -> dict[str, str]:
        """Everything in the output folder; of the state JSON all but times, durations and attempt counts."""
        found = {}
        for path in sorted((self.folder / "output").rglob("*")):
            if path.is_file():
                text = path.read_text()
                name = str(path.relative_to(self.folder / "output"))
                found[name] = json.dumps(steady(json.loads(text))) if name.startswith("swarm_state") else text
        return found

    def outcome(self) -> dict[str, Any]:
        """What must be the same as after an uninterrupted run."""
        return dict[str, Any](self.files())

    def asked_though_committed(self) -> list[str]:
        """Tasks whose question was asked again although a kill had found its answer in the database."""
        return [
            asked.task
            for count, answers in self.committed
            for asked in self.server.asked[count:]
            if asked.task and asked.turn < answers[asked.task]
        ]

    def asked_again(self, margin: float) -> list[str]:
        """Questions asked again although their answer was delivered `margin` seconds before the next kill."""
        keys: dict[str, list[Any]] = {}
        for asked in self.server.asked:
            keys.setdefault(f"{asked.task} {asked.turn}" if asked.task else asked.key, []).append(asked)
        return [
            key
            for key, times in keys.items()
            for before, after in pairwise(times)
            if before.delivered is not None and not self._excused(before.delivered, after.begun, margin)
        ]

    def _excused(self, delivered: float, again: float, margin: float) -> bool:
        """Whether a kill came too soon after an answer; what the machine was late does not count."""
        return any(
            delivered - margin < kill.at < min(again, delivered + margin + kill.late) for kill in self.kills
        )


class CustomSession(Session):
    """A session of the custom workflow; `awaits`: it runs in an event loop of its caller."""

    def __init__(
        self,
        folder: Path,
        server: ModelServer,
        tasks: list[dict[str, Any]],
        cap: int,
        *,
        awaits: bool = False,
        idle_timeout: float = 30,
        database: str = "",
    ) -> None:
        entry = {"url": server.url, "model": "chaos", "retries": 9, "idle_timeout": idle_timeout}
        settings = {
            "model_config": {"single_model": entry},
            "workflow": {"max_parallel_agents": cap},
        }
        super().__init__(folder, "custom", "", server, settings, database=database)
        self.tasks, self.awaits = tasks, awaits

    def job(self, die_at: int = 0) -> dict[str, Any]:
        return {**super().job(die_at), "tasks": self.tasks, "awaits": self.awaits}

    def outcome(self) -> dict[str, Any]:
        return self.state()

    def state(self) -> dict[str, Any]:
        """The final state, but for times."""
        steadied: dict[str, Any] = steady(json.loads((self.folder / "state.json").read_text()))
        return steadied

    @contextmanager
    def at_work(self, worker: Worker) -> Iterator[None]:
        """Resume the session; it is killed at the end of the block."""
        pid = worker.start(self.job())
        try:
            yield
        finally:
            self.kill(worker, pid)

    def wait_kept(self, tasks: int, seconds: float = 10.0) -> bool:
        """Whether the database soon holds the results of so many tasks."""
        query = "SELECT DISTINCT thread_id FROM checkpoints WHERE thread_id <> 's'"
        deadline = time.monotonic() + seconds
        while len(self.rows(query)) < tasks and time.monotonic() < deadline:
            time.sleep(0.002)
        return len(self.rows(query)) == tasks


@dataclass
class ToolSession(Session):
    """A session whose roles call a tool that adds a line to a file, in that order.

    `tools`: the roles that have it. `tasks`: those of a custom session. `saver`: which of LangGraph's own
    keeps it, `sqlite` or `async`; empty for ours. `by_mcp`: the tool is that of an MCP server.
    """

    tools: tuple[str, ...] = ()
    tasks: list[dict[str, Any]] = field(default_factory=list)
    saver: str = ""
    by_mcp: bool = False
    found: list[tuple[set[str], Counter[str]]] = field(default_factory=list)
    """At each kill: the calls whose results the database held, and how often each call had been made."""

    def _killed(self, code: int) -> bool:
        killed = super()._killed(code)
        self.found.append((self.kept_calls(), self.made()))
        return killed

    def made_again(self) -> list[str]:
        """Calls that were made again although a kill had found their results in the database."""
        now = self.made()
        return [call for kept, made in self.found for call in kept if now[call] > made[call]]

    def job(self, die_at: int = 0) -> dict[str, Any]:
        job = super().job(die_at)
        job["config"]["model_config"]["single_model"]["tool_calls"] = "native"
        job["awaits"] = False
        if self.by_mcp:
            program = [str(TESTS / "chaos" / "note_server.py"), str(self.folder / "made")]
            server = {"command": sys.executable, "args": program, "allow": ["note"]}
            job["config"] |= {
                "mcp_servers": {"notes": server},
                "tools": {role: ["notes.*"] for role in self.tools},
            }
        else:
            job["tools"] = self.tools
        return (
            job
            | ({"tasks": self.tasks} if self.tasks else {})
            | ({"saver": self.saver} if self.saver else {})
        )

    def made(self) -> Counter[str]:
        """How often each call was made."""
        made = self.folder / "made"
        return Counter(made.read_text().split() if made.is_file() else ())

    def kept_calls(self) -> set[str]:
        """The calls whose results the database holds."""
        if not self.saver:
            rows = self.rows("SELECT text FROM tool_calls WHERE outcome = 'answered' AND text IS NOT NULL")
            return {row["text"].removeprefix("noted ") for row in rows}
        path = self.folder / ".swarm" / "swarm.db"
        if not path.is_file():
            return set()
        with SqliteSaver.from_conn_string(str(path)) as saver:
            steps = [saved.checkpoint["channel_values"].get("step") for saved in saver.list(None)]
        calls = [step for step in steps if isinstance(step, dict) and step.get("outcome") == "answered"]
        return {call["text"].removeprefix("noted ") for call in calls}

    def outcome(self) -> dict[str, Any]:
        """What must be the same, but for the notes on calls that a kill cut off."""
        state = self.folder / "state.json"
        found = steady(json.loads(state.read_text())) if state.is_file() else self.files()
        said: dict[str, Any] = json.loads(MADE_AGAIN.sub("", json.dumps(found)))
        return said


def _nap(seconds: float) -> float:
    """Sleeps; by how much longer than asked."""
    began = time.monotonic()
    time.sleep(seconds)
    return time.monotonic() - began - seconds


def _waited(pid: int) -> float:
    """How many seconds a process's threads have waited for a processor, where Linux counts them."""
    waited = 0
    for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with suppress(OSError):
            waited += int(path.read_text().split()[1])
    return waited / 1e9


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


MADE_AGAIN = re.compile(r"call \d+, of [\w.]+, had begun when an earlier run ended, and was made again; ")


def steady(value: Any) -> Any:
    """Plain data without what may differ from run to run."""
    if isinstance(value, dict):
        return {key: steady(inner) for key, inner in value.items() if key not in VOLATILE}
    return [steady(item) for item in value] if isinstance(value, list) else value


def unbroken(
    worker: Worker,
    folder: Path,
    workflow: str,
    request: str,
    settings: dict[str, Any] | None = None,
    malformed: float = 0.0,
    database: str = "",
) -> tuple[dict[str, str], int]:
    """The files of a run that nobody interrupts, and the number of its commits and writes."""
    folder.mkdir(parents=True)
    with ModelServer(latency=0, malformed=malformed) as server:
        session = Session(folder, workflow, request, server, settings or {}, database=database)
        session.finish(worker)
        return session.files(), session.points()


def moments(seed: int, count: int, longest: float) -> list[float]:
    """When to kill, in seconds after the start; the same for the same seed."""
    dice = random.Random(seed)
    return [dice.uniform(0, longest) for _ in range(count)]
