"""The stopping rule of A/B tests: its looks, its words, and how often it errs."""

from __future__ import annotations

import random
from math import sqrt

import pytest

from swarm_graph.errors import InputError
from swarm_graph.experiments.looks import Measure, Outcome, Pair, SideName, decide, take_look
from swarm_graph.experiments.stopping import StoppingRule

REPETITIONS = 500
PAIRS: dict[Measure, int] = {"solved": 36, "tokens": 10}
TOO_MANY = REPETITIONS * 0.05 + 3 * sqrt(REPETITIONS * 0.05 * 0.95)
"""Three standard deviations above the level."""


def outcome(solved: bool, tokens: float = 100) -> Outcome:
    return Outcome(solved, solved, tokens, tokens / 10, 0.0)


def planned(name: str, pairs: int) -> StoppingRule:
    return StoppingRule.fixed(pairs) if name == "fixed" else StoppingRule.sequential(pairs, 4)


def simulated_pair(draw: random.Random, a: float, b: float) -> Pair:
    """What two models of known skill do with a request; a hard one is hard for both."""
    shift = draw.choice([-0.3, 0, 0.3])
    one, other = (outcome(draw.random() < skill + shift, draw.lognormvariate(5, 1)) for skill in (a, b))
    return one, other


def run_test(
    rule: StoppingRule, measure: Measure, draw: random.Random, a: float, b: float
) -> tuple[SideName | None, int]:
    """The winner of a whole test, and after how many pairs it ended."""
    pairs = [simulated_pair(draw, a, b) for _ in range(rule.pairs)]
    for count in rule.looks:
        if winner := decide(rule, measure, pairs[:count]).winner:
            return winner, count
    return None, rule.pairs


@pytest.mark.parametrize("name", ["fixed", "sequential"])
@pytest.mark.parametrize("measure", PAIRS)
def test_equal_sides_are_told_apart_at_most_as_often_as_stated(name: str, measure: Measure) -> None:
    rule, draw = planned(name, PAIRS[measure]), random.Random(f"{name} {measure}")
    winners = [run_test(rule, measure, draw, 0.5, 0.5)[0] for _ in range(REPETITIONS)]
    wrong = REPETITIONS - winners.count(None)
    assert 0 < wrong <= TOO_MANY
    assert min(winners.count("a"), winners.count("b")) > 0


@pytest.mark.parametrize("name", ["fixed", "sequential"])
def test_a_better_side_wins_and_the_sequential_rule_needs_fewer_pairs(name: str) -> None:
    rule, draw = planned(name, PAIRS["solved"]), random.Random(name)
    tests = [run_test(rule, "solved", draw, 0.3, 0.8) for _ in range(100)]
    assert sum(winner == "b" for winner, _ in tests) >= 90
    assert not sum(winner == "a" for winner, _ in tests)
    needed = sum(count for _, count in tests) / len(tests)
    assert needed == rule.pairs if name == "fixed" else needed < 0.85 * rule.pairs


def test_a_cheaper_side_that_solves_fewer_does_not_win() -> None:
    rule = StoppingRule.fixed(12)
    pairs = [(outcome(True, 100 + one), outcome(one < 4, 10)) for one in range(12)]
    look = take_look(rule, "tokens", pairs)
    assert (look.winner, look.solves_fewer) == (None, "b")
    equal = [(outcome(True, 100 + one), outcome(one < 11, 10)) for one in range(12)]
    assert take_look(rule, "tokens", equal).winner == "b"


def test_the_interval_is_the_one_of_the_look() -> None:
    rule = StoppingRule.sequential(20, 2)
    pairs = [(outcome(False), outcome(True))] * 10
    look = take_look(rule, "solved", pairs)
    assert look.winner == "b"
    assert look.confidence > 0.99
    assert look.effect is not None
    at_the_end = take_look(StoppingRule.fixed(10), "solved", pairs).effect
    assert at_the_end is not None
    assert 0 < look.effect.low < at_the_end.low < 1
    with pytest.raises(ValueError, match="tuple"):
        take_look(rule, "solved", pairs[:7])


def test_a_rule_says_what_it_will_do() -> None:
    assert StoppingRule.fixed(20).text() == (
        "Fixed number: one look, after 20 pairs. It shows a difference if p \N{LESS-THAN OR EQUAL TO} 0.05. "
        "No result is computed before a look."
    )
    rule = StoppingRule.sequential(20, 3)
    assert rule.looks == (7, 13, 20)
    assert "3 looks, after 7 (p \N{LESS-THAN OR EQUAL TO} 0.0003), 13 (p" in rule.text()
    assert "7 pairs are too few to show a difference" in rule.text()
    assert StoppingRule.of(rule.to_dict()) == rule
    assert "5 pairs are too few to show a difference" in StoppingRule.fixed(5).text()
    assert [rule.next_look(judged) for judged in (0, 7, 12, 20)] == [7, 13, 13, None]


@pytest.mark.parametrize(("pairs", "looks"), [(20, 1), (20, 21), (3, 4), (20, 0)])
def test_looks_that_cannot_be_are_refused(pairs: int, looks: int) -> None:
    with pytest.raises(InputError, match=f"--looks {looks}"):
        StoppingRule.sequential(pairs, looks)
