"""Sessions on the compiled graph: resume, follow-up, refusals, and branches that fail beside others."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import START, StateGraph
from support import APPROVED, REFUSED, SIMULATED, Crew, config, thread

from swarm_graph.checkpoints.saver import open_checkpointer
from swarm_graph.errors import InputError, ModelError, UnfinishedSession
from swarm_graph.models.invented import Ask
from swarm_graph.state import SwarmContext, SwarmState
from swarm_graph.workflows.build import build_graph

REQUEST: SwarmState = {"request": "Build it"}

Saver = BaseCheckpointSaver[Any]


@contextmanager
def in_memory(_: Path) -> Iterator[Saver]:
    yield InMemorySaver()


def savers() -> dict[str, Callable[[Path], AbstractContextManager[Saver]]]:
    return {
        "ours": lambda path: open_checkpointer(path),
        "sqlite": lambda path: SqliteSaver.from_conn_string(str(path)),
        "memory": in_memory,
    }


def failing(node: str, times: int = 1) -> Crew:
    """A crew in which one node fails for good a number of times, after its siblings have begun."""
    left = [times]

    def answer(_: Ask) -> str | Exception:
        if left[0]:
            left[0] -= 1
            time.sleep(0.05)
            return ValueError("the model is broken")
        return APPROVED

    return Crew({node: answer})


@pytest.mark.parametrize("name", savers())
def test_resume_asks_only_the_branch_that_failed(name: str, tmp_path: Path) -> None:
    crew = failing("review_style")
    with savers()[name](tmp_path / "swarm.db") as saver:
        graph = build_graph("standard", config=config(), checkpointer=saver)
        with pytest.raises(ModelError, match="review_style"):
            graph.invoke(REQUEST, thread(), context=crew.context)
        assert graph.get_state(thread()).next == ("review_style",)
        before = len(crew.asks)
        state = graph.invoke(None, thread(), context=crew.context)
    assert crew.asked[before:] == ["review_style"]
    assert state["approved"]
    assert len(state["reviews"]) == 3


def test_resume_asks_only_the_branch_that_failed_in_an_event_loop(tmp_path: Path) -> None:
    crew = failing("security")
    slow = crew.script["tester"]

    async def scenario() -> None:
        async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "stock.db")) as stock:
            for saver in (open_checkpointer(tmp_path / "swarm.db"), stock):
                crew.script = failing("security").script | {"tester": slow}
                graph = build_graph("full", config=config(), checkpointer=saver)
                with pytest.raises(ModelError, match="security"):
                    await graph.ainvoke(REQUEST, thread(), context=crew.context)
                before = len(crew.asks)
                state = await graph.ainvoke(None, thread(), context=crew.context)
                assert crew.asked[before] == "security"
                assert set(crew.asked[before + 1 :]) == {"optimizer", "documenter"}
                assert state["phase"] == "complete"

    asyncio.run(scenario())


def test_a_slow_sibling_of_a_failing_branch_ends_and_is_kept(tmp_path: Path) -> None:
    """The failing one waits: LangGraph would cancel the slow one, and its answer would be lost."""
    settings = config(
        model_config={
            "single_model": {
                "model": "s",
                "api_type": "simulated",
                "retries": 0,
                "simulation": {"first_token_s": 0.2},
            }
        }
    )
    crew = Crew({"review_style": ValueError("broken"), "review_correctness": ValueError("broken too")})
    calls: list[str] = []
    with open_checkpointer(tmp_path / "swarm.db") as saver:
        graph = build_graph("standard", config=settings, checkpointer=saver)
        with pytest.raises(ModelError):
            graph.invoke(REQUEST, thread(), context=crew.context)
        assert set(graph.get_state(thread()).next) == {"review_style", "review_correctness"}
        calls += crew.asked
        crew.script |= {"review_style": APPROVED, "review_correctness": APPROVED}
        graph.invoke(None, thread(), context=crew.context)
    assert crew.asked.count("review_performance") == 1
    assert set(crew.asked[len(calls) :]) == {"review_style", "review_correctness"}


def test_invoke_none_on_a_finished_thread_gives_its_state(tmp_path: Path) -> None:
    crew = Crew()
    with open_checkpointer(tmp_path / "swarm.db") as saver:
        graph = build_graph("standard", config=config(), checkpointer=saver)
        state = graph.invoke(REQUEST, thread(), context=crew.context)
        before = len(crew.asks)
        assert graph.invoke(None, thread(), context=crew.context) == state
    assert len(crew.asks) == before


def test_nothing_to_resume_is_refused(tmp_path: Path) -> None:
    with open_checkpointer(tmp_path / "swarm.db") as saver:
        graph = build_graph("standard", config=config(), checkpointer=saver)
        with pytest.raises(InputError, match="no session 'nobody' to resume"):
            graph.invoke(None, thread("nobody"))


@pytest.mark.parametrize("name", savers())
def test_a_new_request_on_an_unfinished_thread_is_refused_and_changes_nothing(
    name: str, tmp_path: Path
) -> None:
    crew = failing("coder")
    with savers()[name](tmp_path / "swarm.db") as saver:
        graph = build_graph("standard", config=config(), checkpointer=saver)
        with pytest.raises(ModelError):
            graph.invoke(REQUEST, thread(), context=crew.context)
        before = graph.get_state(thread())
        with pytest.raises(UnfinishedSession, match="`swarm-graph resume t`"):
            graph.invoke({"request": "Another"}, thread(), context=crew.context)
        assert graph.get_state(thread()) == before
        crew.script["coder"] = "```python path=a.py\nx = 1\n```"
        state = graph.invoke(None, thread(), context=crew.context)
    assert state["request"] == "Build it"


def test_a_follow_up_starts_the_rounds_anew_and_keeps_what_was_built(tmp_path: Path) -> None:
    crew = Crew({"reviewer": REFUSED})
    settings = config(workflow={"max_iterations": 2})
    with open_checkpointer(tmp_path / "swarm.db") as saver:
        graph = build_graph("standard", config=settings, checkpointer=saver)
        first = graph.invoke(REQUEST, thread(), context=crew.context)
        assert (first["iteration"], len(first["reviews"])) == (2, 6)
        crew.script["reviewer"] = APPROVED
        second = graph.invoke({"request": "Add a peek method"}, thread(), context=crew.context)
    assert (second["iteration"], len(second["reviews"]), second["findings"]) == (1, 3, [])
    assert second["approved"]
    assert second["phase"] == "complete"
    assert "x = 2" in crew.prompts("coder")[-1]
    assert "It fails." not in crew.prompts("coder")[-1]
    assert "It works." in crew.prompts("clarifier")[-1]
    assert "One file." in crew.prompts("architect")[-1]


def test_history_and_forks_are_langgraph_s_own(tmp_path: Path) -> None:
    crew = Crew()
    with open_checkpointer(tmp_path / "swarm.db") as saver:
        graph = build_graph("standard", config=config(), checkpointer=saver)
        graph.invoke(REQUEST, thread(), context=crew.context)
        before_coder = next(s for s in graph.get_state_history(thread()) if s.next == ("coder",))
        fork = graph.update_state(before_coder.config, {"design": "Two files."})
        before = len(crew.asks)
        graph.invoke(None, fork, context=crew.context)
    assert crew.asked[before] == "coder"
    assert "Two files." in crew.prompts("coder")[-1]
    assert len(crew.asked[before:]) == 4


def test_an_interrupt_pauses_and_none_goes_on(tmp_path: Path) -> None:
    crew = Crew()
    with open_checkpointer(tmp_path / "swarm.db") as saver:
        graph = build_graph("standard", config=config(), checkpointer=saver)
        graph.invoke(REQUEST, thread(), context=crew.context, interrupt_before=["coder"])
        assert crew.asked == ["clarifier", "architect"]
        state = graph.invoke(None, thread(), context=crew.context)
    assert state["phase"] == "complete"
    assert len(crew.asked) == 6


@pytest.mark.parametrize("cap", [1, 2, 4])
@pytest.mark.parametrize("asynchronously", [False, True])
def test_never_more_calls_at_once_than_the_cap(cap: int, asynchronously: bool) -> None:
    settings = config(
        model_config={
            "single_model": {
                "model": "s",
                "api_type": "simulated",
                "slots": 64,
                "simulation": {"first_token_s": 0.3},
            }
        },
        workflow={"max_parallel_agents": cap},
    )
    graph = build_graph("review_only", config=settings)
    events = _events(graph, asynchronously)
    at_once = list(
        itertools.accumulate({"call_started": 1, "call_ended": -1}.get(kind, 0) for kind in events)
    )
    assert max(at_once) == cap
    assert events.count("call_ended") == 4


def _events(graph: Any, asynchronously: bool) -> list[str]:
    if not asynchronously:
        return [part["swarm_event"] for part in graph.stream(REQUEST, stream_mode="custom")]

    async def collect() -> list[str]:
        return [part["swarm_event"] async for part in graph.astream(REQUEST, stream_mode="custom")]

    return asyncio.run(collect())


def test_enable_parallel_false_means_one_call_at_a_time() -> None:
    graph = build_graph("review_only", config=config(workflow={"enable_parallel": False}))
    events = [part["swarm_event"] for part in graph.stream(REQUEST, stream_mode="custom")]
    calls = [kind for kind in events if kind.startswith("call_")]
    assert calls == ["call_started", "call_ended"] * 4


def test_a_context_may_name_a_model_per_role() -> None:
    coder = Crew({"coder": "```python path=mine.py\nx = 1\n```"})
    context = SwarmContext(model={"coder": coder.context.model})
    state = build_graph("standard", config=config()).invoke(REQUEST, context=context)
    assert "mine.py" in state["code"]
    assert set(coder.asked) == {"coder"}


def test_a_context_s_model_needs_no_configured_one() -> None:
    crew = Crew()
    state = build_graph("standard", config={}).invoke(REQUEST, context=crew.context)
    assert state["phase"] == "complete"


class Whole(BaseChatModel):
    """A model of somebody's own that cannot stream."""

    said: Any

    @property
    def _llm_type(self) -> str:
        return "whole"

    def _generate(self, *_: Any, **__: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage(self.said))])


