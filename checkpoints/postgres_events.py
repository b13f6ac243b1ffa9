"""The order of events that several processes write to PostgreSQL at once.

An event gets its id when it is inserted, and is seen when its transaction is committed: an event with a
smaller id may come later. So whoever follows events stops at a gap in the ids until no transaction runs that
may fill it.
"""

from __future__ import annotations

from swarm_graph.checkpoints.storage import Cursor

MAX_WAIT_S = 20
"""A gap is passed after this time, even if a transaction that may fill it still runs. A stalled process holds
followers up for no longer; the events that it commits later are in the transcript all the same."""

STEP = (
    "ALTER TABLE events ADD COLUMN written_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp()",
    "CREATE INDEX idx_events_written ON events (written_at)",
)
"""The statements that prepare the table of events for this."""

# A transaction that writes holds a lock on its own number. When it began is hidden from some users: such a
# transaction counts as old. The events are read before the locks: a transaction that has ended in between has
# filled its gap for whoever reads the events after this.
_LAST_SETTLED = f"""
WITH running AS MATERIALIZED (
    SELECT min(coalesce(xact_start, '-infinity')) AS since
    FROM pg_locks LEFT JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'transactionid' AND mode = 'ExclusiveLock' AND granted
    AND (datname IS NULL OR datname = current_database())
), gaps AS MATERIALIZED (
    SELECT id FROM events AS young
    WHERE written_at >= greatest(
        (SELECT since FROM running), clock_timestamp() - interval '{MAX_WAIT_S} seconds'
    )
    AND (SELECT since FROM running) IS NOT NULL AND id > 1
    AND NOT EXISTS (SELECT 1 FROM events WHERE id = young.id - 1)
)
SELECT max(id) FROM events WHERE id < coalesce((SELECT min(id) FROM gaps), 9223372036854775807)
"""


def last_settled(cursor: Cursor) -> int:
    """The id of the last event before which no other one can be committed any more; 0 if there is none.

    Args:
        cursor: Not in the view in which the caller reads the events: that view must begin later.
    """
    (number,) = cursor.execute(_LAST_SETTLED).fetchone()
    return number or 0
