"""The habits of LangGraph users: bound, copied and wrapped graphs, graphs in graphs, forks, tools."""

from __future__ import annotations

import asyncio
import copy
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import pytest
from langchain_core._api.beta_decorator import LangChainBetaWarning
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, ToolCall
from langchain_core.runnables import RunnableLambda
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command
from pydantic import BaseModel
from servers.counting_proxy import CountingProxy
from support import APPROVED, CODE, REFUSED, Crew, config, thread

from swarm_graph.checkpoints.saver import open_checkpointer
from swarm_graph.checkpoints.swarm_saver import SwarmSaver
from swarm_graph.errors import InputError, ModelError, SessionInUse, UnfinishedSession
from swarm_graph.models.invented import Ask
from swarm_graph.state import SwarmContext, SwarmState, Workflow
from swarm_graph.workflows.build import build_graph
from swarm_graph.workflows.graph import SwarmGraph

REQUEST: Any = {"request": "Build it"}
PAUSES: Any = {"pause_before": ["coder"]}

Call = Callable[[SwarmGraph, Any, SwarmContext], Any]
"""Calls a graph with an input on the thread `t`, and returns the final state."""


@pytest.fixture
def saver(tmp_path: Path) -> Iterator[SwarmSaver]:
    with open_checkpointer(tmp_path / "swarm.db") as saver:
        yield saver


def failing_once(node: str = "review_style") -> Crew:
    """A crew in which a node fails for good at its first question."""
    left = [1]

    def answer(_: Ask) -> str | Exception:
        if left:
            left.pop()
            return ValueError("the model is broken")
        return APPROVED

    return Crew({node: answer})


# --- bound, copied, wrapped ----------------------------------------------------------------------


def bound_events(graph: SwarmGraph, given: Any, context: SwarmContext) -> Any:
    async def last() -> Any:
        events = graph.with_config(thread()).astream_events(given, version="v2", context=context)
        return [event async for event in events][-1]["data"]["output"]

    return asyncio.run(last())


def streamed(graph: SwarmGraph, given: Any, context: SwarmContext) -> Any:
    modes: Any = ["updates", "custom", "values"]
    parts = graph.with_config(thread()).stream(given, stream_mode=modes, subgraphs=True, context=context)
    return [value for _, mode, value in parts if mode == "values"][-1]


def in_async_lambda(graph: SwarmGraph, given: Any, context: SwarmContext) -> Any:
    async def call(state: Any) -> Any:
        return await graph.ainvoke(state, context=context)

    return asyncio.run(RunnableLambda(call).ainvoke(given, thread()))


