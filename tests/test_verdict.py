"""The verdict: remarks of all reviews become one list, and only unanimous reviews approve."""

from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path
from typing import Any, cast, get_args

import pytest
from langgraph.types import Command
from repositories import make_repository
from support import REFUSED, Crew, config, thread

from swarm_graph import build_graph, open_checkpointer
from swarm_graph.errors import AnswerError
from swarm_graph.roles.findings import SEVERITIES, judge
from swarm_graph.state import Finding, Review, Severity, SwarmState, Workflow
from swarm_graph.workflows.verdict import is_done, reviews_of_round


def finding(
    problem: str, severity: Severity = "major", place: str = "src/a.py:1", suggestion: str = "", by: str = "a"
) -> Finding:
    return Finding(severity=severity, location=place, problem=problem, suggestion=suggestion, seen_by=[by])


def review(node: str, approved: bool | None = True, *findings: Finding, iteration: int = 1) -> Review:
    return Review(node=node, iteration=iteration, approved=approved, findings=list(findings))


def test_all_reviews_approve_or_nothing_is_approved() -> None:
    assert judge([review("a"), review("b")]) == (True, [])
    for other in (False, None):
        for reviews in permutations([review("a"), review("b", other), review("c")]):
            assert judge(list(reviews))[0] is False


def test_no_review_is_no_approval() -> None:
    assert judge([]) == (False, [])


def test_an_approval_keeps_its_remarks() -> None:
    remark = finding("A better name is needed.", "info")
    assert judge([review("a", True, remark)]) == (True, [remark])


def test_the_same_problem_at_the_same_place_is_one_finding_that_names_who_saw_it() -> None:
    reviews = [
        review("a", False, finding("It fails on  zero.", "minor", "src/A.py:1", by="a")),
        review("b", False, finding("it fails on zero", "critical", suggestion="Mend it.", by="b")),
        review("c", False, finding("It fails on zero.", "info", suggestion="Or not.", by="c")),
    ]
    assert judge(reviews) == (
        False,
        [
            Finding(
                severity="critical",
                location="src/A.py:1",
                problem="It fails on  zero.",
                suggestion="Mend it.",
                seen_by=["a", "b", "c"],
            )
        ],
    )


def test_who_says_it_twice_is_named_once() -> None:
    _, findings = judge([review("a", False, finding("It fails."), finding("It fails"))])
    assert [found["seen_by"] for found in findings] == [["a"]]


def test_what_a_weak_model_repeats_or_copies_from_the_form_is_left_out() -> None:
    """SmolLM2 fills its answer with one finding, and gives the form's own words as the place."""
    copied = {"severity": "major", "location": "path:line", "problem": "It fails.", "suggestion": "..."}
    answer = json.dumps({"findings": [copied] * 12, "approved": False})
    crew = Crew({"reviewer": answer})
    graph = build_graph("review_only", config=config(workflow={"reviewers": ["style"]}))
    (review,) = graph.invoke({"request": "x = 1"}, context=crew.context)["reviews"]
    (finding,) = review["findings"]
    assert (finding["location"], finding["problem"], finding["suggestion"]) == ("", "It fails.", "")


def test_a_repeated_requirement_stands_once() -> None:
    answer = json.dumps({"requirements": ["Add.", "It adds", "add", "Add."], "assumptions": ["Ok", "ok"]})
    crew = Crew({"clarifier": answer})
    state = build_graph("standard", config=config()).invoke({"request": "Add"}, context=crew.context)
    assert state["requirements"] == "## Requirements\n- Add.\n- It adds\n\n## Assumptions\n- Ok"


def test_another_place_or_another_problem_is_another_finding() -> None:
    one = review("a", False, finding("It fails."), finding("It fails.", place="src/a.py:2"))
    other = review("b", False, finding("It hangs."))
    assert len(judge([one, other])[1]) == 3


def test_the_gravest_come_first_and_equals_stay_in_the_order_of_their_reviews() -> None:
    one = review("a", False, finding("1", "minor"), finding("2", "info"), finding("3", "critical"))
    other = review("b", False, finding("4", "minor"), finding("5", "critical"), finding("6", "major"))
    assert [found["problem"] for found in judge([one, other])[1]] == ["3", "5", "6", "1", "4", "2"]


