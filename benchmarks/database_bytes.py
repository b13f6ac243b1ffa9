"""Bytes that a session adds to its database: ours, catalogue and journal included, beside AsyncSqliteSaver.

The same workflow, model and requests; `rounds` review rounds a session. Sizes after the file was closed.

python benchmarks/database_bytes.py
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from swarm_graph import SwarmContext, build_graph, open_checkpointer
from swarm_graph.checkpoints.retention import clean_up
from swarm_graph.models.invented import Ask
from swarm_graph.models.simulated import SimulatedChatModel

SESSIONS = 20
CASES = (("standard", 1), ("standard", 3), ("standard", 10), ("full", 3), ("review_only", 1))
FILE = "".join(f"def function_{line}() -> int:\n    return {line}\n\n\n" for line in range(60))
MODEL = {"model_config": {"single_model": {"model": "simulated", "api_type": "simulated"}}}
REFUSED = (
    '{"findings": [{"severity": "major", "location": "src/a.py:{round}", "problem": "It lacks a test.",'
    ' "suggestion": "Add one."}], "approved": false}'
)


def play(ask: Ask) -> str | None:
    """The coder writes 3 KB in every round, reviewers always want changes, the rest is invented."""
    if ask.role == "coder":
        return f"```python path=src/a.py\n# round {ask.iteration}\n{FILE}```"
    refused = REFUSED.replace("{round}", str(ask.iteration))  # the same remarks twice would end the session
    return refused if ask.role in ("reviewer", "security") else None


@asynccontextmanager
async def stock(path: Path) -> AsyncIterator[Any]:
    async with AsyncSqliteSaver.from_conn_string(str(path)) as saver:
        yield saver


@asynccontextmanager
async def ours(path: Path) -> AsyncIterator[Any]:
    with open_checkpointer(path) as saver:
        yield saver


def bytes_a_session(open_: Any, path: Path, workflow: str, rounds: int) -> int:
    """Bytes of the file after many sessions, less those of an empty one, for each."""
    asyncio.run(run_sessions(open_, path, workflow, rounds, 0))
    empty = path.stat().st_size
    asyncio.run(run_sessions(open_, path, workflow, rounds, SESSIONS))
    return (path.stat().st_size - empty) // SESSIONS


async def run_sessions(open_: Any, path: Path, workflow: str, rounds: int, sessions: int) -> None:
    config = {**MODEL, "workflow": {"max_iterations": rounds}, "execution": {"mode": "off"}}
    async with open_(path) as saver:
        await saver.aget_tuple({"configurable": {"thread_id": "none"}})
        graph = build_graph(workflow, config=config, checkpointer=saver)
        context = SwarmContext(model=SimulatedChatModel(play=play))
        for number in range(sessions):
            thread: Any = {"configurable": {"thread_id": f"s{number}"}}
            await graph.ainvoke({"request": f"Create part {number}"}, thread, context=context)


def cleaned(path: Path, history: Any) -> int:
    with open_checkpointer(path) as saver:
        clean_up(saver, older_than_s=None, keep=0, history=history)
    return path.stat().st_size // SESSIONS


def main() -> None:
    print("| workflow, rounds | ours | AsyncSqliteSaver | ratio | cleaned up | only the last checkpoint |")
    print("|---|---|---|---|---|---|")
    for workflow, rounds in CASES:
        with tempfile.TemporaryDirectory() as folder:
            own = Path(folder, "ours.db")
            mine = bytes_a_session(ours, own, workflow, rounds)
            theirs = bytes_a_session(stock, Path(folder, "stock.db"), workflow, rounds)
            all_, last = cleaned(own, "all"), cleaned(own, "last")
        figures = f"{mine:,} | {theirs:,} | {mine / theirs:.2f} | {all_:,} | {last:,}"
        print(f"| `{workflow}`, {rounds} | {figures} |")


if __name__ == "__main__":
    main()
