"""A person's approval of tool calls: what counts as one, and that each is asked for once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypedDict

import pytest
from langchain_core.tools import StructuredTool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import StateGraph
from langgraph.types import Command
from support import thread

from swarm_graph.checkpoints.decisions import tool_name
from swarm_graph.checkpoints.steps import NoSteps
from swarm_graph.roles.approval import SESSION, Person, WaitsForPerson, decision_of, in_words, tool_pause
from swarm_graph.roles.emitter import Origin
from swarm_graph.state import ToolDecision
from swarm_graph.tool_settings import McpServer
from swarm_graph.tools.tool import Tool

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"path": {"type": "string"}},
    "required": ["path"],
    "additionalProperties": False,
}


def write(path: str) -> str:
    """Write a file."""
    return path


TOOL = Tool("files.write", StructuredTool.from_function(write), SCHEMA, "Write a file.", "files", asks=True)


def pause_of(number: str, tool: Tool = TOOL) -> dict[str, Any]:
    """What a person is asked about a call."""
    return tool_pause(tool, {"path": number}, Origin("t", "coder", "coder", "coder", 1), number * 32)


FIRST, SECOND = (pause_of(number)["call"] for number in "12")


class MemorySteps(NoSteps):
    """The steps of a turn in a dictionary, as a database keeps them."""

    can_wait = True

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}

    async def find(self, name: str) -> Any:
        return self.kept.get(name)

    async def keep(self, name: str, value: Any) -> None:
        self.kept[name] = value

    async def is_approved(self, tool: str) -> bool:
        return f"approved:{tool}" in self.kept

    async def approve_for_session(self, tool: str) -> None:
        self.kept[f"approved:{tool}"] = True


class Calls(TypedDict, total=False):
    decisions: list[Any]


def graph_of_calls(steps: MemorySteps, after: Callable[[str], None] = lambda _: None) -> Any:
    """A graph whose one node makes two calls, each with a person's approval."""

    async def node(_: Calls) -> Calls:
        person, decisions = Person(None), []
        for number in "12":
            decisions.append(await decision_of(pause_of(number), steps, person.ask))
            after(number)
        return {"decisions": decisions}

    graph: Any = StateGraph(Calls)
    graph.add_node("coder", node)
    graph.set_entry_point("coder")
    return graph.compile(InMemorySaver())


def asked(graph: Any, given: Any) -> list[tuple[str, str]]:
    """The keys of the calls that wait after a step, each with its problem; empty when none waits."""
    state = asyncio.run(graph.ainvoke(given, thread()))
    return [
        (pause["call"], pause.get("problem", ""))
        for interrupt in state.get("__interrupt__", ())
        for pause in interrupt.value["pauses"]
    ]


def decisions(graph: Any) -> list[ToolDecision]:
    return list(graph.get_state(thread()).values["decisions"])


def test_each_call_is_asked_for_once_and_each_answer_names_its_call() -> None:
    graph = graph_of_calls(MemorySteps())
    assert asked(graph, {"decisions": []}) == [(FIRST, "")]
    assert asked(graph, Command(resume={FIRST: "approve"})) == [(SECOND, "")]
    # The answer for the first call is LangGraph's first again, and says nothing of the second.
    assert asked(graph, Command(resume={FIRST: "approve"})) == [(SECOND, "")]
    assert asked(graph, Command(resume={SECOND: {"reject": "Not there."}})) == []
    assert decisions(graph) == ["approve", {"reject": "Not there."}]


