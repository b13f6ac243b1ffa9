"""Whether one configuration did better than another, or whether chance alone explains the difference."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb
from statistics import mean

LEVEL = 0.05
EXACT = 20_000
"""Splits that are all tried; of more, as many are drawn."""
WANTED: Mapping[str, Callable[[float, float], bool]] = {
    **dict.fromkeys(("ended", "approved"), lambda first, other: first > other),
    **dict.fromkeys(
        ("open_findings", "rounds", "seconds", "tokens", "failed_calls", "cost"),
        lambda first, other: first < other,
    ),
}
"""The figures that are judged, and when the first of two means is the better one."""

Figures = Sequence[Mapping[str, float | None]]


@dataclass(frozen=True)
class Difference:
    """A figure that differs beyond chance: both means, and how likely chance alone does that."""

    figure: str
    first: float
    other: float
    p: float

    @property
    def first_is_better(self) -> bool:
        return WANTED[self.figure](self.first, self.other)


def differences(first: Figures, other: Figures) -> list[Difference]:
    """The figures of WANTED in which two groups of sessions differ beyond chance.

    Permutation tests of the means, corrected by Holm's method for the number of figures looked at, so
    that all together claim a difference which is none in at most one of twenty comparisons.
    """
    found = []
    for figure in WANTED:
        mine, others = (
            [value for row in rows if (value := row.get(figure)) is not None] for rows in (first, other)
        )
        if mine and others and len({*mine, *others}) > 1:
            found.append(Difference(figure, mean(mine), mean(others), p_value(mine, others)))
    kept = []
    for rank, difference in enumerate(sorted(found, key=lambda one: one.p)):
        if difference.p > LEVEL / (len(found) - rank):
            break
        kept.append(difference)
    return kept


def p_value(first: Sequence[float], other: Sequence[float]) -> float:
    """How often a random split of the values has means at least as far apart as these."""
    values, size = [*first, *other], len(first)
    total = sum(values)
    apart = _apart(sum(first), size, total, len(values))
    if comb(len(values), size) <= EXACT:
        sums = [sum(chosen) for chosen in combinations(values, size)]
        return sum(_apart(one, size, total, len(values)) >= apart for one in sums) / len(sums)
    draw = random.Random(0)
    far = sum(_apart(sum(draw.sample(values, size)), size, total, len(values)) >= apart for _ in range(EXACT))
    return (far + 1) / (EXACT + 1)


def _apart(chosen: float, size: int, total: float, count: int) -> float:
    """How far the mean of the chosen is from that of the rest, rounded so that equal splits tie."""
    return round(abs(chosen / size - (total - chosen) / (count - size)), 9)
