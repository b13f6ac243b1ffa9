"""Arms from texts, the order of trials, and how an arm runs a case."""

from pathlib import Path

import pytest
from support import write_config

from swarm_graph.config import load_config
from swarm_graph.errors import ConfigError, InputError
from swarm_graph.experiments.arm import Arm
from swarm_graph.experiments.arms import check_arms, parse_arms, session_setup, split_arms, with_absolute_file
from swarm_graph.experiments.plan import Plan, choose_cases, make_plan, planned_trials
from swarm_graph.suites.case import Case, Suite

TWO_MODELS = {
    "model_config": {
        "mode": "multi",
        "single_model": {"model": "s", "api_type": "simulated"},
        "multi_model": {
            "weak": {"model": "w", "api_type": "simulated"},
            "strong": {"model": "t", "api_type": "simulated"},
        },
    }
}
WRITE = Case("own", "write", "Write a.py", {"test_a.py": "def test_a(): pass"})
REVIEW = Case("own", "review", "Review this", {}, assignment="review", is_clean=True)
DOCUMENT = Case("own", "document", "Review this", {"test_a.py": ""}, assignment="review", kind="document")


def cases(count: int, name: str = "own") -> tuple[Case, ...]:
    return tuple(Case(name, f"c{number}", f"Write c{number}", {}) for number in range(count))


def test_an_arm_is_a_workflow_with_a_configuration_and_settings(tmp_path: Path) -> None:
    file = write_config(tmp_path, agent_parameters={"coder": {"temperature": 0.1}})
    config = load_config(TWO_MODELS, environ={})
    texts = split_arms(
        f'single:candidates=4, full@{file}:max_iterations=2,standard:reviewers=["style","correctness"]'
    )
    single, full, standard = parse_arms(texts, config)
    assert (single.name, single.workflow, len(single.config.workflow.coders)) == (
        "single:candidates=4",
        "single",
        4,
    )
    assert (full.name, full.workflow) == ("full@config.json:max_iterations=2", "full")
    assert full.config.workflow.max_iterations == 2
    assert full.config.parameters_for("coder").temperature == 0.1
    assert standard.config.workflow.focuses("standard") == ["style", "correctness"]
    (alone,) = parse_arms([str(file)], config)
    assert (alone.name, alone.workflow) == ("standard@config.json", "standard")


def test_models_multiply_the_arms() -> None:
    arms = parse_arms(["single", "full"], load_config(TWO_MODELS, environ={}), ["weak", "strong"])
    assert [arm.name for arm in arms] == ["single · weak", "single · strong", "full · weak", "full · strong"]
    assert [arm.config.model_for("coder").model for arm in arms] == ["w", "t", "w", "t"]
    assert [arm.model for arm in arms] == ["weak", "strong"] * 2


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "no arm is given"),
        ("singel", "did you mean 'single'?"),
        ("custom", "unknown workflow 'custom'"),
        ("single:candidate=4", "did you mean 'candidates'?"),
        ("single:candidates=99", "workflow.candidates"),
        ("@a.json", "expected WORKFLOW"),
        ("single,single", "two arms have the name 'single'"),
    ],
)
def test_a_wrong_arm_is_one_line_that_names_it(text: str, problem: str) -> None:
    with pytest.raises((InputError, ConfigError)) as caught:
        parse_arms(split_arms(text), load_config(TWO_MODELS, environ={}))
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_recorded_text_of_an_arm_names_its_file_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert with_absolute_file("full@a.json:max_iterations=2") == f"full@{tmp_path}/a.json:max_iterations=2"
    assert with_absolute_file("single:candidates=4") == "single:candidates=4"


def test_a_review_runs_with_the_reviewers_of_the_arms_workflow() -> None:
    config = load_config({**TWO_MODELS, "workflow": {"pause_after": ["coder"]}}, environ={})
    found = {
        (arm.name, case.name): session_setup(arm, case)
        for arm in parse_arms(["single", "standard", "full"], config)
        for case in (WRITE, REVIEW, DOCUMENT)
    }
    assert {setup.workflow for (_, case), setup in found.items() if case != "write"} == {"review_only"}
    focuses = {key: setup.config.workflow.focuses("review_only") for key, setup in found.items()}
    assert focuses["single", "review"] == ["correctness"]
    assert focuses["standard", "review"] == ["correctness", "performance", "style"]
    assert focuses["standard", "document"] == ["correctness", "completeness", "clarity"]
    assert focuses["full", "review"] == ["general", "security"]
    assert found["full", "write"].workflow == "full"
    assert not any(setup.config.workflow.pauses for setup in found.values())


def test_an_arm_that_cannot_run_a_case_is_found_before_anything_runs() -> None:
    config = load_config(TWO_MODELS, environ={})
    with pytest.raises(InputError, match="the arm 'review_only' only reviews, and the case 'own/write' asks"):
        check_arms(parse_arms(["review_only"], config), [REVIEW, WRITE])
    check_arms(parse_arms(["review_only", "single", "full"], config)[:1], [REVIEW, DOCUMENT])
    with pytest.raises(ConfigError, match="the arm 'x': no model is configured"):
        check_arms([Arm("x", "single", load_config({}, environ={}))], [WRITE])


def test_a_greater_sample_holds_the_smaller_one_and_the_seed_decides() -> None:
    suites = [Suite("a", "", cases(30, "a")), Suite("b", "", cases(3, "b"))]
    five, ten = ({case.id for case in choose_cases(suites, count, 1)} for count in (5, 10))
    assert five < ten
    assert (len(five), len(ten)) == (5 + 3, 10 + 3)
    assert choose_cases(suites, 5, 1) == choose_cases(suites, 5, 1) != choose_cases(suites, 5, 2)


def test_all_arms_of_a_case_follow_each_other_and_take_turns_at_the_beginning() -> None:
    config = load_config(TWO_MODELS, environ={})
    arms = parse_arms(["single", "standard", "full"], config)
    trials = planned_trials("e", cases(3), arms)
    assert [(trial.number, trial.session) for trial in trials][:2] == [(1, "e-0001"), (2, "e-0002")]
    by_case = [[trial.arm for trial in trials if trial.case == f"c{number}"] for number in range(3)]
    assert by_case == [
        ["single", "standard", "full"],
        ["standard", "full", "single"],
        ["full", "single", "standard"],
    ]


def test_a_plan_comes_back_as_it_was_and_holds_no_hidden_test() -> None:
    config = load_config({**TWO_MODELS, "proxy": "http://localhost:1"}, environ={})
    suite = Suite("own", "made here", (WRITE,))
    plan = make_plan({"own": suite}, parse_arms(["single"], config), [WRITE], seed=3, arm_texts=["single"])
    assert Plan.of({**plan.to_dict(), "rule": "more"}) == plan
    assert WRITE.hidden["test_a.py"] not in str(plan.to_dict())
    assert plan.suites[0].digest == suite.digest


def test_an_arm_that_leaves_a_model_open_is_refused_before_anything_runs() -> None:
    models = TWO_MODELS["model_config"]
    choice = {"coder": {"any_of": ["weak", "strong"]}}
    multi = {**models["multi_model"], **choice}  # type: ignore[dict-item]
    config = load_config({"model_config": {**models, "multi_model": multi}}, environ={})
    told = r"leaves the model of 'coder' open.*--models weak,strong measures each"
    with pytest.raises(InputError, match=told):
        check_arms(parse_arms(["single"], config), [WRITE])
    check_arms(parse_arms(["single"], config, ["weak", "strong"]), [WRITE])
    check_arms(parse_arms(["single"], config.with_choices({"coder": "strong"})), [WRITE])
