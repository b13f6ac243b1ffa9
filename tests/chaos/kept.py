"""What a killed process has left in its database, read without the program that is tested."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Protocol

import psycopg
from psycopg.rows import dict_row

_OTHERS = """
SELECT pid FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()"""


class Kept(Protocol):
    """A database of a session under attack."""

    def rows(self, query: str) -> list[dict[str, Any]]:
        """What a query finds; nothing if there are no tables yet."""

    def check(self) -> None:
        """Fail if a kill has damaged it; nobody may use it."""


def kept_in(place: str | Path) -> Kept:
    """The database at a place: a file, or a URL."""
    return _OnServer(place) if isinstance(place, str) else _InFile(place)


class _InFile:
    def __init__(self, path: Path) -> None:
        self._path = path

    def rows(self, query: str) -> list[dict[str, Any]]:
        with self._opened() as connection:
            connection.row_factory = sqlite3.Row
            try:
                return [dict(row) for row in connection.execute(query)]
            except sqlite3.OperationalError:  # killed before the tables were made
                return []

    def check(self) -> None:
        with self._opened() as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        """The file; an empty database if it is missing."""
        with closing(sqlite3.connect(self._path if self._path.is_file() else ":memory:")) as connection:
            yield connection


class _OnServer:
    def __init__(self, url: str) -> None:
        self._url = url

    def rows(self, query: str) -> list[dict[str, Any]]:
        with psycopg.connect(self._url, row_factory=dict_row) as connection:
            return connection.execute(query.encode()).fetchall()

    def check(self) -> None:
        """Wait until the server has ended what it ran for the killed process: it may still commit."""
        with psycopg.connect(self._url, autocommit=True) as connection:
            while connection.execute(_OTHERS).fetchone():
                time.sleep(0.002)
