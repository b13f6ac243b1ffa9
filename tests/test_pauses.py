"""Pauses for a person: what a decision changes, who is asked again, and what is refused."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import storages
import warm
from click.testing import CliRunner, Result
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.types import Command
from storages import ON_BOTH, POSTGRES
from support import APPROVED, CODE, REFUSED, SIMULATED, Crew, config, thread, write_config
from terminal import Terminal

from swarm_graph import SwarmCoordinator
from swarm_graph.checkpoints.locks import lock_session
from swarm_graph.cli.main import swarm_graph
from swarm_graph.errors import ConfigError, InputError, ModelError, SessionInUse, UnfinishedSession
from swarm_graph.models.invented import Ask
from swarm_graph.sessions.ids import find_session
from swarm_graph.state import OwnWorkflow, SwarmState, Workflow
from swarm_graph.workflows.build import build_graph
from swarm_graph.workflows.graph import SwarmGraph
from swarm_graph.workflows.pauses import Pause

SETTINGS = [name for name in os.environ if name.startswith("SWARM_")]

REQUEST: SwarmState = {"request": "Build it"}
REVIEWS = ["review_correctness", "review_performance", "review_style"]


def ordered(asked: list[str]) -> list[str]:
    """Who was asked, with the reviewers, who are last and side by side, by name."""
    return [*asked[: -len(REVIEWS)], *sorted(asked[-len(REVIEWS) :])]


BRANCHES = ["reviewer", "security", "tester"]
REMARK = "It must be small."
FINDING = {"severity": "major", "location": "", "problem": REMARK, "suggestion": "", "seen_by": ["a person"]}

Saver = BaseCheckpointSaver[Any]
SAVERS = ("ours", "sqlite", "memory")


@contextlib.contextmanager
def opened(name: str, path: Path) -> Iterator[Saver]:
    if name == "memory":
        yield InMemorySaver()
        return
    ours = name in ("ours", POSTGRES)
    with storages.opened(path.parent) if ours else SqliteSaver.from_conn_string(str(path)) as saver:
        yield saver


@contextlib.asynccontextmanager
async def opened_in_a_loop(name: str, path: Path) -> AsyncIterator[Saver]:
    if name == "sqlite":
        async with AsyncSqliteSaver.from_conn_string(str(path)) as saver:
            yield saver
        return
    with opened(name, path) as saver:
        yield saver


def coordinator(folder: Path, crew: Crew, /, **workflow: Any) -> SwarmCoordinator:
    """Another one for each decision, as in another process."""
    return SwarmCoordinator(
        config(workflow=workflow),
        data_dir=folder / ".swarm",
        output_dir=folder / "out",
        context=crew.context,
    )


def paused(folder: Path, crew: Crew, kind: Workflow = "standard", /, **workflow: Any) -> SwarmCoordinator:
    """A session `s` that waits for a person."""
    swarm = coordinator(folder, crew, **workflow)
    assert swarm.run_workflow("Build it", kind, session_id="s")["phase"] == "paused"
    return swarm


def places(swarm: SwarmCoordinator) -> list[str]:
    return [pause.place for pause in swarm.pauses]


def problems(state: Any) -> list[str]:
    return [finding["problem"] for finding in state["findings"]]


def in_two_rounds(ask: Ask) -> str:
    return APPROVED if ask.iteration == 2 else REFUSED


def cli(folder: Path, *arguments: str) -> Result:
    """A command in this process, without a terminal; a refusal is its `exception`."""
    with contextlib.chdir(folder):
        return CliRunner().invoke(swarm_graph, arguments, env=dict.fromkeys(SETTINGS))


def kept(folder: Path) -> tuple[Any, ...]:
    """All that a session `s` is: its state with what it waits for, its runs, its files."""
    known = find_session(folder / ".swarm", "s")
    with storages.opened(folder / ".swarm") as saver:
        graph = build_graph(OwnWorkflow(known.workflow), config=known.config, checkpointer=saver)
        rows = saver.catalogue.runs("s"), saver.catalogue.calls("s")
        snapshot = graph.get_state(thread("s"))
    files = {path: path.read_text() for path in folder.rglob("*") if path.is_file() and "out" in str(path)}
    return known, snapshot, rows, files


# --- approving -----------------------------------------------------------------------------------

ROLES = {
    "standard": ["clarifier", "architect", "coder", "reviewer"],
    "full": ["clarifier", "architect", "coder", *BRANCHES, "debugger", "optimizer", "documenter"],
    "review_only": ["reviewer"],
}
EVERY_ROUND = ("coder", *BRANCHES)
PLACES = [
    (kind, setting, role)
    for kind, roles in ROLES.items()
    for role in roles
    for setting in ("pause_before", "pause_after")
]


def comparable(state: Mapping[str, Any]) -> dict[str, Any]:
    """A state with its reviews as the verdict sorts them: one that waited for a person comes late."""
    reviews = sorted(state["reviews"], key=lambda review: (review["iteration"], review["node"]))
    return {**state, "reviews": reviews}


@cache
def without_pauses(kind: Workflow) -> tuple[dict[str, Any], list[str]]:
    """What a workflow comes to without pauses, and who is asked."""
    crew = Crew({"reviewer": in_two_rounds})
    state = build_graph(kind, config=config()).invoke(REQUEST, context=crew.context)
    return comparable(state), sorted(crew.asked)


def approved_throughout(graph: SwarmGraph, crew: Crew) -> tuple[dict[str, Any], int]:
    """The final state, and how often the session waited."""
    state = graph.invoke(REQUEST, thread(), context=crew.context)
    waited = 0
    while state.pop("__interrupt__", None):
        waited += 1
        assert waited < 20
        state = graph.invoke(Command(resume="approve"), thread(), context=crew.context)
    return comparable(state), waited


async def approved_throughout_in_a_loop(graph: SwarmGraph, crew: Crew) -> tuple[dict[str, Any], int]:
    state = await graph.ainvoke(REQUEST, thread(), context=crew.context)
    waited = 0
    while state.pop("__interrupt__", None):
        waited += 1
        assert waited < 20
        state = await graph.ainvoke(Command(resume="approve"), thread(), context=crew.context)
    return comparable(state), waited


@pytest.mark.parametrize("name", SAVERS)
@pytest.mark.parametrize(("kind", "setting", "role"), PLACES)
def test_an_approved_pause_changes_nothing_and_asks_nobody_twice(
    kind: Workflow, setting: str, role: str, name: str, tmp_path: Path
) -> None:
    crew = Crew({"reviewer": in_two_rounds})
    with opened(name, tmp_path / "swarm.db") as saver:
        graph = build_graph(kind, config=config(workflow={setting: [role]}), checkpointer=saver)
        state, waited = approved_throughout(graph, crew)
    assert (state, sorted(crew.asked)) == without_pauses(kind)
    assert waited == (2 if role in EVERY_ROUND and kind != "review_only" else 1)


@pytest.mark.parametrize("name", SAVERS)
@pytest.mark.parametrize(("kind", "setting", "role"), PLACES)
def test_an_approved_pause_changes_nothing_in_an_event_loop(
    kind: Workflow, setting: str, role: str, name: str, tmp_path: Path
) -> None:
    crew = Crew({"reviewer": in_two_rounds})

    async def scenario() -> tuple[dict[str, Any], int]:
        async with opened_in_a_loop(name, tmp_path / "swarm.db") as saver:
            graph = build_graph(kind, config=config(workflow={setting: [role]}), checkpointer=saver)
            return await approved_throughout_in_a_loop(graph, crew)

    state, waited = asyncio.run(scenario())
    assert (state, sorted(crew.asked)) == without_pauses(kind)
    assert waited == (2 if role in EVERY_ROUND and kind != "review_only" else 1)


def test_pauses_everywhere_show_what_an_edit_replaces(tmp_path: Path) -> None:
    everywhere = {"pause_before": ROLES["full"], "pause_after": ROLES["full"]}
    crew = Crew({"reviewer": in_two_rounds})
    swarm = paused(tmp_path, crew, "full", **everywhere)
    shown: dict[str, Any] = {}
    while swarm.state["phase"] == "paused":
        shown |= {pause.place: (pause.edits, pause.value) for pause in swarm.pauses}
        swarm = coordinator(tmp_path, crew, **everywhere)
        swarm.resume("s", "approve")
    review = {"iteration": 2, "approved": True, "findings": []}
    refused = json.loads(REFUSED.replace("{round}", "1"))
    found = [{**finding, "seen_by": ["reviewer"]} for finding in refused["findings"]]
    nothing = ("", None)
    assert shown == {
        "before clarifier": ("request", "Build it"),
        "after clarifier": ("requirements", "## Requirements\n- It works."),
        "before architect": ("requirements", "## Requirements\n- It works."),
        "after architect": ("design", "One file."),
        "before coder": ("design", "One file."),
        "after coder": ("code", {"src/a.py": "x = 2\n"}),
        "before reviewer": nothing,
        "after reviewer": ("reviews", {"node": "reviewer", **review}),
        "before security": nothing,
        "after security": ("reviews", {"node": "security", **review}),
        "before tester": nothing,
        "after tester": ("tests", {"tests/test_a.py": "def test_a():\n    pass\n"}),
        "before debugger": ("findings", found),
        "after debugger": ("diagnosis", "The cause."),
        "before optimizer": nothing,
        "after optimizer": ("optimization", "Nothing to gain."),
        "before documenter": nothing,
        "after documenter": ("documentation", {"README.md": "# A\n"}),
    }
    assert sorted(crew.asked) == without_pauses("full")[1]
    assert swarm.state["phase"] == "complete"
    assert swarm.state["approved"]


def test_without_a_decision_a_session_goes_on_waiting(tmp_path: Path) -> None:
    crew = Crew()
    first = paused(tmp_path, crew, pause_before=["coder"])
    again = coordinator(tmp_path, crew, pause_before=["coder"])
    assert again.resume("s")["phase"] == "paused"
    assert again.pauses == first.pauses
    assert crew.asked == ["clarifier", "architect"]
    assert find_session(tmp_path / ".swarm", "s").phase == "paused"


def test_a_session_keeps_its_pauses_whatever_the_configuration_says_today(tmp_path: Path) -> None:
    crew = Crew()
    paused(tmp_path, crew, pause_before=["coder"])
    today = coordinator(tmp_path, crew, pause_after=["reviewer"])
    assert today.resume("s", {"edit": "Two files."})["phase"] == "complete"
    assert "Two files." in crew.prompts("coder")[0]


# --- editing -------------------------------------------------------------------------------------


def test_text_before_the_coder_replaces_the_design(tmp_path: Path) -> None:
    crew = Crew()
    paused(tmp_path, crew, pause_before=["coder"])
    state = coordinator(tmp_path, crew).resume("s", {"edit": "Two files."})
    assert ordered(crew.asked) == ["clarifier", "architect", "coder", *REVIEWS]
    assert "Two files." in crew.prompts("coder")[0]
    assert "One file." not in crew.prompts("coder")[0]
    assert state["design"] == "Two files."
    assert "Two files." in (tmp_path / "out/s/notes.md").read_text()


def test_an_object_replaces_several_keys_and_leaves_the_others(tmp_path: Path) -> None:
    crew = Crew()
    paused(tmp_path, crew, pause_after=["architect"])
    edit = {"requirements": "It is fast.", "code": {"src/old.py": "y = 1\n"}, "findings": [FINDING]}
    coordinator(tmp_path, crew).resume("s", {"edit": edit})
    (prompt,) = crew.prompts("coder")
    for text in ("It is fast.", "y = 1", REMARK, "One file."):
        assert text in prompt
    assert "It works." not in prompt


def test_fenced_markdown_after_the_coder_is_written_over_its_code(tmp_path: Path) -> None:
    crew = Crew({"coder": f"{CODE}\n\n```python path=src/b.py\ny = 1\n```"})
    paused(tmp_path, crew, pause_after=["coder"])
    edit = "Mine:\n```python path=src/b.py\ny = 2\n```\n```python path=src/c.py\nz = 3\n```\n"
    state = coordinator(tmp_path, crew).resume("s", {"edit": edit})
    assert state["code"] == {"src/a.py": "x = 1\n", "src/b.py": "y = 2\n", "src/c.py": "z = 3\n"}
    assert crew.asked.count("coder") == 1
    for review in REVIEWS:
        (prompt,) = crew.prompts(review)
        assert "y = 2" in prompt
        assert "z = 3" in prompt
        assert "y = 1" not in prompt
    assert (tmp_path / "out/s/project/src/c.py").read_text() == "z = 3\n"


@pytest.mark.parametrize("edit", [{"code": {"src/b.py": "y = 2\n"}}, '{"src/b.py": "y = 2\\n"}'])
def test_an_object_of_files_after_the_coder_replaces_its_code(edit: Any, tmp_path: Path) -> None:
    crew = Crew()
    paused(tmp_path, crew, pause_after=["coder"])
    assert (tmp_path / "out/s/project/src/a.py").is_file()
    state = coordinator(tmp_path, crew).resume("s", {"edit": edit})
    assert state["code"] == {"src/b.py": "y = 2\n"}
    assert "x = 1" not in crew.prompts("review_style")[0]
    assert not (tmp_path / "out/s/project/src/a.py").exists()


def test_findings_before_the_debugger_may_be_edited_as_json(tmp_path: Path) -> None:
    crew = Crew({"reviewer": in_two_rounds})
    paused(tmp_path, crew, "full", pause_before=["debugger"])
    state = coordinator(tmp_path, crew).resume("s", {"edit": json.dumps([FINDING])})
    for node in ("debugger", "coder"):
        assert REMARK in crew.prompts(node)[-1]
        assert "It fails." not in crew.prompts(node)[-1]
    assert state["approved"]


def test_the_request_before_the_clarifier_may_be_edited(tmp_path: Path) -> None:
    crew = Crew()
    paused(tmp_path, crew, pause_before=["clarifier"])
    state = coordinator(tmp_path, crew).resume("s", {"edit": "Build another"})
    assert state["request"] == "Build another"
    assert all("Build it" not in ask.prompt for ask in crew.asks)


@pytest.mark.parametrize("edit", [APPROVED, {"reviews": json.loads(APPROVED)}, {"reviews": APPROVED}])
def test_a_review_is_edited_as_json(edit: Any, tmp_path: Path) -> None:
    crew = Crew({"security": REFUSED})
    paused(tmp_path, crew, "full", pause_after=["security"], max_iterations=1)
    state = coordinator(tmp_path, crew).resume("s", {"edit": edit})
    assert (state["approved"], state["findings"]) == (True, [])
    assert [review["node"] for review in state["reviews"]] == ["reviewer", "security", "run_tests"]
    assert "security: approved" in (tmp_path / "out/s/review_results.txt").read_text()


def test_an_edited_review_takes_an_approval_away(tmp_path: Path) -> None:
    crew = Crew()
    paused(tmp_path, crew, "review_only", pause_after=["reviewer"])
    edit = {"reviews": {"approved": False, "findings": [FINDING]}}
    state = coordinator(tmp_path, crew).resume(
        "s",
        {
            "review_style": {"edit": edit},
            **{f"review_{focus}": "approve" for focus in ("correctness", "security", "performance")},
        },
    )
    assert state["phase"] == "complete"
    assert not state["approved"]
    assert problems(state) == [REMARK]
    assert len(state["reviews"]) == 4


# --- rejecting -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "role"),
    [
        (setting, role)
        for setting in ("pause_before", "pause_after")
        for role in ("clarifier", "architect", "coder")
    ],
)
def test_a_rejection_is_an_open_finding_for_the_next_coder(setting: str, role: str, tmp_path: Path) -> None:
    crew = Crew()
    paused(tmp_path, crew, **{setting: [role]})
    coordinator(tmp_path, crew).resume("s", {"reject": REMARK})
    if (setting, role) == ("pause_after", "coder"):
        coordinator(tmp_path, crew).resume("s", "approve")
    _, _, findings = crew.prompts("coder")[-1].rpartition("<open_findings>")
    assert REMARK in findings.partition("</open_findings>")[0]


def test_rejected_code_goes_straight_back_to_the_coder(tmp_path: Path) -> None:
    crew = Crew()
    swarm = paused(tmp_path, crew, pause_after=["coder"])
    state = swarm.resume("s", {"reject": REMARK})
    assert crew.asked == ["clarifier", "architect", "coder", "coder"]
    assert (state["phase"], state["iteration"], places(swarm)) == ("paused", 2, ["after coder"])
    assert REMARK in crew.prompts("coder")[1]
    assert "x = 1" in crew.prompts("coder")[1]
    state = swarm.resume("s", "approve")
    assert (state["approved"], state["findings"]) == (True, [])
    assert ordered(crew.asked[4:]) == REVIEWS
    assert REMARK in (tmp_path / "out/s/review_results.txt").read_text()


@pytest.mark.parametrize("kind", ["standard", "full"])
def test_rejected_code_waits_before_the_coder_where_a_pause_is(kind: Workflow, tmp_path: Path) -> None:
    crew = Crew()
    swarm = paused(tmp_path, crew, kind, pause_before=["coder"], pause_after=["coder"], max_iterations=2)
    swarm.resume("s", "approve")
    assert places(swarm) == ["after coder"]
    state = swarm.resume("s", {"reject": REMARK})
    assert (state["phase"], state["iteration"], places(swarm)) == ("paused", 1, ["before coder"])
    assert crew.asked.count("coder") == 1
    swarm.resume("s", {"edit": {"design": "Half as long"}})
    assert places(swarm) == ["after coder"]
    assert "Half as long" in crew.prompts("coder")[1]
    assert REMARK in crew.prompts("coder")[1]


@pytest.mark.parametrize("kind", ["standard", "full"])
def test_code_rejected_in_the_last_round_is_reviewed_and_not_approved(kind: Workflow, tmp_path: Path) -> None:
    crew = Crew()
    swarm = paused(tmp_path, crew, kind, pause_after=["coder"], max_iterations=2)
    assert swarm.resume("s", {"reject": "No."})["phase"] == "paused"
    state = swarm.resume("s", {"reject": REMARK})
    assert state["phase"] == "complete"
    assert not state["approved"]
    assert problems(state) == [REMARK]
    assert crew.asked.count("coder") == 2
    assert "debugger" not in crew.asked
    reviews = [review["node"] for review in state["reviews"] if review["iteration"] == 2]
    branches = REVIEWS if kind == "standard" else ["reviewer", "security", "run_tests"]
    assert reviews == ["person_after_coder", *branches]


@pytest.mark.parametrize("setting", ["pause_before", "pause_after"])
@pytest.mark.parametrize("role", BRANCHES)
def test_a_rejection_beside_a_review_outweighs_all_approvals(setting: str, role: str, tmp_path: Path) -> None:
    crew = Crew()
    swarm = paused(tmp_path, crew, "full", **{setting: [role]}, max_iterations=2)
    state = swarm.resume("s", {"reject": REMARK})
    assert crew.asked.count("debugger") == 1
    assert REMARK in crew.prompts("debugger")[0]
    assert REMARK in crew.prompts("coder")[1]
    assert (state["phase"], state["approved"], problems(state)) == ("paused", False, [REMARK])
    state = swarm.resume("s", {"reject": "Still."})
    assert (state["phase"], state["approved"], problems(state)) == ("complete", False, ["Still."])
    assert all(
        review["approved"] for review in state["reviews"] if review["node"] in ("reviewer", "security")
    )
    results = (tmp_path / "out/s/review_results.txt").read_text()
    assert f"Round 1 - person_{setting.removeprefix('pause_')}_{role}: changes wanted" in results
    assert REMARK in results
    assert "1. [major] Still. (seen by a person)" in results
    assert results.endswith("Approved: no, after round 2\n")


@pytest.mark.parametrize("setting", ["pause_before", "pause_after"])
def test_a_rejected_debugger_goes_on_with_the_remark(setting: str, tmp_path: Path) -> None:
    crew = Crew({"reviewer": in_two_rounds})
    paused(tmp_path, crew, "full", **{setting: ["debugger"]})
    state = coordinator(tmp_path, crew).resume("s", {"reject": REMARK})
    assert crew.asked.count("debugger") == 1
    assert (REMARK in crew.prompts("debugger")[0]) is (setting == "pause_before")
    assert REMARK in crew.prompts("coder")[1]
    assert "It fails." in crew.prompts("coder")[1]
    assert state["approved"]
    assert REMARK in (tmp_path / "out/s/review_results.txt").read_text()


@pytest.mark.parametrize("setting", ["pause_before", "pause_after"])
@pytest.mark.parametrize("role", ["optimizer", "documenter"])
def test_a_rejection_at_the_end_takes_the_approval_back(setting: str, role: str, tmp_path: Path) -> None:
    crew = Crew()
    swarm = paused(tmp_path, crew, "full", **{setting: [role]})
    assert swarm.state["approved"]
    state = swarm.resume("s", {"reject": REMARK})
    assert (state["phase"], state["approved"], state["findings"]) == ("complete", False, [FINDING])
    assert sorted(crew.asked) == sorted(set(crew.asked))
    assert REMARK in (tmp_path / "out/s/review_results.txt").read_text()
    assert find_session(tmp_path / ".swarm", "s").phase == "complete"


@pytest.mark.parametrize("setting", ["pause_before", "pause_after"])
def test_a_rejection_before_the_first_round_stays_visible(setting: str, tmp_path: Path) -> None:
    crew = Crew()
    paused(tmp_path, crew, **{setting: ["architect"]})
    state = coordinator(tmp_path, crew).resume("s", {"reject": REMARK})
    results = (tmp_path / "out/s/review_results.txt").read_text()
    when = setting.removeprefix("pause_")
    assert f"Round 0 - person_{when}_architect: changes wanted\n  - [major] {REMARK}\n" in results
    assert state["approved"], "the coder of the first round has answered it"


# --- pauses side by side -------------------------------------------------------------------------

SIDE_BY_SIDE = ("pause_before", "pause_after")


@pytest.mark.parametrize("setting", SIDE_BY_SIDE)
def test_one_decision_answers_all_pauses(setting: str, tmp_path: Path) -> None:
    crew = Crew()
    swarm = paused(tmp_path, crew, "full", **{setting: BRANCHES}, max_iterations=1)
    when = setting.removeprefix("pause_")
    assert places(swarm) == [f"{when} {node}" for node in BRANCHES]
    state = swarm.resume("s", {"reject": REMARK})
    assert swarm.pauses == []
    people = [review["node"] for review in state["reviews"] if review["node"].startswith("person")]
    assert people == [f"person_{when}_{node}" for node in BRANCHES]
    assert problems(state) == [REMARK]


@pytest.mark.parametrize("setting", SIDE_BY_SIDE)
def test_pauses_are_answered_by_node_one_by_one_and_the_rest(setting: str, tmp_path: Path) -> None:
    crew = Crew()
    when = setting.removeprefix("pause_")
    settings = {setting: BRANCHES, "max_iterations": 1}
    paused(tmp_path, crew, "full", **settings)
    asked = [*crew.asked]
    one = coordinator(tmp_path, crew, **settings)
    assert one.resume("s", {"security": {"reject": REMARK}})["phase"] == "paused"
    assert places(one) == [f"{when} reviewer", f"{when} tester"]
    waiting = coordinator(tmp_path, crew, **settings)
    waiting.resume("s")
    assert places(waiting) == places(one)
    with pytest.raises(InputError, match=f"nothing waits at 'security', only {when} reviewer, {when} tester"):
        coordinator(tmp_path, crew, **settings).resume("s", {"security": "approve"})
    assert crew.asked == asked
    state = coordinator(tmp_path, crew, **settings).resume("s", "approve")
    assert (state["phase"], state["approved"], problems(state)) == ("complete", False, [REMARK])
    assert sorted(crew.asked) == sorted(set(crew.asked))


def test_each_node_gets_its_own_decision(tmp_path: Path) -> None:
    crew = Crew({"security": REFUSED})
    paused(tmp_path, crew, "full", pause_after=BRANCHES, max_iterations=1)
    tests = "```python path=tests/test_b.py\nassert True\n```"
    decisions = {"security": {"edit": APPROVED}, "tester": {"edit": tests}, "reviewer": "approve"}
    state = coordinator(tmp_path, crew).resume("s", decisions)
    assert (state["phase"], state["approved"], state["iteration"]) == ("complete", True, 1)
    assert [*state["tests"]] == ["tests/test_a.py", "tests/test_b.py"]


@pytest.mark.parametrize("saver_kind", [*SAVERS, POSTGRES], indirect=True)
def test_langgraph_answers_by_interrupt_id(saver_kind: str, tmp_path: Path) -> None:
    crew = Crew()
    settings = config(workflow={"pause_before": BRANCHES, "max_iterations": 1})
    with opened(saver_kind, tmp_path / "swarm.db") as saver:
        graph = build_graph("full", config=settings, checkpointer=saver)
        state = graph.invoke(REQUEST, thread(), context=crew.context)
        ids = {interrupt.value["node"]: interrupt.id for interrupt in state["__interrupt__"]}
        first: Command[Any] = Command(resume={ids["tester"]: {"reject": REMARK}})
        state = graph.invoke(first, thread(), context=crew.context)
        assert {interrupt.id for interrupt in state["__interrupt__"]} == {ids["reviewer"], ids["security"]}
        rest: Command[Any] = Command(resume={ids["reviewer"]: "approve", ids["security"]: "approve"})
        state = graph.invoke(rest, thread(), context=crew.context)
    assert (state["phase"], state["approved"], problems(state)) == ("complete", False, [REMARK])
    assert crew.asked.count("tester") == 1


def test_only_answers_the_pause_at_one_node(tmp_path: Path) -> None:
    write_config(tmp_path, workflow={"pause_before": ["reviewer"]})
    run = ["run", "x", "--workflow", "review_only", "--session", "s"]
    assert cli(tmp_path, *run).exit_code == 3
    done = cli(tmp_path, "resume", "s", "--reject", REMARK, "--only", "review_style", "--json")
    assert done.exit_code == 3
    waiting = [pause["node"] for pause in json.loads(done.stdout)["pauses"]]
    assert waiting == ["review_correctness", "review_performance", "review_security"]
    done = cli(tmp_path, "resume", "s", "--approve", "--json", "--require-approval")
    assert done.exit_code == 4
    assert REMARK in problems(json.loads(done.stdout))


# --- what is refused -----------------------------------------------------------------------------

FORMS = 'expected "approve", {"edit": text or {key: value}} or {"reject": "what is wrong"}'
BEFORE_CODER: dict[str, Any] = {"pause_before": ["coder"]}
AFTER_CODER = {"pause_after": ["coder"]}
BEFORE_SECURITY: dict[str, Any] = {"pause_before": ["security"]}
AFTER_SECURITY = {"pause_after": ["security"]}
BEFORE_DEBUGGER = {"pause_before": ["debugger"]}
WRONG: dict[str, tuple[Any, ...]] = {
    "unknown word": (BEFORE_CODER, "aprove", f"the decision before coder cannot be used; {FORMS}"),
    "capitals": (BEFORE_CODER, "Approve", FORMS),
    "empty text": (BEFORE_CODER, "", FORMS),
    "a list": (BEFORE_CODER, ["approve"], FORMS),
    "a number": (BEFORE_CODER, 1, FORMS),
    "true": (BEFORE_CODER, True, FORMS),
    "empty object": (BEFORE_CODER, {}, FORMS),
    "unknown key": (BEFORE_CODER, {"accept": "x"}, FORMS),
    "edit and reject": (BEFORE_CODER, {"edit": "x", "reject": "y"}, FORMS),
    "a node that does not wait": (
        BEFORE_CODER,
        {"architect": "approve"},
        f"nothing waits at 'architect', only before coder; {FORMS}",
    ),
    "a node that does not wait, beside one that does": (
        BEFORE_CODER,
        {"architect": "approve", "coder": "approve"},
        FORMS,
    ),
    "unknown word for a node": (BEFORE_CODER, {"coder": "yes"}, FORMS),
    "empty remark": (BEFORE_CODER, {"reject": ""}, "a rejection needs a remark"),
    "blank remark": (BEFORE_CODER, {"reject": " \n"}, "a rejection needs a remark"),
    "remark no text": (BEFORE_CODER, {"reject": ["x"]}, "a rejection needs a remark"),
    "edit of nothing": (BEFORE_CODER, {"edit": None}, "is no edit before coder"),
    "edit a list": (BEFORE_CODER, {"edit": ["x"]}, "a list is no edit before coder"),
    "key not editable": (BEFORE_CODER, {"edit": {"approved": True}}, "'approved' cannot be edited before"),
    "one key of two not editable": (
        BEFORE_CODER,
        {"edit": {"design": "x", "iteration": 9}},
        "'iteration' cannot be edited before coder; allowed here: request, requirements, design",
    ),
    "design a number": (BEFORE_CODER, {"edit": {"design": 3}}, "'design' is not allowed: .*valid string"),
    "empty request": (BEFORE_CODER, {"edit": {"request": " "}}, "the request is empty"),
    "findings prose": (BEFORE_CODER, {"edit": {"findings": "bad"}}, "'findings' is not valid JSON"),
    "findings no list": (BEFORE_CODER, {"edit": {"findings": {}}}, "'findings' is not allowed: .*valid list"),
    "finding with an unknown severity": (
        BEFORE_CODER,
        {"edit": {"findings": [{**FINDING, "severity": "huge"}]}},
        "'findings.0.severity' is not allowed",
    ),
    "finding without a problem": (
        BEFORE_CODER,
        {"edit": {"findings": [{"severity": "major"}]}},
        "'findings.0.location' is not allowed: field required",
    ),
    "findings before the debugger in prose": (BEFORE_DEBUGGER, {"edit": "bad"}, "is not valid JSON"),
    "code without a block": (AFTER_CODER, {"edit": "Looks good."}, "'code' cannot be read as files"),
    "empty code": (AFTER_CODER, {"edit": ""}, "'code' cannot be read as files"),
    "code a list": (AFTER_CODER, {"edit": {"code": ["x"]}}, "'code' is not allowed"),
    "code of numbers": (AFTER_CODER, {"edit": {"code": {"a.py": 1}}}, "'code.a.py' is not allowed"),
    "code broken JSON": (AFTER_CODER, {"edit": '{"a.py": '}, "'code' is not valid JSON"),
    "code outside the project": (
        AFTER_CODER,
        {"edit": "```python path=../a.py\nx = 1\n```"},
        "the path '../a.py' is not allowed",
    ),
    "code as object outside the project": (
        AFTER_CODER,
        {"edit": {"code": {"/etc/a.py": ""}}},
        "the path '/etc/a.py' is not allowed",
    ),
    "text where nothing is edited": (
        BEFORE_SECURITY,
        {"edit": "x"},
        "nothing can be edited before security; approve it, or reject it with a remark",
    ),
    "keys where nothing is edited": (
        BEFORE_SECURITY,
        {"edit": {"code": {}}},
        "'code' cannot be edited before security; allowed here: nothing",
    ),
    "code in a branch": (
        AFTER_SECURITY,
        {"edit": {"code": {"a.py": ""}}},
        "'code' cannot be edited after security; allowed here: reviews",
    ),
    "review in prose": (AFTER_SECURITY, {"edit": "Looks good."}, "'reviews' is not valid JSON"),
    "review a list": (AFTER_SECURITY, {"edit": {"reviews": []}}, "'reviews' is not allowed"),
    "review without findings": (
        AFTER_SECURITY,
        {"edit": {"reviews": {"approved": True}}},
        "'reviews.findings' is not allowed: field required",
    ),
    "approved a word": (
        AFTER_SECURITY,
        {"edit": {"reviews": {"approved": "yes", "findings": []}}},
        "'reviews.approved' is not allowed",
    ),
    "one of several is wrong": (
        {"pause_after": ["security", "tester"]},
        {"security": "approve", "tester": {"edit": "x"}},
        "'tests' cannot be read as files",
    ),
    "one text for different keys": (
        {"pause_after": ["security", "tester"]},
        {"edit": APPROVED},
        "'tests.*' is not allowed",
    ),
    "a file that is also a folder": (
        AFTER_CODER,
        {"edit": {"code": {"a": "x", "a/b": "y"}}},
        "'a' stands in the answer both as a file and as a folder",
    ),
    "half of a character in an edit": (
        BEFORE_CODER,
        {"edit": "\ud800"},
        "'design' holds half of a character; expected UTF-8 text",
    ),
    "half of a character in a remark": (
        BEFORE_CODER,
        {"reject": "\udcff"},
        "'the remark' holds half of a character",
    ),
    "findings nested too deep": (
        BEFORE_CODER,
        {"edit": {"findings": "[" * 100_000}},
        "'findings' is not valid JSON: .*recursion",
    ),
    "a file that is also a folder, in other words": (
        AFTER_CODER,
        {"edit": {"code": {"a": "x", "a\\b": "y"}}},
        "'a' stands in the answer both as a file and as a folder",
    ),
    "half of a character in Markdown": (
        AFTER_CODER,
        {"edit": "```python path=a.py\n'\ud800'\n```"},
        "'code' holds half of a character",
    ),
    "bytes": (BEFORE_CODER, {"edit": {"design": b"Two files."}}, "'design' is not allowed: .*valid string"),
}


@pytest.fixture(scope="module")
def waiting(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Path, Crew, list[Pause]]]:
    """Sessions that wait, one for each choice of pauses: what is refused leaves them as they are."""

    @cache
    def session(choice: str) -> tuple[Path, Crew, list[Pause]]:
        folder, crew = tmp_path_factory.mktemp("waiting"), Crew({"reviewer": in_two_rounds})
        return folder, crew, paused(folder, crew, "full", **json.loads(choice)).pauses

    return session


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_decision_is_one_clear_line_and_changes_nothing(name: str, waiting: Any) -> None:
    workflow, decision, message = WRONG[name]
    folder, crew, pauses = waiting(json.dumps(workflow))
    before, asked = kept(folder), len(crew.asks)
    with pytest.raises(InputError, match=message if ".*" in message else re.escape(message)) as refused:
        coordinator(folder, crew).resume("s", decision)
    assert "\n" not in str(refused.value)
    assert refused.value.exit_code == 2
    assert kept(folder) == before
    assert len(crew.asks) == asked
    again = coordinator(folder, crew)
    again.resume("s")
    assert again.pauses == pauses


@pytest.mark.parametrize("name", SAVERS)
def test_a_wrong_decision_is_refused_by_the_graph(name: str, tmp_path: Path) -> None:
    crew = Crew()
    with opened(name, tmp_path / "swarm.db") as saver:
        graph = build_graph("standard", config=config(workflow=BEFORE_CODER), checkpointer=saver)
        graph.invoke(REQUEST, thread(), context=crew.context)
        before = graph.get_state(thread())
        with pytest.raises(InputError, match="cannot be used"):
            graph.invoke(Command(resume="yes"), thread(), context=crew.context)
        assert graph.get_state(thread()) == before
        assert graph.invoke(Command(resume="approve"), thread(), context=crew.context)["approved"]


@pytest.mark.parametrize("saver_kind", [*SAVERS, POSTGRES], indirect=True)
def test_an_answer_to_a_session_that_does_not_wait_is_refused(saver_kind: str, tmp_path: Path) -> None:
    crew = Crew({"architect": ValueError("broken")})
    with opened(saver_kind, tmp_path / "swarm.db") as saver:
        graph = build_graph("standard", config=config(workflow=BEFORE_CODER), checkpointer=saver)

        def refused(session: str) -> None:
            before = graph.get_state(thread(session))
            with pytest.raises(InputError, match=f"session '{session}' does not wait for a person"):
                graph.invoke(Command(resume="approve"), thread(session), context=crew.context)
            assert graph.get_state(thread(session)) == before

        with pytest.raises(ModelError):
            graph.invoke(REQUEST, thread("failed"), context=crew.context)
        crew.script["architect"] = "One file."
        graph.invoke(REQUEST, thread("ended"), context=crew.context)
        graph.invoke(Command(resume="approve"), thread("ended"), context=crew.context)
        asked = len(crew.asks)
        for session in ("nobody", "failed", "ended"):
            refused(session)
    assert len(crew.asks) == asked


@pytest.mark.parametrize("name", SAVERS)
def test_a_new_request_to_a_waiting_session_is_refused(name: str, tmp_path: Path) -> None:
    crew = Crew()
    with opened(name, tmp_path / "swarm.db") as saver:
        graph = build_graph("standard", config=config(workflow=BEFORE_CODER), checkpointer=saver)
        graph.invoke(REQUEST, thread(), context=crew.context)
        before = graph.get_state(thread())
        with pytest.raises(UnfinishedSession, match="`swarm-graph resume t`"):
            graph.invoke({"request": "Another"}, thread(), context=crew.context)
        assert graph.get_state(thread()) == before
        state = graph.invoke(Command(resume="approve"), thread(), context=crew.context)
    assert state["request"] == "Build it"
    assert ordered(crew.asked) == ["clarifier", "architect", "coder", *REVIEWS]


def test_a_follow_up_of_a_waiting_session_is_refused(tmp_path: Path) -> None:
    crew = Crew()
    paused(tmp_path, crew, **BEFORE_CODER)
    before = kept(tmp_path)
    with pytest.raises(
        UnfinishedSession, match=r"has not ended \(paused\); resume it with `swarm-graph resume s`"
    ):
        coordinator(tmp_path, crew).run_workflow("More", session_id="s", follow_up=True)
    with pytest.raises(InputError, match=r"session 's' exists \(paused\)"):
        coordinator(tmp_path, crew).run_workflow("More", session_id="s")
    assert kept(tmp_path) == before


@ON_BOTH
def test_two_people_cannot_answer_at_once(tmp_path: Path) -> None:
    crew = Crew()
    paused(tmp_path, crew, **BEFORE_CODER)
    before = kept(tmp_path)
    with (
        storages.opened(tmp_path / ".swarm") as saver,
        lock_session(saver.catalogue, "s"),
        pytest.raises(SessionInUse, match="is in use") as refused,
    ):
        coordinator(tmp_path, crew).resume("s", "approve")
    assert refused.value.exit_code == 2
    assert kept(tmp_path) == before
    assert coordinator(tmp_path, crew).resume("s", "approve")["phase"] == "complete"
    with pytest.raises(InputError, match="does not wait for a person"):
        coordinator(tmp_path, crew).resume("s", {"reject": REMARK})


def test_pauses_need_checkpointing(tmp_path: Path) -> None:
    write_config(tmp_path, workflow=BEFORE_CODER, features={"enable_checkpointing": False})
    refused = cli(tmp_path, "run", "x").exception
    assert isinstance(refused, ConfigError)
    assert "need features.enable_checkpointing" in str(refused)
    assert refused.exit_code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


# --- failing and being killed between pause and answer ------------------------------------------


def fail_late(_: Ask) -> Exception:
    """Fail after the parallel branches have begun: the failure waits for those, and for no others."""
    time.sleep(0.05)
    return ValueError("broken")


@pytest.mark.parametrize("saver_kind", [*SAVERS, POSTGRES], indirect=True)
@pytest.mark.parametrize(
    ("workflow", "failing", "again"),
    [
        ({"pause_before": ["coder"]}, "coder", ["coder"]),
        ({"pause_after": ["architect"]}, "coder", ["coder"]),
        ({"pause_after": ["coder"]}, "reviewer", ["reviewer"]),
        ({"pause_before": BRANCHES}, "security", ["security"]),
        ({"pause_before": ["optimizer", "documenter"]}, "documenter", ["documenter"]),
    ],
)
def test_a_role_that_fails_after_the_answer_is_asked_again_and_the_person_is_not(
    workflow: dict[str, Any], failing: str, again: list[str], saver_kind: str, tmp_path: Path
) -> None:
    crew = Crew({failing: fail_late})
    with opened(saver_kind, tmp_path / "swarm.db") as saver:
        graph = build_graph("full", config=config(workflow=workflow), checkpointer=saver)
        assert graph.invoke(REQUEST, thread(), context=crew.context)["__interrupt__"]
        with pytest.raises(ModelError, match="broken"):
            graph.invoke(Command(resume="approve"), thread(), context=crew.context)
        crew.script[failing] = Crew().script[failing]
        before = len(crew.asks)
        state = graph.invoke(None, thread(), context=crew.context)
    assert crew.asked[before : before + len(again)] == again
    assert (state["phase"], state["approved"]) == ("complete", True)
    assert [node for node in crew.asked if crew.asked.count(node) > 1] == [failing] * 2
    assert "__interrupt__" not in state


@ON_BOTH
def test_an_edit_outlives_the_failure_of_the_role_that_works_from_it(tmp_path: Path) -> None:
    crew = Crew({"coder": ValueError("broken")})
    paused(tmp_path, crew, **BEFORE_CODER)
    failed = coordinator(tmp_path, crew)
    assert failed.resume("s", {"edit": "Two files."})["phase"] == "failed"
    assert failed.pauses == []
    with pytest.raises(InputError, match="does not wait for a person"):
        coordinator(tmp_path, crew).resume("s", "approve")
    crew.script["coder"] = CODE
    assert coordinator(tmp_path, crew).resume("s")["phase"] == "complete"
    assert "Two files." in crew.prompts("coder")[-1]
    assert crew.asked.count("architect") == 1


@ON_BOTH
@pytest.mark.parametrize("decision", ["approve", None])
def test_a_branch_that_fails_beside_a_waiting_one_is_asked_again(
    decision: str | None, tmp_path: Path
) -> None:
    crew = Crew({"reviewer": ValueError("broken")})
    swarm = coordinator(tmp_path, crew, **BEFORE_SECURITY)
    assert swarm.run_workflow("Build it", "full", session_id="s")["phase"] == "failed"
    assert sorted(crew.asked[3:]) == ["reviewer", "tester"]
    crew.script["reviewer"] = APPROVED
    again = coordinator(tmp_path, crew)
    state = again.resume("s", decision)
    if decision is None:
        assert (state["phase"], places(again)) == ("paused", ["before security"])
        state = coordinator(tmp_path, crew).resume("s", "approve")
    assert (state["phase"], state["approved"]) == ("complete", True)
    assert [node for node in crew.asked if crew.asked.count(node) > 1] == ["reviewer"] * 2


@ON_BOTH
def test_an_answered_session_that_is_killed_does_not_wait_again(tmp_path: Path) -> None:
    crew = Crew()
    paused(tmp_path, crew, **BEFORE_CODER)
    single = SIMULATED["model_config"]["single_model"]
    slow = {"model": "s", "api_type": "simulated", "simulation": {"first_token_s": 600}}
    models = {"mode": "multi", "single_model": single, "multi_model": {"coder": slow}}
    write_config(tmp_path, model_config=models)
    edit = tmp_path / "design.md"
    edit.write_text("Two files.")
    resume = ("resume", "s", "--edit", edit, "--config", "config.json")
    process = warm.Process(*resume, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while kept(tmp_path)[1].next != ("coder",):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = len(crew.asks)
    again = coordinator(tmp_path, crew)
    assert again.resume("s")["phase"] == "complete"
    assert ordered(crew.asked[before:]) == ["coder", *REVIEWS]
    assert "Two files." in crew.prompts("coder")[0]


# --- the command line ----------------------------------------------------------------------------


@ON_BOTH
def test_a_process_stops_with_3_and_another_one_goes_on_with_an_edit(tmp_path: Path) -> None:
    write_config(tmp_path, workflow=BEFORE_CODER)
    done = warm.run("run", "Build it", "--session", "s", cwd=tmp_path, text=True)
    assert done.returncode == 3
    assert done.stderr == (
        "swarm-graph: waiting for a person; answer with `swarm-graph resume s --approve`"
        " (or --edit FILE, --reject TEXT)\n"
    )
    assert "waiting for a person before coder, round 1 of 3" in done.stdout
    assert re.search(r"Waiting before coder; its design:\n  Simulated architect \w+\.\n", done.stdout)
    crew = Crew()
    swarm = coordinator(tmp_path, crew)
    assert swarm.resume("s", {"edit": "Two files."})["phase"] == "complete"
    assert ordered(crew.asked) == ["coder", *REVIEWS]
    assert "Two files." in crew.prompts("coder")[0]
    assert "Simulated architect" not in crew.prompts("coder")[0]
    agents = swarm.get_metrics_summary()["agents"]
    assert {role: agents[role]["total_calls"] for role in ("clarifier", "architect", "coder")} == {
        "clarifier": 1,
        "architect": 1,
        "coder": 1,
    }


def printed_command(done: Result) -> list[str]:
    """The command that a waiting session prints, as a person types it."""
    found = re.search("`swarm-graph (.+?)`", done.stderr)
    assert found
    return shlex.split(found[1])


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--session", "mine"],
        ["--output", "elsewhere"],
        ["--data-dir", "else where"],
    ],
)
def test_the_printed_command_goes_on(options: list[str], tmp_path: Path) -> None:
    write_config(tmp_path, workflow={"pause_before": ["clarifier"]})
    done = cli(tmp_path, "run", "x", *options)
    assert done.exit_code == 3
    done = cli(tmp_path, *printed_command(done))
    assert done.exit_code == 0
    assert "approved in round" in done.stdout


def test_json_shows_the_pauses(tmp_path: Path) -> None:
    write_config(tmp_path, workflow={"pause_before": ["clarifier"]})
    done = cli(tmp_path, "run", "Build it", "--session", "s", "--json")
    assert done.exit_code == 3
    document = json.loads(done.stdout)
    assert (document["phase"], document["request"]) == ("paused", "Build it")
    assert json.loads((tmp_path / "swarm-output/s/swarm_state_s.json").read_text()) == document
    (pause,) = document["pauses"]
    assert re.fullmatch("[0-9a-f]{32}", pause.pop("id"))
    assert pause.pop("editable")[:2] == ["request", "requirements"]
    assert pause == {
        "when": "before",
        "node": "clarifier",
        "role": "clarifier",
        "iteration": 0,
        "edits": "request",
        "value": "Build it",
    }
    done = cli(tmp_path, "resume", "s", "--approve", "--json")
    assert json.loads(done.stdout)["pauses"] == []


@pytest.mark.parametrize(
    ("content", "design"),
    [
        ("Two files.\n", "Two files.\n"),
        ("\ufeffTwo files.", "Two files."),
        ('{"design": "Two files."}', "Two files."),
        ("{braces} are no object", "{braces} are no object"),
    ],
)
def test_edit_reads_text_or_an_object_from_a_file(content: str, design: str, tmp_path: Path) -> None:
    write_config(tmp_path, workflow={**BEFORE_CODER, "max_iterations": 1})
    assert cli(tmp_path, "run", "x", "--session", "s").exit_code == 3
    (tmp_path / "edit").write_text(content, encoding="utf-8")
    assert cli(tmp_path, "resume", "s", "--edit", "edit").exit_code == 0
    assert f"# Design\n\n{design}\n" in (tmp_path / "swarm-output/s/notes.md").read_text()


WRONG_OPTIONS: dict[str, tuple[list[str], str]] = {
    "approve and reject": (
        ["--approve", "--reject", "x"],
        "--approve and --reject are two answers; give one",
    ),
    "edit and reject": (["--edit", "edit.md", "--reject", "x"], "--edit and --reject are two answers"),
    "all three": (
        ["--approve", "--edit", "edit.md", "--reject", "x"],
        "--approve and --edit and --reject are two answers",
    ),
    "empty remark": (["--reject", ""], "a rejection needs a remark"),
    "only, no answer": (["--only", "coder"], "--only needs an answer"),
    "missing file": (["--edit", "no.md"], "cannot read the input file 'no.md'"),
    "folder": (["--edit", "swarm-output"], "cannot read the input file 'swarm-output'"),
    "binary file": (["--edit", "binary"], "the input file 'binary' is not UTF-8 text"),
    "key not editable": (["--edit", "phase.json"], "'phase' cannot be edited before coder"),
    "unknown node": (["--approve", "--only", "codr"], "nothing waits at 'codr', only before coder"),
    "nested too deep": (["--edit", "deep.json"], "the JSON in 'deep.json' is nested too deep"),
}


@pytest.mark.parametrize("name", WRONG_OPTIONS)
def test_wrong_options_are_one_clear_line_and_change_nothing(name: str, tmp_path: Path) -> None:
    options, message = WRONG_OPTIONS[name]
    write_config(tmp_path, workflow=BEFORE_CODER)
    (tmp_path / "edit.md").write_text("Two files.")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "phase.json").write_text('{"phase": "complete"}')
    (tmp_path / "deep.json").write_text('{"design": ' * 100_000)
    assert cli(tmp_path, "run", "x", "--session", "s").exit_code == 3
    before = kept(tmp_path)
    refused = cli(tmp_path, "resume", "s", *options).exception
    assert isinstance(refused, InputError)
    assert re.search(message, str(refused))
    assert "\n" not in str(refused)
    assert refused.exit_code == 2
    assert kept(tmp_path) == before


def test_an_answer_to_an_ended_session_is_refused(tmp_path: Path) -> None:
    write_config(tmp_path)
    assert cli(tmp_path, "run", "x", "--session", "s", "--workflow", "review_only").exit_code == 0
    before = kept(tmp_path)
    refused = cli(tmp_path, "resume", "s", "--approve").exception
    assert isinstance(refused, InputError)
    assert "session 's' does not wait for a person" in str(refused)
    assert kept(tmp_path) == before


def test_resume_notes_no_change_of_settings_where_there_is_none(tmp_path: Path) -> None:
    write_config(tmp_path, workflow={"pause_before": ["clarifier"]})
    assert cli(tmp_path, "run", "x", "--session", "s").exit_code == 3
    assert cli(tmp_path, "resume", "s", "--approve").stderr == ""


# --- the dialogue in a terminal ------------------------------------------------------------------


def scripted(folder: Path, **workflow: Any) -> None:
    """A coder who answers by the script only to a prompt that holds the remark, and content reviewers."""
    script = folder / "script.md"
    code = f"```python path=src/a.py\n# {REMARK}\n```"
    script.write_text(f"<!-- when: {REMARK} -->\n<!-- coder 1 -->\n{code}\n<!-- reviewer 1 -->\n{APPROVED}\n")
    entry = {"model": "s", "api_type": "simulated", "simulation": {"script": str(script)}}
    write_config(folder, model_config={"single_model": entry}, workflow=workflow)


def test_a_person_at_the_terminal_edits_rejects_and_approves(tmp_path: Path) -> None:
    scripted(tmp_path, pause_before=["architect", "coder"], pause_after=["coder"])
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\necho "Only mine." > "$1"\n')
    editor.chmod(0o755)
    with Terminal(tmp_path, "run", "Build it", "--session", "s") as terminal:
        terminal.expect("Waiting before architect (approve, edit, reject) [approve]: ")
        terminal.type("edit\n")
        terminal.expect("Waiting before coder (approve, edit, reject) [approve]: ")
        terminal.type("yes\n")
        terminal.expect("Waiting before coder (approve, edit, reject) [approve]: ")
        terminal.type("reject\n")
        terminal.expect("What is wrong: ")
        terminal.type(f"{REMARK}\n")
        terminal.expect("Waiting after coder (approve, edit, reject) [approve]: ")
        terminal.type("\n")
        assert terminal.end() == 0, terminal.seen
    assert "Waiting before coder; its design:" in terminal.seen
    assert "Session s (standard): approved in round 1 of 3" in terminal.seen
    notes = (tmp_path / "swarm-output/s/notes.md").read_text()
    assert "# Requirements\n\nOnly mine." in notes
    code = (tmp_path / "swarm-output/s/project/src/a.py").read_text()
    assert code == f"# {REMARK}\n"
    calls = json.loads((tmp_path / "swarm-output/s/swarm_state_s.json").read_text())["metrics"]
    assert {role: figures["total_calls"] for role, figures in calls.items()} == {
        "clarifier": 1,
        "architect": 1,
        "coder": 1,
        "reviewer": 3,
    }


def test_a_key_that_was_typed_before_the_question_approves_nothing(tmp_path: Path) -> None:
    scripted(tmp_path, pause_before=["reviewer"], reviewers=["style"])
    with Terminal(tmp_path, "run", "x", "--workflow", "review_only", "--session", "s") as terminal:
        terminal.type("\n\n\n")
        terminal.answer("Waiting before review_style (approve, reject) [approve]: ", "/help\n")
        terminal.expect("/back or /quit leaves the session waiting.")
        terminal.answer("Waiting before review_style (approve, reject) [approve]: ", "/back\n")
        assert terminal.end() == 3


def test_a_person_who_leaves_the_dialogue_leaves_the_session_waiting(tmp_path: Path) -> None:
    scripted(tmp_path, pause_before=["reviewer"])
    with Terminal(tmp_path, "run", "x", "--workflow", "review_only", "--session", "s") as terminal:
        terminal.expect("Waiting before review_correctness (approve, reject) [approve]: ")
        terminal.type("reject\n")
        terminal.expect("What is wrong: ")
        terminal.type("\x04")
        assert terminal.end() == 3
    assert "waiting for a person; answer with `swarm-graph resume s --approve`" in terminal.seen
    assert find_session(tmp_path / ".swarm", "s").phase == "paused"
    waiting = {task.name for task in kept(tmp_path)[1].tasks if task.interrupts}
    assert waiting == {
        f"before_review_{focus}" for focus in ("correctness", "performance", "security", "style")
    }
