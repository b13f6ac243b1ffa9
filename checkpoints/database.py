"""One SQLite file for checkpoints and catalogue: opened safely, shared by processes, with clear errors."""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
import stat
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import NoReturn, ParamSpec, Self, TypeVar

import sqlite_utils

from swarm_graph.checkpoints.group_commit import GroupFailed, Work, WorkQueue, hand_over
from swarm_graph.checkpoints.inspection import distrust, refuse_foreign
from swarm_graph.checkpoints.schema import add_memory, applied_steps, migrate
from swarm_graph.errors import StorageError

P = ParamSpec("P")
T = TypeVar("T")

_OPEN: weakref.WeakSet[Database] = weakref.WeakSet()
"""The databases of this process; a forked child prepares them for itself."""
_INHERITED: list[sqlite3.Connection] = []
"""Connections of the parent process. A forked child must neither use nor close them, so it keeps them."""
FORK_WAIT_S = 1.0
"""How long a fork waits for a statement of another thread."""

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


class Database:
    """The file behind `open_checkpointer`: one connection, one lock, one thread for async callers.

    Async callers share the thread's transactions (`group_commit.py`); whoever uses the file in another thread
    of the process sees all that they have given it to do. A forked child opens the file anew when it first
    uses it. It has a copy of a database in memory.

    A work is done again when the transaction of its group fails. So it must leave nothing behind but rows, or
    watch `rollbacks`.

    Attributes:
        path: As the caller gave it.
        file: The same, absolute and without links: locks of one file must not differ by its names.
        rollbacks: How many transactions were undone. What was counted or numbered in them may be wrong.
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
        self._lock = threading.RLock()
        self.rollbacks = 0
        self._queue = WorkQueue(self._work_off)
        self._worker: int | None = None
        """The thread that is inside a transaction or does what waits; only that thread may rely on it."""
        self._is_group = False
        self._forking: set[int] = set()
        self._is_inherited = False
        with storage_errors(path):
            if not self._in_memory:
                _create_file(Path(path))
                refuse_links_beside(self.file)
            self._connect()
            try:
                self._prepare()
            except BaseException:
                self.close()
                raise
        _OPEN.add(self)

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

    @property
    def _in_memory(self) -> bool:
        return str(self.path) == MEMORY

    def _connect(self) -> None:
        self._connection = sqlite3.connect(
            self.path if self._in_memory else self.file,
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

    # --- around a fork ---------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Let a statement of another thread end: the child would have SQLite's locks, but not that thread."""
        if self._lock.acquire(timeout=FORK_WAIT_S):
            self._forking.add(threading.get_ident())

    def after_fork_in_parent(self) -> None:
        """Let the other threads go on."""
        if (thread := threading.get_ident()) in self._forking:
            self._forking.remove(thread)
            self._lock.release()

    def after_fork_in_child(self) -> None:
        """Leave what is the parent's: its connection to a file, and the threads that a fork does not copy."""
        self._lock, self._forking = threading.RLock(), set()
        self._worker, self._is_group = None, False
        self._queue = WorkQueue(self._work_off)
        if not self._in_memory and self._close.detach():  # None if it is closed
            _INHERITED.append(self._connection)
            self._is_inherited = True

    def close(self) -> None:
        """Do what waits, and close the file; a second call does nothing.

        A forked child leaves the parent's connection alone.
        """
        self._queue.finish()
        with self._lock:
            if not self._is_inherited:
                self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _prepare(self) -> None:
        # Before the first write: a foreign file, or one of a newer version, must stay as it is.
        refuse_foreign(self.tables, str(self.path))
        applied_steps(self.tables, str(self.path))
        retry_while_busy(lambda: self.connection.executescript(_PRAGMAS))
        with self.transaction():
            migrate(self.tables, str(self.path))

    def transaction(self) -> AbstractContextManager[sqlite3.Cursor]:
        """Lend a cursor inside BEGIN IMMEDIATE; commit at the end, roll everything back on any error.

        Inside another transaction it is part of that one. Never await inside.

        Raises:
            StorageError: An error of the database.
            sqlite3.IntegrityError: A constraint is violated.
        """
        return self._within("BEGIN IMMEDIATE")

    def view(self) -> AbstractContextManager[sqlite3.Cursor]:
        """Lend a cursor that sees one state of the file, whatever other processes write meanwhile.

        Raises:
            StorageError: An error of the database.
        """
        return self._within("BEGIN")

    @contextmanager
    def _within(self, begin: str) -> Iterator[sqlite3.Cursor]:
        if self._worker != threading.get_ident():
            self._queue.finish()
        with self._working(), closing(self.connection.cursor()) as cursor:
            if self.connection.in_transaction:  # the caller's own: this thread holds the lock
                yield cursor
            elif self._is_group:  # which commits, or rolls back
                cursor.execute("BEGIN IMMEDIATE")
                yield cursor
            else:
                cursor.execute(begin)
                try:
                    yield cursor
                    self.connection.commit()
                except BaseException:
                    self._roll_back()
                    raise

    @contextmanager
    def _working(self) -> Iterator[None]:
        """Hold the lock, so that this thread alone uses the file. Errors of SQLite become StorageErrors."""
        with self._lock:
            before, self._worker = self._worker, threading.get_ident()
            try:
                yield
            except GroupFailed:
                raise
            except Exception as error:
                if self._is_group:  # its transaction holds what this work has done before the error
                    raise GroupFailed from error
                _raise_as_storage_error(error, self.path)
            finally:
                self._worker = before

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

    def vacuum(self) -> None:
        """Give the space of deleted rows back to the disk."""
        with self._lock, storage_errors(self.path):
            self.connection.execute("VACUUM")
            # In WAL mode the smaller file is still in the -wal; only a checkpoint shortens the file itself.
            self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    # --- the database's own thread ---------------------------------------------------------------

    def start(self, work: Callable[P, object], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Have work done soon in the database's own thread, in order. Nobody learns of an error."""
        self._queue.add(Work(partial(work, *args, **kwargs)), may_wait=True)

    async def run(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Do work now in the database's own thread, after what waits there, and return its result.

        It is committed when this returns, and is completed even if the caller is cancelled.
        """
        return await self._run(partial(work, *args, **kwargs), may_wait=False)

    async def run_soon(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """`run` for work that may wait up to `LINGER_S` for other work, to be committed together with it."""
        return await self._run(partial(work, *args, **kwargs), may_wait=True)

    async def _run(self, do: Callable[[], T], *, may_wait: bool) -> T:
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queue.add(Work(do, future), may_wait=may_wait)
        try:
            return await future
        except asyncio.CancelledError:
            self._queue.call()  # the loop may be about to end, and with it the time that the work waits
            raise

    def _work_off(self) -> None:
        """Do all that waits now, in groups."""
        left = self._queue.begin()
        while left > 0:
            with self._working():
                works = self._queue.take(left)
                if len(works) < 2:
                    _do_each(works)
                elif failure := self._do_together(works):
                    with self._patience_after(failure):
                        _do_each(works)
            hand_over(works)
            left = left - len(works) if works else 0

    def _do_together(self, works: list[Work]) -> Exception | None:
        """Do several works in one transaction.

        Returns:
            Why it cannot be completed, and nothing is done; None if all is done.
        """
        self._is_group = True
        try:
            _do_each(works)
            self.connection.commit()
        except (GroupFailed, sqlite3.Error) as failure:
            self._roll_back()
            return failure
        finally:
            self._is_group = False
        return None

    def _roll_back(self) -> None:
        self.rollbacks += 1
        with suppress(sqlite3.Error):  # the file is closed
            self.connection.rollback()

    @contextmanager
    def _patience_after(self, failure: Exception) -> Iterator[None]:
        """Wait for a lock only shortly if a group has waited in vain: its works would all wait as long."""
        if not _is_busy(failure.__cause__ or failure):
            yield
            return
        set_timeout = "PRAGMA busy_timeout = {:.0f}"
        self.connection.execute(set_timeout.format(BUSY_AGAIN_S * 1000))
        try:
            yield
        finally:
            self.connection.execute(set_timeout.format(BUSY_TIMEOUT_S * 1000))


def _do_each(works: list[Work]) -> None:
    for work in works:
        work.do()


def _is_busy(error: BaseException) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY


def _each(method: Callable[[Database], None]) -> Callable[[], None]:
    def call() -> None:
        for database in [*_OPEN]:
            method(database)

    return call


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(
        before=_each(Database.before_fork),
        after_in_parent=_each(Database.after_fork_in_parent),
        after_in_child=_each(Database.after_fork_in_child),
    )


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
