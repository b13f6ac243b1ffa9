"""What recorded sessions spent, and what they kept of their rounds, read in few queries."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from swarm_graph.checkpoints.portable_sql import total
from swarm_graph.checkpoints.records import checked, object_or_empty
from swarm_graph.checkpoints.swarm_saver import SwarmSaver
from swarm_graph.errors import StorageError

KEPT = ("reviews", "codes", "changed", "candidates")
"""The keys of the state that are read from the last checkpoint of a session."""

_IF_KNOWN = "CASE WHEN prompt_tokens_evaluated IS NOT NULL THEN {} END"


def _tokens(expression: str) -> str:
    return f"CAST({total(expression)} AS BIGINT)"


_CHOSEN = "(session = :session OR CAST(:session AS TEXT) IS NULL AND experiment = '')"
_SESSIONS = f"""
SELECT session, workflow, phase, approved, iteration, config,
    simulated != 0 OR EXISTS (
        SELECT 1 FROM calls WHERE calls.session = sessions.session AND server = 'simulated'
    ) AS simulated
FROM sessions WHERE {_CHOSEN} ORDER BY rowid
"""
# Rounds are numbered anew with each request: only calls of the latest one belong to the rounds that are kept.
_CALLS = f"""
WITH began AS (
    SELECT session, max(started_at) AS time FROM runs WHERE kind != 'resume' GROUP BY session
)
SELECT calls.session, CAST(node AS TEXT) AS node, CAST(role AS TEXT) AS role, CAST(model AS TEXT) AS model,
    CAST(iteration AS BIGINT) AS iteration, outcome,
    coalesce(repair, 0) != 0 AS repair, calls.time >= coalesce(began.time, 0) AS is_latest, count(*) AS calls,
    {_tokens("input_tokens")} AS input_tokens,
    {_tokens("output_tokens")} AS output_tokens,
    {_tokens("cut_tokens")} AS cut_tokens,
    {total("seconds")} AS seconds, {total("cost")} AS cost,
    {_tokens(_IF_KNOWN.format("input_tokens"))} AS known_tokens,
    {_tokens(_IF_KNOWN.format("input_tokens - prompt_tokens_evaluated"))} AS cached_tokens
FROM calls LEFT JOIN began ON began.session = calls.session
WHERE calls.session IN (SELECT session FROM sessions WHERE {_CHOSEN})
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
ORDER BY min(calls.rowid)
"""
_TESTS = f"""
SELECT session, CAST(iteration AS BIGINT), outcome FROM test_runs
WHERE kind = 'run' AND outcome != 'not_run' AND session IN (SELECT session FROM sessions WHERE {_CHOSEN})
ORDER BY session, iteration, attempt
"""
_VALUES = f"""
SELECT thread_id, channel, type, value FROM channel_values AS stored
WHERE thread_id IN (SELECT session FROM sessions WHERE {_CHOSEN}) AND checkpoint_ns = ''
AND channel IN ({", ".join(map(repr, KEPT))}) AND version = (
    SELECT max(version) FROM channel_values AS newest WHERE newest.thread_id = stored.thread_id
    AND newest.checkpoint_ns = '' AND newest.channel = stored.channel
)
"""


@dataclass(frozen=True)
class SpendingSession:
    """A session, as far as its costs are concerned.

    Attributes:
        session: Its id.
        workflow: Its workflow.
        phase: How it ended.
        approved: The outcome of its last run.
        iteration: Its last round.
        config: The configuration that it began with, in the file's shape.
        simulated: Whether any of its answers is simulated.
    """

    session: str
    workflow: str
    phase: str
    approved: bool | None
    iteration: int | None
    config: dict[str, Any]
    simulated: bool


class CallGroup(NamedTuple):
    """Calls of a session that are alike, and what they spent together.

    Attributes:
        is_latest: Whether they belong to the session's latest request.
        known_tokens: Prompt tokens of the calls whose server said how many of them it evaluated.
        cached_tokens: Those of them that the server's cache held.
    """

    session: str
    node: str
    role: str
    model: str
    iteration: int
    outcome: str
    repair: bool
    is_latest: bool
    calls: int
    input_tokens: int
    output_tokens: int
    cut_tokens: int
    seconds: float
    cost: float
    known_tokens: int
    cached_tokens: int


class Spending:
    """What sessions spent. All methods raise StorageError.

    Args:
        saver: The database.
        session: The id of a session; None for all but the trials of experiments.
    """

    def __init__(self, saver: SwarmSaver, session: str | None = None) -> None:
        self._saver, self._chosen = saver, {"session": session}

    def sessions(self) -> list[SpendingSession]:
        """The sessions, oldest first."""
        with self._saver.catalogue.database.view() as cursor:
            rows = cursor.execute(_SESSIONS, self._chosen).fetchall()
        names = tuple(SpendingSession.__dataclass_fields__)
        return [
            checked(
                SpendingSession, dict(zip(names, (*row[:5], object_or_empty(row[5]), row[6]), strict=True))
            )
            for row in rows
        ]

    def of_experiments(self) -> int:
        """The number of sessions that are left out because they are trials of experiments."""
        with self._saver.catalogue.database.view() as cursor:
            (count,) = cursor.execute("SELECT count(*) FROM sessions WHERE experiment != ''").fetchone()
        return int(count)

    def calls(self) -> dict[str, list[CallGroup]]:
        """The calls by session, in the order in which they ended."""
        found: dict[str, list[CallGroup]] = {}
        with self._saver.catalogue.database.view() as cursor:
            for row in cursor.execute(_CALLS, self._chosen):
                group = CallGroup._make(row)
                found.setdefault(group.session, []).append(group)
        return found

    def tests(self) -> dict[str, dict[int, str]]:
        """The outcome of each round's test run, by session; of several the last one. Only what ran counts."""
        found: dict[str, dict[int, str]] = {}
        with self._saver.catalogue.database.view() as cursor:
            for session, iteration, outcome in cursor.execute(_TESTS, self._chosen):
                found.setdefault(str(session), {})[iteration] = str(outcome)
        return found

    def last_values(self) -> Iterator[tuple[str, str, Any]]:
        """Yield the session, the key of the state and its last value, for each of KEPT that is there.

        A value that cannot be read is None.
        """
        with self._saver.database.view() as cursor:
            for session, channel, type_, value in cursor.execute(_VALUES, self._chosen):
                yield str(session), str(channel), self._value(type_, value)

    def _value(self, type_: str, value: bytes) -> Any:
        try:
            return self._saver.serde.loads_typed((type_, value))
        except (StorageError, ValueError, TypeError):  # another program has changed the file
            return None