BOUND: dict[str, Call] = {
    "with_config": lambda graph, given, context: graph.with_config(thread()).invoke(given, context=context),
    "with_config by keyword": lambda graph, given, context: graph.with_config(
        configurable={"thread_id": "t"}
    ).invoke(given, context=context),
    "with_config twice": lambda graph, given, context: (
        graph.with_config(thread("other")).with_config(thread()).invoke(given, context=context)
    ),
    "with_config, tags in the call": lambda graph, given, context: graph.with_config(thread()).invoke(
        given, {"tags": ["mine"]}, context=context
    ),
    "with_config, ainvoke": lambda graph, given, context: asyncio.run(
        graph.with_config(thread()).ainvoke(given, context=context)
    ),
    "with_config, stream": streamed,
    "with_config, astream_events": bound_events,
    "with_config, batch": lambda graph, given, context: graph.with_config(thread()).batch(
        [given], context=context
    )[0],
    "with_config, abatch": lambda graph, given, context: asyncio.run(
        graph.with_config(thread()).abatch([given], context=context)
    )[0],
    "the call's thread wins": lambda graph, given, context: graph.with_config(thread("other")).invoke(
        given, thread(), context=context
    ),
    "a key of the configuration itself": lambda graph, given, context: graph.invoke(
        given, cast("Any", {"thread_id": "t"}), context=context
    ),
    "copy": lambda graph, given, context: graph.copy({"config": thread()}).invoke(given, context=context),
    "copy.copy": lambda graph, given, context: copy.copy(graph).invoke(given, thread(), context=context),
    "bind": lambda graph, given, context: graph.bind(context=context).invoke(given, thread()),
    "bind, with_config": lambda graph, given, context: (
        graph.bind(context=context).with_config(thread()).invoke(given)
    ),
    "with_types": lambda graph, given, context: (
        graph.with_config(thread()).with_types(input_type=SwarmState).invoke(given, context=context)
    ),
    "with_listeners": lambda graph, given, context: graph.with_listeners(on_end=lambda _: None).invoke(
        given, thread(), context=context
    ),
    "with_fallbacks": lambda graph, given, context: graph.with_fallbacks(
        [RunnableLambda(lambda _: {})], exceptions_to_handle=(KeyError,)
    ).invoke(given, thread(), context=context),
    "a sequence": lambda graph, given, context: (
        graph.bind(context=context) | RunnableLambda(lambda state: state)
    ).invoke(given, thread()),
    "with_retry": lambda graph, given, context: graph.with_retry(retry_if_exception_type=(KeyError,)).invoke(
        given, thread(), context=context
    ),
    "map": lambda graph, given, context: graph.map().invoke([given], thread(), context=context)[0],
    "assign": lambda graph, given, context: (
        graph.bind(context=context).assign(more=lambda _: 1).invoke(given, thread())
    ),
    "pipe, bound": lambda graph, given, context: (
        graph.with_config(thread()).pipe(RunnableLambda(lambda state: state)).invoke(given, context=context)
    ),
    "a function": lambda graph, given, context: RunnableLambda(
        lambda state: graph.invoke(state, context=context)
    ).invoke(given, thread()),
    "a function with the configuration": lambda graph, given, context: RunnableLambda(
        lambda state, config: graph.invoke(state, config, context=context)
    ).invoke(given, thread()),
    "a function that returns the graph": lambda graph, given, context: RunnableLambda(
        lambda _: graph.bind(context=context)
    ).invoke(given, thread()),
    "an async function": in_async_lambda,
}


@pytest.mark.parametrize("name", BOUND)
def test_every_habit_keeps_the_rules_of_a_session(name: str, saver: SwarmSaver) -> None:
    call, crew = BOUND[name], failing_once()
    graph = build_graph("standard", config=config(), checkpointer=saver)
    with pytest.raises(ModelError):
        call(graph, REQUEST, crew.context)
    session = saver.catalogue.get("t")
    assert session
    assert session.phase == "failed"
    asked = len(crew.asked)
    with pytest.raises(UnfinishedSession):
        call(graph, REQUEST, crew.context)
    assert len(crew.asked) == asked
    if name not in ("a function that returns the graph",):  # None has another meaning to a RunnableLambda
        assert call(graph, None, crew.context)["approved"]
        assert crew.asked[asked:] == ["review_style"]
        assert [run.kind for run in saver.catalogue.runs("t")] == ["begin", "resume"]
    assert [session.session for session in saver.catalogue.sessions()] == ["t"]


@pytest.mark.parametrize("name", ["with_config", "a function", "copy"])
def test_a_bound_session_is_locked_while_it_runs(name: str, saver: SwarmSaver) -> None:
    began, go_on = threading.Event(), threading.Event()

    def wait(_: Ask) -> str:
        began.set()
        assert go_on.wait(30)
        return CODE

    slow, other = Crew({"coder": wait}), Crew()
    graph = build_graph("standard", config=config(), checkpointer=saver)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(BOUND[name], graph, REQUEST, slow.context)
        assert began.wait(30)
        try:
            with pytest.raises(SessionInUse):
                BOUND[name](graph, REQUEST, other.context)
        finally:
            go_on.set()
        assert first.result()["approved"]
    assert other.asked == []


def test_batch_runs_a_session_per_thread(saver: SwarmSaver) -> None:
    crew = Crew()
    graph = build_graph("standard", config=config(), checkpointer=saver)
    graph.batch([REQUEST, REQUEST], [thread("a"), thread("b")], context=crew.context)
    assert {session.session for session in saver.catalogue.sessions()} == {"a", "b"}


