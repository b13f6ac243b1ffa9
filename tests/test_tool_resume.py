"""A turn that failed after a call of a tool goes on with its result, whatever keeps the session."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import storages
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.tools import StructuredTool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph
from storages import POSTGRES
from support import config, thread
from test_tool_loop import Caller, Server, answer_of, call, crew, results, role_of, said

from swarm_graph import SwarmState, build_graph, open_checkpointer
from swarm_graph.errors import AnswerError, ModelError, StorageError


class Notes:
    """A tool that counts its calls."""

    def __init__(self) -> None:
        self.made: list[str] = []

    def note(self, text: str) -> str:
        """Note a text."""
        self.made.append(text)
        return f"noted {text}, number {len(self.made)}"

    @property
    def tools(self) -> dict[str, list[Any]]:
        return {role: [StructuredTool.from_function(self.note)] for role in ("architect", "coder")}


def opened(stack: ExitStack, name: str, path: Path) -> Any:
    if name == "memory":
        return InMemorySaver()
    return stack.enter_context(
        SqliteSaver.from_conn_string(str(path)) if name == "sqlite" else storages.opened(path.parent)
    )


def outer(graph: Any, saver: Any) -> Any:
    """A graph of the user's own with ours as its only node."""
    builder: Any = StateGraph(SwarmState)
    builder.add_node("swarm", graph)
    builder.add_edge(START, "swarm")
    builder.add_edge("swarm", END)
    return builder.compile(checkpointer=saver)


PLACES = [
    ("ours", False),
    (POSTGRES, False),
    ("memory", False),
    ("ours", True),
    (POSTGRES, True),
    ("memory", True),
]
"""The saver, and whether the graph is the node of another one, which has the saver."""


@pytest.mark.parametrize(
    ("saver_kind", "inside", "way"),
    [*((*place, way) for place in PLACES for way in ("sync", "async")), ("sqlite", False, "sync")],
    indirect=["saver_kind"],
)
def test_a_finished_call_is_not_made_again(saver_kind: str, inside: bool, way: str, tmp_path: Path) -> None:
    failures: Iterator[bool] = iter([True])
    notes = Notes()

    def play(messages: list[BaseMessage]) -> AIMessage:
        found = results(messages)
        if len(found) == 1 and next(failures, False):
            raise ValueError("out of memory")
        return AIMessage(f"Done: {found[-1]}") if len(found) == 2 else call("note", text=f"a{len(found)}")

    def run(graph: Any, given: Any) -> dict[str, Any]:
        context = crew(architect=Caller(play=play))
        if way == "sync":
            done: dict[str, Any] = graph.invoke(given, thread(), context=context)
            return done
        return asyncio.run(graph.ainvoke(given, thread(), context=context))

    with ExitStack() as stack:
        saver = opened(stack, saver_kind, tmp_path / "a.db")
        graph: Any = build_graph(
            "standard", config=config(), tools=notes.tools, checkpointer=None if inside else saver
        )
        graph = outer(graph, saver) if inside else graph
        with pytest.raises(ModelError, match="out of memory"):
            run(graph, {"request": "Plan"})
        assert notes.made == ["a0"]
        done = run(graph, None)
        assert notes.made == ["a0", "a1"]
        assert "noted a1, number 2" in done["design"]
        run(graph, {"request": "Plan"})  # a new request begins anew
        assert notes.made == ["a0", "a1", "a0", "a1"]


@pytest.mark.parametrize("saver_kind", ["ours", "memory", POSTGRES], indirect=True)
def test_a_failed_task_goes_on_with_its_results(saver_kind: str, tmp_path: Path) -> None:
    """LangGraph sees its node end: the tasks that have failed run again in another superstep."""
    failures, notes = iter([True]), Notes()

    def play(messages: list[BaseMessage]) -> AIMessage:
        found = results(messages)
        if len(found) == 1 and next(failures, False):
            raise ValueError("out of memory")
        return AIMessage("Done.") if len(found) == 2 else call("note", text=f"a{len(found)}")

    with ExitStack() as stack:
        saver = opened(stack, saver_kind, tmp_path / "a.db")
        graph: Any = build_graph("custom", config=config(), tools=notes.tools, checkpointer=saver)
        context = crew(architect=Caller(play=play))
        with pytest.raises(ModelError, match="out of memory"):
            graph.invoke(
                {"tasks": [{"task_id": "a", "assigned_role": "architect"}]}, thread(), context=context
            )
        done = graph.invoke(None, thread(), context=context)
    assert notes.made == ["a0", "a1"]
    assert done["tasks"]["a"]["result"] == "Done."


