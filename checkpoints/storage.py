"""Where everything that must survive a crash is kept: transactions, and one thread for async callers.

`Database` is a SQLite file, `PostgresDatabase` a server. The modules above use either, with the same SQL.
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn, ParamSpec, Protocol, Self, TypeVar

from swarm_graph.checkpoints.cursor import Cursor as Cursor
from swarm_graph.checkpoints.cursor import Values as Values
from swarm_graph.checkpoints.cursor import dicts as dicts
from swarm_graph.checkpoints.group_commit import GroupFailed, Work, WorkQueue, hand_over

if TYPE_CHECKING:
    from swarm_graph.checkpoints.word_index import WordIndex

P = ParamSpec("P")
T = TypeVar("T")

_OPEN: weakref.WeakSet[Storage] = weakref.WeakSet()
"""The open storages of this process; a forked child prepares them for itself."""
FORK_WAIT_S = 1.0
"""How long a fork waits for a statement of another thread."""


class SharedLimits(Protocol):
    """Limits of concurrent calls that hold across the processes of all machines."""

    async def take(self, wanted: Wanted) -> Grant:
        """Wait for a slot, and hold it.

        Raises:
            StorageError: The database cannot be reached.
        """


class Grant(Protocol):
    """A slot that is held until it is released."""

    def release(self) -> None:
        """Give it back; a second call does nothing."""

    def kept(self) -> AbstractAsyncContextManager[None]:
        """Do something while the slot is held.

        Raises:
            SlotLost: Meanwhile it could not be told whether it still is held; what was done was cancelled.
        """


class Wanted(NamedTuple):
    """What a call needs before it may begin.

    Attributes:
        server: The model server, by its address.
        server_slots: How many calls it takes at once, as far as this process knows; the smallest holds.
        session: The session; empty if it has no limit of its own.
        session_slots: How many calls the session may make at once.
        slot: The numbered slot of the server that the call must have; empty for any.
        model: The model that the server must have loaded.
        priority: Higher goes first.
    """

    server: str
    server_slots: int
    session: str = ""
    session_slots: int = 0
    slot: str = ""
    model: str = ""
    priority: int = 0


class Storage(ABC):
    """What the catalogue, the journal and the rest keep their rows in: one connection, one lock, one thread.

    Async callers share the thread's transactions (`group_commit.py`); whoever uses the storage in another
    thread of the process sees all that they have given it to do. A forked child connects anew when it first
    uses it.

    A work is done again when the transaction of its group fails. So it must leave nothing behind but rows, or
    watch `rollbacks`.

    Attributes:
        path: The file as the caller gave it, or the URL of the server, without a password.
        is_file: Whether it is a file on this machine, and not in memory or on a server.
        folder: The data folder: logs, worktrees and the like lie in it.
        own_tables: Its tables about sessions that no other storage has.
        rollbacks: How many transactions were undone. What was counted or numbered in them may be wrong.
    """

    path: str | Path
    is_file: bool
    folder: Path
    own_tables: tuple[str, ...] = ()

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.rollbacks = 0
        self._queue = WorkQueue(self._work_off)
        self._worker: int | None = None
        """The thread that is inside a transaction or does what waits; only that thread may rely on it."""
        self._is_group = False
        self._forking: set[int] = set()
        self._is_inherited = False
        _OPEN.add(self)

    # --- what the two databases do in their own way ----------------------------------------------

    @abstractmethod
    def _cursor(self) -> AbstractContextManager[Cursor]:
        """A cursor of the connection, which is opened anew first if that is necessary."""

    @abstractmethod
    def _in_transaction(self) -> bool:
        """Whether a transaction is open."""

    @abstractmethod
    def _begin(self, cursor: Cursor, *, writes: bool) -> None:
        """Begin a transaction; one that only reads sees one state of the database."""

    @abstractmethod
    def _commit(self) -> None:
        """Commit it."""

    @abstractmethod
    def _roll_back(self) -> None:
        """Undo it, and count that in `rollbacks`."""

    @abstractmethod
    def _raise(self, error: Exception) -> NoReturn:
        """Raise StorageError for an error of the database, and any other error as it is."""

    @abstractmethod
    def _do_all(self, works: list[Work]) -> None:
        """Do works that wait, in order, those that can be done together in one transaction."""

    @abstractmethod
    def _disconnect(self) -> None:
        """Close the connection."""

    @abstractmethod
    def _leave_to_parent(self) -> None:
        """In a forked child: neither use nor close the connection of the parent."""

    @property
    @abstractmethod
    def identities(self) -> list[str]:
        """What tells the database from a copy that somebody else may have made."""

    @property
    def limits(self) -> SharedLimits | None:
        """The limits of calls that all machines share; None if this machine is the only one."""
        return None

    @property
    @abstractmethod
    def has_memory(self) -> bool:
        """Whether it has the tables of memory."""

    @abstractmethod
    def add_memory(self) -> None:
        """Add the tables of memory if there are none."""

    @property
    @abstractmethod
    def words(self) -> WordIndex:
        """The index of the words of memory."""

    @abstractmethod
    def new_ids(self, cursor: Cursor, table: str, number: int) -> list[int]:
        """Ids for new rows of a table with numbered rows, in order; no other row gets one of them.

        Args:
            cursor: In the transaction that writes the rows.
            table: The table.
            number: How many.
        """

    @abstractmethod
    def vacuum(self) -> None:
        """Give the space of deleted rows back."""

    @abstractmethod
    def size(self) -> int:
        """How many bytes it takes."""

    @abstractmethod
    def last_settled_event(self) -> int | None:
        """The id up to which no event can be committed any more; None if ids are in the order of commits.

        It is asked for before the view begins in which the events are read.
        """

    @abstractmethod
    def last_event(self, cursor: Cursor) -> int:
        """The greatest id that an event has had; 0 if there was none."""

    # --- transactions ----------------------------------------------------------------------------

    def close(self) -> None:
        """Do what waits, and close the connection; a second call does nothing.

        A forked child leaves the parent's connection alone.
        """
        self._queue.finish()
        with self._lock:
            if not self._is_inherited:
                self._disconnect()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def transaction(self) -> AbstractContextManager[Cursor]:
        """Lend a cursor inside a write transaction; commit at the end, roll everything back on any error.

        Inside another transaction it is part of that one. Never await inside.

        Raises:
            StorageError: An error of the database, or a constraint that is violated (IntegrityError).
        """
        return self._within(writes=True)

    def view(self) -> AbstractContextManager[Cursor]:
        """Lend a cursor that sees one state of the database, whatever other processes write meanwhile.

        Raises:
            StorageError: An error of the database.
        """
        return self._within(writes=False)

    @contextmanager
    def _within(self, *, writes: bool) -> Iterator[Cursor]:
        if self._worker != threading.get_ident():
            self._queue.finish()
        with self._working(), self._cursor() as cursor:
            if self._in_transaction():  # the caller's own: this thread holds the lock
                yield cursor
            elif self._is_group:  # which commits, or rolls back
                self._begin(cursor, writes=True)
                yield cursor
            else:
                self._begin(cursor, writes=writes)
                try:
                    yield cursor
                    self._commit()
                except BaseException:
                    self._roll_back()
                    raise

    @contextmanager
    def _working(self) -> Iterator[None]:
        """Hold the lock, so that this thread alone uses the connection; errors become StorageErrors."""
        with self._lock:
            before, self._worker = self._worker, threading.get_ident()
            try:
                yield
            except GroupFailed:
                raise
            except Exception as error:
                if self._is_group:  # its transaction holds what this work has done before the error
                    raise GroupFailed from error
                self._raise(error)
            finally:
                self._worker = before

    def do(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Do work in this thread, and again if it loses the connection to a server; return its result."""
        return work(*args, **kwargs)

    @abstractmethod
    def check_lock(self, name: str) -> None:
        """Refuse to write for a lock that was lost with the connection; call it inside the transaction.

        Args:
            name: The name of the lock; that of a session is `session_lock`.

        Raises:
            SessionInUse: It was lost; another process may hold it.
        """

    # --- the thread for async callers ------------------------------------------------------------

    def start(self, work: Callable[P, object], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Have work done soon in the storage's own thread, in order. Nobody learns of an error."""
        self._queue.add(Work(partial(work, *args, **kwargs)), may_wait=True)

    async def run(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Do work now in the storage's own thread, after what waits there, and return its result.

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
                self._do_all(works)
            hand_over(works)
            left = left - len(works) if works else 0

    def _do_together(self, works: list[Work]) -> BaseException | None:
        """Do several works in one transaction.

        Returns:
            Why it cannot be completed, and nothing is done; None if all is done.
        """
        self._is_group = True
        try:
            do_each(works)
            if self._in_transaction():
                self._commit()
        except GroupFailed as failure:
            self._roll_back()
            return failure.__cause__ or failure
        except Exception as failure:
            self._roll_back()
            return failure
        finally:
            self._is_group = False
        return None

    # --- around a fork ---------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Let a statement of another thread end: the child would have its locks, but not that thread."""
        if self._lock.acquire(timeout=FORK_WAIT_S):
            self._forking.add(threading.get_ident())

    def after_fork_in_parent(self) -> None:
        """Let the other threads go on."""
        if (thread := threading.get_ident()) in self._forking:
            self._forking.remove(thread)
            self._lock.release()

    def after_fork_in_child(self) -> None:
        """Leave what is the parent's: its connection, and the threads that a fork does not copy."""
        self._lock, self._forking = threading.RLock(), set()
        self._worker, self._is_group = None, False
        self._queue = WorkQueue(self._work_off)
        self._leave_to_parent()


def session_lock(session_id: str) -> str:
    """The name of a session's lock on a server."""
    return f"session '{session_id}'"


def do_each(works: list[Work]) -> None:
    """Do works in order; each keeps its result or its error."""
    for work in works:
        work.do()


def _each(method: Callable[[Storage], None]) -> Callable[[], None]:
    def call() -> None:
        for storage in [*_OPEN]:
            method(storage)

    return call


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(
        before=_each(Storage.before_fork),
        after_in_parent=_each(Storage.after_fork_in_parent),
        after_in_child=_each(Storage.after_fork_in_child),
    )
