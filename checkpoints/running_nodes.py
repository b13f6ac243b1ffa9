"""What the nodes of a session do at this moment, from the latest event of each."""

from __future__ import annotations

from swarm_graph.checkpoints.catalogue import Catalogue
from swarm_graph.checkpoints.transcript import StoredEvent

RESTING = (
    "task_ended", "task_failed", "task_skipped", "task_stopped", "task_added", "tests_ended", "verdict",
    "committed", "remembered", "node_ended", "pause_answered", "graph_started",
    "session_started", "session_ended", "models_chosen",
)  # fmt: skip
"""The events after which a node does nothing."""
BESIDE = ("tokens", "recalled", "part_started", "answer_read")
"""The events that say nothing of what their node does next."""
MAX_NODES = 200
"""Nodes of a session that are looked at."""


def running_nodes(catalogue: Catalogue, session_id: str) -> list[StoredEvent]:
    """The latest event, besides those of BESIDE, of each node that has begun something and not ended it.

    Args:
        catalogue: The catalogue.
        session_id: The session; whether a process works on it is not looked at.
    """
    began = catalogue.transcript.events(session_id=session_id, kinds=("session_started",))
    runs = (
        catalogue.runs(session_id) if not began else []
    )  # only without `ui.events`: a clock may be set back
    after, earliest = (began[-1].id if began else 0), (runs[-1].started_at if runs else 0.0)
    query = (
        "SELECT latest FROM (SELECT max(id) AS latest FROM events "
        "WHERE session = ? AND id > ? AND time >= ? "
        f"AND kind NOT IN ({', '.join('?' * len(BESIDE))}) AND node != '' GROUP BY node) AS nodes "
        "JOIN events ON events.id = latest "
        f"WHERE kind NOT IN ({', '.join('?' * len(RESTING))}) ORDER BY latest LIMIT ?"
    )
    with catalogue.database.view() as cursor:
        values = (session_id, after, earliest, *BESIDE, *RESTING, MAX_NODES)
        ids = [number for (number,) in cursor.execute(query, values).fetchall()]
    return [event for number in ids for event in _event(catalogue, session_id, number)]


def _event(catalogue: Catalogue, session_id: str, number: int) -> list[StoredEvent]:
    found = catalogue.transcript.events(number - 1, session_id=session_id, limit=1)
    return [event for event in found if event.id == number]


def written(catalogue: Catalogue, session_id: str, calls: list[int]) -> list[StoredEvent]:
    """The `tokens` events of calls, in order.

    Args:
        catalogue: The catalogue.
        session_id: The session.
        calls: The ids of the calls.
    """
    tokens: list[StoredEvent] = []
    after = min(calls, default=0)
    while calls and (
        found := catalogue.transcript.events(after, session_id=session_id, kinds=("tokens",), limit=1000)
    ):
        tokens += [event for event in found if event.call in calls]
        after = found[-1].id
    return tokens
