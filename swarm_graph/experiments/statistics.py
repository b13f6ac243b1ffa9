"""The statistics of experiments: intervals, tests for pairs, and what a number of pairs can show.

Everything here is deterministic: the same figures always have the same intervals and the same p. Where there
is an exact method, it is used; exact methods err to the safe side. The interval of a share covers the true
one in at least 95 % of all experiments, and a test finds a difference that does not exist in at most 5 %. The
intervals of differences and ratios cover the true figure in about 95 %; those of ratios in about 90 % if a
few cases take most of the tokens.
"""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import product
from math import comb, exp, fsum, inf, lgamma, log, sqrt
from operator import itemgetter, mul
from statistics import NormalDist, fmean
from typing import Final, NamedTuple

LEVEL: Final = 0.05
"""The error of a test, and of an interval."""
POWER: Final = 0.8
"""The probability with which a difference of the size `smallest_difference` is found."""
RESAMPLES: Final = 2_000
"""Random samples of a bootstrap."""
MIN_CASES: Final = 3
"""Cases from which the interval of a ratio says anything."""
MAX_EXACT_FLIPS: Final = 14
"""Pairs up to which a sign-flip test tries all signs."""
RANDOM_FLIPS: Final = 9_999
"""The number of signs that it draws for more pairs."""


class Interval(NamedTuple):
    """A figure with its confidence interval, of 95 % unless another level was asked for.

    Attributes:
        estimate: The figure.
        low: The lower end.
        high: The upper end; None if the data allow any figure above `low`.
    """

    estimate: float
    low: float
    high: float | None


# --- shares --------------------------------------------------------------------------------------


@lru_cache(maxsize=1_000)
def share_interval(successes: int, trials: int, *, level: float = LEVEL) -> Interval:
    """The share of successes with its exact interval (Clopper and Pearson, Biometrika 26, 1934).

    It covers the true share in at least 95 % of all experiments, whatever the share is. Wilson's interval is
    a little shorter and falls to 91 % for some shares of 20 trials.

    Args:
        successes: Their number.
        trials: The number of all trials.
        level: The error: 0.05 for an interval of 95 %.

    Raises:
        ValueError: There are no trials, or more successes than trials.
    """
    if not 0 <= successes <= trials or not trials:
        raise ValueError(f"{successes} of {trials} is no share")
    low = _lower_end(successes, trials, level / 2)
    high = 1 - _lower_end(trials - successes, trials, level / 2)
    return Interval(successes / trials, low, high)


def _lower_end(successes: int, trials: int, error: float) -> float:
    """The highest rate with which so many successes, or more, have at most the probability `error`."""
    return _last(lambda rate: _tail(trials, successes, rate) < error, 0.0, successes / trials)


def _tail(trials: int, successes: int, rate: float) -> float:
    """The probability of so many successes or more, for a rate at or below their share."""
    chance = total = _binomial(trials, successes, rate)
    for k in range(successes, trials):
        chance *= (trials - k) / (k + 1) * rate / (1 - rate)
        total += chance
        if chance < total * 1e-16:
            break
    return total


def paired_difference(pairs: Sequence[tuple[bool, bool]], *, level: float = LEVEL) -> Interval:
    """The share of the first minus that of the other, both measured on the same cases, with its interval.

    The square-and-add method for pairs (Newcombe, Statistics in Medicine 17, 1998, method 10) with the exact
    intervals of the two shares in place of Wilson's, for the reason given at `share_interval`. As in the
    paper, a positive correlation is taken to be smaller than the pairs have it; it would promise too much.

    Args:
        pairs: For each case whether the first has solved it, and whether the other has.
        level: The error: 0.05 for an interval of 95 %.

    Raises:
        ValueError: There are no pairs.
    """
    total = len(pairs)
    both = sum(first and other for first, other in pairs)
    firsts, others = sum(first for first, _ in pairs), sum(other for _, other in pairs)
    one, two = share_interval(firsts, total, level=level), share_interval(others, total, level=level)
    variances = firsts * (total - firsts) * others * (total - others)
    together = float(both * total - firsts * others)
    if together > 0:
        together = max(together - total / 2, 0)
    correlation = together / sqrt(variances) if variances else 0.0
    difference = one.estimate - two.estimate
    down = _added(one.estimate - one.low, _height(two) - two.estimate, correlation)
    up = _added(_height(one) - one.estimate, two.estimate - two.low, correlation)
    return Interval(difference, difference - down, difference + up)


def _height(share: Interval) -> float:
    return 1.0 if share.high is None else share.high


