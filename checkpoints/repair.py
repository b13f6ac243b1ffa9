"""Looking into a session database for damage, and saving what can still be read of it."""

from __future__ import annotations

import sqlite3
import tempfile
import time
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import unquote

from swarm_graph.checkpoints.catalogue import Catalogue
from swarm_graph.checkpoints.database import MEMORY, Database, storage_errors
from swarm_graph.checkpoints.health import (
    DAMAGE,
    NO_CHECKPOINT,
    REPAIR,
    check_database,
    checkpoint_fault,
    copy_pages,
    faults,
    mend_json,
    open_damaged,
    thread_ids,
)
from swarm_graph.checkpoints.locks import is_at_work
from swarm_graph.checkpoints.salvage import Repair, rebuild
from swarm_graph.checkpoints.saver import SwarmSaver
from swarm_graph.errors import SessionInUse, StorageError
from swarm_graph.state import has_ended

LATEST = "SELECT max(checkpoint_id) FROM checkpoints WHERE thread_id = ? AND checkpoint_ns = ''"


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
        closing(open_damaged(path, "rw")) as original,
    ):
        original.executescript("PRAGMA locking_mode=EXCLUSIVE; BEGIN IMMEDIATE; COMMIT")
        sound = Path(folder) / "copy.db"
        copy_pages(original, sound)
        if faults(sound) and not _reindexed(sound):
            sound = Path(folder) / "rebuilt.db"
            rebuild(original, sound, done)
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
    copy_pages(original, copy)
    return copy


def _reindexed(path: Path) -> bool:
    """Whether the file is sound once its indices are made anew."""
    with closing(sqlite3.connect(path)) as connection, suppress(*DAMAGE):
        connection.execute("REINDEX")
    return not faults(path)


def _tidy(saver: SwarmSaver, done: Repair) -> None:
    """Brings every session to its last checkpoint that can be read, and removes what belongs to none."""
    mend_json(saver)
    for thread in thread_ids(saver):
        if _drop_unreadable(saver, thread) or _ended_too_early(saver, thread):
            done.set_back.append(thread)
            with saver.transaction() as cursor:  # as a kill leaves it, so that `resume` goes on with it
                cursor.execute("UPDATE sessions SET phase = 'running' WHERE session = ?", (thread,))
    with saver.transaction() as cursor:
        for table in ("writes", "channel_values"):
            done.leftovers += cursor.execute(f"DELETE FROM {table} WHERE {NO_CHECKPOINT}").rowcount
    done.sessions = [known.session for known in saver.catalogue.sessions()]


def _drop_unreadable(saver: SwarmSaver, thread: str) -> bool:
    """Deletes a thread's last checkpoints until one can be read; whether there were any."""
    dropped = False
    while checkpoint_fault(saver, thread):
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
    phase = str(saved.checkpoint["channel_values"].get("phase"))
    return has_ended(known.phase) and not has_ended(phase)
