"""Copy every row that can still be read out of a damaged database."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from swarm_graph.checkpoints.database import Database
from swarm_graph.checkpoints.health import DAMAGE
from swarm_graph.checkpoints.memory_health import INDEX, ITEMS, MADE_ANEW
from swarm_graph.checkpoints.sqlite_saver import SqliteSwarmSaver
from swarm_graph.checkpoints.storage import Cursor

_LEAPS = [2**power for power in range(17)]
"""How many row numbers to skip when looking for the end of damage; rows behind a longer one are lost."""


@dataclass
class Repair:
    """What a repair did; nothing if there is no `original`.

    Attributes:
        original: The copy of the file as it was before the repair.
        rebuilt: Whether the file was built anew from the rows that can be read.
        sessions: Ids of the sessions after the repair.
        lost_sessions: Ids of the sessions that could not be saved.
        kept_rows: The number of saved rows, by table.
        lost_rows: The number of lost rows, by table; None if it is unknown. Undamaged tables are left out.
        rolled_back: Ids of the sessions that lost their last checkpoints.
        orphan_rows: The number of deleted rows that belonged to no session.
        memory_mended: Whether the texts and the index of memory were made anew.
    """

    original: Path | None = None
    rebuilt: bool = False
    sessions: list[str] = field(default_factory=list)
    lost_sessions: list[str] = field(default_factory=list)
    kept_rows: dict[str, int] = field(default_factory=dict)
    lost_rows: dict[str, int | None] = field(default_factory=dict)
    rolled_back: list[str] = field(default_factory=list)
    orphan_rows: int = 0
    memory_mended: bool = False

    def lose(self, table: str, rows: int) -> None:
        """Count rows that were saved at first, and had to be deleted."""
        if rows:
            known = self.lost_rows.get(table, 0)
            self.lost_rows[table] = None if known is None else known + rows
            if table in self.kept_rows:
                self.kept_rows[table] -= rows


def rebuild(source: sqlite3.Connection, target: Path, repair: Repair) -> None:
    """Build a new file from all rows that can be read; `memory_health.mend_memory` then fills memory's index.

    Args:
        source: The damaged database.
        target: The new file.
        repair: Takes the counts of rows and the lost sessions.
    """
    repair.rebuilt = True
    with SqliteSwarmSaver(Database(target)) as saver, saver.transaction() as cursor:
        if any(_until_damage(source, "SELECT 1 FROM sqlite_schema WHERE name = ?", ITEMS)):
            saver.database.add_memory()
        for table in saver.database.tables.table_names():
            if not table.startswith(("_", "sqlite_", INDEX)) and not _is_missing(source, table):
                _copy_table(source, cursor, table, repair)
        for table in MADE_ANEW:
            repair.lost_rows.pop(table, None)
        # An id may survive in the damaged table's index, or in a run, although its row is lost.
        known = {name for (name,) in _until_damage(source, "SELECT session FROM sessions")}
        known |= {name for (name,) in cursor.execute("SELECT session FROM runs")}
        kept = {name for (name,) in cursor.execute("SELECT session FROM sessions")}
        repair.lost_sessions = sorted(known - kept, key=str)


def _is_missing(source: sqlite3.Connection, table: str) -> bool:
    """Whether a table was never made, as those of sessions in a file that holds memory only."""
    return not next(_until_damage(source, "SELECT count(*) FROM sqlite_schema WHERE name = ?", table), (1,))[
        0
    ]


def _copy_table(source: sqlite3.Connection, cursor: Cursor, table: str, repair: Repair) -> None:
    query = "SELECT name FROM pragma_table_info(?)"
    in_source = {name for (name,) in _until_damage(source, query, table)}
    columns = [name for (name,) in cursor.execute(query, (table,)) if name in in_source]
    names = ", ".join(["rowid", *(f'"{column}"' for column in columns)])
    placeholders = ", ".join("?" * (len(columns) + 1))
    damage: list[Exception] = []
    cursor.executemany(
        f"INSERT OR IGNORE INTO {table} ({names}) VALUES ({placeholders})",
        _readable_rows(source, f"SELECT {names} FROM {table} WHERE rowid", damage),
    )
    repair.kept_rows[table] = max(cursor.rowcount, 0)
    # SQLite counts by an index, which may be whole although the table is damaged.
    total = next(_until_damage(source, f"SELECT count(*) FROM {table}"), None)
    lost = total[0] - repair.kept_rows[table] if total else None
    if lost or (lost is None and damage):
        repair.lost_rows[table] = lost


def _until_damage(source: sqlite3.Connection, query: str, *values: object) -> Iterator[tuple[Any, ...]]:
    """The rows of a query up to the first damage."""
    with suppress(*DAMAGE):
        yield from source.execute(query, values)


def _readable_rows(
    source: sqlite3.Connection, query: str, damage: list[Exception]
) -> Iterator[tuple[Any, ...]]:
    """All rows that can be read, in the order of their numbers.

    Args:
        source: The damaged database.
        query: A query that selects the row number first and ends with `WHERE rowid`.
        damage: Takes the errors that were met.
    """
    last: int | None = -1
    while last is not None:
        try:
            for row in source.execute(f"{query} > ? ORDER BY rowid", (last,)):
                if row[0] <= last:  # damaged pages can form a loop
                    raise sqlite3.DatabaseError("rows out of order")
                yield row
                last = row[0]
        except DAMAGE as error:
            damage.append(error)
            onward = _beyond(source, query, last)
            if onward is not None:
                yield from _between(source, query, last + 1, onward)
            last = onward
        else:
            return


def _beyond(source: sqlite3.Connection, query: str, last: int) -> int | None:
    """A row number behind the damage that follows `last`; None if no leap reaches one."""
    for leap in _LEAPS:
        with suppress(*DAMAGE):
            onward: int = last + leap
            row = source.execute(f"{query} > ? ORDER BY rowid LIMIT 1", (onward,)).fetchone()
            if row is None or row[0] > onward:
                return onward
    return None


def _between(source: sqlite3.Connection, query: str, low: int, high: int) -> Iterator[tuple[Any, ...]]:
    """The rows of a range that can be read; a damaged range is halved until it is one row."""
    try:
        yield from source.execute(f"{query} BETWEEN ? AND ?", (low, high)).fetchall()
    except DAMAGE:
        if low < high:
            middle = (low + high) // 2
            yield from _between(source, query, low, middle)
            yield from _between(source, query, middle + 1, high)
