"""Copying every row that can still be read out of a damaged database."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from swarm_graph.checkpoints.database import Database
from swarm_graph.checkpoints.health import DAMAGE
from swarm_graph.checkpoints.saver import SwarmSaver

LEAPS = [2**power for power in range(17)]
"""Rows over which a repair looks for the end of a damage: what lies behind more of them is lost."""


def rebuild(source: sqlite3.Connection, target: Path, done: Repair) -> None:
    """Makes a new file of all rows that can be read."""
    done.rebuilt = True
    with SwarmSaver(Database(target)) as saver, saver.transaction() as cursor:
        for table in saver.database.tables.table_names():
            if not table.startswith("_"):
                _copy_table(source, cursor, table, done)
        found = {name for (name,) in _until_damage(source, "SELECT session FROM sessions")}
        begun = {name for (name,) in cursor.execute("SELECT session FROM runs")}
        kept = {name for (name,) in cursor.execute("SELECT session FROM sessions")}
        done.lost_sessions = sorted((found | begun) - kept, key=str)


def _copy_table(source: sqlite3.Connection, cursor: sqlite3.Cursor, table: str, done: Repair) -> None:
    columns = "SELECT name FROM pragma_table_info(?)"
    theirs = {name for (name,) in _until_damage(source, columns, table)}
    ours = [name for (name,) in cursor.execute(columns, (table,)) if name in theirs]
    names = ", ".join(["rowid", *ours])
    holes = ", ".join("?" * (len(ours) + 1))
    damage: list[Exception] = []
    cursor.executemany(
        f"INSERT OR IGNORE INTO {table} ({names}) VALUES ({holes})",
        _rows(source, f"SELECT {names} FROM {table} WHERE rowid", damage),
    )
    done.kept[table] = max(cursor.rowcount, 0)
    # counted by an index, which may be whole where the table is not
    counted = next(_until_damage(source, f"SELECT count(*) FROM {table}"), None)
    lost = counted[0] - done.kept[table] if counted else None
    if lost or (lost is None and damage):
        done.lost[table] = lost


def _until_damage(source: sqlite3.Connection, query: str, *values: object) -> Iterator[tuple[Any, ...]]:
    with suppress(*DAMAGE):
        yield from source.execute(query, values)


def _rows(source: sqlite3.Connection, query: str, damage: list[Exception]) -> Iterator[tuple[Any, ...]]:
    """All rows that can be read, by their numbers, around `damage`. `query` ends with `WHERE rowid`."""
    last: int | None = -1
    while last is not None:
        try:
            for row in source.execute(f"{query} > ? ORDER BY rowid", (last,)):
                if row[0] <= last:
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
    """A number behind the damage that follows `last`, found by longer leaps; None if there is no such."""
    for leap in LEAPS:
        with suppress(*DAMAGE):
            onward: int = last + leap
            row = source.execute(f"{query} > ? ORDER BY rowid LIMIT 1", (onward,)).fetchone()
            if row is None or row[0] > onward:
                return onward
    return None


def _between(source: sqlite3.Connection, query: str, low: int, high: int) -> Iterator[tuple[Any, ...]]:
    """The rows in a range that can be read, each half for itself where there is damage."""
    try:
        yield from source.execute(f"{query} BETWEEN ? AND ?", (low, high)).fetchall()
    except DAMAGE:
        if low < high:
            middle = (low + high) // 2
            yield from _between(source, query, low, middle)
            yield from _between(source, query, middle + 1, high)


@dataclass
class Repair:
    """What a repair did. Nothing was wrong, and nothing done, where there is no `copy`.

    `copy`: the file as it was. `kept`: rows by table; `lost`: rows by table of those that could not be read
    to the end, None where nobody can say. `set_back`: sessions that lost their last checkpoints.
    `leftovers`: rows that belonged to no session.
    """

    copy: Path | None = None
    rebuilt: bool = False
    sessions: list[str] = field(default_factory=list)
    lost_sessions: list[str] = field(default_factory=list)
    kept: dict[str, int] = field(default_factory=dict)
    lost: dict[str, int | None] = field(default_factory=dict)
    set_back: list[str] = field(default_factory=list)
    leftovers: int = 0