@pytest.mark.parametrize("name", ["ours", "memory"])
def test_an_answer_that_cannot_be_used_is_asked_for_again(name: str, tmp_path: Path) -> None:
    answers, notes = iter(["No.", "No."]), Notes()

    def play(messages: list[BaseMessage]) -> AIMessage:
        if not any("noted x" in message.text for message in messages):
            return call("note", text="x")
        return AIMessage(next(answers, "```python path=src/a.py\nx = 1\n```"))

    with ExitStack() as stack:
        saver = opened(stack, name, tmp_path / "a.db")
        graph: Any = build_graph("standard", config=config(), tools=notes.tools, checkpointer=saver)
        context = crew(coder=Caller(play=play))
        with pytest.raises(AnswerError):
            graph.invoke({"request": "Plan"}, thread(), context=context)
        done = graph.invoke(None, thread(), context=context)
    assert notes.made == ["x"]
    assert done["code"] == {"src/a.py": "x = 1\n"}


def test_another_way_of_calling_holds_from_a_resume_on(tmp_path: Path) -> None:
    notes, is_broken = Notes(), True

    def play(body: dict[str, Any]) -> AIMessage | str:
        if role_of(body) != "coder":
            return answer_of(body)
        if "noted x" in said(body):
            return "out of memory" if is_broken else answer_of(body)
        return call("note", text="x") if "tools" in body else AIMessage('note(text="x")')

    with Server(play) as server, open_checkpointer(tmp_path / "a.db") as saver:

        def run(given: Any, tool_calls: str) -> Any:
            settings = server.settings(model={"tool_calls": tool_calls})
            graph = build_graph("standard", config=settings, tools=notes.tools, checkpointer=saver)
            return graph.invoke(given, thread())

        with pytest.raises(ModelError, match="out of memory"):
            run({"request": "Set x"}, "native")
        is_broken, before = False, len(server.calls.bodies)
        assert run(None, "text")["code"] == {"src/a.py": "x = 1\n"}
    assert notes.made == ["x"]
    assert not any("tools" in body for body in server.calls.bodies[before:])


def test_a_call_that_was_cut_off_is_made_again_and_the_note_says_so(tmp_path: Path) -> None:
    notes = Notes()
    running: list[Any] = []

    def play(messages: list[BaseMessage]) -> AIMessage:
        return AIMessage("Done.") if results(messages) else call("note", text="a")

    async def run(graph: Any, given: Any) -> dict[str, Any]:
        running.append(asyncio.current_task())
        done: dict[str, Any] = await graph.ainvoke(given, thread(), context=crew(architect=Caller(play=play)))
        return done

    async def cut_off(text: str) -> str:
        """Note a text."""
        running[0].cancel()
        return notes.note(text)

    with open_checkpointer(tmp_path / "a.db") as saver:
        cutting = StructuredTool.from_function(coroutine=cut_off, name="note")
        broken: Any = build_graph(
            "standard", config=config(), tools={"architect": [cutting]}, checkpointer=saver
        )
        with pytest.raises(asyncio.CancelledError):
            asyncio.run(run(broken, {"request": "Plan"}))
        whole: Any = build_graph("standard", config=config(), tools=notes.tools, checkpointer=saver)
        done = asyncio.run(run(whole, None))
        times = [record.started_at for record in saver.catalogue.tool_calls("t")]
    assert notes.made == ["a", "a"]
    note = done["tasks"]["T002_design"]["note"]
    assert note == "call 1, of note, had begun when an earlier run ended, and was made again; 1 call of tools"
    assert times == sorted(times)
    assert times[0] > 1000.0, "a clock that the caller supplies is for records, not for the order of calls"


def test_a_full_disk_is_one_line_and_the_resume_says_what_is_made_again(tmp_path: Path) -> None:
    """SQLite reports the full disk: while the tool runs, the file has got all the pages that it may have."""
    notes = Notes()
    with open_checkpointer(tmp_path / "a.db") as saver:

        def pages(most: int) -> None:
            with saver.database.view() as cursor:
                cursor.execute(f"PRAGMA max_page_count={most}")

        def fill(text: str) -> str:
            """Note a text."""
            if not notes.made:
                pages(1)  # SQLite takes the present size
            notes.note(text)
            return "x" * 200_000

        def play(messages: list[BaseMessage]) -> AIMessage:
            return AIMessage("Done.") if results(messages) else call("fill", text="a")

        graph = build_graph(
            "standard",
            config=config(tool_limits={"characters": 1_000_000}),
            tools={"architect": [StructuredTool.from_function(fill)]},
            checkpointer=saver,
        )
        context = crew(architect=Caller(play=play))
        with pytest.raises(
            StorageError, match=r"disk is full.*'fill' had ended.*makes the call again"
        ) as full:
            graph.invoke({"request": "Plan"}, thread(), context=context)
        assert "\n" not in str(full.value)
        assert [record.result for record in saver.catalogue.tool_calls("t")] == [None]
        pages(1_000_000)
        assert graph.invoke(None, thread(), context=context)["design"] == "Done."
        assert notes.made == ["a", "a"]
