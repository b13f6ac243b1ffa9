"""Several candidates of the coder: tests that are written before any code choose the best one."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from langgraph.types import Command
from support import APPROVED, REFUSED, Crew, Script, config, thread

from swarm_graph import SwarmCoordinator, build_graph, open_checkpointer
from swarm_graph.config import load_config
from swarm_graph.errors import ConfigError, ModelError, OverBudget
from swarm_graph.models.invented import Ask
from swarm_graph.reports.session_report import SessionReport, report_html
from swarm_graph.roles.imported_names import imported_names
from swarm_graph.sandbox.evidence import make_evidence
from swarm_graph.settings import Candidate, Execution
from swarm_graph.state import CandidateRecord, Outcome, OwnWorkflow, SwarmState, Workflow
from swarm_graph.testing import Answer
from swarm_graph.workflows.candidate_node import candidate_parameters
from swarm_graph.workflows.choice import Tried, choose
from swarm_graph.workflows.choose import broken_evidence, try_out
from swarm_graph.workflows.comparable import comparable

REQUEST: SwarmState = {"request": "Write add and sub in a module `sums`."}
ON: dict[str, Any] = {"execution": {"mode": "auto"}}
RIGHT = "def add(a, b):\n    return a + b\n\n\ndef sub(a, b):\n    return a - b\n"
HALF = RIGHT.replace("a - b", "b - a")
HALF_AGAIN = f'"""Another layout."""\n\n{HALF}'
WRONG = RIGHT.replace("a + b", "a * b + 1").replace("a - b", "b - a")
TESTS = """from sums import add
from sums import sub

SECRET = "seven"


def test_add():
    assert add(3, 4) == 7


def test_add_nothing():
    assert add(3, 0) == 3


def test_sub():
    assert sub(7, 3) == 4
