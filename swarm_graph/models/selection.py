"""Which of several models a role gets, from what is known of them. Pure: no clock, no database, no chance.

The rule: among the models with enough evidence whose expected share of solved cases is close to the best,
the one with the most expected solved cases per second. Without evidence it is the first that the
configuration names. Nothing explores unless it is asked to; then Thompson sampling draws, by a seed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import exp, isclose, lgamma, log
from typing import NamedTuple

MIN_EVIDENCE = 8
"""Fewer outcomes say too little: with 8, a model that solves 35 % beats one that solves 62 % by luck in fewer
than one of ten cases."""
CLOSE = 0.95
"""Expected shares from this part of the best one on count as equally good; then time decides."""
LEVEL = 0.95
"""The level of the interval around an expected share."""


@dataclass(frozen=True)
class Known:
    """What is known of one model in one role.

    Attributes:
        entry: Its name in multi_model.
        solved: Cases that it has solved.
        judged: All its cases.
        seconds: What a call is expected to take, loading included; None if nothing is known.
    """

    entry: str
    solved: int = 0
    judged: int = 0
    seconds: float | None = None

    @property
    def mean(self) -> float:
        """The expected share of solved cases: the mean of a Beta distribution that began even."""
        return (self.solved + 1) / (self.judged + 2)

    @property
    def interval(self) -> tuple[float, float]:
        """The middle LEVEL of that distribution."""
        tail = (1 - LEVEL) / 2
        return self._quantile(tail), self._quantile(1 - tail)

    def _quantile(self, share: float) -> float:
        low, high = 0.0, 1.0
        while not isclose(low, high, abs_tol=1e-6):
            middle = (low + high) / 2
            low, high = (middle, high) if self._below(middle) < share else (low, middle)
        return low

    def _below(self, x: float) -> float:
        """The probability that the share is at most x: a binomial tail, since both counts are whole."""
        total, one, other = self.judged + 1, log(x), log(1 - x)
        ways = lgamma(total + 1)
        return sum(
            exp(ways - lgamma(more + 1) - lgamma(total - more + 1) + more * one + (total - more) * other)
            for more in range(self.solved + 1, total + 1)
        )


class Choice(NamedTuple):
    """A chosen model.

    Attributes:
        entry: Its name in multi_model.
        reason: Why, in a few words for people.
    """

    entry: str
    reason: str


def choose(models: Sequence[Known]) -> Choice:
    """The model for a role.

    Args:
        models: What is known of each, in the order of the configuration; at least one.
    """
    enough = [model for model in models if model.judged >= MIN_EVIDENCE]
    if not enough:
        return Choice(models[0].entry, f"the first named, {_too_little(models)}")
    best = _most_per_second(enough, lambda model: model.mean)
    others = "; ".join(_in_words(model) for model in models if model is not best)
    return Choice(best.entry, f"{_with_time(best)}; {others}" if others else _with_time(best))


def explore(models: Sequence[Known], seed: str) -> Choice:
    """A model for a role by Thompson sampling: each draws a share from what is known, and the best one wins.

    Args:
        models: What is known of each, in the order of the configuration; at least one.
        seed: The same seed draws the same.
    """
    dice = random.Random(seed)
    drawn = {
        model.entry: dice.betavariate(model.solved + 1, model.judged - model.solved + 1) for model in models
    }
    best = _most_per_second(models, lambda model: drawn[model.entry])
    known = "; ".join(_in_words(model) for model in models)
    return Choice(best.entry, f"drawn to explore; {known}")


def _most_per_second(models: Sequence[Known], share: Callable[[Known], float]) -> Known:
    """Of the models with a share close to the best, the one with the most per second; the first of equals.

    Where the time of one of them is unknown, the one with the highest share.
    """
    top = max(map(share, models))
    close = [model for model in models if share(model) >= CLOSE * top]
    if any(not model.seconds for model in close):
        return max(close, key=share)
    return max(close, key=lambda model: share(model) / (model.seconds or 1.0))


def _too_little(models: Sequence[Known]) -> str:
    if not any(model.judged for model in models):
        return "without evidence"
    known = ", ".join(_in_words(model) for model in models if model.judged)
    return f"with too little evidence ({known}; {MIN_EVIDENCE} count)"


def _with_time(model: Known) -> str:
    seconds = f", {_seconds(model.seconds)} a call" if model.seconds else ""
    return f"{model.solved} of {model.judged} solved{seconds}"


def _in_words(model: Known) -> str:
    known = _with_time(model) if model.judged else "without evidence"
    return f"{model.entry}: {known}"


def _seconds(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