@pytest.mark.parametrize("said", ["It is done.", [{"type": "text", "text": "It is done."}]])
def test_a_context_s_model_need_not_stream(said: Any) -> None:
    graph = build_graph("custom", config=config())
    tasks: Any = {"tasks": [{"task_id": "a", "assigned_role": "documenter"}]}
    done = graph.invoke(tasks, context=SwarmContext(model=Whole(said=said)))
    assert done["tasks"]["a"]["result"] == "It is done."


def test_a_context_s_model_may_stream_without_saying_why_it_ends() -> None:
    graph = build_graph("custom", config=config())
    tasks: Any = {"tasks": [{"task_id": "a", "assigned_role": "documenter"}]}
    own = GenericFakeChatModel(messages=iter([AIMessage("It is done.")]))
    done = graph.invoke(tasks, context=SwarmContext(model=own))
    assert done["tasks"]["a"]["result"] == "It is done."


def test_a_context_s_model_knows_no_max_tokens_and_is_not_held_to_them() -> None:
    graph = build_graph("custom", config=config(agent_parameters={"documenter": {"max_tokens": 10}}))
    tasks: Any = {"tasks": [{"task_id": "a", "assigned_role": "documenter"}]}
    said = "It is done. " * 200
    own = GenericFakeChatModel(messages=iter([AIMessage(said)]))
    done = graph.invoke(tasks, context=SwarmContext(model=own))
    assert done["tasks"]["a"]["result"].strip() == said.strip()


