"""Keep a database small: remove or compact ended sessions, and give the space back to the disk."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from swarm_graph.checkpoints.locks import lock_session
from swarm_graph.checkpoints.records import Session
from swarm_graph.checkpoints.swarm_saver import SwarmSaver
from swarm_graph.errors import SessionInUse
from swarm_graph.state import has_ended

History = Literal["all", "last"]
"""The checkpoints of an ended session that stay: `last` is enough to follow up and to report; `all` also to
look back and to fork."""


@dataclass
class Cleanup:
    """What a cleanup did; for a dry run, what it would do.

    Attributes:
        removed: Ids of the sessions that were removed.
        compacted: Ids of the sessions that were compacted.
        forgotten: Ids of the sessions whose calls were forgotten: prompts, thoughts and answers.
        at_work: Ids of the running sessions, which were left alone.
        notes: What stays of the removed sessions outside of the database, and why.
        bytes_before: The size of the database before.
        bytes_after: The size of the database after.
    """

    removed: list[str] = field(default_factory=list)
    compacted: list[str] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)
    at_work: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    bytes_before: int = 0
    bytes_after: int = 0


def clean_up(
    saver: SwarmSaver,
    *,
    older_than_s: float | None,
    keep: int,
    unfinished: bool = False,
    history: History = "all",
    calls_only: bool = False,
    dry_run: bool = False,
    before_removal: Callable[[SwarmSaver, Session], list[str]] | None = None,
) -> Cleanup:
    """Remove old sessions, compact the other ended ones, and vacuum; running sessions are left alone.

    Args:
        saver: The database.
        older_than_s: Seconds without an update after which a session is old; None removes no session.
        keep: How many of the newest sessions stay, whatever their age. Trials of experiments do not count:
            their scores and figures stay with the experiment.
        unfinished: Also remove old sessions that have not ended.
        history: Which checkpoints of ended sessions stay.
        calls_only: Forget what was asked and answered in the old sessions, and keep the sessions; without an
            age all sessions are old.
        dry_run: Change nothing.
        before_removal: Removes what a session has outside of the database; returns notes on what stays.

    Raises:
        StorageError: The database or a lock cannot be written.
    """
    cleanup = Cleanup(bytes_before=saver.database.size())
    if older_than_s is None and calls_only:
        older_than_s = float("-inf")
    old_before = time.time() - older_than_s if older_than_s is not None else float("-inf")
    newest = {session.session for session in saver.catalogue.sessions(experiment="")[:keep]}
    for listed in saver.catalogue.sessions():
        try:
            with lock_session(saver.catalogue, listed.session):
                session = saver.catalogue.get(listed.session)  # a run may have ended since it was listed
                ended = session is not None and has_ended(session.phase)
                is_old = session is not None and session.updated_at < old_before
                is_selected = is_old and listed.session not in newest and (ended or unfinished)
                if is_selected and calls_only:
                    cleanup.forgotten.append(listed.session)
                    work: Callable[[SwarmSaver, str], object] = forget_calls
                elif is_selected:
                    cleanup.removed.append(listed.session)
                    work = remove
                elif ended:
                    cleanup.compacted.append(listed.session)
                    work = partial(compact, history=history)
                else:
                    continue
                if not dry_run and work is remove and before_removal:
                    cleanup.notes += before_removal(saver, listed)
                if not dry_run:
                    work(saver, listed.session)
        except SessionInUse:
            cleanup.at_work.append(listed.session)
    if not dry_run:
        saver.database.vacuum()
    cleanup.bytes_after = saver.database.size()
    return cleanup


def remove(saver: SwarmSaver, session_id: str) -> None:
    """Delete a session from the database; its output folder stays."""
    with saver.transaction():
        saver.delete_thread(session_id)
        saver.catalogue.delete(session_id)


def forget_calls(saver: SwarmSaver, session_id: str) -> None:
    """Delete the prompts, thoughts and answers of a session's calls; their figures stay."""
    with saver.transaction():
        saver.catalogue.transcript.forget(session_id)


def compact(saver: SwarmSaver, session_id: str, history: History = "all") -> None:
    """Delete what an ended session no longer needs.

    That is its tasks' own threads, the writes that its checkpoints already hold, and the pieces of answers
    that are kept as a whole; with `last` also all checkpoints but the last. Its answers were deleted when it
    ended.
    """
    latest = "SELECT max(checkpoint_id) FROM checkpoints WHERE thread_id = :session AND checkpoint_ns = ''"
    with saver.transaction() as cursor:
        saver.delete_task_threads(session_id)
        saver.catalogue.transcript.compact(session_id)
        values = {"session": session_id}
        cursor.execute(
            f"DELETE FROM writes WHERE thread_id = :session AND checkpoint_id < ({latest})", values
        )
        if history == "last":
            saver.catalogue.forget_recalled(session_id)
            cursor.execute(
                f"DELETE FROM checkpoints WHERE thread_id = :session AND checkpoint_id < ({latest})", values
            )
            saved = saver.get_tuple({"configurable": {"thread_id": session_id}})
            versions = saved.checkpoint["channel_versions"] if saved else {}
            stored = cursor.execute(
                "SELECT channel, version FROM channel_values WHERE thread_id = :session", values
            )
            unused = [row for row in stored.fetchall() if str(versions.get(row[0])) != row[1]]
            cursor.executemany(
                "DELETE FROM channel_values WHERE thread_id = ? AND channel = ? AND version = ?",
                [(session_id, *row) for row in unused],
            )
