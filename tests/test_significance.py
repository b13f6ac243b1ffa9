"""Configurations compared over several sessions: one is called better only beyond chance."""

from __future__ import annotations

import random
from pathlib import Path

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm_graph import SwarmCoordinator, SwarmManager
from swarm_graph.reports.significance import SIGNIFICANCE_LEVEL, differences, p_value


@pytest.mark.parametrize(
    ("first", "other", "p"),
    [
        ([1, 1, 1], [2, 2, 2], 2 / 20),
        ([1, 2, 3, 4, 5], [6, 7, 8, 9, 10], 2 / 252),
        ([1, 2], [1, 2], 1.0),
        ([0.1 + 0.2], [0.3], 1.0),
        ([1.0], [2.0], 1.0),
    ],
)
def test_p_is_the_share_of_splits_that_are_as_far_apart(
    first: list[float], other: list[float], p: float
) -> None:
    assert p_value(first, other) == pytest.approx(p)


VALUES = st.lists(st.integers(0, 20), min_size=1, max_size=7)


@hypothesis.settings(derandomize=True, deadline=None)
@given(VALUES, VALUES)
def test_p_is_a_share_and_symmetric(first: list[float], other: list[float]) -> None:
    assert 0 < p_value(first, other) <= 1
    assert p_value(first, other) == pytest.approx(p_value(other, first))


def test_large_groups_are_tested_by_random_splits() -> None:
    low, high = [float(n) for n in range(20)], [float(n) for n in range(15, 35)]
    assert p_value(low, high) == pytest.approx(1 / 20_001)
    assert p_value(low, [n + 0.5 for n in low]) > SIGNIFICANCE_LEVEL


def test_equal_groups_seldom_differ() -> None:
    draw = random.Random(7)
    names = ("open_findings", "rounds", "seconds", "tokens", "failed_calls")

    def sessions() -> list[dict[str, float | None]]:
        return [{name: draw.gauss(10, 3) for name in names} for _ in range(6)]

    claimed = sum(bool(differences(sessions(), sessions())) for _ in range(200))
    assert claimed <= 0.08 * 200


def test_the_better_side_depends_on_the_figure() -> None:
    rows = [{"approved": True, "seconds": 9.0 + number / 10} for number in range(8)]
    others = [{"approved": False, "seconds": 1.0 + number / 10} for number in range(8)]
    found = {one.figure: one.first_is_better for one in differences(rows, others)}
    assert found == {"approved": True, "seconds": False}


@pytest.fixture(scope="module")
def manager(tmp_path_factory: pytest.TempPathFactory) -> SwarmManager:
    """Six simulated sessions of each of three configurations; "plain" and "same" behave the same."""
    folder = tmp_path_factory.mktemp("configurations")
    settings = {"plain": ({}, 3), "same": ({}, 4), "broken": ({"malformed_rate": 0.9}, 3)}
    for name, (simulation, parallel) in settings.items():
        for seed in range(6):
            entry = {"model": "m", "api_type": "simulated", "simulation": {**simulation, "seed": seed}}
            config = {
                "model_config": {"single_model": entry},
                "workflow": {"max_parallel_agents": parallel},
                "execution": {"mode": "off"},
            }
            coordinator = SwarmCoordinator(config, data_dir=folder / ".swarm", output_dir=folder / "out")
            coordinator.run_workflow("Build a queue", session_id=f"{name}-{seed}")
    return SwarmManager(folder / "out", data_dir=folder / ".swarm")


def sessions(*names: str, count: int = 6) -> list[str]:
    return [f"{name}-{seed}" for name in names for seed in range(count)]


def test_a_configuration_that_does_worse_is_named(
    manager: SwarmManager, capsys: pytest.CaptureFixture[str]
) -> None:
    (contest,) = manager.compare_sessions(*sessions("broken", "plain")).contests
    assert contest.better == "other"
    assert len(contest.first) == len(contest.other) == 6, "seeds alone make no other configuration"
    shown = capsys.readouterr().out
    assert "Configurations of broken-0 (and 5 more) and plain-0 (and 5 more): " in shown
    assert "plain-0's is better: " in shown
    assert "tokens" in {one.figure for one in contest.differences}


def test_configurations_that_behave_the_same_do_not_differ(manager: SwarmManager) -> None:
    (contest,) = manager.compare_sessions(*sessions("plain", "same")).contests
    figures = {one.figure for one in contest.differences}
    assert not figures - {"seconds"}, "simulated sessions differ in nothing but their time"


def test_two_sessions_are_too_few_and_the_text_says_so(
    manager: SwarmManager, capsys: pytest.CaptureFixture[str]
) -> None:
    (contest,) = manager.compare_sessions("broken-0", "plain-0").contests
    assert (contest.better, contest.differences) == (None, [])
    assert "no difference beyond chance; six sessions or more of each can show one" in capsys.readouterr().out


def test_different_requests_are_mentioned(manager: SwarmManager, tmp_path: Path) -> None:
    config = {"model_config": {"single_model": {"model": "other", "api_type": "simulated"}}}
    coordinator = SwarmCoordinator(config, data_dir=manager.data_dir, output_dir=tmp_path)
    coordinator.run_workflow("Build a stack", "review_only", session_id="stack")
    (contest,) = manager.compare_sessions("plain-0", "stack").contests
    assert contest.requests_differ
    assert contest.text().endswith("; their requests differ\n")
