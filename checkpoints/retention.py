"""Keeping a database small: ended sessions are removed or compacted, and the file gives its space back."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from swarm_graph.checkpoints.database import MEMORY
from swarm_graph.checkpoints.locks import held
from swarm_graph.checkpoints.saver import SwarmSaver
from swarm_graph.errors import SessionInUse
from swarm_graph.state import has_ended

History = Literal["all", "last"]


@dataclass
class Cleanup:
    """What a cleanup did, or would do: sessions removed, compacted, and at work; sizes in bytes."""

    removed: list[str] = field(default_factory=list)
    compacted: list[str] = field(default_factory=list)
    at_work: list[str] = field(default_factory=list)
    bytes_before: int = 0
    bytes_after: int = 0


def clean_up(
    saver: SwarmSaver,
    *,
    older_than_s: float | None,
    keep: int,
    unfinished: bool = False,
    history: History = "all",
    dry_run: bool = False,
) -> Cleanup:
    """Removes sessions not worked on for `older_than_s` seconds, compacts the rest, and vacuums.

    The `keep` newest stay whatever their age, and those that have not ended unless `unfinished`. `history`:
    which checkpoints of ended sessions stay; `last` is enough to follow up and to report, `all` also to look
    back and to fork. Sessions at work are left alone. None removes nothing.
    """
    done = Cleanup(bytes_before=size(saver.path))
    before = time.time() - older_than_s if older_than_s is not None else float("-inf")
    for number, listed in enumerate(saver.catalogue.sessions()):
        try:
            with held(saver.catalogue, listed.session):
                session = saver.catalogue.get(listed.session)  # it may have been worked on meanwhile
                ended = session is not None and has_ended(session.phase)
                if session and number >= keep and session.updated_at < before and (ended or unfinished):
                    done.removed.append(listed.session)
                    work: Callable[[SwarmSaver, str], None] = remove
                elif ended:
                    done.compacted.append(listed.session)
                    work = partial(compact, history=history)
                else:
                    continue
                if not dry_run:
                    work(saver, listed.session)
        except SessionInUse:
            done.at_work.append(listed.session)
    if not dry_run:
        saver.database.vacuum()
    done.bytes_after = size(saver.path)
    return done


def remove(saver: SwarmSaver, session: str) -> None:
    """Deletes a session from the database; its output folder stays."""
    with saver.transaction():
        saver.delete_thread(session)
        saver.catalogue.delete(session)


def compact(saver: SwarmSaver, session: str, history: History = "all") -> None:
    """Deletes what an ended session does not need: the writes that its checkpoints hold, its tasks'
    own threads, old checkpoints.

    Answers go when it ends.
    """
    latest = "SELECT max(checkpoint_id) FROM checkpoints WHERE thread_id = :session AND checkpoint_ns = ''"
    with saver.transaction() as cursor:
        saver.delete_children(session)
        own = {"session": session}
        cursor.execute(f"DELETE FROM writes WHERE thread_id = :session AND checkpoint_id < ({latest})", own)
        if history == "last":
            cursor.execute(
                f"DELETE FROM checkpoints WHERE thread_id = :session AND checkpoint_id < ({latest})", own
            )
            kept = saver.get_tuple({"configurable": {"thread_id": session}})
            versions = kept.checkpoint["channel_versions"] if kept else {}
            stored = cursor.execute(
                "SELECT channel, version FROM channel_values WHERE thread_id = :session", own
            )
            gone = [row for row in stored.fetchall() if str(versions.get(row[0])) != row[1]]
            cursor.executemany(
                "DELETE FROM channel_values WHERE thread_id = ? AND channel = ? AND version = ?",
                [(session, *row) for row in gone],
            )


def size(path: str | Path) -> int:
    """The bytes of a database with the files beside it."""
    if str(path) == MEMORY:
        return 0
    files = [Path(path), *(Path(f"{path}{suffix}") for suffix in ("-wal", "-shm"))]
    return sum(file.stat().st_size for file in files if file.exists())
