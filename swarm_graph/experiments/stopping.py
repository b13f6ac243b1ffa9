"""The stopping rule of an A/B test: when it looks at its pairs, and which p ends it there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from swarm_graph.errors import InputError
from swarm_graph.experiments.sequential import sequential_bounds
from swarm_graph.experiments.statistics import LEVEL
from swarm_graph.text import format_count

DEFAULT_LOOKS = 3
MAX_LOOKS = 20
AT_MOST = "\N{LESS-THAN OR EQUAL TO}"


@dataclass(frozen=True)
class StoppingRule:
    """When an A/B test looks at its pairs, and which p ends it there.

    Attributes:
        looks: The planned looks, as numbers of pairs; the last one is all of them.
        levels: For each look the largest two-sided p that ends the test with a winner.
    """

    looks: tuple[int, ...]
    levels: tuple[float, ...]

    @classmethod
    def fixed(cls, pairs: int) -> StoppingRule:
        """One look, after all pairs."""
        return cls((pairs,), (LEVEL,))

    @classmethod
    def sequential(cls, pairs: int, looks: int = DEFAULT_LOOKS) -> StoppingRule:
        """Several looks in equal steps; together they err as seldom as one.

        Args:
            pairs: The number of pairs in all.
            looks: The number of looks.

        Raises:
            InputError: There are fewer than two looks, too many, or more than pairs.
        """
        if not 2 <= looks <= MAX_LOOKS:
            raise InputError(f"--looks {looks}: expected 2 to {MAX_LOOKS}; one look is the default rule")
        if looks > pairs:
            raise InputError(f"--looks {looks}: there are only {format_count(pairs, 'pair')} to look at")
        planned = tuple(round(pairs * look / looks) for look in range(1, looks + 1))
        return cls(planned, tuple(sequential_bounds(planned, pairs, LEVEL)))

    @property
    def pairs(self) -> int:
        """All pairs."""
        return self.looks[-1]

    @property
    def is_sequential(self) -> bool:
        """Whether it looks before the end."""
        return len(self.looks) > 1

    def level_at(self, pairs: int) -> float:
        """The level of a look."""
        return self.levels[self.looks.index(pairs)]

    def next_look(self, pairs: int) -> int | None:
        """The first look that needs more pairs than these; None after the last."""
        return next((look for look in self.looks if look > pairs), None)

    def text(self) -> str:
        """The rule in words, as it is printed and recorded before the first pair."""
        last = f"{self.pairs} (p {AT_MOST} {self.levels[-1]:.2g})"
        if self.is_sequential:
            early = ", ".join(
                f"{look} (p {AT_MOST} {level:.2g})"
                for look, level in zip(self.looks[:-1], self.levels, strict=False)
            )
            rule = (
                f"Group-sequential: {len(self.looks)} looks, after {early} and {last} pairs. The test ends "
                "at the first look with so small a p. All looks together find a difference that is not there "
                f"in at most {100 * LEVEL:g} % of tests."
            )
        else:
            rule = (
                f"Fixed number: one look, after {format_count(self.pairs, 'pair')}. It shows a difference if "
                f"p {AT_MOST} {LEVEL:g}."
            )
        return " ".join(filter(None, (rule, self._too_few, "No result is computed before a look.")))

    @property
    def _too_few(self) -> str:
        """The looks at so few pairs that no p can be small enough, in words; empty if there are none.

        Of n pairs the smallest p of an exact test is 2 / 2^n.
        """
        few = [
            str(look) for look, level in zip(self.looks, self.levels, strict=True) if 2 * 0.5**look > level
        ]
        if not few:
            return ""
        pairs = " and ".join(filter(None, (", ".join(few[:-1]), few[-1])))
        noun = "pair is" if pairs == "1" else "pairs are"
        return f"{pairs} {noun} too few to show a difference, whatever they say."

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as the plan of an experiment records it."""
        return {"looks": list(self.looks), "levels": list(self.levels), "text": self.text()}

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> StoppingRule:
        """The rule that `to_dict` has written. Raises ValueError if it is no rule."""
        rule = cls(tuple(map(int, data["looks"])), tuple(map(float, data["levels"])))
        is_rule = (
            1 <= len(rule.looks) == len(rule.levels) <= MAX_LOOKS
            and all(before < look for before, look in pairwise((0, *rule.looks)))
            and all(0 <= level <= LEVEL for level in rule.levels)
        )
        if not is_rule:
            raise ValueError("no stopping rule")
        return rule
