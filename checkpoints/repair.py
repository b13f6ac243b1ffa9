"""Looking into a session database for damage, and saving what can still be read of it."""

from __future__ import annotations

import sqlite3
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import sqlite_utils
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.constants import START

from swarm_graph.checkpoints.catalogue import ENDED, Catalogue
from swarm_graph.checkpoints.database import BUSY_SECONDS, MEMORY, Database, storage_errors
from swarm_graph.checkpoints.locks import is_at_work
from swarm_graph.checkpoints.saver import SwarmSaver
from swarm_graph.checkpoints.schema import migrate
from swarm_graph.errors import SessionInUse, StorageError

REPAIR = "`swarm-graph doctor --database --repair` saves what can be read"
UNDECODABLE = (StorageError, ValueError, TypeError, LookupError, AttributeError)
"""What reading a checkpoint raises when its bytes are not those that were written."""

DAMAGE = (sqlite3.DatabaseError, UnicodeDecodeError)
"""What reading rows raises: SQLite's errors, and Python's where a column's name is damaged."""

JSON = {("sessions", "config"): "{}", ("runs", "config"): None, ("runs", "input"): None}
"""The columns that hold JSON, and what they hold in its place where it is damaged."""

LEAPS = [2**power for power in range(17)]
"""Rows over which a repair looks for the end of a damage: what lies behind more of them is lost."""

NO_JSON = "{0} IS NOT :empty AND NOT coalesce(json_valid({0}), 0)"
NO_CHECKPOINT = "thread_id NOT IN (SELECT thread_id FROM checkpoints)"
LATEST = "SELECT max(checkpoint_id) FROM checkpoints WHERE thread_id = ? AND checkpoint_ns = ''"


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


@dataclass
class Repair:
    """What a repair did. Nothing was wrong, and nothing done, where there is no `copy`.

    `copy`: the file as it was. `kept`: rows by table; `lost`: rows by table of those that could not be read
    to the end, None where nobody can say. `set_back`: sessions that lost their last checkpoints.
    `leftovers`: rows that belonged to no session.
    """

    copy: Path | None = None
    rebuilt: bool = False
    sessions: list[str] = field(default_factory=list)
    lost_sessions: list[str] = field(default_factory=list)
    kept: dict[str, int] = field(default_factory=dict)
    lost: dict[str, int | None] = field(default_factory=dict)
    set_back: list[str] = field(default_factory=list)
    leftovers: int = 0


def check_database(path: Path) -> Health:
    """Looks at a copy: the file stays as it is, and sessions may be at work meanwhile.

    Raises StorageError for a file that is missing, no SQLite database, or newer than we are.
    """
    with _snapshot(path) as copy, storage_errors(path):
        faults = _faults(copy)
        _refuse_newer(copy, path)
        if faults:
            more = f", and {len(faults) - 1} more" if len(faults) > 1 else ""
            return Health(0, [Problem(f"'{path}' is damaged: {faults[0]}{more}")])
        with SwarmSaver(Database(copy)) as saver:
            problems = [*_broken_json(saver)]
            _mend_json(saver)  # in the copy, whose catalogue is read now
            problems += [*_unreadable(saver), *_without_checkpoint(saver), *_leftovers(saver)]
            return Health(len(saver.catalogue.sessions()), problems)


def repair_database(path: Path) -> Repair:
    """Mends what `check_database` finds, if that can be mended; the file as it was is kept beside it.

    Everything is prepared in a copy and then written into the file in one transaction: a kill leaves the old
    content or the new. Raises what `check_database` does, SessionInUse while a session is at work, and
    StorageError when another program has the file open or nothing in it can be read.
    """
    if all(problem.cure != REPAIR for problem in check_database(path).problems):
        return Repair()
    _refuse_work(path)
    done = Repair()
    with (
        storage_errors(path),
        tempfile.TemporaryDirectory() as folder,
        closing(_connect(path, "rw")) as original,
    ):
        original.executescript("PRAGMA locking_mode=EXCLUSIVE; BEGIN IMMEDIATE; COMMIT")
        sound = Path(folder) / "copy.db"
        _copy(original, sound)
        if _faults(sound) and not _reindexed(sound):
            sound = Path(folder) / "rebuilt.db"
            _rebuild(original, sound, done)
            if not any(done.kept.values()):
                raise StorageError(
                    f"nothing in '{path}' can be read, it was left as it is; move it away: "
                    "the next run makes a new one"
                )
        with SwarmSaver(Database(sound)) as saver:
            _tidy(saver, done)
        done.copy = _kept_copy(original, path)
        with closing(sqlite3.connect(sound)) as source:
            source.backup(original)
    return done


