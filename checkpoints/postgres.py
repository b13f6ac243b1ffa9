"""A PostgreSQL database for the sessions of many machines: one connection, fenced by the locks that it holds.

The locks of sessions belong to the same connection as everything that is written. So a process that has lost
its connection, or was stopped while another one took its sessions over, cannot write before it has connected
anew, and then it learns that they are no longer its own.
"""

from __future__ import annotations

import os
import re
import secrets
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, ParamSpec, Self, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from swarm_graph.checkpoints.group_commit import Work
from swarm_graph.checkpoints.leases import Leases, give_up, leases_of
from swarm_graph.checkpoints.postgres_events import last_settled
from swarm_graph.checkpoints.postgres_schema import applied_steps, check_schema, migrate
from swarm_graph.checkpoints.postgres_sql import adapt, in_postgres
from swarm_graph.checkpoints.storage import Cursor, Storage, Values
from swarm_graph.database_place import EXAMPLE, without_password
from swarm_graph.errors import SessionInUse, StorageError
from swarm_graph.state import DATA_DIR

if TYPE_CHECKING:
    from swarm_graph.checkpoints.word_index import WordIndex

P = ParamSpec("P")
T = TypeVar("T")

CONNECT_TIMEOUT_S = 10
RECONNECT_S = 60.0
"""How long everything waits for a server that is away, before it fails."""
FIRST_PAUSE_S, MAX_PAUSE_S = 0.05, 2.0
"""Between the attempts to connect anew."""
MAX_ATTEMPTS = 10
"""How often work is begun again after lost connections: it may be the work itself that ends them."""
KEEPALIVE: dict[str, Any] = {
    "connect_timeout": CONNECT_TIMEOUT_S,
    "keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3, "tcp_user_timeout": 12_000,
}  # fmt: skip
"""Without them a machine that has lost its power would keep its locks for two hours."""
SETTINGS = "-c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3"
"""The same for the server, which frees the locks."""
MADE_ANEW = (psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected)
"""Errors after which the same work succeeds."""
PROGRAM = "swarm_graph"
"""How the connections of a process are called, unless the URL or PGAPPNAME says otherwise."""
SCHEMA_LOCK = "swarm_graph schema"
_KEY = "hashtextextended(?, 0)"
_TRY_LOCK = f"SELECT pg_try_advisory_lock({_KEY})"
_TAKE = f"""
INSERT INTO held_locks (key, holder)
SELECT key, ? FROM (SELECT {_KEY} AS key OFFSET 0) AS lock WHERE pg_try_advisory_lock(key)
ON CONFLICT (key) DO UPDATE SET holder = excluded.holder RETURNING 1"""
"""Takes a lock; the row says to whoever has lost it that somebody else has had it since."""
_IS_HOLDER = f"SELECT count(*) FROM held_locks WHERE key = {_KEY} AND holder = ?"
_GIVE_BACK = f"""
WITH gone AS (DELETE FROM held_locks WHERE key = {_KEY} AND holder = ?)
SELECT pg_advisory_unlock({_KEY})"""

# A crash discards the server's statistics, and a start sets the time of its start.
_BACKEND = """
SELECT pid, backend_start::text,
    concat_ws(' ', pg_postmaster_start_time(), (SELECT stats_reset FROM pg_stat_archiver))
FROM pg_stat_activity WHERE pid = pg_backend_pid()"""
_END_BACKEND = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = %s AND backend_start::text = %s"
)

# A crash forgets transactions that have written nothing to the log yet, and gives their ids once more. The
# checkpoint at the end of the recovery holds the first id that may have been given twice.
_FATE = """
SELECT CASE WHEN %(before)s = %(now)s OR %(id)s::xid8 < next_id
    THEN pg_xact_status(%(id)s::xid8) ELSE 'lost' END
FROM (
    SELECT ((split_part(next_xid, ':', 1)::numeric * 4294967296) + split_part(next_xid, ':', 2)::numeric)
        ::text::xid8 AS next_id
    FROM pg_control_checkpoint()
) AS checkpoint"""


class Undone(StorageError):
    """A transaction was undone through no fault of its own; the same work may succeed."""


class ServerGone(StorageError):
    """The server cannot be reached. What was being committed may be there, or not."""