def _added(one: float, other: float, correlation: float) -> float:
    """The distance of a difference's limit from those of its two parts."""
    return sqrt(max(one * one - 2 * correlation * one * other + other * other, 0.0))


def _binomial(trials: int, successes: int, rate: float) -> float:
    """The probability of a number of successes."""
    if not 0 <= successes <= trials:
        return 0.0
    if rate <= 0 or rate >= 1:
        return float(successes == (trials if rate >= 1 else 0))
    ways = lgamma(trials + 1) - lgamma(successes + 1) - lgamma(trials - successes + 1)
    return exp(ways + successes * log(rate) + (trials - successes) * log(1 - rate))


def _last(holds: Callable[[float], bool], start: float, end: float) -> float:
    """The last value from `start` towards `end` for which a condition holds, by bisection."""
    for _ in range(40):
        middle = (start + end) / 2
        start, end = (middle, end) if holds(middle) else (start, middle)
    return start


# --- ratios --------------------------------------------------------------------------------------


def ratio_interval(
    numerators: Sequence[float], denominators: Sequence[float], *, seed: int = 0, level: float = LEVEL
) -> Interval | None:
    """A ratio of two sums over the same cases, such as tokens per solved case, with its bootstrap interval.

    It draws cases, not trials, so a hard case counts with its tokens and with its missing solution. The
    percentiles are widened for the small number of cases (Hesterberg, The American Statistician 69, 2015:
    the expanded percentile interval). Samples of few cases hold no worse case than these, so the interval
    also holds the one by Student's t for the logarithm of the ratio. A sample without any solved case has no
    finite ratio; if there are too many of them, the interval has no upper end. One or two cases say nothing
    about others.

    Args:
        numerators: What each case took, or what the first arm took for it.
        denominators: Whether each case is solved, as 1 and 0, or what the other arm took for it.
        seed: Of the random samples.
        level: The error: 0.05 for an interval of 95 %.

    Returns:
        The ratio; None if the denominators are all 0.
    """
    total = sum(denominators)
    if not total:
        return None
    ratio, cases = sum(numerators) / total, len(numerators)
    if cases < MIN_CASES:
        return Interval(ratio, 0.0, None)
    sums = zip(_sums(tuple(numerators), seed), _sums(tuple(denominators), seed), strict=True)
    ratios = sorted(above / below if below else inf for above, below in sums)
    outside = int(_expanded_tail(cases, level) * RESAMPLES)
    low, high = ratios[outside], ratios[-1 - outside]
    factor = _factor(numerators, denominators, level)
    return Interval(ratio, min(low, ratio / factor), None if high == inf else max(high, ratio * factor))


def _factor(numerators: Sequence[float], denominators: Sequence[float], level: float) -> float:
    """How far a ratio may be from the true one, by Student's t for its logarithm."""
    above, below, cases = fmean(numerators), fmean(denominators), len(numerators)
    if not above:
        return 1.0
    apart = sum(
        (one / above - other / below) ** 2 for one, other in zip(numerators, denominators, strict=True)
    )
    return exp(_t_quantile(1 - level / 2, cases - 1) * sqrt(apart / (cases * (cases - 1))))


def per_solved(amounts: Sequence[float], solved: Sequence[bool]) -> Interval | None:
    """What the cases took per solved one: the ratio with its interval; None if none is solved.

    If all cases are solved, random samples of them say nothing about the share that is solved. Then the upper
    end of the interval is divided by the lower end of the share's exact interval.
    """
    interval = ratio_interval(amounts, [float(one) for one in solved])
    if interval is None or interval.high is None or not all(solved):
        return interval
    return interval._replace(high=interval.high / share_interval(len(solved), len(solved)).low)


@lru_cache(maxsize=128)
def _sums(figures: tuple[float, ...], seed: int) -> list[float]:
    """The sum of the figures in each random sample; an arm has the same ones in all its pairs."""
    return [sum(sample(figures)) for sample in _samples(len(figures), seed)]


@lru_cache(maxsize=2)
def _samples(cases: int, seed: int) -> list[Callable[[Sequence[float]], tuple[float, ...]]]:
    """The random samples of a bootstrap: each picks the figures of its cases."""
    draw, places = random.Random(seed), [*range(cases)]
    return [itemgetter(*draw.choices(places, k=cases)) for _ in range(RESAMPLES)]


def _expanded_tail(cases: int, level: float) -> float:
    """The share of samples outside of each end of an interval, made smaller for few cases."""
    return NormalDist().cdf(-sqrt(cases / (cases - 1)) * _t_quantile(1 - level / 2, cases - 1))


