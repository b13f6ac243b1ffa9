"""Check a session database for damage: pages, JSON columns, checkpoints, rows that belong to no session."""

from __future__ import annotations

import sqlite3
import tempfile
from collections import deque
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

import sqlite_utils
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.constants import START

from swarm_graph.checkpoints.database import BUSY_TIMEOUT_S, Database, refuse_links_beside, storage_errors
from swarm_graph.checkpoints.inspection import refuse_foreign
from swarm_graph.checkpoints.memory_health import memory_problems
from swarm_graph.checkpoints.schema import migrate
from swarm_graph.checkpoints.sqlite_saver import SqliteSwarmSaver
from swarm_graph.errors import StorageError
from swarm_graph.state import has_ended

REPAIR = "`swarm-graph doctor --database --repair` saves what can be read"

UNDECODABLE = (StorageError, ValueError, TypeError, LookupError, AttributeError)
"""The exceptions when a checkpoint is read that has other bytes than were written."""

DAMAGE = (sqlite3.DatabaseError, UnicodeDecodeError)
"""The exceptions when damaged rows are read: SQLite's own, and Python's for a damaged column name."""

ORPHAN = "thread_id NOT IN (SELECT thread_id FROM checkpoints)"
"""The condition for rows of `writes` and `channel_values` that belong to no checkpoint."""

_JSON_COLUMNS = {
    ("sessions", "config"): "{}",
    ("runs", "config"): None,
    ("runs", "input"): None,
    ("tool_calls", "arguments"): None,
}
"""Table and column, and the empty value that replaces damaged JSON."""
_NOT_JSON = "{0} IS NOT :empty AND NOT coalesce(json_valid({0}), 0)"
_MAX_FAULTS = 20
OF_INDEX = "inverted index for FTS5"
"""In what newer versions of SQLite say of the index of memory, which `memory_health.py` checks in all."""


@dataclass(frozen=True)
class Problem:
    """Something that is wrong with a database.

    Attributes:
        text: What is wrong.
        cure: What the user can do; `repair_database` repairs the problems with the cure REPAIR.
        serious: False if it only costs space, or stays as it is after a repair.
    """

    text: str
    cure: str = REPAIR
    serious: bool = True


@dataclass(frozen=True)
class Health:
    """The result of a check.

    Attributes:
        sessions: The number of sessions; 0 for a damaged file, where they are not counted.
        problems: What is wrong.
    """

    sessions: int
    problems: list[Problem]


def check_database(path: Path) -> Health:
    """Check a copy of a database, so that the file stays as it is and its sessions can run meanwhile.

    Raises:
        StorageError: The file is missing, no SQLite database, or of a newer version.
    """
    with _snapshot(path) as copy, storage_errors(path):
        faults = file_faults(copy)
        _refuse_newer(copy, path)
        if faults:
            more = f", and {len(faults) - 1} more" if len(faults) > 1 else ""
            return Health(0, [Problem(f"'{path}' is damaged: {faults[0]}{more}")])
        with SqliteSwarmSaver(Database(copy)) as saver:
            problems = [*_damaged_json(saver)]
            reset_damaged_json(saver)  # the catalogue of the copy is read next, which parses the JSON
            problems += [*_unreadable(saver), *_without_checkpoint(saver), *_orphans(saver)]
            problems += map(Problem, memory_problems(saver.database))
            return Health(len(saver.catalogue.sessions()), problems)


@contextmanager
def _snapshot(path: Path) -> Iterator[Path]:
    """A copy of the file and its -wal as they are at this moment."""
    if not path.is_file():
        raise StorageError(
            f"no database '{path}'; the first run creates it, or name its folder with --data-dir"
        )
    refuse_links_beside(path.resolve())
    wal = Path(f"{path.resolve()}-wal")
    # The last writer to leave a file moves its -wal into it; a mere reader leaves an empty -wal behind.
    mode = "ro" if wal.exists() and wal.stat().st_size else "rw"
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        with storage_errors(path), closing(open_damaged(path, mode)) as source:
            source.executescript("BEGIN; PRAGMA schema_version")  # backup() would wait for a lock for ever
            _refuse_foreign(source, path)
            copy_pages(source, copy)
        yield copy


def open_damaged(path: Path, mode: str) -> sqlite3.Connection:
    """A connection to a file that may be damaged.

    Args:
        path: The file.
        mode: SQLite's mode of a URI: ro or rw.
    """
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    connection = sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    # With `writable_schema` SQLite reads what is left of a torn schema instead of refusing the file.
    connection.executescript("PRAGMA trusted_schema=OFF; PRAGMA writable_schema=ON")
    return connection