def test_the_state_of_a_bound_graph(saver: SwarmSaver) -> None:
    crew = Crew()
    graph = build_graph("standard", config=config(), checkpointer=saver).with_config(thread())
    final = graph.invoke(REQUEST, context=crew.context)
    assert graph.get_state().values == graph.get_state({}).values == final
    assert asyncio.run(graph.aget_state({})).values == final
    before_coder = next(one for one in graph.get_state_history() if one.next == ("coder",))

    async def history() -> list[Any]:
        return [one async for one in graph.aget_state_history()]

    assert len(asyncio.run(history())) == len([*graph.get_state_history({})])
    graph.update_state({}, {"design": "Two files."})
    asyncio.run(graph.aupdate_state({}, {"requirements": "Others."}))
    changed = graph.get_state().values
    assert (changed["design"], changed["requirements"]) == ("Two files.", "Others.")
    asked = len(crew.asked)
    graph.invoke(None, before_coder.config, context=crew.context)
    assert crew.asked[asked] == "coder"
    assert saver.catalogue.runs("t")[-1].kind == "replay"


def test_a_bound_graph_answers_a_pause(saver: SwarmSaver) -> None:
    crew = Crew()
    graph = build_graph("standard", config=config(workflow=PAUSES), checkpointer=saver).with_config(thread())
    graph.invoke(REQUEST, context=crew.context)
    with pytest.raises(InputError, match='expected "approve"'):
        graph.invoke(Command(resume="yes, please"), context=crew.context)
    assert graph.invoke(Command(resume="approve"), context=crew.context)["approved"]


# --- without a thread ----------------------------------------------------------------------------

UNNAMED: dict[str, Callable[[SwarmGraph, SwarmContext], Any]] = {
    "invoke": lambda graph, context: graph.invoke(REQUEST, context=context),
    "ainvoke": lambda graph, context: asyncio.run(graph.ainvoke(REQUEST, context=context)),
    "stream": lambda graph, context: [*graph.stream(REQUEST, {"tags": ["mine"]}, context=context)],
    "batch": lambda graph, context: graph.batch([REQUEST], context=context),
    "with_config": lambda graph, context: graph.with_config(tags=["mine"]).invoke(REQUEST, context=context),
    "a sequence": lambda graph, context: (
        graph.bind(context=context) | RunnableLambda(lambda state: state)
    ).invoke(REQUEST),
    "a function": lambda graph, context: RunnableLambda(
        lambda state: graph.invoke(state, context=context)
    ).invoke(REQUEST),
    "other keys": lambda graph, context: graph.invoke(
        REQUEST, {"configurable": {"user": "x"}}, context=context
    ),
    "None": lambda graph, context: graph.invoke(
        REQUEST, {"configurable": {"thread_id": None}}, context=context
    ),
    "empty": lambda graph, context: graph.invoke(REQUEST, thread(""), context=context),
    "get_state": lambda graph, _: graph.get_state({}),
    "aget_state": lambda graph, _: asyncio.run(graph.aget_state({})),
    "get_state_history": lambda graph, _: [*graph.get_state_history({})],
    "update_state": lambda graph, _: graph.update_state({}, {"design": "x"}),
    "aupdate_state": lambda graph, _: asyncio.run(graph.aupdate_state({}, {"design": "x"})),
}


@pytest.mark.parametrize("kind", ["ours", "memory"])
@pytest.mark.parametrize("name", UNNAMED)
def test_a_missing_thread_is_one_line_with_the_cure(name: str, kind: str, saver: SwarmSaver) -> None:
    crew = Crew()
    chosen: Any = saver if kind == "ours" else InMemorySaver()
    graph = build_graph("standard", config=config(), checkpointer=chosen)
    with pytest.raises(InputError, match=r"no thread_id.*'standard'.*\"thread_id\": \"a-name\"") as error:
        UNNAMED[name](graph, crew.context)
    assert "\n" not in str(error.value)
    assert crew.asked == []


