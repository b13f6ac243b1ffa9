"""The budget of a session whose tasks run on several machines: counted in the database, call by call.

The conductor begins it with what earlier runs have used. A session without limits counts nothing.
"""

from __future__ import annotations

from swarm_graph.checkpoints.storage import Storage
from swarm_graph.models.budget import Budget
from swarm_graph.settings import SessionLimits

_NOW = "extract(epoch FROM clock_timestamp())::double precision"
_BEGIN = f"""
INSERT INTO session_budgets (session, calls, tokens, began) VALUES (?, ?, ?, {_NOW} - ?)
ON CONFLICT (session) DO UPDATE SET calls = excluded.calls, tokens = excluded.tokens, began = excluded.began
"""
_TAKE = f"""
UPDATE session_budgets SET calls = calls + 1 WHERE session = ?
AND calls < coalesce(?::float8, 'infinity') AND tokens < coalesce(?::float8, 'infinity')
AND {_NOW} - began < coalesce(?::float8, 'infinity')
"""


class SharedBudget(Budget):
    """What is left of a session's limits for the calls of all machines.

    Args:
        limits: The limits of the whole session.
        database: The database.
        session: The session.
    """

    def __init__(self, limits: SessionLimits, database: Storage, session: str) -> None:
        super().__init__(limits)
        self._database, self._session = database, session

    async def begin_call(self) -> None:
        """Count a call, before it is sent. Raises OverBudget; the call is not counted then."""
        self.check(*await self._database.run(self._take))

    def _take(self) -> tuple[int, int, float]:
        """Count a call if nothing is used up; returns what was used before it."""
        limits = self.limits.calls, self.limits.tokens, self.limits.seconds
        with self._database.transaction() as cursor:
            is_counted = cursor.execute(_TAKE, (self._session, *limits)).rowcount
            query = f"SELECT calls, tokens, {_NOW} - began FROM session_budgets WHERE session = ?"
            calls, tokens, seconds = cursor.execute(query, (self._session,)).fetchone() or (0, 0, 0.0)
        return calls - is_counted, tokens, seconds

    def end_call(self, tokens: int) -> None:
        """Count the tokens of a call, in and out."""
        self._database.start(self._add, tokens)

    def _add(self, tokens: int) -> None:
        with self._database.transaction() as cursor:
            query = "UPDATE session_budgets SET tokens = tokens + ? WHERE session = ?"
            cursor.execute(query, (tokens, self._session))


def begin_budget(database: Storage, session: str, budget: Budget) -> None:
    """Begin to count what a session uses, from what it has used before."""
    used = budget.used
    with database.transaction() as cursor:
        cursor.execute(_BEGIN, (session, used["calls"], used["tokens"], used["seconds"]))


def has_limits(limits: SessionLimits) -> bool:
    """Whether anything is limited."""
    return any(limit is not None for limit in (limits.calls, limits.tokens, limits.seconds))