def _refuse_foreign(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse a file with foreign views, triggers or tables; a schema that cannot be read has none."""
    with suppress(*DAMAGE):
        refuse_foreign(sqlite_utils.Database(connection, execute_plugins=False), str(path))


def copy_pages(source: sqlite3.Connection, target: Path) -> None:
    """Copy a database page by page, damaged pages too."""
    with closing(sqlite3.connect(target)) as connection:
        source.backup(connection)


def file_faults(path: Path) -> list[str]:
    """What SQLite finds wrong with a file's pages, indices and texts, one line a fault.

    The index of memory is left out: it can be made anew (`memory_health.py`).
    """
    with closing(sqlite3.connect(path)) as connection:
        try:
            rows = connection.execute(f"PRAGMA integrity_check({_MAX_FAULTS})").fetchall()
            query = "SELECT name FROM sqlite_schema WHERE type = 'table' AND rootpage"  # no virtual ones
            for (table,) in connection.execute(query).fetchall():
                # integrity_check does not decode texts; reading every row does.
                deque(connection.execute(f'SELECT * FROM "{table}"'), maxlen=0)
        except DAMAGE as error:
            return [ascii(str(error))]
    lines = [line for (text,) in rows for line in text.splitlines()]
    return [line for line in lines if line != "ok" and not line.startswith("***") and OF_INDEX not in line]


def _refuse_newer(copy: Path, path: Path) -> None:
    """Raise StorageError for a file of a newer version, as far as a damaged one can tell."""
    with closing(open_damaged(copy, "rw")) as connection, suppress(*DAMAGE):
        migrate(sqlite_utils.Database(connection, execute_plugins=False), str(path))


def _damaged_json(saver: SqliteSwarmSaver) -> Iterator[Problem]:
    with saver.cursor(transaction=False) as cursor:
        for (table, column), empty in _JSON_COLUMNS.items():
            query = f"SELECT count(*) FROM {table} WHERE {_NOT_JSON.format(column)}"
            (count,) = cursor.execute(query, {"empty": empty}).fetchone()
            if count:
                yield Problem(f"{count} rows of {table} have a damaged {column}")


def reset_damaged_json(saver: SqliteSwarmSaver) -> None:
    """Empty the JSON columns that cannot be parsed: a session's configuration, a run's input."""
    with saver.transaction() as cursor:
        for (table, column), empty in _JSON_COLUMNS.items():
            query = f"UPDATE {table} SET {column} = :empty WHERE {_NOT_JSON.format(column)}"
            cursor.execute(query, {"empty": empty})


def _unreadable(saver: SqliteSwarmSaver) -> Iterator[Problem]:
    for thread_id in thread_ids(saver):
        if fault := checkpoint_fault(saver, thread_id):
            yield Problem(f"the last checkpoint of session {thread_id!r} cannot be read: {fault}")


def _without_checkpoint(saver: SqliteSwarmSaver) -> Iterator[Problem]:
    """Sessions that lost their checkpoints; a session that has just begun has only its request."""
    threads = set(thread_ids(saver))
    for session in saver.catalogue.sessions():
        has_request = saver.catalogue.pending_input(session.session, "") is not None
        has_just_begun = has_request and not has_ended(session.phase)
        if session.session not in threads and not has_just_begun:
            resume = f"`swarm-graph resume {quote(session.session)}` starts it again"
            show = f"`swarm-graph sessions show {quote(session.session)}` shows what is left of it"
            text = f"session {session.session!r} ({session.phase}) has no checkpoint"
            yield Problem(text, resume if has_request else show, serious=False)


def _orphans(saver: SqliteSwarmSaver) -> Iterator[Problem]:
    with saver.cursor(transaction=False) as cursor:
        for table in ("writes", "channel_values"):
            (count,) = cursor.execute(f"SELECT count(*) FROM {table} WHERE {ORPHAN}").fetchone()
            if count:
                yield Problem(f"{count} rows of {table} belong to no session", serious=False)


def thread_ids(saver: SqliteSwarmSaver) -> list[str]:
    """The ids of all threads that have a checkpoint."""
    with saver.cursor(transaction=False) as cursor:
        return [thread for (thread,) in cursor.execute("SELECT DISTINCT thread_id FROM checkpoints")]


def checkpoint_fault(saver: SqliteSwarmSaver, thread_id: str) -> str:
    """Why a thread's latest checkpoint cannot be used; empty if it can."""
    try:
        saved = saver.get_tuple({"configurable": {"thread_id": thread_id}})
        missing = _missing_values(saved) if saved and saver.catalogue.get(thread_id) else []
    except UNDECODABLE as error:
        return " ".join(f"{type(error).__name__}: {error}".split())
    return f"it lacks {', '.join(missing)}" if missing else ""


def _missing_values(saved: CheckpointTuple) -> list[str]:
    """The channels that have a version and no value.

    LangGraph's own channels, such as `branch:to:coder`, are empty once they are used; only `__start__` must
    still hold the input in the checkpoint that records an input.
    """
    without_value = saved.checkpoint["channel_versions"].keys() - saved.checkpoint["channel_values"].keys()
    used_up = {name for name in without_value if ":" in name or name.startswith("__")}
    if saved.metadata.get("source") == "input":
        used_up.discard(START)
    return sorted(without_value - used_up)
