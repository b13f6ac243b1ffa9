"""What simulated models with a skill know of cases, through real sessions and executed tests."""

import json
import stat
from pathlib import Path

import pytest
from support import sandbox

from swarm_graph import SwarmCoordinator
from swarm_graph.state import SwarmResult, WorkflowName
from swarm_graph.suites.case import Case, Planted, Suite
from swarm_graph.suites.known_answers import write_answers
from swarm_graph.suites.load_suite import load_suite

RIGHT = {"src/tank.py": "def is_full(level):\n    return level >= 80\n"}
WRONG = {"src/tank.py": "def is_full(level):\n    return level > 80\n"}
TEST = (
    "from tank import is_full\n\n\ndef test_limits():\n    assert is_full(80)\n    assert not is_full(79)\n"
)
SECRET = "hidden-assertion-4711"
TANK = Case(
    "own", "tank", "Write is_full(level) in src/tank.py: true from 80 on.", {"test_h.py": f"# {SECRET}\n"},
    solution=RIGHT, wrong=(WRONG,), visible={"tests/test_tank.py": TEST},
)  # fmt: skip
QUESTION = "Review this. It must be true from 80 on.\n\n```python path=src/tank.py\n{}```\n"
PLANTED = Case(
    "own", "planted", QUESTION.format(WRONG["src/tank.py"]), {}, "review", solution=RIGHT,
    planted=Planted("src/tank.py", (2, 2), "is_full", ">= became >"),
)  # fmt: skip
CLEAN = Case(
    "own", "clean", QUESTION.format(RIGHT["src/tank.py"]), {}, "review", solution=RIGHT, is_clean=True
)
STEPS = "# Drain the tank\n\n## Steps\n\n1. Close the inlet valve.\n{}3. Open the drain valve.\n"
DRAIN = Case(
    "own", "drain", "Write a procedure: drain the tank.", {}, kind="document",
    solution={"docs/drain.md": STEPS.format("2. Wear gloves against the hot water.\n")},
    wrong=({"docs/drain.md": STEPS.format("2. Wait a little while for it.\n")},),
)  # fmt: skip


TESTS = {"code": "run_tests", "document": "check_document"}


def answers(folder: Path) -> Path:
    return write_answers([Suite("own", "a test", (TANK, PLANTED, CLEAN, DRAIN))], folder / "experiment")


def swarm(folder: Path, path: Path, skill: float) -> SwarmCoordinator:
    simulation = {"skill": skill, "answers": str(path)}
    config = {
        "model_config": {"single_model": {"model": "m", "api_type": "simulated", "simulation": simulation}},
        "workflow": {"max_iterations": 2},
        "execution": {"sandbox": sandbox()},
    }
    return SwarmCoordinator(config, data_dir=folder / ".swarm", output_dir=folder / "out")


def run(folder: Path, case: Case, skill: float, workflow: WorkflowName = "standard") -> SwarmResult:
    ended = swarm(folder, answers(folder), skill).run_workflow(case.request, workflow, kind=case.kind)
    assert ended["phase"] != "failed"
    return ended


def test_the_file_is_the_user_s_own_and_holds_no_hidden_test(tmp_path: Path) -> None:
    path = answers(tmp_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert SECRET not in path.read_text()
    assert answers(tmp_path).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("case", [TANK, DRAIN], ids=lambda case: case.name)
def test_a_perfect_swarm_answers_right_and_approves(case: Case, tmp_path: Path) -> None:
    ended = run(tmp_path, case, 1, "full")
    assert (ended["phase"], ended["approved"], ended["iteration"]) == ("complete", True, 1)
    assert ended["code"] == case.solution


@pytest.mark.parametrize("case", [TANK, DRAIN], ids=lambda case: case.name)
def test_reviewers_and_testers_that_know_it_object_to_a_wrong_answer(case: Case, tmp_path: Path) -> None:
    path = answers(tmp_path)
    entries = json.loads(path.read_text())
    for entry in entries:
        if "coder" in entry["right"]:
            entry["right"]["coder"] = entry["wrong"]["coder"][0]
    path.write_text(json.dumps(entries))
    ended = swarm(tmp_path, path, 1).run_workflow(case.request, "full", kind=case.kind)
    (file, text), *_ = case.wrong[0].items()
    assert ended["code"] == {file: text}
    assert ended["approved"] is False
    objecting = {node for finding in ended["findings"] for node in finding["seen_by"]}
    assert objecting == {"reviewer", "security", TESTS[case.kind]}
    line = next(
        n
        for n, (a, b) in enumerate(zip(text.split("\n"), case.solution[file].split("\n"), strict=True), 1)
        if a != b
    )
    assert f"{file}:{line}" in {finding["location"] for finding in ended["findings"]}


def test_a_swarm_without_any_skill_approves_a_wrong_answer_and_a_false_test_objects(tmp_path: Path) -> None:
    assert run(tmp_path / "a", TANK, 0)["approved"] is True
    ended = run(tmp_path / "b", TANK, 0, "full")
    assert ended["code"] == TANK.wrong[0]
    assert [finding["seen_by"] for finding in ended["findings"]] == [["run_tests"], ["run_tests"]]


def test_a_review_finds_the_planted_bug_or_approves_and_clean_code_the_other_way_round(
    tmp_path: Path,
) -> None:
    for case, skill, places in [
        (PLANTED, 1, {"src/tank.py:2"}),
        (PLANTED, 0, set()),
        (CLEAN, 1, set()),
        (CLEAN, 0, {"src/tank.py:1"}),
    ]:
        ended = run(tmp_path / f"{case.name}-{skill}", case, skill, "review_only")
        assert {finding["location"] for finding in ended["findings"]} == places
        assert ended["approved"] is not bool(places)


def test_a_review_that_hidden_tests_judge_is_answered_with_the_findings_of_its_files(tmp_path: Path) -> None:
    path = write_answers([load_suite("smoke")], tmp_path)
    case = next(one for one in load_suite("smoke").cases if "findings.json" in one.solution)
    for skill, files in ((1.0, [case.solution]), (0.0, case.wrong)):
        coordinator = swarm(tmp_path / str(skill), path, skill)
        state = coordinator.run_workflow(case.request, "review_only", kind=case.kind)
        said = {finding["problem"] for review in state["reviews"] for finding in review["findings"]}
        known = {one["problem"] for some in files for one in json.loads(some["findings.json"])}
        assert said == known if skill else said <= known
