"""One SQLite file for checkpoints and catalogue: opened safely, shared by processes, with clear errors."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import sqlite_utils

from swarm_graph.checkpoints.group_commit import Work
from swarm_graph.checkpoints.inspection import distrust, refuse_foreign
from swarm_graph.checkpoints.schema import add_memory, applied_steps, migrate
from swarm_graph.checkpoints.storage import Cursor, Storage, do_each
from swarm_graph.errors import StorageError

if TYPE_CHECKING:
    from swarm_graph.checkpoints.word_index import WordIndex

_INHERITED: list[sqlite3.Connection] = []
"""Connections of the parent process. A forked child must neither use nor close them, so it keeps them."""
MEMORY = ":memory:"
BUSY_TIMEOUT_S, BUSY_POLL_S = 30, 0.01
BUSY_AGAIN_S = 0.1
"""How long each work of a group still waits for the lock after the group has waited for it in vain."""

_PRAGMAS = "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL"

_MAKE_WRITABLE = "make the file and its folder writable or name another place"
_CURES = {
    sqlite3.SQLITE_NOTADB: "it is not a SQLite database; name another file (this one is unchanged)",
    sqlite3.SQLITE_CORRUPT: "the file is damaged; `swarm-graph doctor --database --repair` saves what can be "
    "read (or restore a copy of it)",
    sqlite3.SQLITE_CANTOPEN: f"it cannot be opened; {_MAKE_WRITABLE}",
    sqlite3.SQLITE_READONLY: f"it cannot be written; {_MAKE_WRITABLE}",
    sqlite3.SQLITE_FULL: "the disk is full; free some space and resume",
    sqlite3.SQLITE_IOERR: "the disk reports an error; check its space and health, then resume",
    sqlite3.SQLITE_BUSY: f"another program held its lock for {BUSY_TIMEOUT_S} s; end that program and resume",
}
_SIGNS_OF_DAMAGE = ("invalid fts5 file format", "Could not decode to UTF-8", "no such table: memory_")
"""How the messages of other errors begin that mean a damaged file."""
_CURES_BY_TEXT = {
    "no such module: fts5": "the SQLite of this Python has no FTS5, which memory needs; use another Python, "
    "or go without memory",
    "closed database": "it is closed; open it again, or use it before its `with` block ends",
}
"""The cures of errors that have no code of their own."""


class Database(Storage):
    """A SQLite file, or one in memory; see `Storage`.

    A forked child opens the file anew when it first uses it. It has a copy of a database in memory.

    Attributes:
        path: As the caller gave it.
        file: The same, absolute and without links: locks of one file must not differ by its names.
    """

    def __init__(self, path: str | Path) -> None:
        """Open a file, or create it with mode 0600 and its missing folders with 0700; upgrade an older one.

        Args:
            path: The file, or MEMORY for none.

        Raises:
            StorageError: `path` is no regular file, no database of swarm_graph, of a newer version, or
                read-only; or it holds a view, trigger, table or index that is not ours.
        """
        self.path, self.file = path, _resolved(Path(path))
        self.is_file, self.folder = str(path) != MEMORY, self.file.parent
        super().__init__()
        with storage_errors(path):
            if self.is_file:
                _create_file(Path(path))
                refuse_links_beside(self.file)
            self._connect()
            try:
                self._prepare()
            except BaseException:
                self.close()
                raise

    @property
    def connection(self) -> sqlite3.Connection:
        """SQLite's connection; every use of it must hold the lock, so prefer the methods."""
        if self._is_inherited:
            self._reconnect()
        return self._connection

    @property
    def tables(self) -> sqlite_utils.Database:
        """Its sqlite-utils view; use it only inside `transaction()` or `view()`."""
        if self._is_inherited:
            self._reconnect()
        return self._tables

    def _connect(self) -> None:
        self._connection = sqlite3.connect(
            self.file if self.is_file else self.path,
            timeout=BUSY_TIMEOUT_S,
            check_same_thread=False,
            isolation_level=None,
        )
        self._close = weakref.finalize(self, self._connection.close)
        self._tables = sqlite_utils.Database(self._connection, execute_plugins=False)
        distrust(self._connection)

    def _reconnect(self) -> None:
        """Open the file anew, in a forked child."""
        with self._lock:
            if self._is_inherited:
                self._connect()
                retry_while_busy(lambda: self._connection.executescript(_PRAGMAS))
                self._is_inherited = False

    def _disconnect(self) -> None:
        self._close()

    def _leave_to_parent(self) -> None:
        if self.is_file and self._close.detach():  # None if it is closed
            _INHERITED.append(self._connection)
            self._is_inherited = True

    def _prepare(self) -> None:
        # Before the first write: a foreign file, or one of a newer version, must stay as it is.
        refuse_foreign(self.tables, str(self.path))
        applied_steps(self.tables, str(self.path))
        retry_while_busy(lambda: self.connection.executescript(_PRAGMAS))
        with self.transaction():
            migrate(self.tables, str(self.path))

    def _cursor(self) -> AbstractContextManager[sqlite3.Cursor]:
        return closing(self.connection.cursor())

    def _in_transaction(self) -> bool:
        return self.connection.in_transaction

    def _begin(self, cursor: Cursor, *, writes: bool) -> None:
        cursor.execute("BEGIN IMMEDIATE" if writes else "BEGIN")

    def _commit(self) -> None:
        self.connection.commit()

    def _roll_back(self) -> None:
        self.rollbacks += 1
        with suppress(sqlite3.Error):  # the file is closed
            self.connection.rollback()

    def _raise(self, error: Exception) -> NoReturn:
        _raise_as_storage_error(error, self.path)

    def check_lock(self, name: str) -> None:
        """Nothing: nobody takes the lock of a file from a process that lives."""

    @property
    def identities(self) -> list[str]:
        """Where the file is: its path, and its number in the file system, which stays when it is moved."""
        number = 0
        with suppress(OSError):
            number = self.file.stat().st_ino
        return [f"path {self.file}", *([f"file {number}"] if number else [])]

    @property
    def has_memory(self) -> bool:
        """Whether the file has the tables of memory."""
        with self.view() as cursor:
            found = cursor.execute("SELECT 1 FROM sqlite_schema WHERE name = 'memory_items'")
            return found.fetchone() is not None

    def add_memory(self) -> None:
        """Add the tables of memory if the file has none.

        Raises:
            StorageError: They cannot be added, or SQLite has no FTS5.
        """
        if not self.has_memory:
            with self.transaction():
                add_memory(self.tables)

    def new_ids(self, cursor: Cursor, table: str, number: int) -> list[int]:
        """Ids above all that the table has, or has had."""
        query = f"""SELECT max((SELECT coalesce(max(id), 0) FROM {table}),
            (SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = ?))"""
        (last,) = cursor.execute(query, (table,)).fetchone()
        return [*range(last + 1, last + 1 + number)]

    @property
    def words(self) -> WordIndex:
        """The index of FTS5."""
        from swarm_graph.checkpoints.fts5_words import FTS5Words

        return FTS5Words()

    def vacuum(self) -> None:
        """Give the space of deleted rows back to the disk."""
        with self._lock, storage_errors(self.path):
            self.connection.execute("VACUUM")
            # In WAL mode the smaller file is still in the -wal; only a checkpoint shortens the file itself.
            self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def size(self) -> int:
        """How many bytes the file takes with its -wal and -shm files; 0 for one in memory."""
        if not self.is_file:
            return 0
        files = [self.file, *(Path(f"{self.file}{suffix}") for suffix in ("-wal", "-shm"))]
        return sum(file.stat().st_size for file in files if file.exists())

    def last_settled_event(self) -> None:
        """None: a file has one writer at a time, so ids are in the order of commits."""

    def last_event(self, cursor: Cursor) -> int:
        """The greatest id that an event has had, also one that was deleted; 0 if there was none."""
        query = "SELECT max(seq) FROM sqlite_sequence WHERE name = 'events'"
        (number,) = cursor.execute(query).fetchone()
        return number if isinstance(number, int) else 0

    def _do_all(self, works: list[Work]) -> None:
        if len(works) < 2:
            do_each(works)
        elif failure := self._do_together(works):
            with self._patience_after(failure):
                do_each(works)

    @contextmanager
    def _patience_after(self, failure: BaseException) -> Iterator[None]:
        """Wait for a lock only shortly if a group has waited in vain: its works would all wait as long."""
        if not _is_busy(failure):
            yield
            return
        set_timeout = "PRAGMA busy_timeout = {:.0f}"
        self.connection.execute(set_timeout.format(BUSY_AGAIN_S * 1000))
        try:
            yield
        finally:
            self.connection.execute(set_timeout.format(BUSY_TIMEOUT_S * 1000))


