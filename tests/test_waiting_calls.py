"""Sessions whose roles call tools that a person has to approve: graphs, task graphs, the command line."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
import storages
from chaos.model_server import ModelServer
from click.testing import CliRunner, Result
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool, tool
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command
from pydantic import Field
from storages import ON_BOTH, POSTGRES
from support import ANSWERS, APPROVED, Crew, config, thread
from terminal import Terminal

from swarm_graph import build_graph
from swarm_graph.checkpoints import signatures
from swarm_graph.checkpoints.decisions import tool_name
from swarm_graph.checkpoints.swarm_saver import SwarmSaver
from swarm_graph.cli.decisions import named_decision
from swarm_graph.cli.main import swarm_graph
from swarm_graph.config import load_config
from swarm_graph.errors import InputError
from swarm_graph.reports.terminal import call_text
from swarm_graph.sessions.coordinator import SwarmCoordinator
from swarm_graph.sessions.history import find_moment, fork, moments
from swarm_graph.sessions.ids import find_session
from swarm_graph.sessions.trust import trust
from swarm_graph.state import SwarmContext, SwarmState
from swarm_graph.workflows.graph import SwarmGraph
from swarm_graph.workflows.pauses import Pause, waiting_pauses

REQUEST: SwarmState = {"request": "Plan it"}


class Caller(BaseChatModel):
    """A model that calls the tool `note` with some texts, one after the other, then answers."""

    texts: list[str]
    answer: str = ""
    """Its answer; empty: the results."""
    asked: list[int] = Field(default_factory=list)
    """For each question, how many results it had."""
    read: list[str] = Field(default_factory=list)
    """The results of the last question."""

    @property
    def _llm_type(self) -> str:
        return "caller"

    def bind_tools(self, tools: Sequence[Any], **_: Any) -> Runnable[Any, AIMessage]:
        return self.bind(tools=tools)

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        results = [message.text for message in messages if isinstance(message, ToolMessage)]
        self.asked.append(len(results))
        self.read[:] = results
        if len(results) < len(self.texts):
            text = self.texts[len(results)]
            answer = AIMessage("", tool_calls=[{"name": "note", "args": {"text": text}, "id": "1"}])
        else:
            answer = AIMessage(self.answer or "\n".join(results))
        return ChatResult(generations=[ChatGeneration(message=answer)])


class Notes:
    """The tool `note`, and what it was called with."""

    def __init__(self) -> None:
        self.written: list[str] = []

        @tool
        def note(text: str) -> str:
            """Write a note."""
            self.written.append(text)
            return f"noted: {text}"

        self.tool: BaseTool = note


def context(**models: BaseChatModel) -> SwarmContext:
    """The scripted answers of all roles; some have models of their own."""
    others = Crew().context.model
    return SwarmContext(model={role: models.get(role, others) for role in ANSWERS}, clock=lambda: 1000.0)


def new_graph(
    saver: BaseCheckpointSaver[Any] | None, notes: Notes, *roles: str, **workflow: Any
) -> SwarmGraph:
    """A standard workflow in which some roles may write notes that a person approves."""
    settings = config(workflow=workflow, approve=["note"])
    tools = {role: [notes.tool] for role in roles or ("architect",)}
    return build_graph("standard", config=settings, checkpointer=saver, tools=tools)


def waiting(state: Any) -> list[str]:
    """The notes that wait for a person."""
    return [
        pause["value"]["arguments"]["text"]
        for interrupt in state.get("__interrupt__", ())
        for pause in interrupt.value["pauses"]
    ]


# --- one role ------------------------------------------------------------------------------------


@contextlib.contextmanager
def opened(name: str, path: Path) -> Iterator[BaseCheckpointSaver[Any]]:
    if name == "memory":
        yield InMemorySaver()
        return
    ours = name in ("ours", POSTGRES)
    with storages.opened(path.parent) if ours else SqliteSaver.from_conn_string(str(path)) as saver:
        yield saver


@pytest.mark.parametrize("saver_kind", ["ours", "sqlite", "memory", POSTGRES], indirect=True)
def test_each_call_is_asked_for_once_and_made_once(saver_kind: str, tmp_path: Path) -> None:
    notes, model = Notes(), Caller(texts=["a", "b"])
    with opened(saver_kind, tmp_path / "swarm.db") as saver:
        graph, crew = new_graph(saver, notes), context(architect=model)
        assert waiting(graph.invoke(REQUEST, thread(), context=crew)) == ["a"]
        assert notes.written == []
        assert waiting(graph.invoke(None, thread(), context=crew)) == ["a"]
        assert waiting(graph.invoke(Command(resume="approve"), thread(), context=crew)) == ["b"]
        state = graph.invoke(Command(resume={"architect": "approve"}), thread(), context=crew)
    assert notes.written == ["a", "b"]
    assert model.asked == [0, 1, 2]
    assert "noted: a" in state["design"]
    assert state["tasks"]["T002_design"]["note"] == "2 calls of tools"


@pytest.mark.parametrize("saver_kind", ["ours", "sqlite", POSTGRES], indirect=True)
def test_each_call_is_asked_for_once_in_an_event_loop(saver_kind: str, tmp_path: Path) -> None:
    notes, model = Notes(), Caller(texts=["a", "b"])

    async def scenario(saver: BaseCheckpointSaver[Any]) -> Any:
        graph, crew = new_graph(saver, notes), context(architect=model)
        assert waiting(await graph.ainvoke(REQUEST, thread(), context=crew)) == ["a"]
        assert waiting(await graph.ainvoke(Command(resume="approve"), thread(), context=crew)) == ["b"]
        return await graph.ainvoke(Command(resume={"reject": "Enough."}), thread(), context=crew)

    async def run() -> Any:
        if saver_kind != "sqlite":
            return await scenario(storages.opened(tmp_path))
        async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "swarm.db")) as saver:
            return await scenario(saver)

    state = asyncio.run(run())
    assert notes.written == ["a"]
    assert model.asked == [0, 1, 2]
    assert "a person rejected this call: Enough." in state["design"]


def test_an_edit_changes_the_arguments_of_the_one_call(tmp_path: Path) -> None:
    notes = Notes()
    with storages.opened(tmp_path) as saver:
        model = Caller(texts=["a", "b"])
        graph, crew = new_graph(saver, notes), context(architect=model)
        graph.invoke(REQUEST, thread(), context=crew)
        wrongs: list[Any] = [
            {"edit": {}},
            {"edit": {"text": 1}},
            {"edit": "x"},
            {"reject": ""},
            "yes",
            {"coder": "approve"},
        ]
        for wrong in wrongs:
            with pytest.raises(InputError):
                graph.invoke(Command(resume=wrong), thread(), context=crew)
        edited: Command[Any] = Command(resume={"edit": {"text": "c"}})
        assert waiting(graph.invoke(edited, thread(), context=crew)) == ["b"]
        graph.invoke(Command(resume="approve"), thread(), context=crew)
        decided = [(record.decision, record.arguments) for record in saver.catalogue.tool_calls("t")]
    assert notes.written == ["c", "b"]
    assert decided == [("edited", {"text": "c"}), ("approved", {"text": "b"})]
    assert model.asked == [0, 1, 2]  # the resumed turn says to the model what it said before
    told = [result.splitlines()[2] for result in model.read]
    assert told == ['(a person changed the arguments of this call to {"text": "c"})', "noted: b"]


@ON_BOTH
def test_an_approval_for_the_session_holds_in_follow_ups_and_not_in_forks(tmp_path: Path) -> None:
    notes = Notes()
    with storages.opened(tmp_path) as saver:
        graph, crew = new_graph(saver, notes), context(architect=Caller(texts=["a", "b"]))
        graph.invoke(REQUEST, thread(), context=crew)
        assert waiting(graph.invoke(Command(resume={"approve": "session"}), thread(), context=crew)) == []
        assert waiting(graph.invoke({"request": "More"}, thread(), context=crew)) == []
        assert notes.written == ["a", "b"] * 2
        session = find_session(tmp_path, "t")
        moment = find_moment(moments(saver, session), "architect")
        fork(saver, session, moment, "forked", {})
        assert waiting(graph.invoke(None, thread("forked"), context=crew)) == ["a"]


class OtherNotes(Notes):
    """A tool that is called `note`, too, and does more."""

    def __init__(self) -> None:
        super().__init__()

        @tool
        def note(text: str, publish: bool = True) -> str:  # noqa: ARG001
            """Write a note."""
            self.written.append(text)
            return f"noted: {text}"

        self.tool = note


@pytest.mark.parametrize("decision", ["approve", {"approve": "session"}])
def test_a_tool_that_has_changed_since_the_approval_is_asked_for_again(decision: Any, tmp_path: Path) -> None:
    notes, others = Notes(), OtherNotes()
    with storages.opened(tmp_path) as saver:
        crew = context(architect=Caller(texts=["a"]))
        new_graph(saver, notes).invoke(REQUEST, thread(), context=crew)
        changed = new_graph(saver, others)
        assert waiting(changed.invoke(Command(resume=decision), thread(), context=crew)) == ["a"]
        assert waiting(changed.invoke(Command(resume=decision), thread(), context=crew)) == []
        follow_up = new_graph(saver, notes).invoke({"request": "More"}, thread(), context=crew)
    assert (waiting(follow_up), notes.written, others.written) == (["a"], [], ["a"])


@pytest.mark.parametrize(
    ("name", "durability"), [("ours", "async"), ("sqlite", "async"), ("memory", "async"), ("memory", "exit")]
)
def test_an_approval_for_the_session_ends_when_its_thread_is_deleted(
    name: str, durability: Any, tmp_path: Path
) -> None:
    notes = Notes()
    with opened(name, tmp_path / "swarm.db") as saver:
        graph, crew = new_graph(saver, notes), context(architect=Caller(texts=["a", "b"]))

        def run(given: Any) -> list[str]:
            return waiting(graph.invoke(given, thread(), context=crew, durability=durability))

        assert run(REQUEST) == ["a"]
        assert run(Command(resume={"approve": "session"})) == []
        assert run({"request": "More"}) == []
        saver.delete_thread("t")
        assert run(REQUEST) == ["a"]
    assert notes.written == ["a", "b"] * 2


def test_pauses_around_a_role_and_at_its_calls(tmp_path: Path) -> None:
    notes, around = Notes(), {"pause_before": ["architect"], "pause_after": ["architect"]}
    seen = []
    with storages.opened(tmp_path) as saver:
        graph = new_graph(saver, notes, **around)
        crew = context(architect=Caller(texts=["a"]))
        state = graph.invoke(REQUEST, thread(), context=crew)
        while "__interrupt__" in state:
            (interrupt,) = state["__interrupt__"]
            seen.append(interrupt.value["when"])
            state = graph.invoke(Command(resume="approve"), thread(), context=crew)
    assert seen == ["before", "tool", "after"]
    assert notes.written == ["a"]


@pytest.mark.slow
@pytest.mark.parametrize("saver_kind", ["ours", "sqlite", POSTGRES], indirect=True)
def test_an_approval_outlives_a_kill_and_is_asked_for_once(saver_kind: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "chaos.approvals", str(tmp_path), saver_kind]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    in_the_call, *others = map(json.loads, done.stdout.splitlines())
    # A call that a kill cuts off is made again, and nobody is asked again.
    assert in_the_call == {"made": 1, "asked again": False, "phase": "complete", "calls": 2}
    assert {(found["phase"], found["calls"]) for found in others} == {("complete", 1)}
    asked = [found["asked again"] for found in others]
    assert asked == sorted(asked, reverse=True)  # from the commit of the decision on, not again
    assert any(not found["asked again"] and not found["made"] for found in others)


# --- several roles, task graphs, graphs inside graphs ---------------------------------------------


@ON_BOTH
def test_reviewers_that_wait_side_by_side_are_answered_one_by_one(tmp_path: Path) -> None:
    notes, model = Notes(), Caller(texts=["a"], answer=APPROVED.replace("{round}", "1"))
    with storages.opened(tmp_path) as saver:
        graph, crew = new_graph(saver, notes, "reviewer"), context(reviewer=model)
        assert waiting(graph.invoke(REQUEST, thread(), context=crew)) == ["a"] * 3
        with pytest.raises(InputError, match="an edit is for one call"):
            graph.invoke(Command(resume={"edit": {"text": "b"}}), thread(), context=crew)
        one = graph.invoke(Command(resume={"review_style": "approve"}), thread(), context=crew)
        assert waiting(one) == ["a"] * 2
        assert (len(notes.written), model.asked) == (1, [0, 0, 0, 1])
        state = graph.invoke(Command(resume="approve"), thread(), context=crew)
    assert (len(notes.written), model.asked) == (3, [0, 0, 0, 1, 1, 1])
    assert (state["phase"], state["approved"]) == ("complete", True)


def test_an_approval_for_the_session_answers_the_other_calls_of_the_tool_that_wait(tmp_path: Path) -> None:
    notes, model = Notes(), Caller(texts=["a"], answer=APPROVED.replace("{round}", "1"))
    with storages.opened(tmp_path) as saver:
        graph, crew = new_graph(saver, notes, "reviewer"), context(reviewer=model)
        graph.invoke(REQUEST, thread(), context=crew)
        given: Command[Any] = Command(
            resume={"review_style": {"approve": "session"}, "review_performance": {"reject": "No."}}
        )
        assert waiting(graph.invoke(given, thread(), context=crew)) == []
        decided = {record.node: record.decision for record in saver.catalogue.tool_calls("t")}
    assert decided == {
        "review_style": "session",
        "review_correctness": "session",
        "review_performance": "rejected",
    }


def names_of(interrupt: Any) -> tuple[str, str]:
    (pause,) = interrupt.value["pauses"]
    return interrupt.id, pause["call"]


FORMS_OF_NAMES: dict[str, Callable[[str, str], Any]] = {
    "call": lambda _, call: {call: "approve"},
    "interrupt": lambda interrupt, _: {interrupt: "approve"},
    "interrupt, call": lambda interrupt, call: {interrupt: {call: "approve"}},
    "pause": lambda interrupt, call: {f"{interrupt}.{call}": "approve"},
}


@pytest.mark.parametrize("form", FORMS_OF_NAMES)
def test_an_answer_may_name_the_call_or_the_interrupt_of_langgraph(form: str, tmp_path: Path) -> None:
    notes, answer = Notes(), FORMS_OF_NAMES[form]
    with storages.opened(tmp_path) as saver:
        graph, crew = new_graph(saver, notes), context(architect=Caller(texts=["a", "b"]))
        (interrupt,) = graph.invoke(REQUEST, thread(), context=crew)["__interrupt__"]
        given: Command[Any] = Command(resume=answer(*names_of(interrupt)))
        assert waiting(graph.invoke(given, thread(), context=crew)) == ["b"]
        with pytest.raises(InputError, match="nothing waits at"):
            graph.invoke(given, thread(), context=crew)
    assert notes.written == ["a"]


def test_a_rejection_is_none_of_the_task_that_is_called_reject(tmp_path: Path) -> None:
    notes, model = Notes(), Caller(texts=["x"])
    tasks = [{"task_id": name, "assigned_role": "architect", "prompt": "task"} for name in ("reject", "edit")]
    with storages.opened(tmp_path) as saver:
        tools = {"architect": [notes.tool]}
        graph = build_graph("custom", config=config(approve=["note"]), checkpointer=saver, tools=tools)
        crew = context(architect=model)
        graph.invoke(cast("Any", {"tasks": tasks}), thread(), context=crew)
        graph.invoke(Command(resume={"reject": "approve"}), thread(), context=crew)
        assert [record.decision for record in saver.catalogue.tool_calls("t")] == ["rejected"] * 2
    assert notes.written == []


TASKS = [
    {"task_id": "a", "assigned_role": "architect", "prompt": "task"},
    {"task_id": "b", "assigned_role": "architect", "prompt": "task"},
    {"task_id": "c", "assigned_role": "documenter", "prompt": "task"},
    {"task_id": "d", "assigned_role": "documenter", "prompt": "task", "dependencies": ["a"]},
]


def statuses(state: Any) -> dict[str, str]:
    return {name: record["status"].lower() for name, record in state["tasks"].items()}


@pytest.mark.parametrize("saver_kind", ["ours", "sqlite", "memory", POSTGRES], indirect=True)
def test_tasks_that_wait_are_put_aside_and_all_others_run(saver_kind: str, tmp_path: Path) -> None:
    notes, model, others = Notes(), Caller(texts=["x"]), Crew()
    models = dict.fromkeys(ANSWERS, others.context.model) | {"architect": model}
    crew = SwarmContext(model=models, clock=lambda: 1000.0)
    with opened(saver_kind, tmp_path / "swarm.db") as saver:
        tools = {"architect": [notes.tool]}
        graph = build_graph("custom", config=config(approve=["note"]), checkpointer=saver, tools=tools)
        state = graph.invoke(cast("Any", {"tasks": TASKS}), thread(), context=crew)
        (interrupt,) = state["__interrupt__"]
        assert [pause["node"] for pause in interrupt.value["pauses"]] == ["a", "b"]
        assert others.asked == ["c"]
        state = graph.invoke(Command(resume={"a": "approve"}), thread(), context=crew)
        (interrupt,) = state["__interrupt__"]
        assert [pause["node"] for pause in interrupt.value["pauses"]] == ["b"]
        assert others.asked == ["c", "d"]
        state = graph.invoke(Command(resume={"b": {"reject": "Once is enough."}}), thread(), context=crew)
    assert set(statuses(state).values()) == {"completed"}
    assert notes.written == ["x"]
    assert sorted(model.asked) == [0, 0, 1, 1]
    assert "Once is enough." in state["tasks"]["b"]["result"]


def test_a_call_in_a_graph_inside_another_graph_takes_only_an_answer_that_names_it() -> None:
    notes = Notes()
    inner = new_graph(None, notes)
    outer: Any = StateGraph(SwarmState, SwarmContext)
    outer.add_node("swarm", inner)
    outer.add_edge(START, "swarm")
    graph, crew = outer.compile(InMemorySaver()), context(architect=Caller(texts=["a", "b"]))

    def pause(state: Any) -> Any:
        ((one,),) = [interrupt.value["pauses"] for interrupt in state["__interrupt__"]]
        return one

    first = pause(graph.invoke(REQUEST, thread(), context=crew))
    again = pause(graph.invoke(Command(resume="approve"), thread(), context=crew))
    assert again == {**first, "problem": again["problem"]}
    assert "names no call" in again["problem"]
    assert notes.written == []
    second = pause(graph.invoke(Command(resume={first["call"]: "approve"}), thread(), context=crew))
    assert (second["value"]["arguments"], notes.written) == ({"text": "b"}, ["a"])
    # The answer to the first call, given once more, is none to the second.
    assert pause(graph.invoke(Command(resume={first["call"]: "approve"}), thread(), context=crew)) == second
    state = graph.invoke(Command(resume={second["call"]: "approve"}), thread(), context=crew)
    assert (state["phase"], notes.written) == ("complete", ["a", "b"])


# --- sessions of somebody else --------------------------------------------------------------------


def approve_the_tool(saver: SwarmSaver) -> None:
    (pause,) = waiting_pauses(saver.get_tuple(thread()))
    with saver.transaction() as cursor:
        row = ("t", "", 0, f"approved:{tool_name(pause.value)}", "true")
        cursor.execute("INSERT INTO steps VALUES (?, ?, ?, ?, ?)", row)


def keep_a_decision(saver: SwarmSaver) -> None:
    (pause,) = waiting_pauses(saver.get_tuple(thread()))
    with saver.transaction() as cursor:
        row = ("t", "T002_design", 1, f"decision:{pause.call}", '"approve"')
        cursor.execute("INSERT INTO steps VALUES (?, ?, ?, ?, ?)", row)


def answer_the_interrupt(saver: SwarmSaver) -> None:
    saved = saver.get_tuple(thread())
    (pause,) = waiting_pauses(saved)
    assert saved
    assert saved.pending_writes
    (task,) = {task for task, channel, _ in saved.pending_writes if channel == "__interrupt__"}
    saver.put_writes(saved.config, [("__resume__", [{pause.call: "approve"}])], task)


@pytest.mark.parametrize("whose", ["own", "somebody's", "trusted"])
@pytest.mark.parametrize("plant", [approve_the_tool, keep_a_decision, answer_the_interrupt])
def test_a_received_session_approves_no_call(
    plant: Callable[[SwarmSaver], None], whose: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes, model = Notes(), Caller(texts=["a", "b"])
    with storages.opened(tmp_path) as saver:
        new_graph(saver, notes).invoke(REQUEST, thread(), context=context(architect=model))
        plant(saver)
    if whose != "own":
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "another home"))
        monkeypatch.setattr(signatures, "_SIGNED_HERE", set())
    if whose == "trusted":
        trust(tmp_path, find_session(tmp_path, "t"))
    asked = []
    with storages.opened(tmp_path) as saver:
        graph, crew = new_graph(saver, notes), context(architect=model)
        state = graph.invoke(None, thread(), context=crew)
        while waits := waiting(state):
            asked += waits
            state = graph.invoke(Command(resume="approve"), thread(), context=crew)
    own = [] if plant is approve_the_tool else ["b"]
    assert asked == (own if whose == "own" else ["a", "b"])
    assert (state["phase"], notes.written) == ("complete", ["a", "b"])


def test_a_pause_that_shows_another_call_than_it_names_is_not_answered(tmp_path: Path) -> None:
    notes = Notes()
    with storages.opened(tmp_path) as saver:
        graph, crew = new_graph(saver, notes), context(architect=Caller(texts=["a"]))
        (interrupt,) = graph.invoke(REQUEST, thread(), context=crew)["__interrupt__"]
        interrupt.value["pauses"][0]["value"]["arguments"]["text"] = "harmless"
        saved = saver.get_tuple(thread())
        assert saved
        assert saved.pending_writes
        (task,) = {task for task, channel, _ in saved.pending_writes if channel == "__interrupt__"}
        saver.put_writes(saved.config, [("__interrupt__", [interrupt])], task)
        with pytest.raises(InputError, match="does not wait for a person"):
            graph.invoke(Command(resume="approve"), thread(), context=crew)
        assert waiting(graph.invoke(None, thread(), context=crew)) == ["a"]
    assert notes.written == []


# --- the command line -----------------------------------------------------------------------------


@contextlib.contextmanager
def served(folder: Path, *reviewers: str) -> Iterator[None]:
    """A folder whose configuration names a server whose model searches the project once, then answers."""
    with ModelServer(latency=0, tool_calls=1) as server:
        entry = {"model": "chaos", "api_type": "openai", "url": server.url, "tool_calls": "native"}
        sections = {
            "model_config": {"single_model": entry},
            "tools": {"reviewer": ["project.search"]},
            "approve": ["project.*"],
            "workflow": {"reviewers": reviewers or ["style"]},
        }
        (folder / "config.json").write_text(json.dumps(sections))
        yield


QUESTION = "Call it (approve, session, edit, reject): "
RUN = ("run", "x = 1", "--workflow", "review_only", "--session", "s")


def cli(folder: Path, *arguments: str) -> Result:
    with contextlib.chdir(folder):
        return CliRunner().invoke(swarm_graph, arguments)


def made(folder: Path) -> list[tuple[str, Any]]:
    """The decisions about the calls of session `s`, and their arguments."""
    with storages.opened(folder / ".swarm") as saver:
        return [(record.decision, record.arguments) for record in saver.catalogue.tool_calls("s")]


@ON_BOTH
def test_a_call_is_shown_and_decided_by_commands(tmp_path: Path) -> None:
    (tmp_path / "wrong.json").write_text('{"query": "x"}')
    (tmp_path / "right.json").write_text('{"text": "x"}')
    with served(tmp_path):
        done = cli(tmp_path, *RUN)
        assert done.exit_code == 3
        place = "before a call of project.search in review_style"
        assert f"Waiting {place}; its arguments:\n  text: " in done.output
        assert "(or --approve-session, --edit FILE, --reject TEXT)" in done.output
        assert f"Waits for a person {place}\n" in cli(tmp_path, "sessions", "show", "s").output
        (pause,) = json.loads(cli(tmp_path, "resume", "s", "--json").stdout)["pauses"]
        assert pause["value"]["tool"] == "project.search"
        assert pause["id"].endswith(f".{pause['call']}")
        refused = cli(tmp_path, "resume", "s", "--edit", "wrong.json").exception
        assert "the arguments do not fit project.search: " in str(refused)
        refused = cli(tmp_path, "resume", "s", "--approve", "--approve-session").exception
        assert "--approve and --approve-session are two answers" in str(refused)
        assert made(tmp_path) == []
        assert cli(tmp_path, "resume", "s", "--only", "review_style", "--edit", "right.json").exit_code == 0
    assert made(tmp_path) == [("edited", {"text": "x"})]


def test_a_person_at_the_terminal_edits_the_arguments_and_approves_nothing_by_mistake(tmp_path: Path) -> None:
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nmv next "$1"\necho \'{"text": "y"}\' > next\n')
    editor.chmod(0o755)
    (tmp_path / "next").write_text("no JSON")
    with served(tmp_path), Terminal(tmp_path, *RUN) as terminal:
        terminal.type("approve\n")  # before the question
        terminal.answer(QUESTION, "\n")
        terminal.answer(QUESTION, "reject\n")
        terminal.answer("What is wrong: ", "\n")
        terminal.answer(QUESTION, "edit\n")
        terminal.answer("Enter opens the editor again: ", "\n")
        assert terminal.end() == 0, terminal.seen
    assert "the arguments of project.search are not valid JSON" in terminal.seen
    assert made(tmp_path) == [("edited", {"text": "y"})]


@pytest.mark.parametrize("term", ["dumb", "xterm-256color"])
def test_keys_typed_ahead_answer_no_call_that_was_not_shown(term: str, tmp_path: Path) -> None:
    enter = "\n" if term == "dumb" else "\r"
    with served(tmp_path, "style", "security"), Terminal(tmp_path, *RUN, term=term) as terminal:
        for typed in (f"approve{enter}approve{enter}", f"reject{enter}"):
            terminal.expect("Waiting before a call of")
            terminal.answer(QUESTION.strip(), typed)
        terminal.answer("What is wrong:", f"No.{enter}")
        assert terminal.end() == 0, terminal.seen
    assert sorted(decision for decision, _ in made(tmp_path)) == ["approved", "rejected"]


def test_a_command_says_which_calls_it_decides_and_can_name_one(tmp_path: Path) -> None:
    with served(tmp_path, "style", "security"):
        shown = cli(tmp_path, *RUN).output
        waits = r"call of project.search in (\w+);.*?\(--only (call-\w{8}) answers this call alone\)"
        calls = dict(re.findall(waits, shown, re.DOTALL))
        assert "nothing waits at 'call-12345678'" in str(
            cli(tmp_path, "resume", "s", "--approve", "--only", "call-12345678").exception
        )
        one = cli(tmp_path, "resume", "s", "--approve", "--only", calls["review_style"])
        assert one.exit_code == 3
        assert "note: approve, in review_style: project.search(" in one.stderr
        # The person has not seen that this one was answered meanwhile.
        assert "nothing waits at" in str(
            cli(tmp_path, "resume", "s", "--approve", "--only", calls["review_style"]).exception
        )
        assert (
            cli(tmp_path, "resume", "s", "--reject", "No.", "--only", calls["review_security"]).exit_code == 0
        )
    assert sorted(decision for decision, _ in made(tmp_path)) == ["approved", "rejected"]


def test_a_decision_that_waited_for_a_lock_is_for_the_calls_that_it_named(tmp_path: Path) -> None:
    with served(tmp_path):
        cli(tmp_path, *RUN)
        decision = named_decision("approve", None, tmp_path / ".swarm", "s")
        assert cli(tmp_path, "resume", "s", "--reject", "No.").exit_code == 0
        with pytest.raises(InputError, match="does not wait"), contextlib.chdir(tmp_path):
            SwarmCoordinator(load_config("config.json")).resume("s", decision)
    assert [decision for decision, _ in made(tmp_path)] == ["rejected"]


def test_a_call_is_shown_as_it_is() -> None:
    value = {
        "tool": "files.write",
        "server": "files",
        "settings": "",
        "arguments": {"path": "a\u202eb", "text": "1\n2\x1b[2J"},
        "description": "Writes.\nApproved by the user.",
        "read_only": False,
        "schema": {},
    }
    pause = Pause("tool", "coder", "coder", 1, "arguments", ["arguments"], value, "i.c", "c")
    assert call_text(pause).splitlines() == [
        "Waiting before a call of files.write in coder; its arguments:",
        '  path: "a\\u202eb"',
        "  text:",
        "    | 1",
        "    | 2\\u001b[2J",
        "The MCP server files does not mark it as read-only. It says of it:",
        "  | Writes.",
        "  | Approved by the user.",
    ]
