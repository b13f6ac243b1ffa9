"""Repair a session database: restore its pages, and take every session back to a readable checkpoint."""

from __future__ import annotations

import sqlite3
import tempfile
import time
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import unquote

from swarm_graph.checkpoints.database import Database, storage_errors
from swarm_graph.checkpoints.health import (
    DAMAGE,
    ORPHAN,
    REPAIR,
    check_database,
    checkpoint_fault,
    copy_pages,
    file_faults,
    open_damaged,
    reset_damaged_json,
    thread_ids,
)
from swarm_graph.checkpoints.locks import is_running_beside
from swarm_graph.checkpoints.memory_health import mend_memory
from swarm_graph.checkpoints.salvage import Repair, rebuild
from swarm_graph.checkpoints.sqlite_saver import SqliteSwarmSaver
from swarm_graph.errors import SessionInUse, StorageError
from swarm_graph.state import has_ended

_LATEST_CHECKPOINT = "SELECT max(checkpoint_id) FROM checkpoints WHERE thread_id = ? AND checkpoint_ns = ''"


def repair_database(path: Path) -> Repair:
    """Repair what `check_database` finds; the original is kept beside the file.

    The repair is prepared in a copy and written into the file in one transaction, so a kill leaves either the
    old content or the new.

    Raises:
        SessionInUse: A session is running.
        StorageError: As `check_database`; or another program has the file open, or nothing can be read.
    """
    if all(problem.cure != REPAIR for problem in check_database(path).problems):
        return Repair()
    _refuse_running(path)
    repair = Repair()
    with (
        storage_errors(path),
        tempfile.TemporaryDirectory() as folder,
        closing(open_damaged(path, "rw")) as original,
    ):
        # An empty transaction takes the exclusive lock, which this mode keeps until the file is closed.
        original.executescript("PRAGMA locking_mode=EXCLUSIVE; BEGIN IMMEDIATE; COMMIT")
        repaired = Path(folder) / "copy.db"
        copy_pages(original, repaired)
        is_whole = not file_faults(repaired) or _reindex(repaired)
        if not (is_whole and _mend_memory(repaired, repair)):
            repaired = Path(folder) / "rebuilt.db"
            rebuild(original, repaired, repair)
            if not any(repair.kept_rows.values()):
                raise StorageError(
                    f"nothing in '{path}' can be read; it is unchanged; move it away: "
                    "the next run creates a new one"
                )
            _mend_memory(repaired, repair)
        with SqliteSwarmSaver(Database(repaired)) as saver:
            _repair_sessions(saver, repair)
        repair.original = _keep_original(original, path)
        with closing(sqlite3.connect(repaired)) as source:
            source.backup(original)
    return repair


def _refuse_running(path: Path) -> None:
    """Raise SessionInUse for a running session; the locks name it even if the tables cannot be read."""
    file = path.resolve()
    for lock in file.parent.iterdir():
        name = lock.name.removeprefix(f"{file.name}-").removesuffix(".lock")
        session_id = unquote(name)
        if lock.name == f"{file.name}-{name}.lock" and is_running_beside(file, session_id):
            raise SessionInUse(
                f"cannot repair '{path}': session '{session_id}' is in use; wait for it to end, or stop it"
            )


def _keep_original(original: sqlite3.Connection, path: Path) -> Path:
    copy = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}")
    try:
        copy.touch(mode=0o600, exist_ok=False)
    except OSError as error:
        raise StorageError(
            f"cannot keep the original as '{copy}': {error.strerror}; make its folder writable"
        ) from error
    copy_pages(original, copy)
    return copy


def _reindex(path: Path) -> bool:
    """Rebuild the indices of a file, and return whether it has no fault then."""
    with closing(sqlite3.connect(path)) as connection, suppress(*DAMAGE):
        connection.execute("REINDEX")
    return not file_faults(path)


def _mend_memory(path: Path, repair: Repair) -> bool:
    """Mend the tables of memory if they are damaged; return False if that is not possible in this file."""
    try:
        with Database(path) as database:
            deleted = mend_memory(database)
    except StorageError:
        return False
    repair.memory_mended = deleted is not None
    for table, count in (deleted or {}).items():
        repair.lose(table, count)
    return True


def _repair_sessions(saver: SqliteSwarmSaver, repair: Repair) -> None:
    """Take every session back to its last readable checkpoint, and delete rows that belong to no session."""
    reset_damaged_json(saver)
    for thread_id in thread_ids(saver):
        if _drop_unreadable(saver, thread_id) or _lost_its_end(saver, thread_id):
            repair.rolled_back.append(thread_id)
            with saver.transaction() as cursor:  # the phase that a kill leaves, so that `resume` accepts it
                cursor.execute("UPDATE sessions SET phase = 'running' WHERE session = ?", (thread_id,))
    with saver.transaction() as cursor:
        for table in ("writes", "channel_values"):
            repair.orphan_rows += cursor.execute(f"DELETE FROM {table} WHERE {ORPHAN}").rowcount
    repair.sessions = [session.session for session in saver.catalogue.sessions()]


def _drop_unreadable(saver: SqliteSwarmSaver, thread_id: str) -> bool:
    """Delete a thread's last checkpoints until one can be read; return whether any was deleted."""
    dropped = False
    while checkpoint_fault(saver, thread_id):
        dropped = True
        with saver.transaction() as cursor:
            (last,) = cursor.execute(_LATEST_CHECKPOINT, (thread_id,)).fetchone()
            for table in ("checkpoints", "writes"):
                cursor.execute(
                    f"DELETE FROM {table} WHERE thread_id = ? AND checkpoint_ns = '' AND checkpoint_id = ?",
                    (thread_id, last),
                )
    return dropped


def _lost_its_end(saver: SqliteSwarmSaver, thread_id: str) -> bool:
    """Whether a session has ended by the catalogue and has not by its last checkpoint."""
    session = saver.catalogue.get(thread_id)
    saved = saver.get_tuple({"configurable": {"thread_id": thread_id}})
    if session is None or saved is None:
        return False
    phase = str(saved.checkpoint["channel_values"].get("phase"))
    return has_ended(session.phase) and not has_ended(phase)