# --- looking -------------------------------------------------------------------------------------


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
        with storage_errors(path), closing(_connect(path, mode)) as source:
            source.executescript("BEGIN; PRAGMA schema_version")  # backup() would wait for a lock for ever
            _copy(source, copy)
        yield copy


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    """Opens a file that may be damaged: with `writable_schema`, what is left of a torn one can be read."""
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    connection = sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None)
    connection.executescript("PRAGMA trusted_schema=OFF; PRAGMA writable_schema=ON")
    return connection


def _copy(source: sqlite3.Connection, target: Path) -> None:
    """Copies page by page, damaged ones too."""
    with closing(sqlite3.connect(target)) as connection:
        source.backup(connection)


def _faults(path: Path) -> list[str]:
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
    with closing(_connect(copy, "rw")) as connection, suppress(*DAMAGE):
        migrate(sqlite_utils.Database(connection, execute_plugins=False), str(path))


def _broken_json(saver: SwarmSaver) -> Iterator[Problem]:
    with saver.cursor(transaction=False) as cursor:
        for (table, column), empty in JSON.items():
            query = f"SELECT count(*) FROM {table} WHERE {NO_JSON.format(column)}"
            (count,) = cursor.execute(query, {"empty": empty}).fetchone()
            if count:
                yield Problem(f"{count} rows of {table} have a damaged {column}")


def _unreadable(saver: SwarmSaver) -> Iterator[Problem]:
    for thread in _threads(saver):
        if fault := _fault(saver, thread):
            yield Problem(f"the last checkpoint of session {thread!r} cannot be read: {fault}")


def _without_checkpoint(saver: SwarmSaver) -> Iterator[Problem]:
    """Sessions that lost their checkpoints; one that has just begun has none yet, but its request."""
    threads = set(_threads(saver))
    for known in saver.catalogue.sessions():
        waits = saver.catalogue.pending_input(known.session, "") is not None
        if known.session not in threads and not (waits and known.phase not in ENDED):
            anew = f"`swarm-graph resume {known.session}` begins it anew"
            cure = anew if waits else f"`swarm-graph sessions show {known.session}` shows what is left of it"
            yield Problem(f"session {known.session!r} ({known.phase}) has no checkpoint", cure, serious=False)


def _leftovers(saver: SwarmSaver) -> Iterator[Problem]:
    with saver.cursor(transaction=False) as cursor:
        for table in ("writes", "channel_values"):
            (count,) = cursor.execute(f"SELECT count(*) FROM {table} WHERE {NO_CHECKPOINT}").fetchone()
            if count:
                yield Problem(f"{count} rows of {table} belong to no session", serious=False)


def _threads(saver: SwarmSaver) -> list[str]:
    with saver.cursor(transaction=False) as cursor:
        return [thread for (thread,) in cursor.execute("SELECT DISTINCT thread_id FROM checkpoints")]


def _fault(saver: SwarmSaver, thread: str) -> str:
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


# --- mending -------------------------------------------------------------------------------------


def _refuse_work(path: Path) -> None:
    """Raises SessionInUse; the locks say who is at work even where the tables cannot be read."""
    file = path.resolve()
    with Database(MEMORY) as database:
        database.path = database.file = file
        for lock in file.parent.iterdir():
            name = lock.name.removeprefix(f"{file.name}-").removesuffix(".lock")
            session = unquote(name)
            if lock.name == f"{file.name}-{name}.lock" and is_at_work(Catalogue(database), session):
                raise SessionInUse(
                    f"cannot repair '{path}': session '{session}' is at work; wait for its end, or stop it"
                )


def _kept_copy(original: sqlite3.Connection, path: Path) -> Path:
    copy = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}")
    try:
        copy.touch(mode=0o600, exist_ok=False)
    except OSError as error:
        raise StorageError(
            f"cannot keep a copy in '{copy}': {error.strerror}; make its folder writable"
        ) from error
    _copy(original, copy)
    return copy


def _reindexed(path: Path) -> bool:
    """Whether the file is sound once its indices are made anew."""
    with closing(sqlite3.connect(path)) as connection, suppress(*DAMAGE):
        connection.execute("REINDEX")
    return not _faults(path)


def _rebuild(source: sqlite3.Connection, target: Path, done: Repair) -> None:
    """Makes a new file of all rows that can be read."""
    done.rebuilt = True
    with SwarmSaver(Database(target)) as saver, saver.transaction() as cursor:
        for table in saver.database.tables.table_names():
            if not table.startswith("_"):
                _copy_table(source, cursor, table, done)
        found = {name for (name,) in _until_damage(source, "SELECT session FROM sessions")}
        begun = {name for (name,) in cursor.execute("SELECT session FROM runs")}
        kept = {name for (name,) in cursor.execute("SELECT session FROM sessions")}
        done.lost_sessions = sorted((found | begun) - kept, key=str)


