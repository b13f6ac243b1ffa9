"""Many machines, on one: workers beside a PostgreSQL server and a model server that takes 200 ms an answer.

Sessions a second of 1, 2 and 4 workers, with the CPU time of the workers and of PostgreSQL; the overhead of
a task beside a job of procrastinate that does nothing, in the same run; how long 100,000 tasks take to
submit, and how much memory; what a task adds to the database, and what that makes for a million documents a
day; where a worker's time goes. PostgreSQL waits for the disk at each commit (fsync), as where it matters.

    python benchmarks/distributed.py [--only throughput overhead submit bytes profile] [--sessions 200]
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import json
import os
import pstats
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import procrastinate
import psutil
import psycopg
from profiled import package
from server import Server, running_server

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from servers.postgres import PostgresServer
from servers.postgres import running_server as running_postgres

PROGRAM = Path(sys.executable).parent / "swarm-graph"
DELAY_S = 0.2
CONCURRENCY = 16
WORKERS = (1, 2, 4)
OPTIONS = "-c max_connections=300 -c shared_buffers=256MB"
TARGET_OVERHEAD = 1.5
TARGET_SUBMIT_S = 60.0
PACKAGES = 12
POLL_S = 0.05
ENDED = "SELECT count(*) FROM sessions WHERE phase NOT IN ('queued', 'running')"


@dataclass(frozen=True)
class Place:
    """A database, a model server, and a folder with the configuration of both.

    Attributes:
        url: The database.
        folder: The folder, in which commands run.
        processes: The server's process, whose children are those of its connections.
    """

    url: str
    folder: Path
    server: psutil.Process

    def command(self, *arguments: str | Path) -> list[str]:
        """A command of the program."""
        return [str(PROGRAM), *map(str, arguments)]

    def run(self, *arguments: str | Path) -> None:
        """Run a command to its end."""
        subprocess.run(self.command(*arguments), cwd=self.folder, check=True, stdout=subprocess.DEVNULL)

    def value(self, query: str) -> Any:
        """The first value of a query."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            return (connection.execute(query).fetchone() or (None,))[0]

    def wait_for(self, query: str, least: int) -> None:
        """Wait until a count is reached."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            while (connection.execute(query).fetchone() or (0,))[0] < least:
                time.sleep(POLL_S)

    @contextmanager
    def workers(
        self, count: int, concurrency: int, *, profile: Path | None = None
    ) -> Iterator[list[psutil.Popen]]:
        """Workers in processes of their own, which wait for jobs when the block begins."""
        command = self.command("worker", "--concurrency", str(concurrency))
        if profile:
            command = [sys.executable, "-m", "cProfile", "-o", str(profile), *command]
        started = [
            psutil.Popen(command, cwd=self.folder, stderr=(self.folder / f"worker-{number}.log").open("w"))
            for number in range(count)
        ]
        self.wait_for("SELECT count(*) FROM procrastinate_workers", count)
        try:
            yield started
        finally:
            for worker in started:
                worker.send_signal(signal.SIGTERM)
            for worker in started:
                worker.wait()


@contextmanager
def places(server: Server) -> Iterator[Place]:
    """A new PostgreSQL server with an empty database of ours."""
    with running_postgres(options=OPTIONS) as postgres, tempfile.TemporaryDirectory() as folder:
        entry = {"url": server.url, "model": "sleeper", "slots": 256}
        url = postgres.url(postgres.new_database())
        config = {
            "database": url,
            "model_config": {"single_model": entry},
            "execution": {"mode": "off"},
            "workflow": {"reviewers": ["style"], "max_iterations": 1},
        }
        (Path(folder) / "config.json").write_text(json.dumps(config))
        yield Place(url, Path(folder), _process(postgres))


def _process(postgres: PostgresServer) -> psutil.Process:
    return psutil.Process(int((postgres.data / "postmaster.pid").read_text().split()[0]))


def cpu(processes: list[psutil.Process]) -> float:
    """The CPU seconds of processes, and of those of their children that have ended or run."""
    spent = 0.0
    for process in processes:
        times = process.cpu_times()
        spent += times.user + times.system + times.children_user + times.children_system
        spent += sum(sum(child.cpu_times()[:2]) for child in process.children())
    return spent


def submit_sessions(place: Place, count: int) -> None:
    """Submit sessions of six calls, without a process for each."""
    from swarm_graph import SwarmCoordinator, load_config
    from swarm_graph.checkpoints.open_database import open_database
    from swarm_graph.workers.submit import submit

    config = load_config(place.folder / "config.json")
    with open_database(place.url, place.folder) as database:
        for number in range(count):
            swarm = SwarmCoordinator(config, data_dir=place.folder / ".swarm", database=place.url)
            swarm.leaves_to_workers = True
            asyncio.run(swarm.arun_workflow(f"Create queue {number}", session_id=f"s{number}"))
            submit(database, f"s{number}", config, 0)


def throughput(sessions: int) -> None:
    """Sessions a second of several numbers of workers."""
    print(
        f"{sessions} sessions of six calls, {DELAY_S * 1000:.0f} ms an answer, {CONCURRENCY} at once a worker"
    )
    print("workers  sessions a second  CPU ms a session: workers  PostgreSQL  connections  KiB")
    for count in WORKERS:
        with running_server(DELAY_S) as server, places(server) as place:
            empty = place.value(SIZE)
            submit_sessions(place, sessions)
            with place.workers(count, CONCURRENCY) as workers:
                before = cpu(workers), cpu([place.server])
                began, most = time.monotonic(), 0
                while place.value(ENDED) < sessions:
                    time.sleep(POLL_S)
                    most = max(most, len(place.server.children()))
                seconds = time.monotonic() - began
                after = cpu(workers), cpu([place.server])
            added = (place.value(SIZE) - empty) / sessions / 1024
        spent = [1000 * (end - start) / sessions for start, end in zip(before, after, strict=True)]
        told = f"{spent[0]:25.0f}  {spent[1]:10.0f}  {most:11}  {added:3.0f}"
        print(f"{count:7}  {sessions / seconds:17.1f}  {told}", flush=True)


def submit_tasks(place: Place, count: int) -> tuple[float, float]:
    """Submit a batch of so many rows; the seconds and the MB of memory that it takes."""
    rows = place.folder / "rows.csv"
    with rows.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["tag"])
        writer.writerows([f"P-{number}"] for number in range(count))
    (place.folder / "prompt.md").write_text("Describe pump $tag.\n")
    began = time.monotonic()
    process = subprocess.Popen(
        place.command("submit", "batch", "rows.csv", "--prompt", "prompt.md", "--session", f"b{count}"),
        cwd=place.folder,
        stdout=subprocess.DEVNULL,
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return time.monotonic() - began, used.ru_maxrss / 1024


def overhead(tasks: int) -> None:
    """A task's time of one worker beside a job that does nothing, in turns."""
    found = [_task_ms(tasks), _noop_ms(tasks), _noop_ms(tasks), _task_ms(tasks)]
    alone = _alone_ms(tasks)
    task, job = (found[0] + found[3]) / 2, (found[1] + found[2]) / 2
    ratio = (task - alone) / job
    print(f"\n{tasks} tasks of one worker, answers at once; a job that does nothing in the same run")
    print(f"task on one machine, SQLite   {alone:6.2f} ms")
    print(f"task by a worker, PostgreSQL  {task:6.2f} ms")
    print(f"job that does nothing         {job:6.2f} ms")
    told = _told(ratio <= TARGET_OVERHEAD)
    print(f"overhead of a task / job      {ratio:6.2f} (wanted ≤ {TARGET_OVERHEAD}: {told})", flush=True)