"""
BROKEN = TESTS.replace("def test_sub()", "def test_sub(no_such_fixture)")


def code(text: str) -> str:
    return f"```python path=src/sums.py\n{text}```"


def suite(text: str) -> str:
    return f"```python path=tests/test_sums.py\n{text}```"


def crew(*codes: str, written: str = TESTS, **more: Answer) -> Crew:
    script: Script = {f"coder_{number}": code(text) for number, text in enumerate(codes, 1)}
    return Crew({"tester": suite(written), **script, **more})


def settings(number: int, **sections: Any) -> Any:
    workflow = {"candidates": number, **sections.pop("workflow", {})}
    return config(**{**ON, "workflow": workflow, **sections})


def run(crew: Crew, number: int, workflow: Workflow = "single", **sections: Any) -> dict[str, Any]:
    graph = build_graph(workflow, config=settings(number, **sections))
    return dict(graph.invoke(REQUEST, context=crew.context))


def chosen(state: Mapping[str, Any]) -> CandidateRecord:
    record: CandidateRecord
    (record,) = [record for record in state["candidates"] if record["chosen"]]
    return record


# --- the graph -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("workflow", "before", "after"),
    [
        ("single", [], []),
        (
            "standard",
            ["clarifier", "architect"],
            ["review_correctness", "review_performance", "review_style"],
        ),
        ("full", ["clarifier", "architect"], ["documenter", "optimizer", "reviewer", "security"]),
    ],
)
def test_the_tests_choose_and_the_workflow_goes_on_with_the_best(
    workflow: Workflow, before: list[str], after: list[str]
) -> None:
    models = crew(HALF, RIGHT, HALF_AGAIN)
    state = run(models, 3, workflow)
    asked = models.asked
    assert asked[: len(before) + 1] == [*before, "tester"]
    assert sorted(asked[len(before) + 1 : len(before) + 4]) == ["coder_1", "coder_2", "coder_3"]
    assert sorted(asked[len(before) + 4 :]) == after
    assert state["code"] == {"src/sums.py": RIGHT}
    assert state["changed"] == ["src/sums.py"]
    assert (state["iteration"], state["phase"]) == (1, "complete")
    assert state["approved"] is (None if workflow == "single" else True)
    assert chosen(state)["number"] == 2
    assert chosen(state)["reason"] == "it alone passes all 3 tests"
    (evidence,) = [review["evidence"] for review in state["reviews"] if review["node"] == "run_tests"]
    assert (evidence["outcome"], evidence["passed"]) == ("passed", 3)
    first, _, third = state["candidates"]
    assert first["group"] == third["group"] == 2
    assert first["results"]["passed"] == [
        "tests/test_sums.py::test_add",
        "tests/test_sums.py::test_add_nothing",
    ]
    assert first["results"]["failed"] == ["tests/test_sums.py::test_sub"]


def test_no_one_sees_what_the_others_write() -> None:
    models = crew(HALF, RIGHT)
    run(models, 2, "full")
    (asked_tester,) = models.prompts("tester")
    assert "return a" not in asked_tester
    assert "before there is any code" in asked_tester
    for node in ("coder_1", "coder_2"):
        (prompt,) = models.prompts(node)
        assert "- `from sums import add`\n- `from sums import sub`" in prompt
        assert "SECRET" not in prompt
        assert "test_add" not in prompt
    (review,) = models.prompts("reviewer")
    assert RIGHT in review


def test_later_rounds_make_new_candidates_for_the_same_tests() -> None:
    def second(ask: Ask) -> str:
        return code(RIGHT if ask.iteration == 2 else WRONG)

    models = crew(HALF, coder_2=second)
    state = run(models, 2, "standard")
    assert models.asked.count("tester") == 1
    assert models.asked.count("coder_1") == models.asked.count("coder_2") == 2
    assert [record["iteration"] for record in state["candidates"]] == [2, 2]
    assert chosen(state)["number"] == 2
    assert state["code"] == {"src/sums.py": RIGHT}
    assert state["approved"]
    first, again = models.prompts("coder_1")
    assert "test_sub" not in first
    assert "test_sub" in again  # what failed in round 1, as every coder sees it
    assert HALF in again


def test_one_that_fails_is_out() -> None:
    models = crew(HALF, coder_2="no file at all", coder_3=RuntimeError("gone"), coder_4=code(RIGHT))
    state = run(models, 4)
    assert chosen(state)["number"] == 4
    out = [record["error"] for record in state["candidates"]]
    assert [bool(error) for error in out] == [False, True, True, False]
    assert "holds no file" in out[1]
    assert "gone" in out[2]


def test_if_all_fail_the_session_fails_and_a_resume_asks_them_again(tmp_path: Path) -> None:
    models = crew(coder="no file at all")
    with open_checkpointer(tmp_path / "swarm.db") as saver:
        graph = build_graph("single", config=settings(3), checkpointer=saver)
        with pytest.raises(ModelError, match=r"^all 3 candidates failed; coder_1: .*holds no file") as error:
            graph.invoke(REQUEST, thread(), context=models.context)
        assert "\n" not in str(error.value)
        assert models.asked.count("tester") == 1
        again = crew(HALF, RIGHT, HALF)
        state = graph.invoke(None, thread(), context=again.context)
        assert sorted(again.asked) == ["coder_1", "coder_2", "coder_3"]
        assert state["code"] == {"src/sums.py": RIGHT}


def test_over_its_budget_a_session_keeps_the_candidates_that_are_there(tmp_path: Path) -> None:
    one = {"max_parallel_agents": 1}
    with open_checkpointer(tmp_path / "swarm.db") as saver:
        models = crew(HALF, RIGHT, HALF)
        poor = settings(3, limits={"calls": 3}, workflow=one)
        with pytest.raises(OverBudget):
            build_graph("single", config=poor, checkpointer=saver).invoke(
                REQUEST, thread(), context=models.context
            )
        assert models.asked == ["tester", "coder_1", "coder_2"]
        rich = build_graph("single", config=settings(3, workflow=one), checkpointer=saver)
        state = rich.invoke(None, thread(), context=models.context)
        assert models.asked == ["tester", "coder_1", "coder_2", "coder_3"]
        assert state["code"] == {"src/sums.py": RIGHT}


def test_a_follow_up_writes_tests_anew_and_shows_the_tester_what_was_there(tmp_path: Path) -> None:
    with open_checkpointer(tmp_path / "swarm.db") as saver:
        graph = build_graph("single", config=settings(2), checkpointer=saver)
        graph.invoke(REQUEST, thread(), context=crew(HALF, RIGHT).context)
        models = crew(WRONG, RIGHT)
        state = graph.invoke({"request": "Do it again."}, thread(), context=models.context)
    assert models.asked[0] == "tester"
    assert RIGHT in models.prompts("tester")[0]
    assert [record["chosen"] for record in state["candidates"]] == [False, True]
    assert state["changed"] == []


# --- tests that cannot judge ---------------------------------------------------------------------


def test_broken_tests_are_written_again_and_no_candidate_is() -> None:
    def written(ask: Ask) -> str:
        return suite(TESTS if "no_such_fixture" in ask.prompt else BROKEN)

    models = crew(HALF, RIGHT, tester=written)
    state = run(models, 2)
    assert models.asked.count("tester") == 2
    assert models.asked.count("coder_1") == models.asked.count("coder_2") == 1
    assert "return a" not in models.prompts("tester")[1]
    assert chosen(state)["number"] == 2
    assert state["approved"] is None
    (review,) = state["reviews"]
    assert review["evidence"]["attempt"] == 2


def test_if_they_stay_broken_agreement_chooses() -> None:
    models = crew(WRONG, HALF, HALF, written=BROKEN)
    state = run(models, 3, "standard")
    assert models.asked.count("tester") == 3
    assert chosen(state)["number"] == 2
    reason = chosen(state)["reason"]
    assert reason.startswith("no tests chose: the tests themselves are broken; tests/test_sums.py::test_sub")
    assert reason.endswith("2 of 3 candidates have the same code")
    assert state["approved"]  # by the reviewers alone
    assert all(record["results"] == {} for record in state["candidates"])


def test_if_the_testers_answer_cannot_be_used_agreement_chooses_and_that_is_said() -> None:
    models = Crew(
        {
            "tester": "I would test addition.",
            "coder_1": code(WRONG),
            "coder_2": code(RIGHT),
            "coder_3": code(RIGHT),
        }
    )
    state = run(models, 3)
    assert models.asked.count("tester") == 2  # the question, and the repair question
    assert (state["tests"], chosen(state)["number"]) == ({}, 2)
    assert (
        chosen(state)["reason"] == "no tests chose: there are no tests; 2 of 3 candidates have the same code"
    )
    assert "unreadable" in state["tasks"]["T001_test"]["note"]
    assert (state["approved"], state["phase"]) == (None, "complete")


def test_without_a_sandbox_agreement_chooses() -> None:
    state = run(crew(WRONG, HALF, HALF_AGAIN), 3, execution={"mode": "off"})
    assert chosen(state)["number"] == 2
    assert chosen(state)["reason"].startswith("no tests chose: ")
    assert state["reviews"][0]["evidence"]["outcome"] == "not_run"


def test_a_candidate_without_the_imported_names_does_not_break_the_tests() -> None:
    models = crew("def plus(a, b):\n    return a + b\n", RIGHT)
    state = run(models, 2)
    assert models.asked.count("tester") == 1
    assert chosen(state)["number"] == 2


def test_if_all_lack_the_imported_names_the_code_is_at_fault_and_not_the_tests() -> None:
    models = crew("def plus(a, b):\n    return a + b\n", "def total(a, b):\n    return a + b\n")
    state = run(models, 2)
    assert models.asked.count("tester") == 1
    assert "ImportError: cannot import name 'add' from 'sums'" in chosen(state)["reason"]
    (finding,) = state["findings"]
    assert finding["problem"].startswith("Fails: tests/test_sums.py")


def test_a_candidate_that_adds_tests_passes_no_more_of_them() -> None:
    adding = """

