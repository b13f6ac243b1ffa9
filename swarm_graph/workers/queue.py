"""What waits in the queue, runs and has failed; retry it, cancel it, change its priority."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from swarm_graph.checkpoints.catalogue import Catalogue
from swarm_graph.checkpoints.postgres import PostgresDatabase
from swarm_graph.errors import InputError
from swarm_graph.state import QUEUED
from swarm_graph.workers.app import SESSIONS, WAKE_WORKERS
from swarm_graph.workers.heartbeat import STALLED_S

MAX_LISTED = 1000
_COLUMNS = (
    "id, args->>'session', status::text, priority, coalesce(args->>'reason', ''), attempts, worker_id, "
    "extract(epoch FROM clock_timestamp() - (SELECT max(at) FROM procrastinate_events e "
    "WHERE e.job_id = j.id))"
)
_RANK = "CASE status WHEN 'doing' THEN 0 WHEN 'todo' THEN 1 ELSE 2 END"
_WITHOUT_JOB = (
    "SELECT session FROM sessions s WHERE phase = ? AND NOT EXISTS (SELECT 1 FROM procrastinate_jobs j "
    "WHERE j.lock = 'session ' || s.session AND j.status IN ('todo', 'doing', 'failed')) "
    "ORDER BY s.session LIMIT ?"
)


class QueuedJob(NamedTuple):
    """The job of a session.

    Attributes:
        id: Its number.
        session: The session.
        status: todo, doing or failed.
        priority: Larger ones begin first.
        reason: Why it failed; empty if it did not.
        attempts: How often a worker has given it back.
        worker: The number of the worker that does it; None if none does.
        seconds: Since when it has its status.
    """

    id: int
    session: str
    status: str
    priority: int
    reason: str
    attempts: int
    worker: int | None
    seconds: float


class Queue(NamedTuple):
    """The queue of sessions.

    Attributes:
        jobs: The jobs that run, wait and have failed, in this order, those that come first before others.
        counts: How many jobs there are of each status.
        workers: How many workers are alive.
        without_job: Sessions that were recorded for workers and are not in the queue: their `submit` still
            sends files, or was killed.
    """

    jobs: list[QueuedJob]
    counts: dict[str, int]
    workers: int
    without_job: list[str]


def read_queue(database: PostgresDatabase, limit: int = MAX_LISTED) -> Queue:
    """The queue; of its jobs the first `limit`."""
    with database.view() as cursor:
        rows = cursor.execute(
            f"SELECT {_COLUMNS} FROM procrastinate_jobs j WHERE task_name = ? "
            f"ORDER BY {_RANK}, priority DESC, id LIMIT ?",
            (SESSIONS, limit),
        ).fetchall()
        counts = cursor.execute(
            "SELECT status::text, count(*) FROM procrastinate_jobs WHERE task_name = ? GROUP BY status",
            (SESSIONS,),
        ).fetchall()
        without_job = [name for (name,) in cursor.execute(_WITHOUT_JOB, (QUEUED, limit))]
    return Queue([QueuedJob(*row) for row in rows], dict(counts), count_workers(database), without_job)


def count_workers(database: PostgresDatabase) -> int:
    """How many workers are alive."""
    with database.view() as cursor:
        (workers,) = cursor.execute(
            "SELECT count(*) FROM procrastinate_workers "
            f"WHERE last_heartbeat > clock_timestamp() - interval '{STALLED_S} seconds'"
        ).fetchone()
    return int(workers)


def job_of(database: PostgresDatabase, session_id: str) -> QueuedJob | None:
    """The job of a session; None if it has none: it was never submitted, or has left the queue."""
    with database.view() as cursor:
        row = cursor.execute(
            f"SELECT {_COLUMNS} FROM procrastinate_jobs j WHERE lock = ? AND status IN "
            "('todo', 'doing', 'failed') ORDER BY id DESC LIMIT 1",
            (f"session {session_id}",),
        ).fetchone()
    return QueuedJob(*row) if row else None


def _known(database: PostgresDatabase, session_id: str) -> QueuedJob:
    job = job_of(database, session_id)
    if job is None:
        raise InputError(
            f"session '{session_id}' is not in the queue; `swarm-graph queue` shows what is, "
            f"`swarm-graph submit resume {session_id}` puts it there"
        )
    return job


def retry(database: PostgresDatabase, session_id: str) -> None:
    """Let a failed job wait again. Raises InputError if it has not failed."""
    job = _known(database, session_id)
    with database.transaction() as cursor:
        cursor.execute(
            "SELECT id FROM procrastinate_jobs WHERE id = ? AND status = 'failed' FOR UPDATE", (job.id,)
        )
        if cursor.fetchone() is None:
            raise InputError(f"session '{session_id}' has not failed; it {in_words(job.status)}")
        cursor.execute(
            "UPDATE procrastinate_jobs SET args = args - 'reason' - 'losses' WHERE id = ?", (job.id,)
        )
        cursor.execute("SELECT procrastinate_retry_job_v2(?, NULL, NULL, NULL, NULL)", (job.id,))
        cursor.execute(f"SELECT {WAKE_WORKERS}")
        cursor.execute("UPDATE sessions SET phase = ? WHERE session = ?", (QUEUED, session_id))


def cancel(database: PostgresDatabase, session_id: str) -> str:
    """Take a session out of the queue, or ask the worker that works on it to stop.

    Returns:
        What happens, in words.
    """
    job = _known(database, session_id)
    with database.transaction() as cursor:
        cursor.execute(
            "DELETE FROM procrastinate_jobs WHERE id = ? AND status IN ('todo', 'failed') RETURNING id",
            (job.id,),
        )
        if cursor.fetchone() is not None:
            query = "UPDATE sessions SET phase = 'cancelled' WHERE session = ? AND phase = ?"
            cursor.execute(query, (session_id, QUEUED))
            return "is out of the queue"
    Catalogue(database).request_stop(session_id)
    return f"is asked to stop at worker {job.worker}"


def set_priority(database: PostgresDatabase, session_id: str, priority: int) -> None:
    """Change the priority of a job that waits. Raises InputError if it does not wait."""
    job = _known(database, session_id)
    with database.transaction() as cursor:
        cursor.execute(
            "UPDATE procrastinate_jobs SET priority = ? WHERE id = ? AND status = 'todo' RETURNING id",
            (priority, job.id),
        )
        if cursor.fetchone() is None:
            raise InputError(f"session '{session_id}' does not wait; it {in_words(job.status)}")


def counts_in_words(counts: Mapping[str, int]) -> str:
    """How many jobs there are of each status, for people."""
    words = {"doing": ("runs", "run"), "todo": ("waits", "wait"), "failed": ("has failed", "have failed")}
    return ", ".join(
        f"{counts[name]} {one if counts[name] == 1 else more}"
        for name, (one, more) in words.items()
        if counts.get(name)
    )


def in_words(status: str) -> str:
    """The status of a job, for people."""
    return {"todo": "waits", "doing": "runs", "failed": "has failed"}.get(status, status)