def _copy_table(source: sqlite3.Connection, cursor: sqlite3.Cursor, table: str, done: Repair) -> None:
    columns = "SELECT name FROM pragma_table_info(?)"
    theirs = {name for (name,) in _until_damage(source, columns, table)}
    ours = [name for (name,) in cursor.execute(columns, (table,)) if name in theirs]
    names = ", ".join(["rowid", *ours])
    holes = ", ".join("?" * (len(ours) + 1))
    damage: list[Exception] = []
    cursor.executemany(
        f"INSERT OR IGNORE INTO {table} ({names}) VALUES ({holes})",
        _rows(source, f"SELECT {names} FROM {table} WHERE rowid", damage),
    )
    done.kept[table] = max(cursor.rowcount, 0)
    # counted by an index, which may be whole where the table is not
    counted = next(_until_damage(source, f"SELECT count(*) FROM {table}"), None)
    lost = counted[0] - done.kept[table] if counted else None
    if lost or (lost is None and damage):
        done.lost[table] = lost


def _until_damage(source: sqlite3.Connection, query: str, *values: object) -> Iterator[tuple[Any, ...]]:
    with suppress(*DAMAGE):
        yield from source.execute(query, values)


def _rows(source: sqlite3.Connection, query: str, damage: list[Exception]) -> Iterator[tuple[Any, ...]]:
    """All rows that can be read, by their numbers, around `damage`. `query` ends with `WHERE rowid`."""
    last: int | None = -1
    while last is not None:
        try:
            for row in source.execute(f"{query} > ? ORDER BY rowid", (last,)):
                if row[0] <= last:
                    raise sqlite3.DatabaseError("rows out of order")
                yield row
                last = row[0]
        except DAMAGE as error:
            damage.append(error)
            onward = _beyond(source, query, last)
            if onward is not None:
                yield from _between(source, query, last + 1, onward)
            last = onward
        else:
            return


def _beyond(source: sqlite3.Connection, query: str, last: int) -> int | None:
    """A number behind the damage that follows `last`, found by longer leaps; None if there is no such."""
    for leap in LEAPS:
        with suppress(*DAMAGE):
            onward: int = last + leap
            row = source.execute(f"{query} > ? ORDER BY rowid LIMIT 1", (onward,)).fetchone()
            if row is None or row[0] > onward:
                return onward
    return None


def _between(source: sqlite3.Connection, query: str, low: int, high: int) -> Iterator[tuple[Any, ...]]:
    """The rows in a range that can be read, each half for itself where there is damage."""
    try:
        yield from source.execute(f"{query} BETWEEN ? AND ?", (low, high)).fetchall()
    except DAMAGE:
        if low < high:
            middle = (low + high) // 2
            yield from _between(source, query, low, middle)
            yield from _between(source, query, middle + 1, high)


def _tidy(saver: SwarmSaver, done: Repair) -> None:
    """Brings every session to its last checkpoint that can be read, and removes what belongs to none."""
    _mend_json(saver)
    for thread in _threads(saver):
        if _drop_unreadable(saver, thread) or _ended_too_early(saver, thread):
            done.set_back.append(thread)
            with saver.transaction() as cursor:  # as a kill leaves it, so that `resume` goes on with it
                cursor.execute("UPDATE sessions SET phase = 'running' WHERE session = ?", (thread,))
    with saver.transaction() as cursor:
        for table in ("writes", "channel_values"):
            done.leftovers += cursor.execute(f"DELETE FROM {table} WHERE {NO_CHECKPOINT}").rowcount
    done.sessions = [known.session for known in saver.catalogue.sessions()]


def _mend_json(saver: SwarmSaver) -> None:
    """Empties what is no JSON any more: a session's configuration, a run's input."""
    with saver.transaction() as cursor:
        for (table, column), empty in JSON.items():
            query = f"UPDATE {table} SET {column} = :empty WHERE {NO_JSON.format(column)}"
            cursor.execute(query, {"empty": empty})


def _drop_unreadable(saver: SwarmSaver, thread: str) -> bool:
    """Deletes a thread's last checkpoints until one can be read; whether there were any."""
    dropped = False
    while _fault(saver, thread):
        dropped = True
        with saver.transaction() as cursor:
            (last,) = cursor.execute(LATEST, (thread,)).fetchone()
            for table in ("checkpoints", "writes"):
                cursor.execute(
                    f"DELETE FROM {table} WHERE thread_id = ? AND checkpoint_ns = '' AND checkpoint_id = ?",
                    (thread, last),
                )
    return dropped


def _ended_too_early(saver: SwarmSaver, thread: str) -> bool:
    """Whether a session has ended, but the checkpoint of its end is lost."""
    known, saved = saver.catalogue.get(thread), saver.get_tuple({"configurable": {"thread_id": thread}})
    if known is None or saved is None:
        return False
    return known.phase in ENDED and saved.checkpoint["channel_values"].get("phase") not in ENDED
