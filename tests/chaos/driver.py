"""Kills sessions and lets them go on: what came out must be what an uninterrupted run gives."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

from chaos.model_server import ModelServer

TESTS = Path(__file__).parents[1]
VOLATILE = {
    "completed_at", "created_at", "total_calls", "avg_response_time", "model_seconds", "queued_seconds",
    "seconds",
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


@dataclass
class Session:
    """A session under attack, in a folder of its own."""

    folder: Path
    workflow: str
    request: str
    server: ModelServer
    settings: dict[str, Any] = field(default_factory=dict)
    kills: list[float] = field(default_factory=list)

    def job(self, die_at: int = 0) -> dict[str, Any]:
        entry = {"url": self.server.url, "model": "chaos", "retries": 9, "idle_timeout": 0.5}
        config = {"model_config": {"single_model": entry}, "execution": {"mode": "off"}, **self.settings}
        return {
            "folder": str(self.folder),
            "session": "s",
            "workflow": self.workflow,
            "request": self.request,
            "config": config,
            "die_at": die_at,
        }

    def finish(self, worker: Worker) -> None:
        assert worker.do(self.job()) == 0, "the session did not end"

    def kill_at(self, worker: Worker, point: int) -> bool:
        """Lets the session die right after a commit or write; False when it ended before."""
        code = worker.do(self.job(die_at=point))
        assert code in (0, -signal.SIGKILL), code
        self.check_database()
        return code != 0

    def kill_after(self, worker: Worker, seconds: float) -> bool:
        """Kills the session after some time; False when it ended before."""
        pid = worker.start(self.job())
        time.sleep(seconds)
        self.kills.append(time.monotonic())
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        code = worker.wait()
        assert code in (0, -signal.SIGKILL), code
        self.check_database()
        return code != 0

    def check_database(self) -> None:
        path = self.folder / ".swarm" / "swarm.db"
        if path.is_file():
            connection = sqlite3.connect(path)
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            connection.close()

    def files(self) -> dict[str, str]:
        """Everything in the output folder; of the state JSON all but times, durations and attempt counts."""
        found = {}
        for path in sorted((self.folder / "output").rglob("*")):
            if path.is_file():
                text = path.read_text()
                name = str(path.relative_to(self.folder / "output"))
                found[name] = json.dumps(steady(json.loads(text))) if name.startswith("swarm_state") else text
        return found

    def asked_again(self, margin: float) -> list[str]:
        """Questions asked again although their answer was delivered `margin` seconds before the next kill."""
        keys: dict[str, list[Any]] = {}
        for asked in self.server.asked:
            keys.setdefault(asked.key, []).append(asked)
        return [
            key
            for key, times in keys.items()
            for before, after in pairwise(times)
            if before.delivered is not None and not self._excused(before.delivered, after.begun, margin)
        ]

    def _excused(self, delivered: float, again: float, margin: float) -> bool:
        return any(
            kill < again and kill - delivered < margin for kill in self.kills if kill > delivered - margin
        )


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
) -> tuple[dict[str, str], int]:
    """The files of a run that nobody interrupts, and the number of its commits and writes."""
    folder.mkdir(parents=True)
    with ModelServer(latency=0, malformed=malformed) as server:
        session = Session(folder, workflow, request, server, settings or {})
        session.finish(worker)
        return session.files(), int((folder / "points").read_text())


def moments(seed: int, count: int, longest: float) -> list[float]:
    """When to kill, in seconds after the start; the same for the same seed."""
    dice = random.Random(seed)
    return [dice.uniform(0, longest) for _ in range(count)]