class _Backend(NamedTuple):
    """The server's process of a connection.

    Attributes:
        pid: Its id.
        started: When it began, as the server says it: ids are used again.
        server: What changes when the server starts again, or recovers from a crash.
    """

    pid: int
    started: str
    server: str


class _Transaction(NamedTuple):
    """A transaction that writes: its id, and its server."""

    id: str
    server: str


class PostgresDatabase(Storage):
    """A PostgreSQL database; see `Storage`.

    Work that waits, and the work of `do`, is done again after a lost connection, unless its transaction was
    committed, which the server is asked for. A forked child connects anew when it first uses it.
    """

    is_file = False
    own_tables = ("session_files", "session_tasks", "session_budgets")

    def __init__(self, url: str, data_dir: str | Path = DATA_DIR, *, checks_schema: bool = True) -> None:
        """Connect.

        Args:
            url: `postgresql://user@host:port/database?…`. What it does not say comes from libpq's variables,
                such as PGPASSWORD, and the file `.pgpass`.
            data_dir: The folder of this machine for logs, worktrees and the like.
            checks_schema: Whether a database without our tables, or with those of another version, is
                refused.

        Raises:
            StorageError: The server cannot be reached, refuses, or its database is not ours.
        """
        self._url, self.path = url, without_password(url)
        self.folder = Path(data_dir).absolute()
        super().__init__()
        self._connection: psycopg.Connection[Any] | None = None
        self._close: weakref.finalize[Any, Any] | None = None
        self._backend: _Backend | None = None
        self._lost_at: float | None = None
        self._is_closed = False
        self._is_begun = False
        """Whether a transaction has begun and not ended, even if the connection was lost in it."""
        self._transaction: _Transaction | None = None
        """The transaction that writes; None outside of one."""
        self._held: dict[str, str] = {}
        """The locks that this process holds: the name of each, and under what it is in `held_locks`."""
        self._lost: set[str] = set()
        """The names of the locks that it has lost, and not taken again."""
        try:
            self._connect()
            if checks_schema:
                self.check_schema()
        except BaseException:
            self.close()
            raise

    # --- the connection --------------------------------------------------------------------------

    @property
    def connection(self) -> psycopg.Connection[Any]:
        """The connection, opened anew if it is lost; every use of it must hold the lock.

        Raises:
            StorageError: It is closed, or the server was away for RECONNECT_S.
            psycopg.OperationalError: It was lost in the transaction that has begun.
        """
        if self._is_closed:
            raise StorageError(
                f"cannot use the database {str(self.path)!r}: it is closed; open it again, or use it before "
                "its `with` block ends"
            )
        if self.is_lost:
            if self._is_begun:
                raise psycopg.OperationalError("the connection was lost in a transaction")
            self._reconnect()
        assert self._connection
        return self._connection

    @property
    def is_lost(self) -> bool:
        """Whether the connection has ended by itself."""
        return not self._is_closed and (self._connection is None or self._connection.closed)

    def _connect(self) -> None:
        """Connect, and take the locks again that a lost connection held."""
        connection = open_connection(self._url)
        close = weakref.finalize(self, connection.close)
        try:
            try:
                backend = _Backend(*(connection.execute(_BACKEND).fetchone() or ()))
                self._end_backend(connection)
                self._lock_again(connection)
            except BaseException:
                close()
                raise
        except psycopg.Error as error:
            raise ServerGone(f"cannot use the database {str(self.path)!r}: {cure_of(error)}") from error
        self._connection, self._close, self._backend, self._lost_at = connection, close, backend, None

    def _reconnect(self) -> None:
        """Connect anew.

        Raises:
            ServerGone: The server is away for RECONNECT_S.
        """
        if self._close:
            self._close()
        self._lost_at = self._lost_at or time.monotonic()
        pause = FIRST_PAUSE_S
        while self.is_lost:
            try:
                self._connect()
            except StorageError as error:
                if time.monotonic() > self._lost_at + RECONNECT_S:
                    raise ServerGone(f"{error}") from error
                time.sleep(pause)
                pause = min(2 * pause, MAX_PAUSE_S)

    def _end_backend(self, connection: psycopg.Connection[Any]) -> None:
        """End what the server still runs for the lost connection: it would keep the locks."""
        if self._backend:
            place, deadline = (self._backend.pid, self._backend.started), time.monotonic() + MAX_PAUSE_S
            while connection.execute(_END_BACKEND, place).fetchone() and time.monotonic() < deadline:
                time.sleep(FIRST_PAUSE_S)

    def _is_lost_by(self, error: psycopg.Error) -> bool:
        """Whether an error has ended the connection, which shows only when it is used once more."""
        if isinstance(error, psycopg.OperationalError) and not self.is_lost:
            with suppress(psycopg.Error):
                self.connection.execute("ROLLBACK")
        return self.is_lost

    def _disconnect(self) -> None:
        self._is_closed = True
        if self._close:
            self._close()

    def _leave_to_parent(self) -> None:
        if self._connection and self._close and self._close.detach():
            _INHERITED.append(self._connection)
        self._connection, self._backend, self._lost_at = None, None, None
        self._is_begun, self._transaction = False, None
        self._held, self._lost = {}, set()

    # --- transactions ----------------------------------------------------------------------------

    def do(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        if self._worker == threading.get_ident():  # what is around it is done again
            return work(*args, **kwargs)
        for _ in range(MAX_ATTEMPTS - 1):
            with suppress(Undone):
                return work(*args, **kwargs)
        return work(*args, **kwargs)

    @contextmanager
    def _cursor(self) -> Iterator[Cursor]:
        cursor = PostgresCursor(self)
        try:
            yield cursor
        finally:
            cursor.close()

    def _in_transaction(self) -> bool:
        return self._is_begun

    def _begin(self, cursor: Cursor, *, writes: bool) -> None:
        if writes:
            number = str(self._retried("BEGIN; SELECT pg_current_xact_id()::text"))
            assert self._backend
            self._transaction = _Transaction(number, self._backend.server)
        else:
            self._retried("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        self._is_begun = True

    def _commit(self) -> None:
        transaction, self._transaction = self._transaction, None
        try:
            if self.connection.info.transaction_status == TransactionStatus.INERROR:
                raise psycopg.errors.InFailedSqlTransaction("a statement failed, so nothing can be committed")
            self.connection.execute("COMMIT", prepare=False)
        except psycopg.OperationalError as error:
            if not self._is_lost_by(error):
                raise
            self._is_begun = False
            if not (transaction and self._was_committed(transaction)):
                raise Undone(f"cannot use the database {str(self.path)!r}: {cure_of(error)}") from error
        self._is_begun = False

    def _roll_back(self) -> None:
        self.rollbacks += 1
        self._is_begun, self._transaction = False, None
        if self._connection is not None and not self._connection.closed:
            with suppress(psycopg.Error):
                self._connection.execute("ROLLBACK")

    def _was_committed(self, transaction: _Transaction) -> bool:
        """Whether a transaction was committed whose connection broke while it ended.

        Raises:
            ServerGone: Nobody can say.
        """
        while True:
            self._retried("SELECT 1")
            assert self._backend
            values = {"id": transaction.id, "before": transaction.server, "now": self._backend.server}
            status = self._retried(_FATE, values)
            if status != "in progress":
                return bool(status == "committed")
            time.sleep(FIRST_PAUSE_S)

    def _retried(self, query: str, values: Values = ()) -> Any:
        """The first value of a statement's last result; if the connection is lost it is executed again."""
        while True:
            try:
                cursor = self.connection.execute(query, values or None)
                while cursor.nextset():
                    pass
                row = cursor.fetchone() if cursor.description else None
            except psycopg.OperationalError as error:
                if self._is_begun or not self._is_lost_by(error):
                    raise
            else:
                return row and row[0]

    def _do_all(self, works: list[Work]) -> None:
        """Do works in one transaction; if that fails by itself, each in its own."""
        for _ in range(MAX_ATTEMPTS):
            failure = self._do_together(works)
            if failure is None:
                return
            if isinstance(failure, ServerGone):
                for work in works:
                    work.fail(failure)
                return
            if not self._may_succeed(failure):
                break
        for work in works:
            self._do_alone(work)

    def _do_alone(self, work: Work) -> None:
        for _ in range(MAX_ATTEMPTS):
            work.do()
            if not isinstance(work.error, Undone):
                return

    def _may_succeed(self, failure: BaseException) -> bool:
        """Whether work that has failed, and was undone, may succeed when it is done again."""
        is_cut_off = isinstance(failure, psycopg.OperationalError) and self.is_lost
        return is_cut_off or isinstance(failure, (Undone, *MADE_ANEW))

    def _raise(self, error: Exception) -> NoReturn:
        if not isinstance(error, psycopg.Error):
            raise error
        kind = Undone if self._may_succeed(error) else StorageError
        raise kind(f"cannot use the database {str(self.path)!r}: {cure_of(error)}") from error

    # --- locks -----------------------------------------------------------------------------------

    def try_lock(self, name: str) -> bool:
        """Take a lock that ends with the connection; False if another process, or this one, holds it.

        After a lost connection it is taken again, unless somebody else has had it meanwhile.
        """
        with self._working():
            holder = secrets.token_hex(8)
            if name in self._held or not self._retried(in_postgres(_TAKE), (holder, name)):
                return False
            self._held[name] = holder
            self._lost.discard(name)
            return True

    def unlock(self, name: str) -> None:
        """Give a lock back; without the lock it does nothing."""
        with self._working():
            if (holder := self._held.pop(name, None)) and not self.is_lost:
                with suppress(psycopg.OperationalError):  # then the lock is gone, too
                    self.connection.execute(in_postgres(_GIVE_BACK), (name, holder, name))

    def locked_among(self, names: Sequence[str]) -> set[str]:
        """Those of some locks that a process holds at this moment."""
        if not names:
            return set()
        query = (
            "SELECT name FROM unnest(?::text[]) AS name, hashtextextended(name, 0) AS key JOIN pg_locks ON "
            "locktype = 'advisory' AND objsubid = 1 AND granted AND database = (SELECT oid FROM pg_database "
            "WHERE datname = current_database()) AND classid::bigint = ((key >> 32) & 4294967295) "
            "AND objid::bigint = (key & 4294967295)"
        )
        with self.view() as cursor:
            return {str(name) for (name,) in cursor.execute(query, ([*names],))}

    def check_lock(self, name: str) -> None:
        if name in self._lost:
            raise SessionInUse(
                f"the connection to the database was lost, and with it the lock of {name}, which another "
                "process may have taken over; nothing more is written for it here"
            )

    def _lock_again(self, connection: psycopg.Connection[Any]) -> None:
        """Take the locks again that the lost connection held, on the new one."""
        cursor, lost = PostgresCursor(connection), set()
        for name, holder in self._held.items():
            (is_free,) = cursor.execute(_TRY_LOCK, (name,)).fetchone()
            (is_holder,) = cursor.execute(_IS_HOLDER, (name, holder)).fetchone()
            if is_free and not is_holder:
                cursor.execute(_GIVE_BACK, (name, holder, name))
            if not (is_free and is_holder):
                lost.add(name)
        self._held = {name: holder for name, holder in self._held.items() if name not in lost}
        self._lost |= lost

    def last_settled_event(self) -> int:
        """The id up to which no event can be committed any more."""
        with self.view() as cursor:
            return last_settled(cursor)

    def last_event(self, cursor: Cursor) -> int:
        """The greatest id of an event; 0 if there is none."""
        (number,) = cursor.execute("SELECT max(id) FROM events").fetchone()
        return number or 0

    # --- the rest --------------------------------------------------------------------------------

    def check_schema(self) -> None:
        """Refuse a database that is empty, older or newer.

        Raises:
            StorageError: The message names the command that cures it.
        """
        with self.view() as cursor:
            check_schema(cursor, str(self.path))

    def applied_steps(self) -> list[str]:
        """The names of the steps that the database has; none if it is not ours."""
        with self.view() as cursor:
            return applied_steps(cursor)

    def upgrade(self) -> list[str]:
        """Make the tables, or upgrade those of an older version; returns the steps that were missing.

        Raises:
            StorageError: The database holds tables of another program or of a newer version, or the user may
                make none.
        """
        with self.transaction() as cursor:
            cursor.execute(f"SELECT pg_advisory_xact_lock({_KEY})", (SCHEMA_LOCK,))
            return migrate(cursor, str(self.path))

    @property
    def identities(self) -> list[str]:
        """The number that the database was given when its tables were made."""
        with self.view() as cursor:
            return [f"database {number}" for (number,) in cursor.execute("SELECT id FROM swarm_identity")]

    @property
    def limits(self) -> Leases:
        """The limits of calls that all machines share."""
        return leases_of(self._url, self, open_connection)

    @property
    def has_memory(self) -> bool:
        """True: its tables are always there."""
        return True

    def add_memory(self) -> None:
        """Nothing: its tables are always there."""

    def new_ids(self, cursor: Cursor, table: str, number: int) -> list[int]:
        """The next ids of the table's sequence."""
        query = "SELECT nextval(pg_get_serial_sequence(?, 'id')) FROM generate_series(1, ?)"
        return sorted(int(new) for (new,) in cursor.execute(query, (table, number)).fetchall())

    @property
    def words(self) -> WordIndex:
        """The index of tsvectors."""
        from swarm_graph.checkpoints.postgres_words import PostgresWords

        return PostgresWords()

    def vacuum(self) -> None:
        """Nothing: PostgreSQL does it by itself."""

    def size(self) -> int:
        """How many bytes the database takes on the server."""
        with self.view() as cursor:
            (size,) = cursor.execute("SELECT pg_database_size(current_database())").fetchone()
        return int(size)

    def close(self) -> None:
        """Give all leases back, do what waits, and close the connection; a second call does nothing."""
        give_up(self._url, self)
        super().close()


_INHERITED: list[psycopg.Connection[Any]] = []
"""Connections of the parent process. A forked child must neither use nor close them, so it keeps them."""


def open_connection(url: str) -> psycopg.Connection[Any]:
    """A new connection.

    Raises:
        ServerGone: The server cannot be reached, as while it restarts, or refuses.
        StorageError: The URL cannot be read.
    """
    try:
        given: dict[str, Any] = {**KEEPALIVE, **conninfo_to_dict(url)}
        given["options"] = f"{given.get('options', '')} {SETTINGS}".strip()
        connection = psycopg.connect(
            make_conninfo(**{"application_name": os.environ.get("PGAPPNAME") or PROGRAM, **given}),
            autocommit=True,
            row_factory=tuple_row,
        )
    except psycopg.ProgrammingError:  # libpq cannot read the URL; what it says may repeat a password
        raise StorageError(
            f"cannot use the database {without_password(url)!r}: its URL has a part that is unknown; "
            f"expected one such as {EXAMPLE}"
        ) from None
    except psycopg.Error as error:
        raise ServerGone(f"cannot use the database {without_password(url)!r}: {cure_of(error)}") from error
    adapt(connection)
    return connection


class PostgresCursor:
    """A cursor that takes statements with SQLite's placeholders; see `storage.Cursor`.

    Args:
        source: The connection, or the database, whose connection is used from the first statement on.
    """

    def __init__(self, source: psycopg.Connection[Any] | PostgresDatabase) -> None:
        self._source = source
        self._opened: psycopg.Cursor[Any] | None = None

    @property
    def raw(self) -> psycopg.Cursor[Any]:
        """psycopg's cursor."""
        if self._opened is None:
            source = self._source
            connection = source.connection if isinstance(source, PostgresDatabase) else source
            self._opened = connection.cursor(binary=True)
        return self._opened

    @property
    def rowcount(self) -> int:
        return self.raw.rowcount

    @property
    def description(self) -> Any:
        return self.raw.description

    def execute(self, sql: str, values: Values = (), /) -> Self:
        self.raw.execute(in_postgres(sql), values)
        return self

    def executemany(self, sql: str, rows: Iterable[Any], /) -> Self:
        match rows := [*rows]:
            case [row]:  # psycopg opens a pipeline for many
                return self.execute(sql, row)
        self.raw.executemany(in_postgres(sql), rows)
        return self

    def fetchone(self) -> Any:
        return self.raw.fetchone()

    def fetchall(self) -> list[Any]:
        return self.raw.fetchall()

    def __iter__(self) -> Iterator[Any]:
        return iter(self.raw)

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()


_NO_DATABASE = re.compile('database ".*" does not exist')


def cure_of(error: psycopg.Error) -> str:
    """What went wrong, in one line, with what to do."""
    said = str(error).strip().splitlines()
    reason = said[0].removeprefix("connection failed: ") if said else type(error).__name__
    if isinstance(error, psycopg.errors.DiskFull):
        return f"the disk of the server is full ({reason}); free some space and resume"
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return f"{reason}; grant the user the right to it"
    if _NO_DATABASE.search(reason):
        return f"{reason}; `createdb` makes it, and `swarm-graph database init` its tables"
    if isinstance(error, psycopg.OperationalError):
        return f"{reason}; check the server, the URL, and the password (PGPASSWORD or .pgpass), then resume"
    return reason
