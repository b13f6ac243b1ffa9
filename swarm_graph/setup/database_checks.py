"""`swarm-graph doctor --database`: checks of the session database, and the account of a repair."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from shlex import quote

from swarm_graph.checkpoints.health import check_database
from swarm_graph.checkpoints.memory_health import ITEMS, VECTORS
from swarm_graph.checkpoints.repair import repair_database
from swarm_graph.checkpoints.salvage import Repair
from swarm_graph.database_place import is_server
from swarm_graph.errors import StorageError
from swarm_graph.setup.checks import Check, failed_check

_CURES = {
    ITEMS: "`swarm-graph memory add` reads documents again, `swarm-graph memory import` an export",
    VECTORS: "`swarm-graph memory reindex` makes them again",
}
"""What brings lost rows back, by table."""


def examine_database(place: str | Path, data_dir: Path, *, repair: bool = False) -> list[Check]:
    """Checks of a session database: whether its sessions can be read.

    Args:
        place: The database file, or the URL of a server.
        data_dir: The data folder.
        repair: Repair a file first; the original is kept beside it.

    Raises:
        SessionInUse: A session is running, so the file cannot be repaired.
    """
    if is_server(place):
        from swarm_graph.setup.postgres_checks import examine_server, no_repair  # most use a file

        return [*([no_repair(str(place))] if repair else []), *examine_server(str(place), data_dir)]
    path = Path(place)
    checks: list[Check] = []
    try:
        if repair:
            checks += _repair_checks(repair_database(path))
        health = check_database(path)
    except StorageError as error:
        return [*checks, failed_check("database", str(error))]
    for problem in health.problems:
        checks.append(Check("database", False if problem.serious else None, problem.text, problem.cure))
    if not health.problems:
        checks.append(Check("database", True, f"'{path}' is sound, sessions: {health.sessions}"))
    return checks


def _repair_checks(repair: Repair) -> Iterator[Check]:
    if repair.original is None:
        return
    text = "rebuilt from the rows that can be read" if repair.rebuilt else "repaired"
    yield Check("repair", True, f"{text}; the original is kept as '{repair.original}'")
    if repair.orphan_rows:
        yield Check("repair", True, f"removed {repair.orphan_rows} rows that belonged to no session")
    if repair.memory_mended:
        yield Check("repair", True, "the index of memory was made anew from its items")
    for table, lost in repair.lost_rows.items():
        kept = f"kept {repair.kept_rows[table]} rows, " if repair.rebuilt else ""
        yield Check(
            "repair", None, f"{table}: {kept}lost {lost or 'an unknown number'}", _CURES.get(table, "")
        )
    for session_id in repair.lost_sessions:
        yield Check("repair", None, f"session {session_id!r} is lost", "its output folder, if any, stays")
    for session_id in repair.rolled_back:
        cure = f"`swarm-graph resume {quote(session_id)}` continues from what is left"
        yield Check("repair", None, f"session {session_id!r} lost its last checkpoints", cure)
