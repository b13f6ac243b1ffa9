"""Group-sequential tests: several looks at the results err together no more often than a single one."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, pi, sqrt
from statistics import NormalDist
from typing import NamedTuple

from swarm_graph.experiments.statistics import LEVEL

_NORMAL = NormalDist()
_INTERVALS = 200
"""Of the numerical integration, by Simpson's rule. Twice as many change no bound in its fourth digit."""
_FAR = 8.0
"""Standard deviations beyond which a normal distribution has nothing."""


class _Weight(NamedTuple):
    """A point of the integration: a value of the test's sum, and its share of all experiments that go on."""

    value: float
    share: float


def sequential_bounds(looks: Sequence[int], total: int, level: float = LEVEL) -> list[float]:
    """The p below which each look may stop an experiment, so that all looks together err at most at `level`.

    Alpha spending (Lan and DeMets, Biometrika 70, 1983) with the function that resembles the bounds of
    O'Brien and Fleming: early looks stop only for a great difference, and the last one has almost the whole
    level. The bounds come from recursive integration (Armitage, McPherson and Rowe, JRSS A 132, 1969) for
    two-sided tests. The steps between looks may differ.

    Args:
        looks: The number of pairs at each look, rising.
        total: The number of pairs that the experiment has at most.
        level: The error of all looks together.

    Returns:
        For each look the greatest p that shows a difference.

    Raises:
        ValueError: The looks do not rise, or go beyond the total.
    """
    if not looks or sorted({*looks}) != [*looks] or looks[0] < 1 or looks[-1] > total:
        raise ValueError(f"looks must rise from 1 to {total} at most: {', '.join(map(str, looks))}")
    bounds, spent, before = [], 0.0, 0.0
    weights = [_Weight(0.0, 1.0)]
    for pairs in looks:
        time = pairs / total
        step, spending = sqrt(time - before), _spent(time, level)
        bound = _bound(weights, step, spending - spent, _FAR * sqrt(time))
        bounds.append(2 * _NORMAL.cdf(-bound / sqrt(time)))
        weights = _next(weights, step, bound)
        before, spent = time, spending
    return bounds


def _spent(time: float, level: float) -> float:
    """The error that may be used up when a share of all pairs has been judged."""
    return 4 * _NORMAL.cdf(_NORMAL.inv_cdf(level / 4) / sqrt(time))


def _bound(weights: Sequence[_Weight], step: float, error: float, far: float) -> float:
    """The bound that the sum of the next look passes with the probability `error`."""
    low, high = 0.0, far
    for _ in range(50):
        middle = (low + high) / 2
        passes = sum(
            share * (_NORMAL.cdf((-middle - value) / step) + _NORMAL.cdf((value - middle) / step))
            for value, share in weights
        )
        low, high = (middle, high) if passes > error else (low, middle)
    return high


def _next(weights: Sequence[_Weight], step: float, bound: float) -> list[_Weight]:
    """The distribution of the next look's sum within its bounds."""
    width = 2 * bound / _INTERVALS
    points = [-bound + width * place for place in range(_INTERVALS + 1)]
    scale = 1 / (step * sqrt(2 * pi))
    result = []
    for place, point in enumerate(points):
        density = scale * sum(
            share * exp(-((point - value) ** 2) / (2 * step * step)) for value, share in weights
        )
        simpson = 1 if place in (0, _INTERVALS) else 4 if place % 2 else 2
        result.append(_Weight(point, density * simpson * width / 3))
    return result