def _task_ms(tasks: int) -> float:
    with running_server(0.0) as server, places(server) as place:
        submit_tasks(place, tasks)
        with place.workers(1, CONCURRENCY):
            began = time.monotonic()
            place.wait_for(ENDED, 1)
            return 1000 * (time.monotonic() - began) / tasks


def _alone_ms(tasks: int) -> float:
    with running_server(0.0) as server, places(server) as place:
        config = json.loads((place.folder / "config.json").read_text())
        del config["database"]
        (place.folder / "config.json").write_text(json.dumps(config))
        (place.folder / "prompt.md").write_text("Describe pump $tag.\n")
        lines = ["tag", *(f"P-{number}" for number in range(tasks))]
        (place.folder / "rows.csv").write_text("\n".join(lines) + "\n")
        place.run("batch", "rows.csv", "--prompt", "prompt.md", "--dry-run")
        began = time.monotonic()
        place.run("batch", "rows.csv", "--prompt", "prompt.md", "--session", "b")
        return 1000 * (time.monotonic() - began) / tasks


def _noop_ms(tasks: int) -> float:
    """The time of a job that does nothing, with procrastinate's own worker."""
    with running_server(0.0) as server, places(server) as place:
        return 1000 * asyncio.run(_noops(place.url, tasks)) / tasks


