"""The score of one trial, from exit codes and places; no model judges."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from swarm_graph.state import Outcome


@dataclass(frozen=True)
class Score:
    """How well a session has answered a case.

    Attributes:
        solved: Whether the hidden tests pass; of a review whether the planted bug was found, or clean code
            raised no false alarm.
        outcome: The outcome of the hidden tests.
        passed: The number of hidden tests that passed.
        failed: The number of those that did not.
        found: Of a review with a planted bug: whether a finding names its place. None for other cases.
        alarms: Of a review of code: the grave findings at places without a planted bug. None for other
            cases.
        reason: Why it is not solved, in one line; empty if it is.
    """

    solved: bool
    outcome: Outcome
    passed: int = 0
    failed: int = 0
    found: bool | None = None
    alarms: int | None = None
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as the database keeps it."""
        return asdict(self)

    @classmethod
    def of(cls, data: dict[str, Any]) -> Score:
        """The score that `to_dict` has written."""
        return cls(**data)