def test_an_approval_for_the_session_covers_the_tool() -> None:
    graph = graph_of_calls(MemorySteps())
    asked(graph, {"decisions": []})
    assert asked(graph, Command(resume={FIRST: {"approve": "session"}})) == []
    assert [in_words(decision) for decision in decisions(graph)] == ["session", "session"]


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ("approve", "names no call"),
        ({"approve": "session"}, "names no call"),
        ({FIRST: "yes"}, 'expected "approve"'),
        ({FIRST: {"approve": "always"}}, 'expected "approve"'),
        ({FIRST: {"reject": " "}}, "needs a remark"),
        ({FIRST: {"edit": "{"}}, "not valid JSON"),
        ({FIRST: {"edit": ["a"]}}, "no object"),
        ({FIRST: {"edit": {"path": 7}}}, "path: 7 is not of type 'string'"),
        ({FIRST: {"edit": {"path": "a", "mode": "x"}}}, "'mode' was unexpected"),
        ({FIRST: {"edit": {"path": float("nan")}}}, "path is nan"),
    ],
)
def test_an_answer_that_cannot_be_used_is_said_and_asked_for_again(answer: Any, problem: str) -> None:
    graph = graph_of_calls(MemorySteps())
    asked(graph, {"decisions": []})
    ((call, said),) = asked(graph, Command(resume=answer))
    assert call == FIRST
    assert problem in said
    assert asked(graph, Command(resume={FIRST: {"edit": '{"path": "b"}'}})) == [(SECOND, "")]
    assert asked(graph, Command(resume={SECOND: "approve"})) == []
    assert decisions(graph) == [{"edit": {"path": "b"}}, "approve"]


def test_a_decision_is_kept_before_the_call_and_outlives_its_failure() -> None:
    steps = MemorySteps()

    def fail(_: str) -> None:
        raise ConnectionError

    failing, graph = graph_of_calls(steps, fail), graph_of_calls(steps)
    asked(failing, {"decisions": []})
    with pytest.raises(ConnectionError):
        asked(failing, Command(resume={FIRST: "approve"}))
    assert steps.kept == {f"decision:{FIRST}": "approve"}
    graph.checkpointer = failing.checkpointer
    assert asked(graph, None) == [(SECOND, "")]


PATH = SCHEMA["properties"]
OTHERS = {
    "server": replace(TOOL, server="others"),
    "settings": replace(TOOL, settings=McpServer(command="other").fingerprint),
    "claim": replace(TOOL, read_only=True),
    "argument": replace(TOOL, schema={**SCHEMA, "properties": {**PATH, "description": {"type": "string"}}}),
    "default": replace(TOOL, schema={**SCHEMA, "properties": {"path": {"type": "string", "default": "/"}}}),
}
SAME = {
    "description": replace(TOOL, description="It is 12:31 now."),
    "words": replace(TOOL, schema={**SCHEMA, "properties": {"path": {"type": "string", "title": "12:31"}}}),
}


@pytest.mark.parametrize("name", [*OTHERS, *SAME])
def test_a_decision_is_for_the_tool_that_the_person_saw(name: str) -> None:
    steps, seen = MemorySteps(), pause_of("1")
    steps.kept = {f"decision:{seen['call']}": "approve", f"approved:{tool_name(seen['value'])}": True}
    pause = pause_of("1", {**OTHERS, **SAME}[name])

    async def nobody(_: Any) -> ToolDecision:
        raise WaitsForPerson(pause)

    for number in "12":
        pause = pause_of(number, {**OTHERS, **SAME}[name])
        if name in SAME:
            assert asyncio.run(decision_of(pause, steps, nobody)) == ("approve" if number == "1" else SESSION)
        else:
            with pytest.raises(WaitsForPerson):
                asyncio.run(decision_of(pause, steps, nobody))


def test_a_server_is_another_one_with_other_settings() -> None:
    server = McpServer(command="files", args=["a"], allow=["write"])
    same = server.model_copy(update={"allow": [], "start_seconds": 1, "disabled": True})
    others: list[dict[str, Any]] = [
        {"args": ["b"]},
        {"env": {"A": "b"}},
        {"cwd": "/"},
        {"sandbox": True},
        {"command": "file"},
    ]
    changed = {server.model_copy(update=other).fingerprint for other in others}
    assert server.fingerprint == same.fingerprint
    assert len(changed - {server.fingerprint}) == len(others)


def test_nobody_is_asked_without_a_checkpointer() -> None:
    assert asyncio.run(decision_of(pause_of("1"), NoSteps(), Person(None).ask)) is None
