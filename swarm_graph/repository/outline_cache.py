"""Outlines that were made earlier, in a SQLite file in the user's cache folder."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from swarm_graph.repository.outline import Outline

MAX_OUTLINES = 200_000
"""Outlines that are kept; beyond them the oldest ones go."""
_TABLE = "CREATE TABLE IF NOT EXISTS outlines (id INTEGER PRIMARY KEY, key TEXT UNIQUE, outline BLOB)"
_MAX_VARIABLES = 500


def cache_file() -> Path | None:
    """The default file, in the user's cache folder; None if the user has no home."""
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if given.is_absolute():
        return given / "swarm-graph" / "outlines.db"
    with suppress(RuntimeError):
        home = Path.home()
        # Python takes an empty HOME for the root folder.
        return home / ".cache" / "swarm-graph" / "outlines.db" if home.name else None
    return None


class OutlineCache:
    """Outlines by key. A file that is locked, broken or not writable costs time, and nothing else."""

    def __init__(self, file: Path | None, wait_s: float = 2) -> None:
        """Use a file, which is made when it is needed; None keeps nothing."""
        self._file, self._wait_s = file, wait_s

    def get(self, keys: Sequence[str]) -> dict[str, Outline]:
        """The outlines of those keys that it has."""
        found: dict[str, Outline] = {}
        with self._failures_dropped(), closing(self._connect()) as database:
            for start in range(0, len(keys), _MAX_VARIABLES):
                some = keys[start : start + _MAX_VARIABLES]
                marks = ",".join("?" * len(some))
                rows = database.execute(f"SELECT key, outline FROM outlines WHERE key IN ({marks})", some)
                for key, line in rows:
                    with suppress(ValueError, TypeError):
                        found[key] = Outline.from_json(line)
        return found

    def put(self, outlines: Mapping[str, Outline]) -> None:
        """Keep outlines."""
        rows = [(key, outline.to_json()) for key, outline in outlines.items()]
        with self._failures_dropped(), closing(self._connect()) as database, database:
            database.executemany("INSERT OR REPLACE INTO outlines (key, outline) VALUES (?, ?)", rows)
            newest = "SELECT max(id) FROM outlines"
            database.execute(f"DELETE FROM outlines WHERE id <= ({newest}) - ?", [MAX_OUTLINES])

    def _connect(self) -> sqlite3.Connection:
        if self._file:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self._file, os.O_RDWR | os.O_CREAT, 0o600))
        database = sqlite3.connect(self._file or ":memory:", timeout=self._wait_s)
        try:
            database.execute(_TABLE)
        except BaseException:
            database.close()
            raise
        return database

    @contextmanager
    def _failures_dropped(self) -> Iterator[None]:
        """Go on without the file if it cannot be used; remove it if it is no database."""
        try:
            yield
        except (OSError, sqlite3.OperationalError):
            pass  # it is locked or not writable, or the disk is full
        except sqlite3.DatabaseError:
            with suppress(OSError):
                if self._file:
                    self._file.unlink()
