"""Kills sessions by the hundred and counts: `make soak`, or `python tests/soak.py --kills 500 --seed 1`.

Every session runs against a model server with latency, is killed (SIGKILL) at random moments, and goes on
until it has ended. A third of them meet a server where every fifth call fails, another third one that dies
and comes back. Ends with 1 when a file differs from an uninterrupted run's, when an answer that had been
delivered 50 ms before a kill, or committed, was asked for again, when a committed call of a tool was made
again, or when a database is damaged or does not know that a session has ended.
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from chaos.driver import CustomSession, Session, ToolSession, Worker
from chaos.model_server import ModelServer
from chaos.tasks import random_tasks

WORKFLOWS = ("standard", "full", "review_only", "custom", "tools")
FAULTS = ("none", "failing calls", "server restarts")
MARGIN_S = 0.05
LONGEST_S = 1.0
KILLS_A_SESSION = 12


@dataclass
class Score:
    """What came out, over all threads."""

    wanted: int
    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def done(self) -> bool:
        return self.counts["kills"] >= self.wanted

    def add(self, **counts: int) -> None:
        with self.lock:
            self.counts.update(counts)


def attack(score: Score, worker: Worker, folder: Path, number: int, seed: int) -> None:
    """One session from its beginning to its end, killed on the way."""
    dice = random.Random(seed * 1_000_000 + number)
    workflow, fault = WORKFLOWS[number % 5], FAULTS[number // 5 % 3]
    calls = 2 if workflow == "tools" else 0
    with ModelServer(latency=0, tool_calls=calls) as server:
        (folder / "unbroken").mkdir()
        session = begun(folder / "unbroken", workflow, number, server)
        session.finish(worker)
        expected = session.outcome()
    failing = 0.2 if fault == "failing calls" else 0.0
    with ModelServer(latency=0.05, failing=failing, seed=number, tool_calls=calls) as server:
        session = begun(folder, workflow, number, server)
        for _ in range(KILLS_A_SESSION):
            restart = threading.Timer(dice.uniform(0, LONGEST_S), restarted, [server])
            if fault == "server restarts":
                restart.start()
            killed = session.kill_after(worker, dice.uniform(0, LONGEST_S))
            if restart.is_alive():
                restart.join()
            score.add(kills=killed)
            if not killed:
                break
        code = worker.do(session.job())
        while code != 0:
            code = worker.do(session.job())
        questions = len({asked.key for asked in server.asked})
        score.add(sessions=1, questions=questions, asked=len(server.asked))
        score.add(**{f"sessions with {fault}": 1})
        score.add(**{f"sessions of {workflow}": 1})
        if again := session.asked_though_committed():
            score.wrong.append(f"{folder}: {len(again)} answers were asked for again though committed")
        if fault == "none" and (again := session.asked_again(MARGIN_S)):
            score.wrong.append(f"{folder}: {len(again)} answers were asked for again")
        if isinstance(session, ToolSession) and (again := session.made_again()):
            score.wrong.append(f"{folder}: {len(again)} calls of tools were made again though committed")
        if session.outcome() != expected:
            score.wrong.append(f"{folder}: the files differ")
        if session.phases() != ["complete"]:
            score.wrong.append(f"{folder}: the database says that it is {session.phases()}")


def begun(folder: Path, workflow: str, number: int, server: ModelServer) -> Session:
    """The session of a number; of the custom workflow on a graph of its own."""
    if workflow == "tools":
        request = f"x = {number}"
        return ToolSession(folder, "review_only", request, server, tools=("reviewer",), idle_timeout=0.5)
    if workflow != "custom":
        return Session(folder, workflow, f"Request {number}: a queue.", server, idle_timeout=0.5)
    dice = random.Random(number)
    tasks = random_tasks(dice, 40)
    return CustomSession(
        folder, server, tasks, dice.choice([1, 2, 4]), awaits=dice.random() < 0.5, idle_timeout=0.5
    )


def restarted(server: ModelServer) -> None:
    server.stop()
    time.sleep(0.1)
    server.start()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    score, root, processes = Score(arguments.kills), Path(tempfile.mkdtemp()), os.cpu_count() or 1
    began = time.monotonic()

    def work(first: int) -> None:
        with Worker(root / f"log{first}") as worker:
            number = first
            while not score.done:
                folder = root / str(number)
                folder.mkdir()
                attack(score, worker, folder, number, arguments.seed)
                number += processes

    with ThreadPoolExecutor(processes) as pool:
        list(pool.map(work, range(processes)))
    print(f"{time.monotonic() - began:.0f} s, seed {arguments.seed}")
    for name, count in sorted(score.counts.items()):
        print(f"{count:6d} {name}")
    print(
        "\n".join(score.wrong)
        or "no file differs, no delivered answer was asked for again, no database is damaged"
    )
    raise SystemExit(bool(score.wrong))


if __name__ == "__main__":
    main()
