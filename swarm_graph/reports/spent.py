"""What calls of models spend: sums of calls, tokens, seconds and cost."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

from swarm_graph.checkpoints.spending import CallGroup


@dataclass(frozen=True)
class Spent:
    """What some calls spent together.

    Attributes:
        calls: Their number, failed ones included.
        input_tokens: Tokens of their prompts.
        output_tokens: Tokens of their answers.
        seconds: From dispatch to the last token, summed; calls side by side count each.
        cost: In the currency of the configured prices.
    """

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    seconds: float = 0.0
    cost: float = 0.0

    @classmethod
    def of(cls, groups: Iterable[CallGroup]) -> Spent:
        """The sum over groups of calls."""
        total = [0, 0, 0, 0.0, 0.0]
        for group in groups:
            total[0] += group.calls
            total[1] += group.input_tokens
            total[2] += group.output_tokens
            total[3] += group.seconds
            total[4] += group.cost
        return cls(int(total[0]), int(total[1]), int(total[2]), *total[3:])

    def __sub__(self, other: Spent) -> Spent:
        return Spent(*(getattr(self, one.name) - getattr(other, one.name) for one in fields(self)))

    @property
    def tokens(self) -> int:
        """Of prompts and answers."""
        return self.input_tokens + self.output_tokens

    def to_dict(self) -> dict[str, Any]:
        """The sums as plain data."""
        return {one.name: getattr(self, one.name) for one in fields(self)}