async def _noops(url: str, count: int) -> float:
    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=url))

    @app.task(name="nothing")
    async def nothing(number: int) -> None: ...

    async with app.open_async():
        await nothing.batch_defer_async(*({"number": number} for number in range(count)))
        began = time.monotonic()
        await app.run_worker_async(concurrency=CONCURRENCY, wait=False, install_signal_handlers=False)
        return time.monotonic() - began


def submitting(queued: int) -> None:
    """The time and the memory of submitting many tasks."""
    with running_server(0.0) as server, places(server) as place:
        small, large = submit_tasks(place, queued // 100), submit_tasks(place, queued)
    told = _told(large[0] <= TARGET_SUBMIT_S)
    print(f"\n{queued // 100:,} tasks submitted in {small[0]:.1f} s with {small[1]:.0f} MB")
    print(f"{queued:,} in {large[0]:.1f} s with {large[1]:.0f} MB (wanted ≤ {TARGET_SUBMIT_S:.0f} s: {told})")


def sizes(tasks: int) -> None:
    """What tasks and sessions add to the database, and what a million a day would be."""
    with running_server(0.0) as server, places(server) as place:
        measured = []
        for count in (tasks // 4, tasks):
            before, commits = place.value(SIZE), place.value(COMMITS)
            submit_tasks(place, count)
            with place.workers(1, CONCURRENCY):
                began, ended = time.monotonic(), place.value(ENDED)
                place.wait_for(ENDED, ended + 1)
                seconds = time.monotonic() - began
            time.sleep(1)  # PostgreSQL counts commits late
            measured.append([count, seconds, place.value(SIZE) - before, place.value(COMMITS) - commits])
    per_task = [(large - small) / (tasks - tasks // 4) for small, large in zip(*measured, strict=True)][1:]
    ms, added, transactions = 1000 * per_task[0], per_task[1], per_task[2]
    print(f"\none more task: {ms:.2f} ms, {added / 1024:.1f} KiB, {transactions:.1f} transactions")
    print("documents a day  tasks a second  transactions a second  GiB a day  share of this machine")
    for documents in (10_000, 100_000, 1_000_000):
        rate = documents / 86_400
        share, size_gib = rate * ms / 1000, documents * added / 2**30
        print(f"{documents:15,}  {rate:14.2f}  {rate * transactions:21.1f}  {size_gib:9.2f}  {share:21.1%}")


SIZE = "SELECT pg_database_size(current_database())"
COMMITS = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"


def profile(sessions: int) -> None:
    """Where the time of a worker goes, under cProfile."""
    with running_server(0.0) as server, places(server) as place:
        submit_sessions(place, sessions)
        with place.workers(1, CONCURRENCY, profile=place.folder / "profile"):
            place.wait_for(ENDED, sessions)
        stats = pstats.Stats(str(place.folder / "profile"))
    spent: Counter[str] = Counter()
    for (path, _, function), (_, _, seconds, _, _) in stats.stats.items():  # type: ignore[attr-defined]
        spent[package(path, function)] += 1000 * seconds / sessions
    print("\nwhere a worker's time goes, milliseconds a session of six calls (its main thread)")
    for name, milliseconds in spent.most_common(PACKAGES):
        print(f"{name:<24} {milliseconds:7.2f} ms")


def _told(is_held: bool) -> str:
    return "held" if is_held else "MISSED"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = ("throughput", "overhead", "submit", "bytes", "profile")
    parser.add_argument("--only", nargs="+", choices=parts, default=parts)
    parser.add_argument("--sessions", type=int, default=200)
    parser.add_argument("--tasks", type=int, default=2000)
    parser.add_argument("--queued", type=int, default=100_000)
    given = parser.parse_args()
    if "throughput" in given.only:
        throughput(given.sessions)
    if "overhead" in given.only:
        overhead(given.tasks)
    if "submit" in given.only:
        submitting(given.queued)
    if "bytes" in given.only:
        sizes(given.tasks)
    if "profile" in given.only:
        profile(given.sessions)


if __name__ == "__main__":
    main()