def test_a_finding_moves_up_with_its_graver_twin() -> None:
    one = review("a", False, finding("first", "major"), finding("second", "info"))
    other = review("b", False, finding("second", "critical", by="b"))
    assert [found["problem"] for found in judge([one, other])[1]] == ["second", "first"]


def test_merging_leaves_the_reviews_as_they_were() -> None:
    first, second = finding("It fails.", "info", by="a"), finding("It fails.", "critical", by="b")
    judge([review("a", False, first), review("b", False, second)])
    assert (first["severity"], first["seen_by"], second["seen_by"]) == ("info", ["a"], ["b"])


def test_only_this_round_counts_in_the_order_of_the_nodes_whoever_was_first() -> None:
    old, late, early = review("a", False), review("c", iteration=2), review("b", iteration=2)
    for reviews in permutations([old, late, early]):
        state = SwarmState(reviews=list(reviews), iteration=2)
        assert reviews_of_round(state) == [early, late]


def test_without_a_coder_the_first_round_is_this_one() -> None:
    only = review("a")
    assert reviews_of_round(SwarmState(reviews=[only])) == [only]
    assert reviews_of_round(SwarmState()) == []


@pytest.mark.parametrize(
    ("approved", "iteration", "done"),
    [(True, 1, True), (False, 1, False), (False, 2, False), (False, 3, True), (False, 4, True)],
)
def test_rounds_end_with_an_approval_or_with_the_last(approved: bool, iteration: int, done: bool) -> None:
    assert is_done(SwarmState(approved=approved, iteration=iteration), 3) is done


def test_every_severity_has_its_rank() -> None:
    assert get_args(Severity) == SEVERITIES


# --- circles -------------------------------------------------------------------------------------


def run(crew: Crew, workflow: Workflow = "standard", **settings: Any) -> Any:
    graph = build_graph(workflow, config=config(workflow={"max_iterations": 6, **settings}))
    return graph.invoke({"request": "Build it"}, context=crew.context)


def refusal(*problems: str, severity: str = "major") -> str:
    remarks = [
        {"severity": severity, "location": "a", "problem": text, "suggestion": ""} for text in problems
    ]
    return json.dumps({"findings": remarks, "approved": False})


def test_the_same_findings_twice_end_the_rounds() -> None:
    crew = Crew({"reviewer": refusal("It fails.")})
    state = run(crew)
    assert crew.asked.count("coder") == 2
    assert (state["phase"], state["approved"]) == ("not_converged", False)
    assert state["circling"] == "round 2 has the findings of round 1 again"


def test_the_same_findings_twice_end_the_rounds_in_a_repository(tmp_path: Path) -> None:
    """The verdict writes their places as `path:line`; the reviews of earlier rounds have them as answered."""
    repo = make_repository(tmp_path / "project", {"src/a.py": "x = 1\n"})
    crew = Crew(
        {
            "coder": lambda ask: f"```python path=src/a.py\nx = 1{ask.iteration}\n```",
            "reviewer": refusal("It fails.").replace('"a"', '"line 1 of `src/a.py`"'),
        }
    )
    graph = build_graph("standard", config=config(workflow={"max_iterations": 6, "kind": "change"}))
    state: Any = graph.invoke({"request": "Build it", "repo": repo}, context=crew.context)
    assert state["circling"] == "round 2 has the findings of round 1 again"
    assert [finding["location"] for finding in state["findings"]] == ["src/a.py:1"]


def test_the_same_code_twice_ends_the_rounds_with_the_best_attempt() -> None:
    """Round 2 was the best: the code goes back to it although rounds 3 and 4 wrote others."""
    problems = {1: ["a", "b"], 2: ["c"], 3: ["d", "e"], 4: ["f", "g"]}
    crew = Crew(
        {
            "reviewer": lambda ask: refusal(*problems[ask.iteration]),
            "coder": lambda ask: f"```python path=src/a.py\nx = {ask.iteration % 3}\n```",
        }
    )
    state = run(crew)
    assert state["circling"] == "round 4 has the code of round 1 again"
    assert state["code"] == {"src/a.py": "x = 2\n"}
    assert [finding["problem"] for finding in state["findings"]] == ["c"]
    assert state["best"]["iteration"] == 2