def _t_quantile(share: float, freedom: int) -> float:
    """A quantile of Student's t, by the expansion 26.7.5 of Abramowitz and Stegun."""
    z = NormalDist().inv_cdf(share)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + fsum(term / freedom**power for power, term in enumerate(terms, 1))


# --- tests for pairs -----------------------------------------------------------------------------


def mcnemar(first: Sequence[bool], other: Sequence[bool]) -> float:
    """The exact p of McNemar's test, two-sided: do two arms solve the same share of the same cases?

    Only the cases that one of them has solved count; if the arms are equally good, each has half of them by
    chance (McNemar, Psychometrika 12, 1947). The exact p never exceeds its level. The mid-p is less
    conservative, but does not keep the level in every case, so it is not used.
    """
    pairs = list(zip(first, other, strict=True))
    return _sign_test(sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs))


def _sign_test(won: int, lost: int) -> float:
    total = won + lost
    return min(1.0, 2 * sum(comb(total, k) for k in range(min(won, lost) + 1)) / (1 << total))


def sign_flip_p(differences: Sequence[float], *, seed: int = 0) -> float:
    """The p of a permutation test for paired figures, two-sided: is the mean of the differences 0?

    If the two arms are equally good, each difference has either sign by chance (Fisher, The Design of
    Experiments, 1935). Up to MAX_EXACT_FLIPS differences it tries all signs; for more it draws RANDOM_FLIPS
    of them, and the observed signs count as one of those.

    Args:
        differences: For each case the figure of the first arm minus that of the other.
        seed: Of the random signs.
    """
    sizes = [abs(one) for one in differences if one]
    observed = abs(sum(differences)) * (1 - 1e-12)  # sums in another order may differ in the last digit
    if len(sizes) <= MAX_EXACT_FLIPS:
        sums = [_distance(sizes, signs) for signs in product((1, -1), repeat=len(sizes))]
        return sum(one >= observed for one in sums) / len(sums)
    draw = random.Random(seed)
    far = sum(_distance(sizes, draw.choices((1, -1), k=len(sizes))) >= observed for _ in range(RANDOM_FLIPS))
    return (far + 1) / (RANDOM_FLIPS + 1)


def _distance(sizes: Sequence[float], signs: Sequence[int]) -> float:
    """The distance from 0 of the sum of differences with these signs."""
    total: float = sum(map(mul, sizes, signs))
    return abs(total)


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values of several tests, corrected so that one false difference among them has at most its level.

    The step-down method of Holm (Scandinavian Journal of Statistics 6, 1979).

    Returns:
        The corrected values in the order of the given ones; compare each with LEVEL.
    """
    corrected, highest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, p_values[place] * (len(p_values) - rank)))
        corrected[place] = highest
    return corrected


# --- what pairs can show -------------------------------------------------------------------------


@lru_cache(maxsize=1_000)
def smallest_difference(pairs: int, *, against: float = 0.0, level: float = LEVEL) -> float | None:
    """The smallest difference of two shares that McNemar's exact test finds with a probability of POWER.

    Args:
        pairs: The number of cases that both arms try.
        against: The share of cases that the worse arm alone solves. The more there are, the larger a
            difference must be.
        level: The level of the test.

    Returns:
        The difference as a share of the cases, in whole percent; None if there are too few pairs to show any,
        or if the worse arm alone solves too many.
    """
    percents = range(1, round(100 * (1 - 2 * against)) + 1)
    found = bisect_left(percents, POWER, key=lambda one: _power(pairs, against + one / 100, against, level))
    return percents[found] / 100 if found < len(percents) else None


def _power(pairs: int, won: float, lost: float, level: float) -> float:
    """The probability that the test shows a difference; `won` and `lost` are shares of the cases."""
    decided = won + lost
    middle, far = pairs * decided, 8 * sqrt(pairs * max(decided * (1 - decided), 0)) + 1
    return sum(
        _binomial(pairs, total, decided) * _rate_of_wins(total, _fewest_wins(total, level), won / decided)
        for total in range(max(0, int(middle - far)), min(pairs, int(middle + far)) + 1)
    )


def _rate_of_wins(total: int, wins: int, rate: float) -> float:
    """The probability of so many wins or more of the decided cases."""
    if wins > total:
        return 0.0
    if rate * total <= wins:
        return _tail(total, wins, rate)
    return 1 - _tail(total, total - wins + 1, 1 - rate)


@lru_cache(maxsize=10_000)
def _fewest_wins(total: int, level: float) -> int:
    """The fewest of the decided cases that the better arm must win; more than there are if none suffices."""
    most = range(total // 2 + 1, total + 1)
    return most.start + bisect_left(most, True, key=lambda wins: 2 * _tail(total, wins, 0.5) <= level)
