"""What a call of a tool costs us: sessions whose coder calls a tool, beside the same sessions without.

    python benchmarks/tool_overhead.py [--sessions 20] [--calls 6]

The models are scripted and answer at once, the tool returns at once, and sessions take turns in one process.
Each call is one more question to a model, whose answer is committed, too.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import tool
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from swarm_graph import SwarmContext, build_graph, open_checkpointer
from swarm_graph.models.simulated import SimulatedChatModel

MODEL = {"model_config": {"single_model": {"model": "simulated", "api_type": "simulated"}}}
ROLES = ("clarifier", "architect", "tester", "reviewer", "security", "optimizer", "documenter")
WARM_UP = 2


class Figures(NamedTuple):
    """What one session took."""

    wall_ms: float
    cpu_ms: float
    commits: int


class Coder(BaseChatModel):
    """A model that calls the tool `look` some times, then answers with a file."""

    calls: int

    @property
    def _llm_type(self) -> str:
        return "coder"

    def bind_tools(self, tools: Sequence[Any], **_: Any) -> Runnable[Any, AIMessage]:
        return self.bind(tools=tools)

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        made = sum(isinstance(message, ToolMessage) for message in messages)
        call = {"name": "look", "args": {"number": made}, "id": "1"}
        answer = AIMessage("```python path=src/a.py\nx = 1\n```")
        message = AIMessage("", tool_calls=[call]) if made < self.calls else answer
        return ChatResult(generations=[ChatGeneration(message=message)])


@tool
def look(number: int) -> str:
    """Look something up."""
    return f"Line {number}.\n" * 40


@asynccontextmanager
async def ours(path: Path) -> AsyncIterator[Any]:
    with open_checkpointer(path) as saver:
        yield saver, lambda trace: asyncio.to_thread(saver.database.connection.set_trace_callback, trace)


@asynccontextmanager
async def langgraphs(path: Path) -> AsyncIterator[Any]:
    async with AsyncSqliteSaver.from_conn_string(str(path)) as saver:
        yield saver, saver.conn.set_trace_callback


async def measured(
    open_: Any, folder: Path, calls: int, sessions: int
) -> tuple[list[Figures], list[Figures]]:
    """The figures of sessions without a tool, and of those with as many calls; they take turns."""
    settings = {**MODEL, "tool_limits": {"calls": calls + 1}}
    async with open_(folder / "a.db") as (saver, set_trace):
        commits = 0

        def count(statement: str) -> None:
            nonlocal commits
            commits += statement.upper().startswith("COMMIT")

        await set_trace(count)
        without, with_calls = list[Figures](), list[Figures]()
        for number in range(sessions + WARM_UP):
            for made, figures in ((0, without), (calls, with_calls)):
                given = {"coder": [look]} if made else {}
                graph = build_graph("standard", config=settings, checkpointer=saver, tools=given)
                models: dict[str, BaseChatModel] = dict.fromkeys(ROLES, SimulatedChatModel())
                context = SwarmContext(model=models | {"coder": Coder(calls=made)})
                thread: Any = {"configurable": {"thread_id": f"{number}-{made}"}}
                before, began, cpu = commits, time.perf_counter(), time.process_time()
                await graph.ainvoke({"request": "Set x"}, thread, context=context)
                wall, cpu = time.perf_counter() - began, time.process_time() - cpu
                if number >= WARM_UP:
                    figures.append(Figures(1000 * wall, 1000 * cpu, commits - before))
    return without, with_calls


def line(name: str, without: list[Figures], with_calls: list[Figures], calls: int) -> str:
    """The medians, and what they say of one call."""
    before, after = (
        Figures(*map(statistics.median, zip(*figures, strict=True))) for figures in (without, with_calls)
    )
    wall, cpu, commits = ((now - then) / calls for then, now in zip(before, after, strict=True))
    return (
        f"{name:<16} {before.wall_ms:6.1f} ms without, {after.wall_ms:6.1f} ms with {calls} calls (ratio "
        f"{after.wall_ms / before.wall_ms:.2f}, CPU {after.cpu_ms / before.cpu_ms:.2f}); "
        f"a call: {wall:.1f} ms, CPU {cpu:.1f} ms, {commits:.1f} commits"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sessions", type=int, default=20, help="measured sessions of each kind")
    parser.add_argument("--calls", type=int, default=6, help="calls of a session")
    asked = parser.parse_args()
    for name, open_ in (("our saver", ours), ("AsyncSqliteSaver", langgraphs)):
        with tempfile.TemporaryDirectory() as folder:
            found = asyncio.run(measured(open_, Path(folder), asked.calls, asked.sessions))
        print(line(name, *found, asked.calls))


if __name__ == "__main__":
    main()