def _is_busy(error: BaseException) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY


def retry_while_busy(work: Callable[[], object]) -> None:
    """Repeat work while the file is busy, for up to BUSY_TIMEOUT_S.

    SQLite's own timeout does not cover the switch to WAL mode by several processes at once.
    """
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            work()
        except sqlite3.OperationalError as error:
            if not _is_busy(error) or time.monotonic() > deadline:
                raise
            time.sleep(BUSY_POLL_S)
        else:
            return


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # a link that leads to itself; opening it says so
        return path.absolute()


def _create_file(path: Path) -> None:
    """Create a file that is missing, and check one that is there. One that is there is never opened.

    To close any handle of a file drops the process's locks on it (POSIX), also those of SQLite's connections
    in other threads: another process would then delete the WAL that they use.
    """
    try:
        for folder in reversed(path.parents):
            folder.mkdir(mode=0o700, exist_ok=True)
        with suppress(FileExistsError):
            os.close(os.open(_resolved(path), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        mode = path.stat().st_mode
        if not stat.S_ISDIR(mode) and not os.access(path, os.R_OK | os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    except OSError as error:
        raise StorageError(
            f"cannot use the database {str(path)!r}: {error.filename!r}: {error.strerror}; {_MAKE_WRITABLE}"
        ) from error
    if not stat.S_ISREG(mode):
        what = (
            "a folder; name a file in it"
            if stat.S_ISDIR(mode)
            else "a pipe or a device, not a file; name another file"
        )
        raise StorageError(f"cannot use the database {str(path)!r}: it is {what}")


def refuse_links_beside(file: Path) -> None:
    """Refuse a file whose SQLite journals are links or pipes: SQLite would write to where they lead."""
    for ending in ("-wal", "-shm", "-journal"):
        beside = file.with_name(f"{file.name}{ending}")
        if os.path.lexists(beside) and not stat.S_ISREG(beside.lstat().st_mode):
            raise StorageError(
                f"cannot use the database '{file}': '{beside.name}' beside it is a link or no regular file, "
                "which SQLite never makes; remove it, or name another file"
            )


@contextmanager
def storage_errors(path: str | Path) -> Iterator[None]:
    """Turn SQLite's errors into StorageError with the file and a cure.

    Args:
        path: The file that the message names.

    Raises:
        StorageError: For every sqlite3.Error but IntegrityError, which passes as it is.
    """
    try:
        yield
    except sqlite3.Error as error:
        _raise_as_storage_error(error, path)


def _raise_as_storage_error(error: Exception, path: str | Path) -> NoReturn:
    if isinstance(error, sqlite3.IntegrityError) or not isinstance(error, sqlite3.Error):
        raise error
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # extended codes keep the primary one below
    if str(error).startswith(_SIGNS_OF_DAMAGE):
        code = sqlite3.SQLITE_CORRUPT
    by_text = (cure for text, cure in _CURES_BY_TEXT.items() if text in str(error))
    cure = next(by_text, _CURES.get(code, error))
    raise StorageError(f"cannot use the database {str(path)!r}: {cure}") from error
