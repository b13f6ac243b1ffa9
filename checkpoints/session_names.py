"""The ids of sessions and memories in a database, for shell completion: read quickly, and never written."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

MAX_NAMES = 100
TIMEOUT_S = 0.2
"""How long to wait for a locked database: nobody waits for a completion."""


class SessionName(NamedTuple):
    """A session as a completion shows it."""

    session: str
    workflow: str
    phase: str


class MemoryName(NamedTuple):
    """A document in memory, or an experience, as a completion shows it."""

    id: str
    source: str


def session_names(path: Path | None) -> list[SessionName]:
    """The sessions that were last worked on, the newest first; none if there is no file that can be read."""
    columns = "session, workflow, phase"
    query = f"SELECT {columns} FROM sessions ORDER BY updated_at DESC LIMIT ?"
    return [SessionName(*map(str, row)) for row in _rows(path, "sessions", query)]


def memory_names(path: Path | None) -> list[MemoryName]:
    """The documents and experiences that last came into memory; none if there is no file that can be read."""
    query = """SELECT key, json_extract(value, '$.source') FROM memory_items
        WHERE namespace LIKE 'swarm.documents.%' OR namespace LIKE 'swarm.memory.experience.%'
        ORDER BY updated_at DESC LIMIT ?"""
    return [MemoryName(*map(str, row)) for row in _rows(path, "memory_items", query)]


def _rows(path: Path | None, table: str, query: str) -> list[tuple[object, ...]]:
    """The rows of a query. The file may come from elsewhere: only an ordinary table is read."""
    if path is None:
        return []
    # A database without a -wal is complete in itself; in WAL mode SQLite opens it for reading only like this.
    mode = "mode=ro" if Path(f"{path}-wal").exists() else "mode=ro&immutable=1"
    try:
        uri = f"{path.absolute().as_uri()}?{mode}"
        with closing(sqlite3.connect(uri, uri=True, timeout=TIMEOUT_S)) as connection:
            connection.executescript("PRAGMA trusted_schema=OFF; PRAGMA query_only=ON")
            find = "SELECT type FROM sqlite_schema WHERE name = ?"
            (kind,) = connection.execute(find, (table,)).fetchone()
            return connection.execute(query, (MAX_NAMES,)).fetchall() if kind == "table" else []
    except (sqlite3.Error, OSError, TypeError, ValueError):
        return []
