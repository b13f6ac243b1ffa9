"""Which of several models a role gets: the rule, the draw of exploring, and what they reach."""

from __future__ import annotations

import random
from statistics import mean

import pytest

from swarm_graph.models.selection import CLOSE, MIN_EVIDENCE, Known, choose, explore

SKILLS = {"a": 0.35, "b": 0.50, "c": 0.62}
SESSIONS, REPETITIONS = 50, 500


def test_without_evidence_the_first_named_is_asked() -> None:
    assert choose([Known("b"), Known("a")]) == ("b", "the first named, without evidence")
    few = Known("a", MIN_EVIDENCE - 1, MIN_EVIDENCE - 1)
    assert choose([Known("b"), few]).entry == "b"
    assert choose([Known("b"), few]).reason == (
        "the first named, with too little evidence (a: 7 of 7 solved; 8 count)"
    )


def test_the_model_that_solves_more_is_chosen_however_slow_it_is() -> None:
    slow, quick = Known("slow", 16, 20, 90.0), Known("quick", 8, 20, 2.0)
    assert choose([quick, slow, Known("new")]) == (
        "slow",
        "16 of 20 solved, 90 s a call; quick: 8 of 20 solved, 2.0 s a call; new: without evidence",
    )


def test_of_models_that_solve_about_as_much_the_quicker_one_is_chosen() -> None:
    best, close, known = (
        Known("best", 17, 20, 30.0),
        Known("close", 16, 18, 10.0),
        Known("same", 17, 20, 30.0),
    )
    assert close.mean >= CLOSE * best.mean
    assert choose([best, close]).entry == "close"
    assert choose([known, best]).entry == "same"
    without_time = Known("close", 16, 18)
    assert choose([best, without_time]).entry == "close"
    assert choose([Known("best", 17, 18), Known("close", 16, 18, 1.0)]).entry == "best"


@pytest.mark.parametrize(("solved", "judged"), [(0, 0), (12, 20), (0, 20), (20, 20), (3, 200), (520, 1100)])
def test_the_interval_holds_the_middle_of_the_beta_distribution(solved: int, judged: int) -> None:
    known, steps = Known("a", solved, judged), 20_000
    share = (solved or 0.5) / (judged or 1)  # near the mode, so that no power is too small for a float
    density = [
        (place / steps / share) ** solved * ((1 - place / steps) / (1.001 - share)) ** (judged - solved)
        for place in range(steps + 1)
    ]
    low, high = (sum(density[: round(bound * steps)]) / sum(density) for bound in known.interval)
    assert (low, high) == pytest.approx((0.025, 0.975), abs=2e-3)
    assert known.interval[0] < known.mean < known.interval[1]


def test_the_interval_of_thousands_of_outcomes_is_that_of_the_normal_distribution() -> None:
    low, high = Known("a", 2_000, 4_000).interval
    assert (low, high) == pytest.approx((0.5 - 1.96 * 0.0079, 0.5 + 1.96 * 0.0079), abs=1e-4)


def test_exploring_draws_the_same_for_the_same_seed_and_mostly_the_better() -> None:
    models = [Known("a", 3, 20), Known("b", 15, 20), Known("c")]
    drawn = [explore(models, str(seed)).entry for seed in range(400)]
    assert drawn == [explore(models, str(seed)).entry for seed in range(400)]
    assert drawn.count("b") > 2 * drawn.count("c") > drawn.count("a")
    assert explore(models, "0").reason.startswith(
        "drawn to explore; a: 3 of 20 solved; b: 15 of 20 solved; c"
    )


def reached(cases: int, explored: int, seed: int, skills: dict[str, float] = SKILLS) -> float:
    """The share of the best model's expected solved sessions that 50 sessions reach.

    Args:
        cases: How many cases each model has answered before, as in `eval`.
        explored: How many of the sessions explore; the others may not.
        seed: Of the dice.
        skills: The known skill of each model, in the order of the configuration.
    """
    dice = random.Random(seed)
    known = {name: Known(name) for name in skills}

    def answer(name: str) -> None:
        before = known[name]
        known[name] = Known(name, before.solved + (dice.random() < skills[name]), before.judged + 1, 1.0)

    for name in [name for name in skills for _ in range(cases)]:
        answer(name)
    expected = 0.0
    for number in range(SESSIONS):
        models = [*known.values()]
        choice = explore(models, f"{seed} {number}") if number < explored else choose(models)
        answer(choice.entry)
        expected += skills[choice.entry]
    return expected / SESSIONS / max(skills.values())


@pytest.mark.parametrize(
    ("cases", "explored", "least", "most"),
    [
        (20, 0, 0.95, 1.0),  # `eval humaneval --cases 20` first: enough, and no session explores
        (20, 10, 0.945, 1.0),
        (12, 0, 0.93, 0.96),
        (0, 20, 0.83, 0.90),  # exploring alone costs real sessions
        (0, 0, 0.56, 0.57),  # without evidence it is the first named, the worst one here
    ],
)
def test_what_fifty_sessions_reach_of_the_best_model(
    cases: int, explored: int, least: float, most: float
) -> None:
    assert least <= mean(reached(cases, explored, seed) for seed in range(REPETITIONS)) <= most