def test_without_a_checkpointer_no_thread_is_needed() -> None:
    crew = Crew()
    assert build_graph("standard", config=config()).invoke(REQUEST, context=crew.context)["approved"]


def test_a_thread_may_be_a_number(saver: SwarmSaver) -> None:
    graph = build_graph("standard", config=config(), checkpointer=saver)
    graph.invoke(REQUEST, {"configurable": {"thread_id": 0}}, context=Crew().context)
    assert saver.catalogue.get("0")


# --- inside another graph ------------------------------------------------------------------------


def outer_graph(inner: Any, checkpointer: BaseCheckpointSaver[Any] | None = None) -> Any:
    outer: Any = StateGraph(SwarmState, SwarmContext)
    outer.add_node("inner", inner)
    outer.add_edge(START, "inner")
    return outer.compile(checkpointer)


def as_node(graph: SwarmGraph) -> Any:
    return graph


def in_function(graph: SwarmGraph) -> Any:
    return lambda state: graph.invoke(state)


def in_async_function(graph: SwarmGraph) -> Any:
    async def call(state: SwarmState) -> Any:
        return await graph.ainvoke(state)

    return call


def called(outer: Any, how: Any, given: Any, context: SwarmContext) -> Any:
    if how is in_async_function:
        return asyncio.run(outer.ainvoke(given, thread(), context=context))
    return outer.invoke(given, thread(), context=context)


@pytest.mark.parametrize("has_own", [False, True])
@pytest.mark.parametrize("how", [as_node, in_function, in_async_function])
@pytest.mark.parametrize("around", ["memory", "ours"])
def test_inside_a_graph_with_a_checkpointer_it_is_part_of_that_thread(
    around: str, how: Any, has_own: bool, saver: SwarmSaver, tmp_path: Path
) -> None:
    crew = failing_once()
    with open_checkpointer(tmp_path / "outer.db") as other:
        own = saver if has_own else None
        graph = build_graph("standard", config=config(), checkpointer=own)
        outer = outer_graph(how(graph), InMemorySaver() if around == "memory" else other)
        with pytest.raises(ModelError):
            called(outer, how, REQUEST, crew.context)
        asked = len(crew.asked)
        assert called(outer, how, None, crew.context)["approved"]
        assert crew.asked[asked:] == ["review_style"]
        assert called(outer, how, REQUEST, crew.context)["approved"]
        assert saver.catalogue.sessions() == other.catalogue.sessions() == []


@pytest.mark.parametrize("how", [as_node, in_function, in_async_function])
def test_inside_a_graph_without_a_checkpointer_its_own_keeps_a_session(how: Any, saver: SwarmSaver) -> None:
    crew = failing_once()
    graph = build_graph("standard", config=config(), checkpointer=saver)
    outer = outer_graph(how(graph))
    with pytest.raises(ModelError):
        called(outer, how, REQUEST, crew.context)
    with pytest.raises(UnfinishedSession):
        called(outer, how, REQUEST, crew.context)
    asked = len(crew.asked)
    assert graph.invoke(None, thread(), context=crew.context)["approved"]
    assert crew.asked[asked:] == ["review_style"]
    assert called(outer, how, {"request": "More"}, crew.context)["approved"]
    assert [run.kind for run in saver.catalogue.runs("t")] == ["begin", "resume", "follow_up"]
    (session,) = saver.catalogue.sessions()
    assert (session.phase, session.request) == ("complete", "More")


def test_inside_a_graph_nothing_needs_a_thread(saver: SwarmSaver) -> None:
    graph = build_graph("standard", config=config(), checkpointer=saver)
    assert outer_graph(graph).invoke(REQUEST, context=Crew().context)["approved"]
    assert saver.catalogue.sessions() == []


