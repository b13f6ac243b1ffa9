"""How a worker's job ended."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Done:
    """There is nothing left to do; the job leaves the queue."""


@dataclass(frozen=True)
class Failed:
    """The job stays in the queue as failed, until somebody retries or cancels it.

    Attributes:
        reason: Why, in one line.
    """

    reason: str


@dataclass(frozen=True)
class Again:
    """The job waits again, for any worker.

    Attributes:
        after_s: How long it waits at least.
    """

    after_s: float = 0.0


Outcome = Done | Failed | Again
