"""Looking into a session database for damage."""

from __future__ import annotations

import sqlite3
import tempfile
from collections import deque
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import sqlite_utils
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.constants import START

from swarm_graph.checkpoints.database import BUSY_SECONDS, Database, storage_errors
from swarm_graph.checkpoints.saver import SwarmSaver
from swarm_graph.checkpoints.schema import migrate
from swarm_graph.errors import StorageError
from swarm_graph.state import has_ended

REPAIR = "`swarm-graph doctor --database --repair` saves what can be read"


UNDECODABLE = (StorageError, ValueError, TypeError, LookupError, AttributeError)
"""What reading a checkpoint raises when its bytes are not those that were written."""


DAMAGE = (sqlite3.DatabaseError, UnicodeDecodeError)
"""What reading rows raises: SQLite's errors, and Python's where a column's name is damaged."""


JSON = {("sessions", "config"): "{}", ("runs", "config"): None, ("runs", "input"): None}
"""The columns that hold JSON, and what they hold in its place where it is damaged."""


NO_JSON = "{0} IS NOT :empty AND NOT coalesce(json_valid({0}), 0)"


NO_CHECKPOINT = "thread_id NOT IN (SELECT thread_id FROM checkpoints)"


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a database. `repair_database` mends those whose cure is REPAIR.

    One that is not serious costs space, or stays as it is after a repair.
    """

    text: str
    cure: str = REPAIR
    serious: bool = True


@dataclass(frozen=True)
class Health:
    """What a check found; the number of sessions is that of a file without damage, else 0."""

    sessions: int
    problems: list[Problem]


def check_database(path: Path) -> Health:
    """Looks at a copy: the file stays as it is, and sessions may be at work meanwhile.

    Raises StorageError for a file that is missing, no SQLite database, or newer than we are.
    """
    with _snapshot(path) as copy, storage_errors(path):
        found = faults(copy)
        _refuse_newer(copy, path)
        if found:
            more = f", and {len(found) - 1} more" if len(found) > 1 else ""
            return Health(0, [Problem(f"'{path}' is damaged: {found[0]}{more}")])
        with SwarmSaver(Database(copy)) as saver:
            problems = [*_broken_json(saver)]
            mend_json(saver)  # in the copy, whose catalogue is read now
            problems += [*_unreadable(saver), *_without_checkpoint(saver), *_leftovers(saver)]
            return Health(len(saver.catalogue.sessions()), problems)


@contextmanager
def _snapshot(path: Path) -> Iterator[Path]:
    """A copy of the file and its -wal as they are at this moment."""
    if not path.is_file():
        raise StorageError(
            f"no database '{path}'; the first run makes it, or name its folder with --data-dir"
        )
    wal = Path(f"{path.resolve()}-wal")
    # The last writer to leave a file moves its -wal into it; a mere reader leaves an empty -wal behind.
    mode = "ro" if wal.exists() and wal.stat().st_size else "rw"
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        with storage_errors(path), closing(open_damaged(path, mode)) as source:
            source.executescript("BEGIN; PRAGMA schema_version")  # backup() would wait for a lock for ever
            copy_pages(source, copy)
        yield copy


def open_damaged(path: Path, mode: str) -> sqlite3.Connection:
    """Opens a file that may be damaged: with `writable_schema`, what is left of a torn one can be read."""
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    connection = sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None)
    connection.executescript("PRAGMA trusted_schema=OFF; PRAGMA writable_schema=ON")
    return connection


def copy_pages(source: sqlite3.Connection, target: Path) -> None:
    """Copies page by page, damaged ones too."""
    with closing(sqlite3.connect(target)) as connection:
        source.backup(connection)


def faults(path: Path) -> list[str]:
    """What SQLite finds wrong with a file's pages, indices and texts."""
    with closing(sqlite3.connect(path)) as connection:
        try:
            rows = connection.execute("PRAGMA integrity_check(20)").fetchall()
            for (table,) in connection.execute(
                "SELECT name FROM sqlite_schema WHERE type = 'table'"
            ).fetchall():
                deque(connection.execute(f'SELECT * FROM "{table}"'), maxlen=0)
        except DAMAGE as error:
            return [ascii(str(error))]
    lines = [line for (text,) in rows for line in text.splitlines()]
    return [line for line in lines if line != "ok" and not line.startswith("***")]