def test_a_thread_of_its_own_is_a_session_inside_any_graph(saver: SwarmSaver) -> None:
    graph = build_graph("standard", config=config(), checkpointer=saver)
    outer = outer_graph(lambda state: graph.invoke(state, thread("mine")), InMemorySaver())
    assert outer.invoke(REQUEST, thread(), context=Crew().context)["approved"]
    assert [session.session for session in saver.catalogue.sessions()] == ["mine"]


def test_the_tasks_of_a_graph_inside_another_one_are_not_repeated(saver: SwarmSaver) -> None:
    left = [1]

    def answer(_: Ask) -> str | Exception:
        return ValueError("the model is broken") if left and left.pop() else "It is done."

    crew = Crew({"b": answer, "documenter": "It is done."})
    graph = build_graph("custom", config=config())
    tasks = [
        {"task_id": "a", "assigned_role": "documenter", "prompt": "task"},
        {"task_id": "b", "assigned_role": "documenter", "prompt": "task", "dependencies": ["a"]},
    ]
    outer = outer_graph(lambda _: graph.invoke(cast("Any", {"tasks": tasks})), saver)
    with pytest.raises(ModelError):
        outer.invoke(REQUEST, thread(), context=crew.context)
    assert outer.invoke(None, thread(), context=crew.context)["phase"] == "complete"
    assert crew.asked == ["a", "b", "b"]


@pytest.mark.parametrize("form", ["approve", "by node"])
def test_a_pause_inside_another_graph_is_answered_there(form: str) -> None:
    crew = Crew()
    outer = outer_graph(build_graph("standard", config=config(workflow=PAUSES)), InMemorySaver())
    assert "__interrupt__" in outer.invoke(REQUEST, thread(), context=crew.context)
    (again,) = outer.invoke(Command(resume="well"), thread(), context=crew.context)["__interrupt__"]
    assert 'expected "approve"' in again.value["problem"]
    decision = "approve" if form == "approve" else {"coder": "approve"}
    assert outer.invoke(Command(resume=decision), thread(), context=crew.context)["approved"]
    assert crew.asked.count("clarifier") == 1


# --- tools ---------------------------------------------------------------------------------------


def tool_call(name: str, **arguments: Any) -> AIMessage:
    return AIMessage("", tool_calls=[ToolCall(name=name, args=arguments, id="1", type="tool_call")])


def test_a_tool_takes_the_request_and_answers_with_the_result(saver: SwarmSaver) -> None:
    models = config(agent_parameters={})
    tool = build_graph("standard", config=models, checkpointer=saver).as_tool()
    assert tool.name == "swarm_standard"
    assert tool.description.startswith("Builds software: ")
    assert list(tool.args) == ["request"]
    assert tool.args["request"]["type"] == "string"
    assert tool.tool_call_schema.model_json_schema()["required"] == ["request"]  # type: ignore[union-attr]
    text = tool.invoke({"request": "Build it"})
    (session,) = saver.catalogue.sessions()
    assert session.request == "Build it"
    assert text.startswith(f"Session {session.session}: ")
    assert "path=" in text
    again = asyncio.run(tool.ainvoke({"request": "Build more"}))
    assert session.session not in again
    assert len(saver.catalogue.sessions()) == 2


@pytest.mark.parametrize("asynchronously", [False, True])
@pytest.mark.parametrize("agent_saver", [False, True])
def test_an_agent_s_tool_call_is_a_session_of_its_own(
    agent_saver: bool, asynchronously: bool, saver: SwarmSaver
) -> None:
    crew = Crew({"reviewer": REFUSED})
    tool = build_graph(
        "standard", config=config(workflow={"max_iterations": 1}), checkpointer=saver
    ).as_tool()
    model = GenericFakeChatModel(messages=iter([tool_call(tool.name, request="Add"), AIMessage("Done.")]))
    agent: Any = StateGraph(MessagesState, SwarmContext)
    agent.add_node("model", lambda state: {"messages": [model.invoke(state["messages"])]})
    agent.add_node("tools", ToolNode([tool]))
    agent.add_edge(START, "model")
    agent.add_conditional_edges(
        "model", lambda state: "tools" if state["messages"][-1].tool_calls else "__end__"
    )
    agent.add_edge("tools", "model")
    compiled = agent.compile(InMemorySaver() if agent_saver else None)
    given = {"messages": [("user", "Add a function")]}
    if asynchronously:
        state = asyncio.run(compiled.ainvoke(given, thread("agent"), context=crew.context))
    else:
        state = compiled.invoke(given, thread("agent"), context=crew.context)
    (session,) = saver.catalogue.sessions()
    assert (session.request, session.phase) == ("Add", "complete")
    assert session.session != "agent"
    answer = state["messages"][-2]
    assert answer.content.startswith(f"Session {session.session}: NOT approved after round 1.")
    assert "Mend it." in answer.content
    assert "x = 1" in answer.content
    assert answer.artifact["code"] == {"src/a.py": "x = 1\n"}
    assert state["messages"][-1].content == "Done."


