"""A look at the pairs of an A/B test: the p of its measure, and whether it shows a winner."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from swarm_graph.experiments.statistics import (
    Interval,
    mcnemar,
    paired_difference,
    ratio_interval,
    sign_flip_p,
)
from swarm_graph.experiments.stopping import StoppingRule

Measure = Literal["solved", "approved", "tokens", "seconds", "cost"]
"""What an A/B test decides by."""
MEASURES: tuple[Measure, ...] = get_args(Measure)
SHARES = ("solved", "approved")
"""Measures that are yes or no; more is better. Of the others less is better."""
SideName = Literal["a", "b"]
SIDES: tuple[SideName, ...] = get_args(SideName)


class Outcome(NamedTuple):
    """What one side did with one request.

    Attributes:
        solved: Whether the hidden tests pass; None if the request has none.
        approved: Whether its own session approved it; None if its workflow approves nothing.
        tokens: Input and output tokens.
        seconds: Working time.
        cost: In the currency of `prices`.
    """

    solved: bool | None
    approved: bool | None
    tokens: float
    seconds: float
    cost: float


Pair = tuple[Outcome, Outcome]
"""What A and B did with the same request."""
_AMOUNTS: Mapping[str, Callable[[Outcome], float]] = {
    "tokens": lambda outcome: outcome.tokens,
    "seconds": lambda outcome: outcome.seconds,
    "cost": lambda outcome: outcome.cost,
}


@dataclass(frozen=True)
class Look:
    """What a planned look has found.

    Attributes:
        pairs: The number of pairs.
        level: The largest p that shows a difference at this look.
        p: The two-sided p of the measure.
        winner: The better side; None if no difference is shown.
        effect: Of a share B's minus A's; of an amount B's sum divided by A's. With the interval at the look's
            level. None if A has spent nothing.
        solves_fewer: The side that is better in the measure, and shown to solve fewer requests: then it wins
            nothing.
    """

    pairs: int
    level: float
    p: float
    winner: SideName | None
    effect: Interval | None
    solves_fewer: SideName | None = None

    @property
    def confidence(self) -> float:
        """The level of confidence of the interval."""
        return 1 - self.level


class Decision(NamedTuple):
    """What a look decides: see the attributes of the same names in `Look`."""

    p: float
    winner: SideName | None
    solves_fewer: SideName | None = None


def decide(rule: StoppingRule, measure: Measure, pairs: Sequence[Pair]) -> Decision:
    """Whether the pairs of a planned look show a winner.

    Args:
        rule: The stopping rule.
        measure: What decides. A side that takes less and is shown to solve fewer requests does not win.
        pairs: The pairs of the look, neither more nor fewer.

    Raises:
        ValueError: The rule plans no look at this number of pairs.
    """
    level = rule.level_at(len(pairs))
    if measure in SHARES:
        p, better = _share_test(pairs, measure)
        return Decision(p, better if p <= level else None)
    differences = [b - a for a, b in _amounts(pairs, measure)]
    p = sign_flip_p(differences)
    if p > level:
        return Decision(p, None)
    cheaper: SideName = "b" if sum(differences) < 0 else "a"
    quality_p, solves_more = _share_test(pairs, quality(pairs))
    if solves_more not in (None, cheaper) and quality_p <= level:
        return Decision(p, None, solves_fewer=cheaper)
    return Decision(p, cheaper)


def take_look(rule: StoppingRule, measure: Measure, pairs: Sequence[Pair]) -> Look:
    """What the pairs show at a planned look: the decision, and the effect with its interval; see `decide`."""
    decision, level = decide(rule, measure, pairs), rule.level_at(len(pairs))
    if measure in SHARES:
        found = [(b, a) for a, b in shares(pairs, measure)]
        effect: Interval | None = paired_difference(found, level=level)
    else:
        amounts = _amounts(pairs, measure)
        effect = ratio_interval([b for _, b in amounts], [a for a, _ in amounts], level=level)
    return Look(len(pairs), level, decision.p, decision.winner, effect, decision.solves_fewer)


def _amounts(pairs: Sequence[Pair], measure: Measure) -> list[tuple[float, float]]:
    """For each pair what A has spent, and what B has."""
    amount = _AMOUNTS[measure]
    return [(amount(a), amount(b)) for a, b in pairs]


def quality(pairs: Sequence[Pair]) -> Measure:
    """What tells whether requests are solved: hidden tests if all requests have them, else the verdicts."""
    return "approved" if any(outcome.solved is None for pair in pairs for outcome in pair) else "solved"


def shares(pairs: Sequence[Pair], measure: Measure) -> list[tuple[bool, bool]]:
    """For each pair whether A has solved it (or approved it), and whether B has."""
    if measure == "solved":
        return [(bool(a.solved), bool(b.solved)) for a, b in pairs]
    return [(bool(a.approved), bool(b.approved)) for a, b in pairs]


def _share_test(pairs: Sequence[Pair], measure: Measure) -> tuple[float, SideName | None]:
    """The p of McNemar's test, and the side that has more."""
    found = shares(pairs, measure)
    firsts, others = [a for a, _ in found], [b for _, b in found]
    more = sum(others) - sum(firsts)
    return mcnemar(firsts, others), None if not more else "b" if more > 0 else "a"