class Nesting(BaseChatModel):
    """Runs a graph for each answer: in the event loop that called it, or in another thread."""

    in_thread: bool = False

    @property
    def _llm_type(self) -> str:
        return "nesting"

    def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
        raise NotImplementedError

    async def _agenerate(self, *args: Any, **kwargs: Any) -> ChatResult:
        inner = partial(build_graph("review_only", config=SIMULATED).invoke, {"request": "x"})
        own: Any = SwarmContext(clock=time.time)
        state: Any = await asyncio.to_thread(inner, context=own) if self.in_thread else inner(context=own)
        return ChatResult(generations=[ChatGeneration(message=AIMessage(state["phase"]))])


def test_a_graph_in_a_synchronous_run_s_own_loop_is_refused_instead_of_waiting_for_itself() -> None:
    graph = build_graph("custom", config=config())
    tasks: Any = {"tasks": [{"task_id": "a", "assigned_role": "documenter"}]}
    with pytest.raises(ModelError, match=r"wait for itself for ever; use `await graph\.ainvoke"):
        graph.invoke(tasks, context=SwarmContext(model=Nesting()))
    done = graph.invoke(tasks, context=SwarmContext(model=Nesting(in_thread=True)))
    assert done["tasks"]["a"]["result"] == "complete"


SURVIVES = """
import os, sys
from swarm_graph import build_graph
from swarm_graph import aio

models = {"single_model": {"model": "s", "api_type": "simulated"}}
graph = build_graph("standard", config={"model_config": models})
assert graph.invoke({"request": "x"})["phase"] == "complete"

async def leave():
    sys.exit(3)

try:
    aio.run(leave())
except BaseException as error:
    print(type(error).__name__)
assert graph.invoke({"request": "x"})["phase"] == "complete"
child = os.fork()
if child == 0:
    os._exit(graph.invoke({"request": "x"})["phase"] != "complete")
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_synchronous_calls_go_on_after_a_fork_and_after_code_that_leaves(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", SURVIVES],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "SystemExit\n0\n", "")


# --- inside another graph ------------------------------------------------------------------------


def node(state: SwarmState) -> Any:
    """A node that invokes the graph without saying anything about the run around it."""
    return build_graph("standard", config=config()).invoke({"request": state["request"]})


async def async_node(state: SwarmState) -> Any:
    return await build_graph("standard", config=config()).ainvoke({"request": state["request"]})


def outer_graph(inner: Any, context_schema: Any = SwarmContext) -> Any:
    outer: Any = StateGraph(SwarmState, context_schema)
    outer.add_node("inner", inner)
    outer.add_edge(START, "inner")
    return outer.compile()


@pytest.mark.parametrize("as_dict", [False, True])
@pytest.mark.parametrize("how", ["node", "function", "async"])
def test_a_graph_inside_another_one_takes_its_context(how: str, as_dict: bool) -> None:
    crew = Crew()
    context: Any = {"model": crew.context.model} if as_dict else crew.context
    if how == "async":
        state = asyncio.run(outer_graph(async_node).ainvoke(REQUEST, context=context))
    else:
        inner = build_graph("standard", config=config()) if how == "node" else node
        state = outer_graph(inner).invoke(REQUEST, context=context)
    assert state["approved"]
    assert len(crew.asked) == 6


def test_a_context_of_its_own_wins_over_the_outer_one() -> None:
    outer, inner = Crew(), Crew()

    def own(state: SwarmState) -> Any:
        return build_graph("standard", config=config()).invoke(state, context=inner.context)

    outer_graph(own).invoke(REQUEST, context=outer.context)
    assert (len(outer.asked), len(inner.asked)) == (0, 6)


def test_a_context_of_another_type_is_not_taken() -> None:
    @dataclass
    class Other:
        model: str = "not ours"

    inner = build_graph("standard", config=SIMULATED)
    assert outer_graph(inner, Other).invoke(REQUEST, context=Other())["phase"] == "complete"