def test_a_bound_tool_keeps_to_its_thread(saver: SwarmSaver) -> None:
    graph = build_graph("standard", config=config(), checkpointer=saver)
    tool = graph.with_config(thread()).as_tool(name="build", description="Builds it.")
    assert (tool.name, tool.description) == ("build", "Builds it.")
    tool.invoke({"request": "One"})
    tool.invoke({"request": "Two"})
    assert [run.kind for run in saver.catalogue.runs("t")] == ["begin", "follow_up"]
    graph.as_tool().invoke({"request": "Three"}, thread("named"))
    assert {session.session for session in saver.catalogue.sessions()} == {"t", "named"}


def test_a_tool_without_a_checkpointer_and_one_with_pauses(saver: SwarmSaver) -> None:
    tool = build_graph("review_only", config=config()).as_tool()
    assert "Session" not in tool.invoke({"request": "x = 1"})
    waits = build_graph("standard", config=config(workflow=PAUSES), checkpointer=saver).as_tool()
    assert "it waits for a person's decision" in waits.invoke({"request": "Build it"})


def test_a_tool_of_a_custom_workflow_needs_arguments_of_its_own() -> None:
    graph = build_graph("custom", config=config())
    with pytest.raises(InputError, match="args_schema"):
        graph.as_tool()

    class Tasks(BaseModel):
        tasks: list[dict[str, Any]]

    with pytest.warns(LangChainBetaWarning):  # of LangChain's own as_tool
        tool = graph.as_tool(Tasks, name="tasks", description="Runs tasks.")
    task = {"task_id": "a", "assigned_role": "documenter", "description": "Write."}
    assert tool.invoke({"tasks": [task]})["phase"] == "complete"


# --- in a forked process -------------------------------------------------------------------------


def in_fork(work: Callable[[], object]) -> int:
    """The exit code of a forked process that does the work: 0 if it returns something true."""
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # a child that hangs is killed, and its exit code says so
        try:
            os._exit(0 if work() else 1)
        except BaseException as error:
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.filterwarnings("ignore:This process.*fork:DeprecationWarning")
@pytest.mark.parametrize("way", ["invoke", "ainvoke", "outer", "custom"])
def test_a_graph_that_was_used_works_in_a_forked_process(way: str, saver: SwarmSaver) -> None:
    crew = Crew()
    workflow: Workflow = "custom" if way == "custom" else "standard"
    graph = build_graph(workflow, config=config(), checkpointer=saver)
    outer = outer_graph(graph)
    given: Any = REQUEST
    if way == "custom":
        given = {"tasks": [{"task_id": "a", "assigned_role": "documenter", "prompt": "task"}]}

    def run(name: str) -> bool:
        if way == "ainvoke":
            state = asyncio.run(graph.ainvoke(given, thread(name), context=crew.context))
        else:
            state = (outer if way == "outer" else graph).invoke(given, thread(name), context=crew.context)
        return bool(state["phase"] == "complete")

    assert run("before")
    for number in range(2):
        assert in_fork(lambda number=number: run(f"child-{number}")) == 0  # type: ignore[misc]
    assert in_fork(lambda: in_fork(lambda: run("grandchild")) == 0) == 0
    assert run("after")
    ended = {session.session: session.phase for session in saver.catalogue.sessions()}
    assert ended == dict.fromkeys(["before", "child-0", "child-1", "grandchild", "after"], "complete")
    assert {len(saver.catalogue.runs(name)) for name in ended} == {1}


