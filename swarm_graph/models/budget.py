"""A session's budget: the calls, tokens and seconds that it may still use."""

from __future__ import annotations

import time

from swarm_graph.errors import OverBudget
from swarm_graph.settings import SessionLimits


class Budget:
    """What is left of a session's limits.

    Args:
        limits: The limits of the whole session.
        calls: Calls of the session's earlier runs.
        tokens: Tokens, in and out, of its earlier runs.
        seconds: Working time of its earlier runs.

    Attributes:
        limits: The limits of the whole session.
    """

    def __init__(self, limits: SessionLimits, calls: int = 0, tokens: int = 0, seconds: float = 0.0) -> None:
        self.limits, self._calls, self._tokens = limits, calls, tokens
        self._began = time.monotonic() - seconds

    @property
    def used(self) -> dict[str, float]:
        """What is used so far, by the name of its limit."""
        return {"calls": self._calls, "tokens": self._tokens, "seconds": time.monotonic() - self._began}

    async def begin_call(self) -> None:
        """Count a call, before it is sent.

        Raises:
            OverBudget: A limit is used up; the call is not counted.
        """
        self.check(**self.used)
        self._calls += 1

    def check(self, calls: float, tokens: float, seconds: float) -> None:
        """Raises OverBudget if a limit is used up."""
        for name, amount in (("calls", calls), ("tokens", tokens), ("seconds", seconds)):
            limit = getattr(self.limits, name)
            if limit is not None and amount >= limit:
                raise OverBudget(
                    f"the session has used {amount:.0f} of {limit:g} {name} (limits.{name}); raise it and "
                    "resume, what was finished is kept"
                )

    def end_call(self, tokens: int) -> None:
        """Count the tokens of a call, in and out."""
        self._tokens += tokens