def test_one_critical_finding_is_graver_than_many_minor_ones() -> None:
    remarks = {1: refusal("a", severity="critical"), 2: refusal("b", "c", "d", severity="minor")}
    crew = Crew({"reviewer": lambda ask: remarks.get(ask.iteration, remarks[1])})
    assert run(crew)["best"]["iteration"] == 2


def test_the_end_s_roles_work_on_the_best_attempt_and_the_phase_stays(tmp_path: Path) -> None:
    for settings in ({}, {"pause_after": ["documenter"]}):
        crew = Crew({"reviewer": refusal("It fails.")})
        with open_checkpointer(tmp_path / f"{len(settings)}.db") as saver:
            own = config(workflow={"max_iterations": 6, **settings})
            graph = build_graph("full", config=own, checkpointer=saver)
            state = graph.invoke({"request": "Build it"}, thread(), context=crew.context)
            if settings:
                state = graph.invoke(Command(resume="approve"), thread(), context=crew.context)
            assert {"optimizer", "documenter"} <= set(crew.asked)
            assert state["phase"] == "not_converged"
            known = saver.catalogue.get("t")
            assert known
            assert known.phase == "not_converged"
            again = Crew()
            done = graph.invoke({"request": "Once more"}, thread(), context=again.context)
            assert done["circling"] == ""


def test_rounds_that_go_on_are_no_circle() -> None:
    crew = Crew({"reviewer": REFUSED})
    state = run(crew, max_iterations=4)
    assert crew.asked.count("coder") == 4
    assert (state["phase"], state["circling"]) == ("complete", "")


UNPARSABLE = {
    "src/a.py": "def f(:\n",
    "src/b.py": 'def f(a, b):\n    return "&lt;" if a &lt; b else ""\n',
    "conf.json": "{'a': 1}",
    "conf.yaml": "a: [1\n",
    "conf.toml": "a = ",
}


@pytest.mark.parametrize("path", UNPARSABLE)
@pytest.mark.parametrize("workflow", ["standard", "full"])
def test_code_that_does_not_parse_is_never_approved(path: str, workflow: Workflow) -> None:
    state = {"code": {path: UNPARSABLE[path]}, "reviews": [review("a")], "iteration": 1}
    (refusal,) = [found for found in reviews_of_round(cast("SwarmState", state)) if found["node"] == "syntax"]
    assert refusal["approved"] is False
    assert refusal["findings"][0]["severity"] == "critical"
    assert refusal["findings"][0]["location"].startswith(path)
    crew = Crew({"coder": f"```text path={path}\n{UNPARSABLE[path]}```"})
    graph = build_graph(workflow, config=config(workflow={"max_iterations": 1}))
    assert graph.invoke({"request": "Build it."}, context=crew.context)["approved"] is False


def test_code_of_which_every_file_is_empty_is_never_approved() -> None:
    state = {"code": {"src/a.py": " \n", "src/b.py": ""}, "reviews": [review("a")], "iteration": 1}
    refusal = reviews_of_round(cast("SwarmState", state))[-1]
    assert refusal["findings"][0]["problem"] == "Every file of the code is empty."
    graph = build_graph("standard", config=config(workflow={"max_iterations": 1}))
    with pytest.raises(AnswerError, match="every file of the coder's answer is empty"):
        graph.invoke({"request": "Build it."}, context=Crew({"coder": "```python path=a.py\n\n```"}).context)


def test_a_person_s_approval_does_not_make_code_parse(tmp_path: Path) -> None:
    """The node that ends a workflow with pauses judges the round again."""
    crew = Crew({"coder": "```python path=src/a.py\ndef f(:\n```"})
    pauses = {"max_iterations": 1, "pause_after": ["documenter"]}
    with open_checkpointer(tmp_path / "swarm.db") as saver:
        graph = build_graph("full", config=config(workflow=pauses), checkpointer=saver)
        graph.invoke({"request": "Build it."}, thread(), context=crew.context)
        state = graph.invoke(Command(resume="approve"), thread(), context=crew.context)
    assert state["approved"] is False
