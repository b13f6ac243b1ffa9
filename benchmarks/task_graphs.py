"""Ragged task graphs: how long they take, beside the ideal and beside two graphs in plain LangGraph.

Random graphs of 300 tasks that take 0.2 to 1 s (a simulated model that waits), with checkpoints. The ideal is
a list scheduler on a computed clock: the same graph, priorities, order and cap, no overhead at all. The peers
do nothing but wait: a StateGraph with a node per task, and a functional entrypoint whose tasks await each
other's futures, both with an AsyncSqliteSaver and a semaphore as cap.

    python benchmarks/task_graphs.py [--tasks 300] [--caps 1 4 8 32] [--seeds 5] [--scale 1.0]
"""

from __future__ import annotations

import argparse
import asyncio
import heapq
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGenerationChunk
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, StateGraph
from typing_extensions import TypedDict

from swarm_graph import SwarmContext, build_graph, open_checkpointer
from swarm_graph.models.simulated import SimulatedChatModel

TARGET = 1.05
ALONE_FROM_CAP = 16
"""Graphs of a cap below run five at a time: together they leave the machine idle."""


@dataclass(frozen=True)
class Work:
    seconds: float
    priority: int
    after: tuple[str, ...]


def ragged(seed: int, count: int, scale: float) -> dict[str, Work]:
    dice = random.Random(seed)
    graph: dict[str, Work] = {}
    for number in range(count):
        near = range(max(0, number - 40), number)
        after = dice.sample(near, min(len(near), dice.choice([0, 0, 1, 2])))
        work = Work(
            dice.uniform(0.2, 1.0) * scale, dice.randrange(10), tuple(f"t{one}" for one in sorted(after))
        )
        graph[f"t{number}"] = work
    return graph


def ideal(graph: dict[str, Work], cap: int) -> float:
    """The makespan of a list scheduler without any overhead."""
    left = {name: len(work.after) for name, work in graph.items()}
    order = {name: number for number, name in enumerate(graph)}
    dependents: dict[str, list[str]] = {}
    for name, work in graph.items():
        for need in work.after:
            dependents.setdefault(need, []).append(name)
    ready = [(-graph[name].priority, order[name], name) for name, count in left.items() if not count]
    heapq.heapify(ready)
    running: list[tuple[float, str]] = []
    now = 0.0
    while ready or running:
        while ready and len(running) < cap:
            _, _, name = heapq.heappop(ready)
            heapq.heappush(running, (now + graph[name].seconds, name))
        now, ended = heapq.heappop(running)
        for name in dependents.get(ended, ()):
            left[name] -= 1
            if not left[name]:
                heapq.heappush(ready, (-graph[name].priority, order[name], name))
    return now


def lower_bound(graph: dict[str, Work], cap: int) -> float:
    """No schedule is shorter: the critical path, or all work over the cap."""
    longest: dict[str, float] = {}
    for name, work in graph.items():
        longest[name] = work.seconds + max((longest[need] for need in work.after), default=0.0)
    return max(*longest.values(), sum(work.seconds for work in graph.values()) / cap)