import sys

frame = sys._getframe()
while frame and not frame.f_globals.get("__file__", "").endswith("test_sums.py"):
    frame = frame.f_back
for number in range(9):
    frame.f_globals[f"test_more_{number}"] = lambda: None
"""
    state = run(crew(HALF + adding, RIGHT), 2)
    assert chosen(state)["number"] == 2
    assert state["candidates"][0]["results"]["passed"] == [
        "tests/test_sums.py::test_add",
        "tests/test_sums.py::test_add_nothing",
    ]


def test_cases_that_the_code_decides_count_as_one_test() -> None:
    def run_of(number: int, cases: str, reason: str = "", failed: str = "") -> Tried:
        results = {"passed": [f"tests/test_a.py::test_it[{case}]" for case in cases]}
        results["passed"].append("tests/test_a.py::test_same[1]")
        results["failed"] = [f"tests/test_a.py::test_it[{case}]" for case in failed]
        outcome: Outcome = "failed" if failed else "timed_out" if reason else "passed"
        return Tried(number, {}, make_evidence(outcome, reason=reason), results)

    written = {"tests/test_a.py": "def test_it(case): ...\ndef test_same(case): ...\n"}
    ran = [run_of(1, "abc"), run_of(2, "d"), run_of(3, "ef", failed="g"), run_of(4, "a", "it hangs")]
    counted = comparable(ran, written)
    both = {"tests/test_a.py::test_it", "tests/test_a.py::test_same[1]"}
    one = {"tests/test_a.py::test_same[1]"}
    assert [found.passed for found in counted] == [both, both, one, one]
    assert counted[2].results["failed"] == ["tests/test_a.py::test_it"]
    alike = comparable([run_of(1, "abc"), run_of(2, "ab", failed="c"), run_of(3, "a", "it hangs")], written)
    assert [len(found.passed) for found in alike] == [4, 3, 2]


def test_a_candidate_that_ends_its_test_run_does_not_vouch_for_broken_tests() -> None:
    def ran(outcome: Outcome, *passed: str) -> Tried:
        return Tried(1, {}, make_evidence(outcome), {"passed": [*passed]} if passed else {})

    broken, ended, hangs = ran("broken", "a"), ran("failed"), ran("timed_out", "a")
    found = broken_evidence([ended, broken, hangs])
    assert found
    assert found["outcome"] == "broken"
    assert broken_evidence([ended, hangs]) is None
    assert broken_evidence([broken, ran("failed", "a")]) is None


def test_single_refuses_code_that_fails_its_tests_and_approves_none() -> None:
    state = run(crew(HALF, HALF_AGAIN), 2)
    assert state["approved"] is False
    assert [finding["location"] for finding in state["findings"]] == ["tests/test_sums.py:16"]
    alone = build_graph("single", config=config()).invoke(REQUEST, context=Crew().context)
    assert alone["approved"] is None
    assert alone["phase"] == "complete"
    assert "candidates" not in alone


# --- pauses --------------------------------------------------------------------------------------


def test_a_pause_before_the_coder_waits_once_for_all_candidates(tmp_path: Path) -> None:
    models = crew(HALF, RIGHT)
    with open_checkpointer(tmp_path / "swarm.db") as saver:
        paused = settings(2, workflow={"pause_before": ["coder"], "pause_after": ["coder"]})
        graph = build_graph("single", config=paused, checkpointer=saver)
        graph.invoke(REQUEST, thread(), context=models.context)
        assert graph.get_state(thread()).next == ("before_coder",)
        assert models.asked == ["tester"]
        graph.invoke(Command(resume="approve"), thread(), context=models.context)
        assert graph.get_state(thread()).next == ("after_coder",)
        assert sorted(models.asked[1:]) == ["coder_1", "coder_2"]
        graph.invoke(Command(resume={"reject": "Add a type."}), thread(), context=models.context)
        assert graph.get_state(thread()).next == ("before_coder",)
        graph.invoke(Command(resume="approve"), thread(), context=models.context)
        assert models.asked.count("coder_1") == models.asked.count("coder_2") == 2
        assert models.asked.count("tester") == 1
        assert "Add a type." in models.prompts("coder_2")[1]
        state = graph.invoke(Command(resume="approve"), thread(), context=models.context)
    assert state["phase"] == "complete"
    assert state["iteration"] == 2
    assert state["code"] == {"src/sums.py": RIGHT}


def test_code_that_a_person_edits_after_the_choice_is_not_called_tested(tmp_path: Path) -> None:
    with open_checkpointer(tmp_path / "swarm.db") as saver:
        paused = settings(2, workflow={"pause_after": ["coder"]})
        graph = build_graph("standard", config=paused, checkpointer=saver)
        context = crew(HALF, RIGHT).context
        graph.invoke(REQUEST, thread(), context=context)
        edited: Command[Any] = Command(resume={"edit": {"code": {"src/sums.py": "x = 1\n"}}})
        state = graph.invoke(edited, thread(), context=context)
    assert state["code"] == {"src/sums.py": "x = 1\n"}
    (ran,) = [review for review in state["reviews"] if review["node"] == "run_tests"]
    assert ran["evidence"]["reason"] == "a person has edited the code since they ran"
    assert ran["approved"] is None


# --- settings ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["document", "change"])
@pytest.mark.parametrize("workflow", ["single", "standard", "full"])
def test_only_code_has_several_candidates(workflow: Workflow, kind: str) -> None:
    with pytest.raises(ConfigError, match=rf"^workflow\.candidates: .*kind '{kind}'.*leave .* out$"):
        build_graph(workflow, config=settings(2, workflow={"kind": kind}))


def test_candidates_that_cannot_be_made_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"^workflow\.candidates: no model 'x'; entries"):
        build_graph("single", config=config(workflow={"candidates": [{"model": "x"}, {}]}))
    server = {"model_config": {"single_model": {"url": "http://localhost:9/v1", "model": "m"}}}
    cold = {**server, "agent_parameters": {"coder": {"temperature": 0}}, "workflow": {"candidates": 2}}
    with pytest.raises(ConfigError, match="candidates 1 and 2 ask m at temperature 0"):
        build_graph("single", config=cold)
    build_graph("single", config={**cold, "workflow": {"candidates": [{}, {"temperature": 0.8}]}})
    build_graph("review_only", config=cold)  # it has no coder


def test_a_workflow_of_ones_own_places_them_like_a_coder() -> None:
    def draft(graph: Any) -> None:
        graph.connect("__start__", graph.place_coder())
        reviews = graph.reviewers("draft", "style")
        graph.connect("coder", reviews[0])
        graph.verdict(reviews, run_tests=True)
        graph.branch("verdict", lambda state: "done" if state["approved"] else "again", {
            "again": "coder", "done": "__end__",
        })  # fmt: skip

    def alone(graph: Any) -> None:
        graph.connect("__start__", graph.place("coder"))
        graph.connect("coder", "__end__")

    own = {"workflows": {"draft": draft, "alone": alone}}
    models = crew(HALF, RIGHT, reviewer=lambda ask: REFUSED if ask.iteration == 1 else APPROVED)
    state = build_graph(OwnWorkflow("draft"), config=settings(2, **own)).invoke(
        REQUEST, context=models.context
    )
    assert state["approved"]
    assert models.asked.count("coder_2") == 2
    with pytest.raises(ConfigError, match=r"place the coder with graph\.place_coder\(\)"):
        build_graph(OwnWorkflow("alone"), config=settings(2, **own))


def test_each_candidate_has_a_model_a_temperature_and_a_seed_of_its_own(tmp_path: Path) -> None:
    entry = {"model": "first", "api_type": "simulated"}
    given = load_config(
        {
            "model_config": {"single_model": entry, "multi_model": {"b": {**entry, "model": "second"}}},
            "workflow": {"candidates": [{"temperature": 0.1}, {"model": "b"}, {"model": "b"}]},
            "execution": {"mode": "off"},
        }
    )
    swarm = SwarmCoordinator(given, data_dir=tmp_path / ".swarm", output_dir=tmp_path / "out")
    state = swarm.run_workflow("Build it", "single", session_id="s")
    made = [(record["model"], record["temperature"]) for record in state["candidates"]]
    assert made == [("first", 0.1), ("second", 0.4), ("second", 0.4)]
    assert len({record["code"]["src/simulated.py"] for record in state["candidates"]}) == 3
    with open_checkpointer(tmp_path / ".swarm" / "swarm.db") as saver:
        calls = {(call["node"], call["model"]) for call in saver.catalogue.calls("s")}
    assert calls == {("tester", "first"), ("coder_1", "first"), ("coder_2", "second"), ("coder_3", "second")}
    seeded = given.parameters_for("coder", {"seed": 7})
    assert [candidate_parameters(seeded, number, Candidate()).seed for number in (1, 2, 3)] == [7, 8, 9]


# --- what people see -----------------------------------------------------------------------------


def test_the_losers_are_files_and_the_report_says_why_one_was_chosen(tmp_path: Path) -> None:
    models = crew(HALF, RIGHT, "<b>broken", coder_4=code(HALF))
    swarm = SwarmCoordinator(
        settings(4), data_dir=tmp_path / ".swarm", output_dir=tmp_path / "out", context=models.context
    )
    swarm.run_workflow("Build it", "single", session_id="s")
    folder = tmp_path / "out" / "s"
    assert (folder / "project" / "src" / "sums.py").read_text() == RIGHT
    kept = sorted(str(file.relative_to(folder)) for file in folder.glob("candidates/**/*.py"))
    assert kept == [f"candidates/{number}/src/sums.py" for number in (1, 3, 4)]
    assert (folder / kept[0]).read_text() == HALF
    tasks = {task.metadata["node"]: task.result for task in swarm.completed_tasks}
    assert "b - a" in str(tasks["coder_1"])
    assert "b - a" not in str(tasks["coder_2"])
    with open_checkpointer(tmp_path / ".swarm" / "swarm.db") as saver:
        session = saver.catalogue.get("s")
        assert session
        report = SessionReport(saver, session)
        page = report_html(report)
        events = saver.catalogue.transcript.events(session_id="s", kinds=["candidate_chosen"])
    assert [row.tests for row in report.candidates] == ["2 of 3", "3 of 3", "not run", "2 of 3"]
    assert "Candidate 2 of 4 was chosen: it alone passes all 3 tests" in page
    assert [event.event.data["number"] for event in events] == [2]


# --- the rule ------------------------------------------------------------------------------------


def tried(number: int, passed: str, of: int = 4, text: str = "") -> Tried:
    """A candidate that passes tests named by letters, of which there are some."""
    names = [*passed]
    failed = [letter for letter in "abcdefgh"[:of] if letter not in passed]
    outcome: Outcome = "failed" if failed else "passed"
    evidence = make_evidence(outcome, passed=len(names), failed=len(failed), exit_code=int(bool(failed)))
    code = {"src/x.py": text or f"x = '{passed}'\n"}
    return Tried(number, code, evidence, {"passed": names, "failed": failed})


def best(*candidates: Tried) -> int:
    return choose(candidates).best.number


def test_who_passes_every_test_beats_three_who_fail_one_but_not_seven() -> None:
    many = [tried(number, "abc") for number in range(2, 9)]
    assert best(tried(1, "abcd"), *many[:3]) == 1
    assert best(tried(1, "abcd"), *many) == 2


def test_skipped_tests_and_stopped_runs_are_told_apart_from_passing_all() -> None:
    whole = tried(1, "abc", 3)
    skips = replace(whole, results={**whole.results, "skipped": ["d"]})
    assert choose([skips]).reason == "it alone passes all 3 tests"
    stopped = [
        replace(tried(number, "a", 1), evidence=make_evidence("timed_out", reason="it was still running"))
        for number in (1, 2)
    ]
    assert choose(stopped).reason == "2 of 2 candidates pass the same 1 test (it was still running)"


def test_two_more_who_agree_outweigh_one_test() -> None:
    many = [tried(number, "ab", 6) for number in (2, 3, 4)]
    assert best(tried(1, "cde", 6), *many) == 2  # 3 + 0.5 against 2 + 1.5: the larger group
    assert best(tried(1, "cdef", 6), *many) == 1
    assert best(tried(1, "cde", 6), *many[:2]) == 1


def test_equal_groups_are_parted_by_size_then_syntax_then_number() -> None:
    assert best(tried(1, "ab"), tried(2, "cd"), tried(3, "cd")) == 2
    assert best(tried(1, "ab", text="x = ("), tried(2, "cd")) == 2
    assert best(tried(1, "ab"), tried(2, "cd")) == 1


def test_in_a_group_the_code_that_most_have_written_is_chosen() -> None:
    alike = [tried(2, "ab", text="x=1  # one\n"), tried(3, "ab", text='"""One."""\nx = 1\n')]
    assert best(tried(1, "ab", text="x = 2\n"), *alike) == 2
    assert best(tried(1, "ab", text="x = ("), tried(2, "ab")) == 2


def test_if_all_fail_every_test_agreement_decides() -> None:
    alike = [tried(2, "", text="x = 1\n"), tried(3, "", text="x=1\n")]
    choice = choose([tried(1, "", text="x = 2\n"), *alike])
    assert choice.best.number == 2
    assert choice.groups == [[2, 3], [1]]
    assert choice.reason == "no candidate passes a test; 2 of 3 candidates have the same code"


def test_only_the_imports_of_the_code_are_named() -> None:
    written = {
        "tests/test_a.py": "import os, pytest, numpy.linalg\nimport queue_a as q\n"
        "from shop import Cart, pay as p\n"
        "from . import conftest\nfrom test_b import helper\nfrom tests.util import x\n\n\n"
        "def test_it():\n    from shop import late\n    assert Cart() == 'secret'\n",
        "tests/test_b.py": "from shop import Cart\n",
        "tests/data.txt": "import never",
        "tests/test_c.py": "import (",
    }
    found = imported_names(written, ["numpy"])
    assert found == [
        "import queue_a",
        "from shop import Cart",
        "from shop import pay",
        "from shop import late",
    ]


# --- what it gains -------------------------------------------------------------------------------

SKILL, NUMBER, CASES = 0.35, 4, 3000
VARIANTS = [HALF, RIGHT.replace("a + b", "a - b"), RIGHT.replace("a + b", "a or b"), WRONG]
"""Wrong programs; the first ones come most often, as with real models."""
WRONG_ONES, OFTEN = range(1, 5), [4, 3, 2, 1]
SUITES = [
    (TESTS, 0.6),
    (TESTS.replace("== 4", "== 5"), 0.2),  # one wrong test
    (TESTS.replace("== 7", "== 7.0").partition("\n\ndef test_sub")[0] + "\n", 0.2),  # a requirement is missed
]
"""The suites of an honest but imperfect tester, and how often it writes each."""


def only_of(file: str, one: Tried) -> Tried:
    """A candidate with the results of one test file, as if it were alone."""
    results = {kind: [test for test in tests if test.startswith(file)] for kind, tests in one.results.items()}
    return replace(one, results=results, evidence=make_evidence("failed" if results["failed"] else "passed"))


@pytest.mark.slow
def test_four_candidates_lift_a_weak_model_to_most_of_what_is_among_them() -> None:
    """A model of skill 0.35 has the right program among four in 82 % of cases; one call solves 35 %."""
    programs = [RIGHT, *VARIANTS]
    records = [
        CandidateRecord(
            number=number, node="", iteration=1, model="", temperature=None, code={"src/sums.py": text},
            error="", results={}, group=0, chosen=False, reason="",
        )
        for number, text in enumerate(programs)
    ]  # fmt: skip
    files = {f"tests/test_{number}.py": suite for number, (suite, _) in enumerate(SUITES)}
    ran = asyncio.run(try_out(records, files, Execution()))
    evidence = [[only_of(file, one) for one in ran] for file in files]

    @cache
    def choice_among(suite: int, *drawn: int) -> int:
        known = evidence[suite]
        return drawn[
            choose([replace(known[one], number=place) for place, one in enumerate(drawn)]).best.number
        ]

    dice = random.Random(20)
    solved = possible = 0
    for _ in range(CASES):
        (suite,) = dice.choices(range(len(SUITES)), [share for _, share in SUITES])
        drawn = [
            0 if dice.random() < SKILL else dice.choices(range(1, 5), [4, 3, 2, 1])[0] for _ in range(NUMBER)
        ]
        solved += choice_among(suite, *drawn) == 0
        possible += 0 in drawn
    assert possible / CASES == pytest.approx(1 - (1 - SKILL) ** NUMBER, abs=0.02)
    assert solved / CASES >= 0.7 * (1 - (1 - SKILL) ** NUMBER)
