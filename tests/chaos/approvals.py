"""Kills a run that brings a person's approval at every third commit, and once in the midst of the call.

It prints a JSON line for each kill, after the session has been resumed to its end.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from itertools import chain, count
from pathlib import Path
from typing import Any

from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, tool
from langgraph.types import Command
from support import APPROVED, config
from test_waiting_calls import Caller, context, opened

from chaos.kept import kept_in
from chaos.worker import PRELOADED, Points
from swarm_graph import build_graph
from swarm_graph.database_place import place_of

APPROVE: Command[Any] = Command(resume="approve")
IN_THE_CALL = -1
EVERY = {"postgres": 7}
"""Every third place costs a third of the time; a commit on a server has more of them."""


def note_in(folder: Path) -> BaseTool:
    """A tool that writes its calls into a file; a file `deadly` lets it kill its process once."""

    @tool
    def note(text: str) -> str:
        """Write a note."""
        with (folder / "calls").open("a") as file:
            file.write(f"{text}\n")
        if (folder / "deadly").exists():
            (folder / "deadly").unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return f"noted: {text}"

    return note


def run(folder: Path, saver: str, given: Any, points: Points, die_at: int) -> str:
    """Begin or resume the session, to die at a place; returns its phase, or `waits`."""
    thread: RunnableConfig = {"configurable": {"thread_id": folder.name}}
    crew = context(reviewer=Caller(texts=["a"], answer=APPROVED.replace("{round}", "1")))
    with opened(saver, folder / "swarm.db") as checkpointer:
        graph = build_graph(
            "review_only",
            config=config(workflow={"reviewers": ["style"]}, approve=["note"]),
            checkpointer=checkpointer,
            tools={"reviewer": [note_in(folder)]},
        )
        graph.get_state(thread)  # makes the tables
        points.passed, points.die_at = 0, die_at
        state = dict(graph.invoke(given, thread, context=crew))
    return "waits" if "__interrupt__" in state else str(state["phase"])


def in_a_process(folder: Path, saver: str, given: Any, die_at: int = 0) -> str:
    """The phase after a run in a process of its own; `killed` if it died."""
    pid = os.fork()
    if pid == 0:
        points = Points(0)
        points.watch()
        (folder / "phase").write_text(run(folder, saver, given, points, die_at))
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    kept_in(place_of(folder)).check()
    if code not in (0, -signal.SIGKILL):
        sys.exit(code)
    return "killed" if code else (folder / "phase").read_text()


def calls(folder: Path) -> int:
    file = folder / "calls"
    return len(file.read_text().split()) if file.exists() else 0


def kill(folder: Path, saver: str, die_at: int) -> dict[str, Any] | None:
    """What comes of a kill at one place; None if the run has no such place."""
    folder.mkdir()
    in_a_process(folder, saver, {"request": "Review it"})
    if die_at == IN_THE_CALL:
        (folder / "deadly").touch()
    if in_a_process(folder, saver, APPROVE, die_at) != "killed":
        return None
    made = calls(folder)
    phase = in_a_process(folder, saver, None)
    asked_again = phase == "waits"
    if asked_again:
        phase = in_a_process(folder, saver, APPROVE)
    return {"made": made, "asked again": asked_again, "phase": phase, "calls": calls(folder)}


def main(folder: Path, saver: str) -> None:
    for name in PRELOADED:
        importlib.import_module(name)
    for die_at in chain([IN_THE_CALL], count(1, EVERY.get(saver, 3))):
        found = kill(folder / str(die_at), saver, die_at)
        if found is None:
            return
        print(json.dumps(found), flush=True)  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
