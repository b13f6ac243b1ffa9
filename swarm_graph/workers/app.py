"""Procrastinate over the database of the sessions: its jobs lie beside what they are about."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from hashlib import sha256

import procrastinate
from procrastinate.jobs import Job

from swarm_graph.checkpoints.postgres import KEEPALIVE, PostgresDatabase
from swarm_graph.sessions.logs import log

SESSIONS = "sessions"
"""The task that works on a session, and the queue of sessions that name no model."""
MAX_QUEUE_NAME = 128
ALL_QUEUES = "procrastinate_any_queue_v1"
"""The channel of procrastinate on which workers are told to look for jobs."""
WAKE_WORKERS = f"pg_notify('{ALL_QUEUES}', '{{}}')"
POOL_TIMEOUT_S = 10.0
"""How long a statement waits for a connection while the server restarts, before it is tried again."""

SESSION_FAILED = """
WITH failed AS (
    UPDATE sessions s SET phase = 'failed' FROM procrastinate_jobs j WHERE j.id = %(job)s
    AND (j.status = 'failed'
        OR (j.status = 'doing' AND j.worker_id = %(worker)s AND j.attempts = %(attempts)s))
    AND j.task_name = 'sessions' AND s.session = j.args->>'session'
    AND s.phase = 'queued' RETURNING s.session, coalesce(j.args->>'reason', '') AS reason
)
UPDATE runs SET error = failed.reason FROM failed
WHERE runs.id = (SELECT max(id) FROM runs r WHERE r.session = failed.session)
"""
"""The session of a job that has failed before a run of it began has failed, too, and says why.

So has that of a job that a worker is about to fail: whoever sees that the job has failed sees the same of it.
"""


def new_app(url: str) -> procrastinate.App:
    """Procrastinate over a database, with our log and our limits of time."""
    _log_in_our_format()
    connector = procrastinate.PsycopgConnector(
        conninfo=url, kwargs=KEEPALIVE, min_size=1, max_size=2, timeout=POOL_TIMEOUT_S
    )
    return procrastinate.App(connector=connector)


def _log_in_our_format() -> None:
    """Put what procrastinate and the pool say into our log; what they repeat every second is left out."""
    for name, level in (("procrastinate", logging.WARNING), ("psycopg.pool", logging.ERROR)):
        logger = logging.getLogger(name)
        logger.parent = log
        logger.setLevel(level)


def queue_name(task: str, models: Iterable[str] = ()) -> str:
    """The name of a queue, which says what its jobs do and which models they ask.

    Args:
        task: What the jobs do.
        models: The entries of `multi_model` that they need.
    """
    names = ",".join(sorted({*models}))
    name = f"{task}:{names}" if names else task
    return name if len(name) <= MAX_QUEUE_NAME else f"{task}:#{sha256(names.encode()).hexdigest()}"


def models_of_queue(name: str) -> set[str]:
    """The models that the jobs of a queue ask."""
    return {*filter(None, name.partition(":")[2].split(","))}


def defer(database: PostgresDatabase, jobs: list[Job]) -> None:
    """Put jobs into the queue, as part of the transaction around it if there is one.

    Args:
        database: The database.
        jobs: The jobs. `queueing_lock` keeps a second one of its name from waiting.

    Raises:
        AlreadyEnqueued: A job with the same `queueing_lock` waits.
    """
    manager = procrastinate.App(connector=procrastinate.SyncPsycopgConnector()).job_manager
    with database.transaction():
        manager.batch_defer_jobs(jobs, connection=database.connection)