def _refuse_newer(copy: Path, path: Path) -> None:
    """Raises StorageError for a file of a later version, as far as a damaged one tells."""
    with closing(open_damaged(copy, "rw")) as connection, suppress(*DAMAGE):
        migrate(sqlite_utils.Database(connection, execute_plugins=False), str(path))


def _broken_json(saver: SwarmSaver) -> Iterator[Problem]:
    with saver.cursor(transaction=False) as cursor:
        for (table, column), empty in JSON.items():
            query = f"SELECT count(*) FROM {table} WHERE {NO_JSON.format(column)}"
            (count,) = cursor.execute(query, {"empty": empty}).fetchone()
            if count:
                yield Problem(f"{count} rows of {table} have a damaged {column}")


def _unreadable(saver: SwarmSaver) -> Iterator[Problem]:
    for thread in thread_ids(saver):
        if fault := checkpoint_fault(saver, thread):
            yield Problem(f"the last checkpoint of session {thread!r} cannot be read: {fault}")


def _without_checkpoint(saver: SwarmSaver) -> Iterator[Problem]:
    """Sessions that lost their checkpoints; one that has just begun has none yet, but its request."""
    threads = set(thread_ids(saver))
    for known in saver.catalogue.sessions():
        waits = saver.catalogue.pending_input(known.session, "") is not None
        if known.session not in threads and not (waits and not has_ended(known.phase)):
            anew = f"`swarm-graph resume {known.session}` begins it anew"
            cure = anew if waits else f"`swarm-graph sessions show {known.session}` shows what is left of it"
            yield Problem(f"session {known.session!r} ({known.phase}) has no checkpoint", cure, serious=False)


def _leftovers(saver: SwarmSaver) -> Iterator[Problem]:
    with saver.cursor(transaction=False) as cursor:
        for table in ("writes", "channel_values"):
            (count,) = cursor.execute(f"SELECT count(*) FROM {table} WHERE {NO_CHECKPOINT}").fetchone()
            if count:
                yield Problem(f"{count} rows of {table} belong to no session", serious=False)


def thread_ids(saver: SwarmSaver) -> list[str]:
    with saver.cursor(transaction=False) as cursor:
        return [thread for (thread,) in cursor.execute("SELECT DISTINCT thread_id FROM checkpoints")]


def checkpoint_fault(saver: SwarmSaver, thread: str) -> str:
    """Why a thread's latest checkpoint cannot be used, empty if it can."""
    try:
        saved = saver.get_tuple({"configurable": {"thread_id": thread}})
        lost = _lost_values(saved) if saved and saver.catalogue.get(thread) else []
    except UNDECODABLE as error:
        return " ".join(f"{type(error).__name__}: {error}".split())
    return f"it lacks {', '.join(lost)}" if lost else ""


def _lost_values(saved: CheckpointTuple) -> list[str]:
    """What a state should hold; LangGraph's own channels (`branch:to:coder`) are empty once used."""
    absent = saved.checkpoint["channel_versions"].keys() - saved.checkpoint["channel_values"].keys()
    used = {name for name in absent if ":" in name or name.startswith("__")}
    if saved.metadata.get("source") == "input":
        used.discard(START)
    return sorted(absent - used)


def mend_json(saver: SwarmSaver) -> None:
    """Empties what is no JSON any more: a session's configuration, a run's input."""
    with saver.transaction() as cursor:
        for (table, column), empty in JSON.items():
            query = f"UPDATE {table} SET {column} = :empty WHERE {NO_JSON.format(column)}"
            cursor.execute(query, {"empty": empty})
