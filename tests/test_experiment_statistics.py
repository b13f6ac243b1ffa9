"""The statistics of experiments keep their levels: intervals cover, and tests seldom err."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import product
from math import comb, factorial, prod
from statistics import NormalDist, fmean

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm_graph.experiments.sequential import sequential_bounds
from swarm_graph.experiments.statistics import (
    LEVEL,
    MAX_EXACT_FLIPS,
    POWER,
    Interval,
    holm,
    mcnemar,
    paired_difference,
    per_solved,
    ratio_interval,
    share_interval,
    sign_flip_p,
    smallest_difference,
)

RATES = (0.02, 0.1, 0.35, 0.5, 0.62, 0.9)


def covers(interval: Interval, truth: float) -> bool:
    return interval.low <= truth + 1e-9 and (interval.high is None or truth <= interval.high + 1e-9)


@cache
def mcnemar_of(won: int, lost: int) -> float:
    return mcnemar([True] * won + [False] * lost, [False] * won + [True] * lost)


# --- intervals -----------------------------------------------------------------------------------


def test_the_interval_of_a_share_is_that_of_the_tables() -> None:
    low, high = share_interval(7, 20)[1:]
    assert (round(low, 4), round(high or 0, 4)) == (0.1539, 0.5922)
    assert share_interval(0, 20).low == 0
    assert share_interval(0, 20).high == pytest.approx(1 - 0.025 ** (1 / 20))
    assert share_interval(20, 20).low == pytest.approx(0.025 ** (1 / 20))
    with pytest.raises(ValueError, match="0 of 0 is no share"):
        share_interval(0, 0)


@pytest.mark.parametrize("cases", [20, 40, 164])
def test_a_share_is_covered_at_every_rate(cases: int) -> None:
    intervals = [share_interval(solved, cases) for solved in range(cases + 1)]
    for rate in RATES:
        chances = [comb(cases, k) * rate**k * (1 - rate) ** (cases - k) for k in range(cases + 1)]
        covered = sum(p for p, interval in zip(chances, intervals, strict=True) if covers(interval, rate))
        assert covered >= 0.95


def outcomes(
    draw: random.Random, rates: Sequence[float], easier: float, cases: int
) -> list[tuple[bool, ...]]:
    """Whether each arm solves each case; all arms find the same cases hard."""
    rows = []
    for _ in range(cases):
        hardness = draw.random()
        rows.append(
            tuple(draw.random() < (rate * (1 - easier) + easier * (rate > hardness)) for rate in rates)
        )
    return rows


@pytest.mark.parametrize(("one", "two"), [(0.35, 0.35), (0.35, 0.62), (0.05, 0.3), (0.9, 0.9)])
def test_a_difference_is_covered(one: float, two: float) -> None:
    draw = random.Random(3)
    found = [
        covers(paired_difference([(a, b) for a, b in outcomes(draw, (one, two), easier, cases)]), one - two)
        for easier in (0.0, 0.5, 0.9)
        for cases in (20, 40)
        for _ in range(40)
    ]
    assert fmean(found) >= 0.93


@pytest.mark.parametrize("shares", [(0.52, 0.0, 0.02, 0.46), (0.36, 0.0, 0.08, 0.56), (0.0, 0.5, 0.5, 0.0)])
def test_a_difference_of_arms_that_mostly_agree_is_covered(shares: tuple[float, ...]) -> None:
    kinds, total = ((True, True), (True, False), (False, True), (False, False)), 12
    covered = 0.0
    for one, two, three in product(range(total + 1), repeat=3):
        counts = (one, two, three, total - one - two - three)
        if counts[-1] < 0 or any(count and not share for count, share in zip(counts, shares, strict=True)):
            continue
        pairs = [kind for kind, count in zip(kinds, counts, strict=True) for _ in range(count)]
        if covers(paired_difference(pairs), shares[1] - shares[2]):
            chances = prod(share**count for share, count in zip(shares, counts, strict=True))
            covered += factorial(total) / prod(map(factorial, counts)) * chances
    assert covered >= 0.94


def test_the_interval_of_a_difference_needs_no_variation() -> None:
    all_solved = paired_difference([(True, True)] * 20)
    assert (all_solved.estimate, all_solved.low, all_solved.high) == pytest.approx(
        (0, -0.168, 0.168), abs=0.001
    )
    swept = paired_difference([(True, False)] * 20)
    assert swept.estimate == 1
    assert 0.7 < swept.low < 0.85


@hypothesis.settings(derandomize=True, deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_a_difference_lies_in_its_interval_and_turns_with_the_arms(pairs: list[tuple[bool, bool]]) -> None:
    one, turned = paired_difference(pairs), paired_difference([(b, a) for a, b in pairs])
    assert one.high is not None
    assert -1 <= one.low <= one.estimate <= one.high <= 1
    assert (turned.low, turned.high) == pytest.approx((-one.high, -one.low))


def test_tokens_per_solved_case_have_an_interval_by_cases() -> None:
    interval = ratio_interval([100] * 20, [1] * 10 + [0] * 10)
    assert interval is not None
    assert interval.estimate == 200
    assert 120 < interval.low < 160
    assert interval.high is not None
    assert 280 < interval.high < 450
    assert ratio_interval([100] * 20, [1] * 10 + [0] * 10) == interval, "the samples are seeded"
    assert ratio_interval([100] * 20, [0] * 20) is None
    rare = ratio_interval([100] * 20, [1] + [0] * 19)
    assert rare is not None
    assert rare.high is None
    assert ratio_interval([2.0, 4.0, 8.0], [1.0, 2.0, 4.0]) == (2, 2, 2)
    assert ratio_interval([5.0, 6.0], [1.0, 1.0]) == (5.5, 0, None)


def test_a_ratio_of_few_cases_is_as_uncertain_as_few_cases_are() -> None:
    draw, found = random.Random(4), []
    for cases in (3, 4, 6):
        for _ in range(100):
            size = [draw.lognormvariate(8, 0.8) for _ in range(cases)]
            first, other = ([one * draw.lognormvariate(0, 0.3) for one in size] for _ in range(2))
            interval = ratio_interval(first, other)
            assert interval is not None
            found.append(covers(interval, 1))
    assert fmean(found) >= 0.92


@pytest.mark.parametrize(("rate", "cases"), [(0.35, 20), (0.62, 10), (0.9, 20), (0.9, 6)])
def test_tokens_per_solved_case_are_covered(rate: float, cases: int) -> None:
    draw, found = random.Random(11), []
    for _ in range(80):
        easy = [draw.betavariate(3 * rate, 3 * (1 - rate)) for _ in range(cases)]
        tokens = [1000 * (2 - one) * draw.uniform(0.5, 1.5) for one in easy]
        if interval := per_solved(tokens, [draw.random() < one for one in easy]):
            found.append(covers(interval, 1000 * (2 - rate) / rate))
    assert fmean(found) >= 0.92


def test_the_tokens_of_cases_that_are_all_solved_are_as_uncertain_as_their_share() -> None:
    low = 0.025 ** (1 / 6)
    assert per_solved([100] * 6, [True] * 6) == pytest.approx((100, 100, 100 / low))
    assert per_solved([100] * 6, [False] * 6) is None
    assert per_solved([100], [True]) == (100, 0, None)


# --- tests ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("won", "lost", "p"), [(7, 2, 0.1797), (6, 0, 2 / 64), (5, 0, 2 / 32), (3, 3, 1), (0, 0, 1)]
)
def test_mcnemar_is_the_sign_test_of_the_cases_that_one_arm_alone_solves(
    won: int, lost: int, p: float
) -> None:
    assert mcnemar_of(won, lost) == pytest.approx(p, abs=5e-5)
    assert mcnemar_of(lost, won) == pytest.approx(p, abs=5e-5)


@pytest.mark.parametrize("decided", [1, 5, 6, 20, 41, 164])
def test_mcnemar_keeps_its_level_for_any_number_of_decided_cases(decided: int) -> None:
    wrong = sum(comb(decided, k) for k in range(decided + 1) if mcnemar_of(k, decided - k) <= LEVEL)
    assert wrong / 2**decided <= LEVEL


def test_a_sign_flip_test_tries_all_signs_of_few_pairs() -> None:
    assert sign_flip_p([1, 2, 3, 4, 5, 6]) == 2 / 64
    assert sign_flip_p([0.1, 0.2, -0.3]) == 1, "equal sums tie, whatever their last digit"
    assert sign_flip_p([0, 0]) == 1
    many = [1.0 + n / 100 for n in range(MAX_EXACT_FLIPS + 10)]
    assert sign_flip_p(many) == pytest.approx(1 / 10_000)
    assert sign_flip_p([*many, -30.0]) > LEVEL


def test_a_sign_flip_test_keeps_its_level() -> None:
    draw = random.Random(5)
    wrong = [sign_flip_p([draw.gauss(0, 1) ** 3 for _ in range(8)]) <= LEVEL for _ in range(300)]
    assert fmean(wrong) <= 0.075


def test_holm_is_that_of_the_paper_and_keeps_the_level_of_the_family() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1, 1]
    assert holm([]) == []
    draw, wrong = random.Random(9), []
    for _ in range(200):
        rows = outcomes(draw, (0.4, 0.4, 0.4), 0.3, 40)
        columns = list(zip(*rows, strict=True))
        ps = [mcnemar(columns[a], columns[b]) for a, b in ((0, 1), (0, 2), (1, 2))]
        wrong.append(min(holm(ps)) <= LEVEL)
    assert fmean(wrong) <= 0.075


def test_the_order_of_models_is_recovered() -> None:
    draw, skills = random.Random(21), (0.2, 0.5, 0.8)
    ordered = []
    for _ in range(100):
        solved = [sum(column) for column in zip(*outcomes(draw, skills, 0.5, 40), strict=True)]
        ordered.append(solved == sorted(solved))
    assert fmean(ordered) >= 0.95


# --- several looks -------------------------------------------------------------------------------


def total_error(looks: Sequence[int], bounds: Sequence[float], decided: float) -> float:
    """The exact probability that any look of equal arms shows a difference by McNemar's test.

    Args:
        looks: The pairs at each look.
        bounds: Its bound.
        decided: The share of pairs that one arm alone solves.
    """
    going_on, error, pairs = {(0, 0): 1.0}, 0.0, 0
    for look, bound in zip(looks, bounds, strict=True):
        for _ in range(look - pairs):
            after: dict[tuple[int, int], float] = {}
            for (won, lost), chance in going_on.items():
                for wins, losses, share in ((1, 0, decided / 2), (0, 1, decided / 2), (0, 0, 1 - decided)):
                    place = (won + wins, lost + losses)
                    after[place] = after.get(place, 0.0) + chance * share
            going_on = {place: chance for place, chance in after.items() if chance > 1e-12}
        pairs = look
        stopped = [place for place in going_on if mcnemar_of(*place) <= bound]
        error += sum(going_on.pop(place) for place in stopped)
    return error


@pytest.mark.parametrize("count", [1, 2, 3, 5, 10])
def test_any_number_of_looks_errs_as_seldom_as_one(count: int) -> None:
    looks = [round(40 * look / count) for look in range(1, count + 1)]
    for decided in (0.2, 0.6, 1.0):
        assert total_error(looks, sequential_bounds(looks, 40), decided) <= LEVEL


def test_looks_in_unequal_steps_keep_the_level() -> None:
    draw = random.Random(2)
    for _ in range(5):
        looks = [*sorted(draw.sample(range(1, 40), draw.randrange(1, 9))), 40]
        assert total_error(looks, sequential_bounds(looks, 40), draw.choice((0.3, 1.0))) <= LEVEL


def test_the_bounds_are_those_of_the_tables() -> None:
    bounds = [-NormalDist().inv_cdf(p / 2) for p in sequential_bounds([20, 40, 60, 80, 100], 100)]
    assert bounds == pytest.approx([4.8769, 3.3569, 2.6803, 2.2898, 2.0310], abs=2e-4)
    assert sequential_bounds([50], 50) == pytest.approx([LEVEL])
    assert sequential_bounds([25], 50)[0] < 0.01, "an experiment that ends early has not used up its level"


@pytest.mark.parametrize("looks", [[], [20, 10], [10, 10], [0, 10], [10, 60]])
def test_looks_that_cannot_be_are_refused(looks: list[int]) -> None:
    with pytest.raises(ValueError, match="looks must rise from 1 to 50 at most"):
        sequential_bounds(looks, 50)


# --- what pairs can show -------------------------------------------------------------------------


def found_share(cases: int, won: float, lost: float, draws: Iterable[random.Random]) -> float:
    """How often the test shows a difference, given the share of cases that each arm alone solves."""
    found = []
    for draw in draws:
        results = draw.choices((1, -1, 0), (won, lost, 1 - won - lost), k=cases)
        found.append(mcnemar_of(results.count(1), results.count(-1)) <= LEVEL)
    return fmean(found)


@pytest.mark.parametrize(("cases", "against"), [(20, 0.0), (20, 0.1), (164, 0.1)])
def test_a_difference_of_the_smallest_size_is_found_in_four_of_five_experiments(
    cases: int, against: float
) -> None:
    smallest = smallest_difference(cases, against=against)
    assert smallest is not None
    share = found_share(cases, against + smallest, against, map(random.Random, range(400)))
    assert POWER - 0.04 <= share <= POWER + 0.07


def test_five_pairs_can_show_nothing() -> None:
    assert smallest_difference(5) is None
    assert smallest_difference(6) == 0.97
    assert smallest_difference(20) == 0.37
    assert smallest_difference(20, against=0.5) is None
    assert smallest_difference(2_500, against=0.2) == 0.04
    assert (smallest_difference(20, level=LEVEL / 3) or 0) > 0.37
