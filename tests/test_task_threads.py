"""How custom tasks are kept, also by earlier versions, and what code of the user's own finds in them."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from langchain_core.callbacks import AsyncCallbackHandler
from langchain_core.outputs import ChatGenerationChunk
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.config import get_stream_writer
from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt
from storages import ON_BOTH, opened
from support import Crew, config, thread
from test_task_graph import crew, expansion, given, stopping, task
from typing_extensions import TypedDict

from swarm_graph import SwarmContext, build_graph, open_checkpointer
from swarm_graph.errors import ModelError, Stopped
from swarm_graph.models.invented import Ask
from swarm_graph.models.simulated import SimulatedChatModel
from swarm_graph.testing import simulated_config
from swarm_graph.workflows.graph import SwarmGraph

ADDED = expansion({"task_id": "x"}, {"task_id": "y", "dependencies": ["x"]})
TASKS = [task("split", role="architect", expands=True), task("end", "split"), task("late", "end")]


# --- threads -------------------------------------------------------------------------------------


class _OldState(TypedDict, total=False):
    task: str
    record: Any


def old_graph(saver: BaseCheckpointSaver[Any], records: dict[str, Any]) -> Any:
    """The graph that versions before this one ran for each task."""
    graph: Any = StateGraph(_OldState)
    graph.add_node("task", lambda state: {"record": records[state["task"]]})
    graph.add_edge(START, "task")
    graph.add_edge("task", END)
    return graph.compile(checkpointer=saver, name="task")


async def written_the_old_way(saver: BaseCheckpointSaver[Any], graph: SwarmGraph) -> dict[str, Any]:
    """Writes the threads of the finished tasks as earlier versions did; returns their records by task."""
    state = (await graph.aget_state(thread())).values
    names = ("split", "split.x", "split.y", "end", "late")
    ids = {
        name: f"{thread()['configurable']['thread_id']}\x1f{state['children']}\x1f{name}" for name in names
    }
    records = {}
    for name, thread_id in ids.items():
        if saved := await saver.aget_tuple({"configurable": {"thread_id": thread_id}}):
            records[name] = saved.checkpoint["channel_values"]["record"]
            await saver.adelete_thread(thread_id)
    for name in records:
        where = {"configurable": {"thread_id": ids[name]}}
        await old_graph(saver, records).ainvoke({"task": name}, where, durability="exit")
    return records


async def resumed_from_old_threads(saver: BaseCheckpointSaver[Any]) -> None:
    graph = build_graph("custom", config=config(), checkpointer=saver)
    actors, options = stopping("split.y")
    actors.script["architect"] = ADDED
    with pytest.raises(Stopped):
        await graph.ainvoke(given(TASKS), thread(), context=options)
    kept = await written_the_old_way(saver, graph)
    assert list(kept) == ["split", "split.x", "split.y"]
    again = crew()
    done = (await graph.ainvoke(None, thread(), context=again.context))["tasks"]
    assert again.asked == ["end", "late"]
    assert {name: done[name] for name in kept} == kept
    assert list(done) == ["split", "end", "late", "split.x", "split.y"]


@pytest.mark.parametrize("name", ["ours", "memory", "async"])
def test_threads_of_earlier_versions_are_read(name: str, tmp_path: Path) -> None:
    async def resumed() -> None:
        if name == "async":
            async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "x.db")) as saver:
                await resumed_from_old_threads(saver)
        else:
            ours = open_checkpointer(tmp_path / "x.db") if name == "ours" else InMemorySaver()
            await resumed_from_old_threads(ours)

    asyncio.run(resumed())


def test_a_task_costs_three_commits(tmp_path: Path) -> None:
    """The question, the answer, and the task's end with its record."""
    commits = []
    with open_checkpointer(tmp_path / "swarm.db") as saver:
        graph = build_graph("custom", config=config(), checkpointer=saver)
        for count in (2, 12):
            statements: list[str] = []
            saver.database.connection.set_trace_callback(statements.append)
            tasks = [task(f"t{number}") for number in range(count)]
            graph.invoke(given(tasks), thread(f"s{count}"), context=crew().context)
            saver.database.connection.set_trace_callback(None)
            commits.append(Counter(statements)["COMMIT"])
    assert commits[1] - commits[0] <= 3 * 10


# --- callbacks, and code of the user's own -------------------------------------------------------


