"""The three workflows from the outside: who was asked, in what order, and what came out."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from support import APPROVED, CODE, REFUSED, Crew, config

from swarm_graph.errors import AnswerError, ConfigError, InputError
from swarm_graph.models.invented import Ask
from swarm_graph.state import WORKFLOWS, OwnWorkflow, SwarmState, Workflow, empty_state
from swarm_graph.workflows.build import build_graph

GOLDEN = Path(__file__).parent / "golden"
REQUEST: SwarmState = {"request": "Build it"}


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_drawing_is_the_golden_one(workflow: Workflow) -> None:
    drawing = build_graph(workflow, config=config()).get_graph().draw_mermaid()
    golden = GOLDEN / f"{workflow}.mmd"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(drawing)
    assert drawing == golden.read_text()


@pytest.mark.parametrize("workflow", ["standard", "full", "review_only"])
def test_drawing_of_a_change_is_the_golden_one(workflow: Workflow) -> None:
    drawing = build_graph(workflow, config=config(workflow={"kind": "change"})).get_graph().draw_mermaid()
    golden = GOLDEN / f"{workflow}_change.mmd"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(drawing)
    assert drawing == golden.read_text()


@pytest.mark.parametrize("workflow", ["single", "full"])
def test_drawing_with_candidates_is_the_golden_one(workflow: Workflow) -> None:
    drawing = build_graph(workflow, config=config(workflow={"candidates": 3})).get_graph().draw_mermaid()
    golden = GOLDEN / f"{workflow}_candidates.mmd"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(drawing)
    assert drawing == golden.read_text()


def test_standard_asks_everyone_once_when_all_approve() -> None:
    crew = Crew()
    state = build_graph("standard", config=config()).invoke(REQUEST, context=crew.context)
    assert crew.asked[:3] == ["clarifier", "architect", "coder"]
    assert set(crew.asked[3:]) == {"review_correctness", "review_performance", "review_style"}
    assert len(crew.asked) == 6
    assert state["approved"]
    assert state["phase"] == "complete"
    assert state["iteration"] == 1
    assert state["code"] == {"src/a.py": "x = 1\n"}


def test_reviewers_who_twice_want_changes_see_the_new_code_each_round() -> None:
    def review(ask: Ask) -> str:
        return APPROVED if ask.iteration == 3 else REFUSED

    crew = Crew({"reviewer": review})
    state = build_graph("standard", config=config()).invoke(REQUEST, context=crew.context)
    assert crew.asked.count("coder") == 3
    for node in ("review_correctness", "review_performance", "review_style"):
        assert [f"x = {round}" in prompt for round, prompt in enumerate(crew.prompts(node), 1)] == [True] * 3
    assert state["approved"]
    assert state["iteration"] == 3
    assert state["findings"] == []
    assert [review["iteration"] for review in state["reviews"]] == [1, 1, 1, 2, 2, 2, 3, 3, 3]


def test_coder_gets_open_findings_and_its_own_last_code() -> None:
    crew = Crew({"review_style": lambda ask: APPROVED if ask.iteration == 2 else REFUSED})
    build_graph("standard", config=config()).invoke(REQUEST, context=crew.context)
    first, second = crew.prompts("coder")
    assert "It fails." not in first
    assert "1. [major] src/a.py:1 — It fails. Suggestion: Mend it. (seen by review_style)" in second
    assert "x = 1" in second


def test_max_iterations_ends_complete_but_not_approved() -> None:
    crew = Crew({"reviewer": REFUSED})
    settings = config(workflow={"max_iterations": 2})
    state = build_graph("standard", config=settings).invoke(REQUEST, context=crew.context)
    assert crew.asked.count("coder") == 2
    assert state["phase"] == "complete"
    assert state["approved"] is False
    assert [finding["problem"] for finding in state["findings"]] == ["It fails."]
    assert len(state["findings"][0]["seen_by"]) == 3


def test_full_revises_through_the_debugger_and_runs_the_whole_fan_out_again() -> None:
    crew = Crew({"reviewer": lambda ask: APPROVED if ask.iteration == 2 else REFUSED})
    state = build_graph("full", config=config()).invoke(REQUEST, context=crew.context)
    fan_out = {"reviewer", "security", "tester"}
    assert crew.asked[:3] == ["clarifier", "architect", "coder"]
    assert set(crew.asked[3:6]) == fan_out
    assert crew.asked[6:8] == ["debugger", "coder"]
    assert set(crew.asked[8:11]) == fan_out
    assert set(crew.asked[11:]) == {"optimizer", "documenter"}
    assert state["phase"] == "complete"
    assert "It fails." in crew.prompts("debugger")[0]
    assert "The cause." in crew.prompts("coder")[1]
    assert state["optimization"] == "Nothing to gain."
    assert state["documentation"] == {"README.md": "# A\n"}


def test_full_ends_with_docs_also_when_never_approved() -> None:
    crew = Crew({"security": REFUSED})
    settings = config(workflow={"max_iterations": 2})
    state = build_graph("full", config=settings).invoke(REQUEST, context=crew.context)
    assert Counter(crew.asked)["debugger"] == 1
    assert {"optimizer", "documenter"} <= set(crew.asked)
    assert state["approved"] is False
    assert state["phase"] == "complete"


def test_review_only_reviews_the_request_itself() -> None:
    crew = Crew({"review_security": REFUSED})
    state = build_graph("review_only", config=config()).invoke(
        {"request": "x = eval(y)"}, context=crew.context
    )
    assert sorted(crew.asked) == [
        "review_correctness",
        "review_performance",
        "review_security",
        "review_style",
    ]
    assert all("x = eval(y)" in ask.prompt for ask in crew.asks)
    assert state["phase"] == "complete"
    assert state["approved"] is False
    assert state["iteration"] == 1


def test_unreadable_review_is_asked_again_once_and_never_approves() -> None:
    crew = Crew({"review_style": "Looks great, approved! {not json"})
    settings = config(workflow={"max_iterations": 1})
    state = build_graph("standard", config=settings).invoke(REQUEST, context=crew.context)
    assert crew.asked.count("review_style") == 2
    assert state["approved"] is False
    review = next(review for review in state["reviews"] if review["node"] == "review_style")
    assert review["approved"] is None
    assert "could not be read" in state["findings"][0]["problem"]


def test_repaired_answer_counts_and_the_repair_question_names_the_problem() -> None:
    def review(ask: Ask) -> str:
        return APPROVED if "could not be used" in ask.prompt else '{"findings": []}'

    crew = Crew({"review_style": review})
    state = build_graph("standard", config=config()).invoke(REQUEST, context=crew.context)
    assert state["approved"]
    assert "approved" in crew.prompts("review_style")[1].rpartition("could not be used")[2]
    notes = {record["node"]: record.get("note") for record in state["tasks"].values()}
    assert notes["review_style"] == "repaired"
    assert notes["review_correctness"] is None


def test_coder_without_a_file_is_asked_once_more_and_then_fails() -> None:
    crew = Crew({"coder": "Here is how I would do it."})
    with pytest.raises(AnswerError, match=r"^coder: the coder's answer holds no file"):
        build_graph("standard", config=config()).invoke(REQUEST, context=crew.context)
    assert crew.asked.count("coder") == 2


def test_a_coder_that_deletes_everything_is_asked_again() -> None:
    crew = Crew({"coder": lambda ask: "DELETE src/a.py" if "could not be used" not in ask.prompt else CODE})
    state = build_graph("standard", config=config()).invoke(REQUEST, context=crew.context)
    assert crew.asked.count("coder") == 2
    assert "deletes the last one" in crew.prompts("coder")[1]
    assert list(state["code"]) == ["src/a.py"]


def test_an_approval_beside_a_grave_finding_is_none() -> None:
    contradiction = REFUSED.replace("false", "true")
    crew = Crew({"review_style": contradiction})
    settings = config(workflow={"max_iterations": 1})
    state = build_graph("standard", config=settings).invoke(REQUEST, context=crew.context)
    assert state["approved"] is False
    assert [finding["severity"] for finding in state["findings"]] == ["major"]


def test_prose_instead_of_json_is_good_enough_for_requirements() -> None:
    crew = Crew({"clarifier": "It must be fast."})
    state = build_graph("standard", config=config()).invoke(REQUEST, context=crew.context)
    assert "It must be fast." in state["requirements"]


def test_configured_reviewers_replace_the_workflow_s_own() -> None:
    crew = Crew()
    settings = config(workflow={"reviewers": {"standard": ["security"], "full": ["style", "performance"]}})
    build_graph("standard", config=settings).invoke(REQUEST, context=crew.context)
    assert crew.asked[3:] == ["review_security"]
    nodes = set(build_graph("full", config=settings).nodes)
    assert {"review_style", "review_performance", "security"} <= nodes
    assert "reviewer" not in nodes


@pytest.mark.parametrize("workflow", [name for name in WORKFLOWS if name != "custom"])
def test_invoke_and_ainvoke_give_the_same_state(workflow: Workflow) -> None:
    def run(asynchronously: bool) -> Any:
        crew = Crew({"reviewer": lambda ask: APPROVED if ask.iteration == 2 else REFUSED})
        graph = build_graph(workflow, config=config())
        if asynchronously:
            return asyncio.run(graph.ainvoke(REQUEST, context=crew.context))
        return graph.invoke(REQUEST, context=crew.context)

    assert run(False) == run(True)


def test_one_graph_serves_a_process_a_thread_and_several_event_loops() -> None:
    graph = build_graph("review_only", config=config())
    states = [graph.invoke(REQUEST), graph.invoke(REQUEST)]
    in_thread = threading.Thread(target=lambda: states.append(graph.invoke(REQUEST)))
    in_thread.start()
    in_thread.join()

    async def inside() -> None:
        states.append(graph.invoke(REQUEST))
        states.append(await graph.ainvoke(REQUEST))

    asyncio.run(inside())
    asyncio.run(inside())
    assert [state["reviews"] for state in states] == [states[0]["reviews"]] * 7


def test_streams_carry_role_node_task_and_iteration() -> None:
    crew = Crew()
    graph = build_graph("review_only", config=config())
    about = [
        metadata
        for _, metadata in graph.stream(REQUEST, context=crew.context, stream_mode="messages")
        if metadata["node"] == "review_style"
    ]
    assert {(m["role"], m["task"], m["iteration"]) for m in about} == {("reviewer", "T004_review_style", 1)}
    updates = [next(iter(part)) for part in graph.stream(REQUEST, context=crew.context)]
    assert updates[-1] == "verdict"


def test_overrides_of_one_run_never_enter_the_state() -> None:
    crew = Crew()
    state = build_graph("review_only", config=config()).invoke(REQUEST, context=crew.context)
    assert state.keys() == empty_state().keys()
    assert {record["created_at"] for record in state["tasks"].values()} == {1000.0}


def test_without_models_the_graph_builds_and_the_first_call_says_what_to_do() -> None:
    graph = build_graph("standard", config={})
    assert "coder" in graph.nodes
    with pytest.raises(ConfigError, match="swarm-graph init"):
        graph.invoke(REQUEST)


def test_unknown_workflow_is_refused() -> None:
    with pytest.raises(
        InputError, match="unknown workflow 'ful'; known workflows: standard, full, review_only"
    ):
        build_graph(OwnWorkflow("ful"), config=config())


@pytest.mark.parametrize("given", [{}, {"request": "  "}, {"request": 3}, "text", {"code": {}}])
def test_an_input_without_a_request_is_refused(given: Any) -> None:
    with pytest.raises(InputError, match="the request is empty"):
        build_graph("standard", config=config()).invoke(given)