@pytest.mark.filterwarnings("ignore:This process.*fork:DeprecationWarning")
def test_a_fork_while_a_session_runs(saver: SwarmSaver) -> None:
    began, go_on = threading.Event(), threading.Event()

    def wait(_: Ask) -> str:
        began.set()
        assert go_on.wait(60)
        return CODE

    slow, crew = Crew({"coder": wait}), Crew()
    graph = build_graph("standard", config=config(), checkpointer=saver)

    def in_child() -> bool:
        with pytest.raises(SessionInUse):
            graph.invoke(REQUEST, thread("slow"), context=crew.context)
        saver.close()  # the child's own connection only
        with open_checkpointer(saver.path) as own:
            graph.copy({"checkpointer": own}).invoke(REQUEST, thread("child"), context=crew.context)
        return True

    with ThreadPoolExecutor() as pool:
        running = pool.submit(graph.invoke, REQUEST, thread("slow"), context=slow.context)
        assert began.wait(60)
        try:
            assert in_fork(in_child) == 0
            assert in_fork(lambda: graph.invoke(REQUEST, thread("other"), context=crew.context)) == 0
        finally:
            go_on.set()
        assert running.result()["approved"]
    ended = {session.session: session.phase for session in saver.catalogue.sessions()}
    assert ended == dict.fromkeys(["slow", "child", "other"], "complete")


@pytest.mark.filterwarnings("ignore:This process.*fork:DeprecationWarning")
def test_a_database_in_memory_is_copied_by_a_fork() -> None:
    crew = Crew()
    with open_checkpointer(":memory:") as saver:
        graph = build_graph("standard", config=config(), checkpointer=saver)
        graph.invoke(REQUEST, thread("before"), context=crew.context)

        def in_child() -> bool:
            graph.invoke(REQUEST, thread("child"), context=crew.context)
            return {one.session for one in saver.catalogue.sessions()} == {"before", "child"}

        assert in_fork(in_child) == 0
        assert [one.session for one in saver.catalogue.sessions()] == ["before"]


SERVED = """
import multiprocessing, os, sys
from concurrent.futures import ThreadPoolExecutor
from swarm_graph import build_graph, open_checkpointer

url, database = sys.argv[1:]
entry = {"url": url, "model": "tiny", "slots": 1, "idle_timeout": 5, "retries": 0}
parameters = {"reviewer": {"max_tokens": 8}}
settings = {"model_config": {"single_model": entry}, "agent_parameters": parameters,
            "workflow": {"reviewers": ["style"]}}
saver = open_checkpointer(database)
graph = build_graph("review_only", config=settings, checkpointer=saver)

def run(name):
    return graph.invoke({"request": "x = 1"}, {"configurable": {"thread_id": name}})["phase"]

assert run("before") == "complete"
with ThreadPoolExecutor() as pool:
    beside = pool.submit(run, "beside")  # it may hold the server's only slot while the process forks
    with multiprocessing.get_context("fork").Pool(2) as processes:
        assert processes.map(run, ["a", "b", "c"]) == ["complete"] * 3
    assert beside.result() == "complete"
child = os.fork()
if child == 0:
    assert run("child") == "complete"
    sys.exit()  # ends as any program does, with the parent's connections still in its memory
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert run("after") == "complete"
print(sorted(session.session for session in saver.catalogue.sessions()))
"""


def test_forked_processes_ask_a_real_server(counted: CountingProxy, tmp_path: Path) -> None:
    program = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", SERVED]
    done = subprocess.run(
        [*program, counted.url, str(tmp_path / "swarm.db")], capture_output=True, text=True, timeout=120
    )
    names = sorted(["before", "beside", "a", "b", "c", "child", "after"])
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{names}\n", "")
