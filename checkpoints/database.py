"""One SQLite file for checkpoints and catalogue: opened safely, used by many processes, with clear errors."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import ParamSpec, Self, TypeVar

import sqlite_utils

from swarm_graph.checkpoints.schema import migrate, refuse_newer
from swarm_graph.errors import StorageError

P = ParamSpec("P")
T = TypeVar("T")

MEMORY = ":memory:"
BUSY_SECONDS = 30

# `trusted_schema`: views and triggers of a received file may call no function with side effects.
PRAGMAS = "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA trusted_schema=OFF;"

WRITABLE = "make the file and its folder writable or name another place"
CURES = {
    sqlite3.SQLITE_NOTADB: "it is not a SQLite database; name another file (this one was left as it is)",
    sqlite3.SQLITE_CORRUPT: "the file is damaged; `swarm-graph doctor --database --repair` saves what can be "
    "read (or restore a copy of it)",
    sqlite3.SQLITE_CANTOPEN: f"it cannot be opened; {WRITABLE}",
    sqlite3.SQLITE_READONLY: f"it cannot be written; {WRITABLE}",
    sqlite3.SQLITE_FULL: "the disk is full; free some space and resume",
    sqlite3.SQLITE_IOERR: "the disk does not take or give what is asked of it; look at its space and health, "
    "then resume",
    sqlite3.SQLITE_BUSY: f"another program held its lock for {BUSY_SECONDS} s; end that program and resume",
}


class Database:
    """The file behind `open_checkpointer`. One connection, one lock, one thread for asynchronous callers.

    `tables` is its sqlite-utils view; use it inside `transaction()` or `view()`. Errors of SQLite are
    raised as StorageError.
    """

    def __init__(self, path: str | Path) -> None:
        """Raises StorageError if `path` is a folder, no database of ours, newer than we are, or read-only.

        A missing file is made with mode 0600, its missing folders with 0700; an older one is upgraded.
        """
        self.path, self.file = path, Path(path).resolve()
        self._lock = threading.RLock()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="swarm-database")
        with storage_errors(path):
            if str(path) != MEMORY:
                _make_file(Path(path))
            self.connection = sqlite3.connect(
                path, timeout=BUSY_SECONDS, check_same_thread=False, isolation_level=None
            )
            self._close = weakref.finalize(self, self.connection.close)
            try:
                self._prepare()
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        with self._lock:
            self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _prepare(self) -> None:
        self.tables = sqlite_utils.Database(self.connection, execute_plugins=False)
        refuse_newer(self.tables, str(self.path))
        patiently(lambda: self.connection.executescript(PRAGMAS))
        with self.transaction():
            migrate(self.tables, str(self.path))

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Cursor]:
        """Lend a cursor inside BEGIN IMMEDIATE; commit at the end, roll everything back on any error.

        Inside another transaction it is part of that one. Never await inside.
        Raises StorageError, and sqlite3.IntegrityError as it is.
        """
        with self._within("BEGIN IMMEDIATE") as cursor:
            yield cursor

    @contextmanager
    def view(self) -> Iterator[sqlite3.Cursor]:
        """Lend a cursor that sees one state of the file, whatever others write meanwhile."""
        with self._within("BEGIN") as cursor:
            yield cursor

    @contextmanager
    def _within(self, begin: str) -> Iterator[sqlite3.Cursor]:
        with self._lock, storage_errors(self.path), closing(self.connection.cursor()) as cursor:
            if self.connection.in_transaction:  # the caller's own: the lock is held
                yield cursor
                return
            cursor.execute(begin)
            try:
                yield cursor
                self.connection.commit()
            except BaseException:
                self.connection.rollback()
                raise

    def vacuum(self) -> None:
        """Give the space of what was deleted back to the disk."""
        with self._lock, storage_errors(self.path):
            self.connection.execute("VACUUM")
            self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    async def run(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Do blocking work in the database's own thread; it ends even when the caller is cancelled."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, partial(work, *args, **kwargs))


def patiently(work: Callable[[], object]) -> None:
    """Repeats what meets a busy file: its timeout does not cover the switch to WAL by several processes."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            work()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _make_file(path: Path) -> None:
    try:
        for folder in reversed(path.parents):
            folder.mkdir(mode=0o700, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except IsADirectoryError as error:
        raise StorageError(
            f"cannot use the database {str(path)!r}: it is a folder; name a file in it"
        ) from error
    except OSError as error:
        raise StorageError(
            f"cannot use the database {str(path)!r}: {error.filename!r}: {error.strerror}; {WRITABLE}"
        ) from error


@contextmanager
def storage_errors(path: str | Path) -> Iterator[None]:
    """Raises SQLite's errors as StorageError with the file and a cure; IntegrityError passes as it is."""
    try:
        yield
    except sqlite3.IntegrityError:
        raise
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        raise StorageError(f"cannot use the database {str(path)!r}: {CURES.get(code, error)}") from error
