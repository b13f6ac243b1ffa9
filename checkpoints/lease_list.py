"""Who holds the slots of model servers now, on all machines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

from swarm_graph.checkpoints.storage import Storage

_ROWS = """
SELECT l.name, o.host, o.process, l.slots, count(x.granted_at), count(x.number) - count(x.granted_at),
    coalesce(CAST(extract(epoch FROM clock_timestamp() - min(x.asked_at) FILTER (WHERE x.granted_at IS NULL))
        AS DOUBLE PRECISION), 0.0),
    coalesce(s.model, '')
FROM lease_limits l JOIN lease_owners o ON o.id = l.owner
LEFT JOIN leases x ON x.owner = l.owner AND x.server = l.name LEFT JOIN lease_servers s ON s.name = l.name
WHERE l.name NOT LIKE 'session %'
GROUP BY l.name, o.id, o.host, o.process, l.slots, s.model ORDER BY l.name, o.host, o.process
"""


class LeaseRow(NamedTuple):
    """What one process has of one model server.

    Attributes:
        server: The server's address; one that only its own machine reaches has the name of the machine.
        host: The machine of the process.
        process: Its number there.
        slots: How many calls the server takes at once, as the process says.
        held: How many of the process's calls have a slot.
        waiting: How many wait for one.
        waits_s: How long the oldest of them has waited.
        model: The model that was called last, by any process.
    """

    server: str
    host: str
    process: int
    slots: int
    held: int
    waiting: int
    waits_s: float
    model: str


def lease_rows(storage: Storage) -> list[LeaseRow]:
    """What each process has of each model server, by server; empty where no other machine takes part."""
    if storage.limits is None:
        return []
    with storage.view() as cursor:
        return [LeaseRow(*row) for row in cursor.execute(_ROWS)]


def disagreements(rows: Iterable[LeaseRow]) -> Iterator[str]:
    """A line for each server of which processes say different numbers of slots.

    Args:
        rows: Those of `lease_rows`.
    """
    for server, of_server in groupby(rows, attrgetter("server")):
        said = sorted(of_server, key=attrgetter("slots"))
        least, most = said[0], said[-1]
        if least.slots < most.slots:
            yield (
                f"{server} is given {least.slots} calls at once, as process {least.process} on {least.host} "
                f"says; process {most.process} on {most.host} says {most.slots}; "
                "set the same `slots` on both machines"
            )
