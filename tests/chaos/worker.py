"""A warm process that forks one for every job, so that a thousand kills do not cost a thousand imports.

It reads one JSON job a line and answers with the new process's pid, then with its exit status. A job runs or
resumes a session; `die_at` kills it (SIGKILL, by itself) right after that commit, rename or removal.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from langchain_core.runnables import RunnableConfig
from langchain_core.tools import StructuredTool
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from swarm_graph import SwarmContext, SwarmCoordinator, build_graph, open_checkpointer
from swarm_graph.checkpoints import database, postgres, storage
from swarm_graph.database_place import VARIABLE, place_of
from swarm_graph.repository import git
from swarm_graph.sessions.ids import get_session

PRELOADED = (
    "jiter",
    "langchain_core.tracers.stdout",
    "langchain_openai",
    "openai.lib.streaming.chat",
    "openai.resources.chat.completions",
    "swarm_graph.checkpoints.postgres_saver",
    "swarm_graph.models.simulated",
    "truststore",
)
"""What a session imports when it first needs it."""


class Points:
    """Counts the places where a process may die, and lets it die at one of them."""

    def __init__(self, die_at: int) -> None:
        self.passed, self.die_at = 0, die_at

    def here(self) -> None:
        self.passed += 1
        if self.passed == self.die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(self) -> None:
        """From here on, every commit, rename and removal is such a place.

        So is the moment before a commit of several works at once: they are all lost. A commit on a server
        is one more, when it has been asked for and nobody knows yet what has come of it.
        """
        points, connect = self, sqlite3.connect
        rename, remove = Path.replace, Path.unlink

        class Connection(sqlite3.Connection):
            def commit(self) -> None:
                if any(opened._is_group for opened in storage._OPEN):
                    points.here()
                super().commit()
                points.here()

        def replace(self: Path, target: Any) -> Path:
            done = rename(self, target)
            points.here()
            return done

        def unlink(self: Path, missing_ok: bool = False) -> None:
            remove(self, missing_ok=missing_ok)
            points.here()

        database.sqlite3.connect = lambda *args, **kwargs: connect(*args, factory=Connection, **kwargs)  # type: ignore[attr-defined]
        Path.replace = replace  # type: ignore[assignment,method-assign]
        Path.unlink = unlink  # type: ignore[method-assign]
        self._watch_server()

    def _watch_server(self) -> None:
        points, commit = self, postgres.PostgresDatabase._commit

        def watched(self: postgres.PostgresDatabase) -> None:
            if not self._transaction:  # it has only read
                commit(self)
                return
            if self._is_group:
                points.here()
            if points.passed + 1 == points.die_at:
                self.connection.pgconn.send_query(b"COMMIT")
            points.here()
            commit(self)
            points.here()

        postgres.PostgresDatabase._commit = watched  # type: ignore[method-assign]

    def watch_git(self) -> None:
        """Before and after every git command is such a place, and in the midst of it: git dies, too."""
        points, run_any = self, subprocess.run

        def run(arguments: list[str], **options: Any) -> Any:
            if arguments[0] != "git":
                return run_any(arguments, **options)
            points.here()
            if points.passed + 1 == points.die_at:
                with subprocess.Popen(
                    arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                    cwd=options["cwd"], env=options["env"],
                ) as killed:  # fmt: skip
                    assert killed.stdin
                    given = options["input"]
                    killed.stdin.write(given[: points.die_at * 7 % (len(given) + 1)])
                    time.sleep(points.die_at % 5 / 1000)
                    killed.kill()
            points.here()
            done = run_any(arguments, **options)
            points.here()
            return done

        git.subprocess.run = run  # type: ignore[attr-defined]


def run(job: dict[str, Any]) -> int:
    """Runs or resumes the job's session; 0 when it has ended."""
    points = Points(job.get("die_at", 0))
    points.watch()
    if "repo" in job["config"]:
        points.watch_git()
    folder = Path(job["folder"])
    state = _run_graph(job, folder) if job.keys() & {"tasks", "saver"} else _run_workflow(job, folder)
    (folder / "points").write_text(str(points.passed))
    return 0 if state["phase"] == "complete" else 1


