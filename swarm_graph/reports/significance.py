"""Permutation tests: does one configuration do better than another, or does chance alone explain it?"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb
from statistics import mean

SIGNIFICANCE_LEVEL = 0.05
MAX_EXACT_SPLITS = 20_000
"""Up to this number of splits a test tries them all; of more, it draws this number at random."""
IS_BETTER: Mapping[str, Callable[[float, float], bool]] = {
    **dict.fromkeys(("ended", "approved"), lambda first, other: first > other),
    **dict.fromkeys(
        ("open_findings", "rounds", "seconds", "tokens", "failed_calls", "cost"),
        lambda first, other: first < other,
    ),
}
"""The figures to judge; for each, whether the first of two means is the better one."""

Samples = Sequence[Mapping[str, float | None]]
"""The figures of each session; None, or no entry, where a session is no sample of a figure."""


@dataclass(frozen=True)
class Difference:
    """A figure that differs beyond chance.

    Attributes:
        figure: A key of IS_BETTER.
        first: The mean of the first configuration's sessions.
        other: The mean of the other configuration's sessions.
        p: The probability of means at least as far apart if the configurations do equally well.
    """

    figure: str
    first: float
    other: float
    p: float

    @property
    def first_is_better(self) -> bool:
        """Whether the first configuration's mean is the better one."""
        return IS_BETTER[self.figure](self.first, self.other)


def differences(first: Samples, other: Samples) -> list[Difference]:
    """The figures in which two groups of sessions differ beyond chance, the most certain one first.

    Permutation tests of the means with Holm's correction for the number of figures: in at most one of twenty
    comparisons of equal configurations is there any difference in the result.
    """
    tested = []
    for figure in IS_BETTER:
        firsts, others = (
            [value for sample in samples if (value := sample.get(figure)) is not None]
            for samples in (first, other)
        )
        if firsts and others and len({*firsts, *others}) > 1:
            tested.append(Difference(figure, mean(firsts), mean(others), p_value(firsts, others)))
    significant = []
    for rank, difference in enumerate(sorted(tested, key=lambda one: one.p)):
        if difference.p > SIGNIFICANCE_LEVEL / (len(tested) - rank):
            break
        significant.append(difference)
    return significant


def p_value(first: Sequence[float], other: Sequence[float]) -> float:
    """The share of random splits of all values into two groups with means at least as far apart as these."""
    values, size = [*first, *other], len(first)
    total = sum(values)
    observed = _distance(sum(first), size, total, len(values))
    if comb(len(values), size) <= MAX_EXACT_SPLITS:
        sums = [sum(group) for group in combinations(values, size)]
        return sum(_distance(one, size, total, len(values)) >= observed for one in sums) / len(sums)
    draw = random.Random(0)  # seeded: the same sessions always have the same p
    far = sum(
        _distance(sum(draw.sample(values, size)), size, total, len(values)) >= observed
        for _ in range(MAX_EXACT_SPLITS)
    )
    return (far + 1) / (MAX_EXACT_SPLITS + 1)  # the observed split is one of them: p is never 0


def _distance(group_sum: float, size: int, total: float, count: int) -> float:
    """The distance between the mean of a group and the mean of the rest; rounded so that equal splits tie."""
    return round(abs(group_sum / size - (total - group_sum) / (count - size)), 9)
