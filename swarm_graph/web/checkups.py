"""Runs the doctor's checks for the page, one run at a time for each subject, and keeps their last results."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import NamedTuple

from swarm_graph import aio
from swarm_graph.errors import InputError
from swarm_graph.setup.checks import Check, failed_check

TIME_LIMIT_S = 60.0
"""How long a person waits for checks; a server that takes connections and never answers costs no more."""


class Checkup(NamedTuple):
    """The last result of checks.

    Attributes:
        checks: Each check, in its order.
        ended_at: When they ended, in seconds since the epoch.
    """

    checks: list[Check]
    ended_at: float

    @property
    def failed(self) -> int:
        """How many checks failed."""
        return sum(check.ok is False for check in self.checks)

    @property
    def warnings(self) -> int:
        """How many checks warn."""
        return sum(check.ok is None for check in self.checks)


class Checkups:
    """The last checkup of each subject: a configuration, or the database.

    Args:
        time_limit: Seconds after which a checkup ends, whatever it waits for.
    """

    def __init__(self, time_limit: float = TIME_LIMIT_S) -> None:
        self._time_limit = time_limit
        self._last: dict[str, Checkup] = {}
        self._running: set[str] = set()

    def last(self, subject: str) -> Checkup | None:
        """The last checkup of a subject; None if there was none."""
        return self._last.get(subject)

    async def run(self, subject: str, check: Callable[[], list[Check]]) -> None:
        """Check a subject in a thread, and keep the result.

        Args:
            subject: What is checked.
            check: Makes the checks; it may block. After the time limit nobody waits for it any more.

        Raises:
            InputError: The subject is being checked already.
        """
        if subject in self._running:
            raise InputError("these checks are running already; load the page again in a moment")
        self._running.add(subject)
        work = asyncio.ensure_future(aio.in_daemon_thread(check, "a check"))
        work.add_done_callback(lambda _: self._running.discard(subject))
        done, _ = await asyncio.wait([work], timeout=self._time_limit)
        checks = work.result() if done else [self._too_slow()]
        self._last[subject] = Checkup(checks, time.time())

    def _too_slow(self) -> Check:
        return failed_check(
            "time limit",
            f"the checks took longer than {self._time_limit:g} s; run `swarm-graph doctor` in a terminal",
        )