def _tools(job: dict[str, Any], folder: Path) -> dict[str, list[Any]]:
    """A tool for each role of the job: it adds a line to the file `made`, which the disk has when it ends."""

    def note(text: str) -> str:
        """Note a text."""
        with (folder / "made").open("a") as file:
            file.write(f"{text}\n")
            file.flush()
            os.fsync(file.fileno())
        return f"noted {text}"

    return {role: [StructuredTool.from_function(note)] for role in job.get("tools", ())}


def _run_workflow(job: dict[str, Any], folder: Path) -> Any:
    # With a clock that stands still the commits of a session are the same, too.
    context = SwarmContext(clock=lambda: 1000.0) if "repo" in job["config"] else None
    swarm = SwarmCoordinator(
        job["config"],
        data_dir=folder / ".swarm",
        output=folder / "output",
        context=context,
        tools=_tools(job, folder),
    )
    if get_session(folder / ".swarm", job["session"]):
        return swarm.resume(job["session"])
    return swarm.run_workflow(job["request"], job["workflow"], session_id=job["session"])


def _run_graph(job: dict[str, Any], folder: Path) -> Any:
    """A session on the graph itself, with any saver; its final state goes to a file."""
    path = folder / ".swarm" / "swarm.db"
    path.parent.mkdir(exist_ok=True)
    if job.get("saver") == "async":
        state = asyncio.run(_run_in_loop(job, folder, path))
    else:
        opened: Any = (
            SqliteSaver.from_conn_string(str(path))
            if "saver" in job
            else open_checkpointer(place_of(path.parent), data_dir=path.parent)
        )
        with opened as saver:
            graph, given, thread = _graph(job, folder, saver)
            known = saver.get_tuple(thread) if "saver" in job else saver.catalogue.get(job["session"])
            given = None if known else given
            state = (
                asyncio.run(graph.ainvoke(given, thread)) if job["awaits"] else graph.invoke(given, thread)
            )
    (folder / "state.json").write_text(json.dumps(state))
    return state


async def _run_in_loop(job: dict[str, Any], folder: Path, path: Path) -> Any:
    async with AsyncSqliteSaver.from_conn_string(str(path)) as saver:
        graph, given, thread = _graph(job, folder, saver)
        return await graph.ainvoke(None if await saver.aget_tuple(thread) else given, thread)


def _graph(job: dict[str, Any], folder: Path, saver: Any) -> tuple[Any, Any, RunnableConfig]:
    graph = build_graph(job["workflow"], config=job["config"], checkpointer=saver, tools=_tools(job, folder))
    given = {"request": job["request"], **({"tasks": job["tasks"]} if "tasks" in job else {})}
    return graph, given, {"configurable": {"thread_id": job["session"]}}


def crowd(job: dict[str, Any]) -> int:
    """Several processes at once, each with sessions one after the other, on a database that all share."""
    children = []
    for process in range(job["processes"]):
        pid = os.fork()
        if pid == 0:
            os._exit(_guarded(_one_of_crowd, {**job, "process": process}))
        children.append(pid)
    return sum(os.waitpid(pid, 0)[1] != 0 for pid in children)


def _one_of_crowd(job: dict[str, Any]) -> int:
    folder = Path(job["folder"])
    for number in range(job["sessions"]):
        name = f"p{job['process']}_{number}"
        swarm = SwarmCoordinator(job["config"], data_dir=folder / ".swarm", output_dir=folder / "output")
        if swarm.run_workflow(name, job["workflow"], session_id=name)["phase"] != "complete":
            return 1
    return 0


def _guarded(work: Callable[[dict[str, Any]], int], job: dict[str, Any]) -> int:
    if job.get("database"):
        os.environ[VARIABLE] = job["database"]
    try:
        return work(job)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        return 2


def main() -> None:
    for name in PRELOADED:
        importlib.import_module(name)
    gc.freeze()  # a collection in a forked process would copy every page
    for line in sys.stdin:
        job = json.loads(line)
        pid = os.fork()
        if pid == 0:
            os._exit(_guarded(crowd if "processes" in job else run, job))
        print(pid, flush=True)  # noqa: T201
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
