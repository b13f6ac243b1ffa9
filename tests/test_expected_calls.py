"""What `eval` and `ab` say of their cost before they start, against what their sessions then do."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from swarm_graph import evaluate, load_config
from swarm_graph.cli.main import swarm_graph
from swarm_graph.cli.trials import time_left
from swarm_graph.experiments.arms import parse_arms
from swarm_graph.experiments.expected_calls import CallRange, expected_calls
from swarm_graph.experiments.plan import choose_cases
from swarm_graph.suites.load_suite import load_suite

CASES = 4
ARMS = ("single", "single:candidates=4", "standard", "full", "full:candidates=2", "standard:max_iterations=1")
LONGEST = {
    "single": 1,
    "single:candidates=4": 5,
    "standard": 14,
    "full": 18,
    "full:candidates=2": 19,
    "standard:max_iterations=1": 6,
}


def simulated(skill: float) -> dict[str, object]:
    simulation = {"skill": skill, "first_token_s": 0}
    entry = {"model": "simulated", "api_type": "simulated", "simulation": simulation}
    return {"model_config": {"single_model": entry}}


def test_a_range_goes_from_one_round_to_all_of_them() -> None:
    suite = load_suite("smoke")
    arms = parse_arms(ARMS, load_config(simulated(0.5)))
    (case,) = [case for case in suite.cases if case.name == "rate-limiter"]
    found = expected_calls(arms, [case], {(arm.name, case.id) for arm in arms})
    assert {name: calls.most for name, calls in found.items()} == LONGEST
    (review,) = [case for case in suite.cases if case.name == "review-steam-tables"]
    left = {("standard", review.id), ("single", case.id)}
    found = expected_calls(arms, [case, review], left)
    assert found["standard"] == CallRange(3, 3)
    assert found["single"] == CallRange(1, 1)
    assert found["full"] == CallRange()


@pytest.mark.slow
def test_sessions_that_are_approved_at_once_make_the_fewest_calls(tmp_path: Path) -> None:
    given, names = simulated(1.0), ("single", "single:candidates=2", "standard")
    cases = choose_cases([load_suite("smoke")], CASES, 0)
    arms = parse_arms(names, load_config(given))
    found = expected_calls(arms, cases, {(arm.name, case.id) for arm in arms for case in cases})
    done = evaluate(
        "smoke", names, config=given, cases=CASES, data_dir=tmp_path / "d", output_dir=tmp_path / "o"
    )
    for name in names:
        calls = sum(trial.calls for trial in done.trials if trial.arm == name)
        assert calls == found[name].least, name


def test_the_cost_is_said_before_the_first_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["eval", "smoke", "--arms", "single,standard", "--cases", "2", "--simulate", "--max-calls", "1"]
    done = CliRunner().invoke(swarm_graph, command, catch_exceptions=False)
    lines = done.stderr.splitlines()
    assert lines[0].endswith("2 cases in 2 arms, 4 trials")
    assert lines[1].startswith("swarm-graph: model calls: ")
    assert " of single, " in lines[1]


def test_the_time_that_is_left_is_said_once_it_can_be_known() -> None:
    assert time_left(2, 10, 60.0) == ""
    assert time_left(3, 10, 60.0) == "; about 3 min 20 s left"
    assert time_left(8, 0, 60.0) == ""