class Heard(AsyncCallbackHandler):
    """Keeps what callbacks hear of the runs named `task`."""

    def __init__(self) -> None:
        self.runs: dict[UUID, list[Any]] = {}
        self.names: dict[UUID, str] = {}

    async def on_chain_start(self, *given: Any, run_id: UUID, **more: Any) -> None:
        self.names[run_id] = more["name"]
        if more["name"] == "task":
            self.runs[run_id] = [self.names[more["parent_run_id"]], given[1], more["metadata"]["thread_id"]]

    async def on_chain_end(self, outputs: Any, *, run_id: UUID, **_: Any) -> None:
        if run_id in self.runs:
            self.runs[run_id].append(outputs["record"]["result"])

    async def on_chain_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        if run_id in self.runs:
            self.runs[run_id].append(type(error).__name__)


def test_callbacks_hear_of_each_task() -> None:
    heard, tasks = Heard(), [task("a"), task("bad")]
    graph = build_graph("custom", config=config(), checkpointer=InMemorySaver())
    with pytest.raises(ModelError, match=r"\(bad\)"):
        graph.invoke(given(tasks), {**thread(), "callbacks": [heard]}, context=crew(bad="").context)
    assert sorted(heard.runs.values(), key=str) == [
        ["tasks", {"task": "a"}, "t", "I am a."],
        ["tasks", {"task": "bad"}, "t", "AnswerError"],
    ]


@pytest.mark.parametrize("callbacks", [[], [Heard()]])
def test_what_own_code_writes_in_a_task_reaches_the_stream(callbacks: list[Any]) -> None:
    def answer(ask: Ask) -> str:
        get_stream_writer()(f"at {ask.node}")
        return f"I am {ask.node}."

    graph = build_graph("custom", config=config())
    stream = graph.stream(
        given([task("a"), task("b", "a")]),
        {"callbacks": callbacks},
        context=Crew({"documenter": answer}).context,
        stream_mode="custom",
    )
    assert [part for part in stream if isinstance(part, str)] == ["at a", "at b"]


def test_own_code_may_write_from_threads() -> None:
    def answer(ask: Ask) -> str:
        writer = get_stream_writer()
        threads = [threading.Thread(target=writer, args=(f"{ask.node} {number}",)) for number in range(20)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        return f"I am {ask.node}."

    graph = build_graph("custom", config=config())
    tasks = given([task(name) for name in "abcd"])
    parts = list(graph.stream(tasks, context=Crew({"documenter": answer}).context, stream_mode="custom"))
    assert sum(isinstance(part, str) for part in parts) == 4 * 20


@ON_BOTH
def test_a_task_that_interrupts_fails_and_the_others_go_on(tmp_path: Path) -> None:
    def answer(ask: Ask) -> str:
        return interrupt("Which one?") if ask.node == "asks" else f"I am {ask.node}."

    with opened(tmp_path) as saver:
        graph = build_graph("custom", config=config(), checkpointer=saver)
        actors = Crew({"documenter": answer})
        with pytest.raises(ModelError, match=r"1 of 2 tasks failed \(asks\)"):
            graph.invoke(given([task("asks"), task("b")]), thread(), context=actors.context)
        done = graph.invoke(None, thread(), context=crew().context)["tasks"]
    assert [record["result"] for record in done.values()] == ["I am asks.", "I am b."]


class Calling(SimulatedChatModel):
    """Calls a graph before it answers: under a thread of its own in the task `b`, else without one."""

    graph: Any

    async def _astream(self, messages: Any, *_: Any, **arguments: Any) -> AsyncIterator[ChatGenerationChunk]:
        name = arguments["about"]["task"]
        named: Any = {"configurable": {"thread_id": "named"}} if name == "b" else None
        await self.graph.ainvoke({"request": "x = 1"}, named, context=SwarmContext())
        for chunk in self._chunks(self._message(messages, f"I am {name}.")):
            yield chunk


@ON_BOTH
def test_a_graph_that_a_task_calls_is_no_session_unless_it_names_one(tmp_path: Path) -> None:
    with opened(tmp_path) as saver:
        inner = build_graph("review_only", config=simulated_config(), checkpointer=saver)
        graph = build_graph("custom", config=config(), checkpointer=saver)
        tasks, context = [task("a"), task("b")], SwarmContext(model=Calling(graph=inner))
        done = asyncio.run(graph.ainvoke(given(tasks), thread(), context=context))["tasks"]
        assert [record["result"] for record in done.values()] == ["I am a.", "I am b."]
        sessions = {session.session for session in saver.catalogue.sessions()}
        assert sessions == {thread()["configurable"]["thread_id"], "named"}