class Timed(SimulatedChatModel):
    """Takes as long for each task as its graph says."""

    seconds: dict[str, float]

    async def _astream(
        self, messages: list[BaseMessage], *_: Any, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        name = kwargs["about"]["task"]
        await asyncio.sleep(self.seconds[name])
        for chunk in self._chunks(self._message(messages, f"I am {name}.")):
            yield chunk


async def ours(graph: dict[str, Work], cap: int, folder: Path) -> float:
    config = {
        "model_config": {"single_model": {"model": "s", "api_type": "simulated"}},
        "workflow": {"max_parallel_agents": cap},
    }
    tasks: Any = [
        {
            "task_id": name,
            "assigned_role": "documenter",
            "priority": work.priority,
            "dependencies": list(work.after),
        }
        for name, work in graph.items()
    ]
    context = SwarmContext(model=Timed(seconds={name: work.seconds for name, work in graph.items()}))
    with open_checkpointer(folder / "swarm.db") as saver:
        compiled = build_graph("custom", config=config, checkpointer=saver)
        began = time.monotonic()
        state = await compiled.ainvoke(
            {"tasks": tasks}, {"configurable": {"thread_id": "t"}}, context=context
        )
        took = time.monotonic() - began
    assert all(record["result"] == f"I am {name}." for name, record in state["tasks"].items())
    return took


class Done(TypedDict):
    done: Annotated[dict[str, str], lambda old, new: {**old, **new}]


async def state_graph(graph: dict[str, Work], cap: int, folder: Path) -> float:
    slots = asyncio.Semaphore(cap)

    def node(name: str) -> Any:
        async def work(_state: Done) -> Any:
            async with slots:
                await asyncio.sleep(graph[name].seconds)
            return {"done": {name: f"I am {name}."}}

        return work

    draft = StateGraph(Done)
    for name, work in graph.items():
        draft.add_node(name, node(name))
        draft.add_edge(list(work.after) or START, name)
    for name in graph.keys() - {need for work in graph.values() for need in work.after}:
        draft.add_edge(name, END)
    async with AsyncSqliteSaver.from_conn_string(str(folder / "state.db")) as saver:
        compiled = draft.compile(checkpointer=saver)
        began = time.monotonic()
        state = await compiled.ainvoke(
            {"done": {}}, {"configurable": {"thread_id": "t"}, "max_concurrency": None}
        )
        took = time.monotonic() - began
    assert len(state["done"]) == len(graph)
    return took


async def functional(graph: dict[str, Work], cap: int, folder: Path) -> float:
    slots = asyncio.Semaphore(cap)

    @task
    async def work(name: str, needs: list[Any]) -> str:
        await asyncio.gather(*needs)
        async with slots:
            await asyncio.sleep(graph[name].seconds)
        return f"I am {name}."

    async with AsyncSqliteSaver.from_conn_string(str(folder / "functional.db")) as saver:

        @entrypoint(checkpointer=saver)
        async def everything(_given: str) -> int:
            futures: dict[str, Any] = {}
            for name, one in graph.items():
                futures[name] = work(name, [futures[need] for need in one.after])
            return len(await asyncio.gather(*futures.values()))

        began = time.monotonic()
        count = await everything.ainvoke("go", {"configurable": {"thread_id": "t"}})
        took = time.monotonic() - began
    assert count == len(graph)
    return took


WAYS = {"ours": ours, "state_graph": state_graph, "functional": functional}


def measured(way: str, seed: int, count: int, cap: int, scale: float) -> float:
    """Seconds of one run in this process."""
    graph = ragged(seed, count, scale)
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(WAYS[way](graph, cap, Path(folder)))


def started(way: str, seed: int, given: argparse.Namespace, cap: int) -> subprocess.Popen[str]:
    about = json.dumps([way, seed, given.tasks, cap, given.scale])
    return subprocess.Popen([sys.executable, __file__, "--one", about], stdout=subprocess.PIPE, text=True)


def results(way: str, seeds: range, given: argparse.Namespace, cap: int) -> list[float]:
    """Seconds for each seed, each in a process of its own."""
    groups = [[seed] for seed in seeds] if cap >= ALONE_FROM_CAP else [list(seeds)]
    took = []
    for group in groups:
        processes = [started(way, seed, given, cap) for seed in group]
        took += [float(process.communicate()[0]) for process in processes]
    return took


def line(way: str, cap: int, seeds: range, given: argparse.Namespace) -> str:
    graphs = [ragged(seed, given.tasks, given.scale) for seed in seeds]
    took = results(way, seeds, given, cap)
    to_ideal = [seconds / ideal(graph, cap) for seconds, graph in zip(took, graphs, strict=True)]
    to_bound = [seconds / lower_bound(graph, cap) for seconds, graph in zip(took, graphs, strict=True)]
    told = "" if way != "ours" else f"  {'ok' if max(to_ideal) <= TARGET else 'MISSED'}"
    return (
        f"{way:12} {cap:4} {len(took):6} {sum(took) / len(took):9.2f} {min(to_ideal):10.3f} "
        f"{max(to_ideal):8.3f} {max(to_bound):11.3f}{told}\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", type=int, default=300)
    parser.add_argument("--caps", type=int, nargs="+", default=[1, 4, 8, 32])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the seconds of each task")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        sys.stdout.write(f"{measured(*json.loads(given.one))}\n")
        return
    sys.stdout.write("who           cap graphs   seconds  to ideal: least    most  to bound (most)\n")
    for cap in given.caps:
        sys.stdout.write(line("ours", cap, range(given.seeds), given))
        sys.stdout.flush()
    for way in ("state_graph", "functional"):
        for cap in [cap for cap in given.caps if cap > 1]:
            sys.stdout.write(line(way, cap, range(min(given.seeds, 2)), given))
            sys.stdout.flush()


if __name__ == "__main__":
    main()
