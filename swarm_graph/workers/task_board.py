"""The tasks of a session that are jobs: what its conductor has put into the queue, and how they have ended.

The conductor is the process that works on the session. It writes here in transactions of the connection that
holds the session's lock: a process that has lost the session puts nothing into the queue any more. A row is
kept from the moment a task is put into the queue until the conductor has taken its end.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from swarm_graph.checkpoints.postgres import PostgresDatabase
from swarm_graph.checkpoints.storage import Cursor, session_lock
from swarm_graph.workers.app import queue_name
from swarm_graph.workers.task_job import TASKS, TaskJob

ENDED = "swarm_tasks"
"""The channel on which a worker names a session of which tasks have ended."""

_POST = (
    "SELECT unnest(procrastinate_defer_jobs_v1(ARRAY(SELECT ROW(queue, ?, ?, NULL, NULL, args, NULL)"
    "::procrastinate_job_to_defer_v1 FROM unnest(?::text[], ?::jsonb[]) AS job (queue, args))))"
)
_EXPECT = (
    "INSERT INTO session_tasks (session, request, task, job) "
    "SELECT ?, ?, task, job FROM unnest(?::text[], ?::bigint[]) AS task (task, job) "
    "ON CONFLICT (session, task) DO UPDATE "
    "SET request = excluded.request, job = excluded.job, outcome = NULL"
)
_WITHDRAW = (
    "UPDATE procrastinate_jobs SET status = 'cancelled' WHERE status = 'todo' AND id IN "
    "(SELECT job FROM session_tasks WHERE session = ?) RETURNING id"
)
_FORGET_WITHDRAWN = (
    "WITH gone AS (DELETE FROM procrastinate_jobs WHERE id = ANY(?::bigint[])) "
    "DELETE FROM session_tasks WHERE session = ? AND job = ANY(?::bigint[]) RETURNING task"
)
_LOST = (
    "FROM session_tasks WHERE session = ? AND outcome IS NULL AND NOT EXISTS (SELECT 1 FROM "
    "procrastinate_jobs WHERE id = session_tasks.job AND status IN ('todo', 'doing'))"
)


class Ends(NamedTuple):
    """What is new on the board.

    Attributes:
        outcomes: How tasks have ended, by task.
        lost: The tasks whose jobs have failed or were cancelled.
        is_to_stop: Whether somebody has asked the session to stop.
    """

    outcomes: dict[str, dict[str, Any]]
    lost: list[str]
    is_to_stop: bool


class TaskBoard:
    """The tasks of one request of a session that are jobs; for its conductor.

    Args:
        database: The database, by the connection that holds the session's lock.
        session: The session.
        request: An id that all tasks of the request share.
    """

    def __init__(self, database: PostgresDatabase, session: str, request: str) -> None:
        self._database, self._session, self._request = database, session, request

    def take_over(self) -> set[str]:
        """Begin with what an earlier conductor has left.

        What waits is taken back: it belongs to a run that has ended.

        Returns:
            The tasks that are still worked on, or have ended and were not noticed.
        """
        with self._transaction() as cursor:
            self.withdraw()
            cursor.execute(
                "DELETE FROM session_tasks WHERE session = ? AND request != ?", (self._session, self._request)
            )
            cursor.execute(f"DELETE {_LOST}", (self._session,))
            rows = cursor.execute("SELECT task FROM session_tasks WHERE session = ?", (self._session,))
            return {name for (name,) in rows}

    def post(self, jobs: Sequence[TaskJob], priority: int) -> None:
        """Put jobs into the queue."""
        queues = [queue_name(TASKS, filter(None, [job.model])) for job in jobs]
        arguments = [json.dumps(job.signed()) for job in jobs]
        with self._transaction() as cursor:
            ids = [id for (id,) in cursor.execute(_POST, (TASKS, priority, queues, arguments))]
            pairs = [(name, id) for job, id in zip(jobs, ids, strict=True) for name in job.names]
            tasks, numbers = [name for name, _ in pairs], [id for _, id in pairs]
            cursor.execute(_EXPECT, (self._session, self._request, tasks, numbers))

    def collect(self, taken: Sequence[str], run: int, *, looks_for_lost: bool) -> Ends:
        """What has ended.

        Args:
            taken: The tasks whose ends are taken over, and need not be kept here any more.
            run: The run of the session in the catalogue.
            looks_for_lost: Whether to look for jobs that have failed, too.
        """
        with self._transaction() as cursor:
            if taken:
                query = "DELETE FROM session_tasks WHERE session = ? AND task = ANY(?::text[])"
                cursor.execute(query, (self._session, [*taken]))
            query = "SELECT task, outcome FROM session_tasks WHERE session = ? AND outcome IS NOT NULL"
            outcomes = {task: json.loads(text) for task, text in cursor.execute(query, (self._session,))}
            lost: list[str] = []
            if looks_for_lost:
                lost = [
                    task for (task,) in cursor.execute(f"DELETE {_LOST} RETURNING task", (self._session,))
                ]
            query = "SELECT 1 FROM runs WHERE id = ? AND stop_requested != 0"
            stops = cursor.execute(query, (run,)).fetchone() is not None
        return Ends(outcomes, lost, stops)

    def withdraw(self) -> list[str]:
        """Take the jobs back that nobody has begun; returns their tasks."""
        with self._transaction() as cursor:
            ids = [id for (id,) in cursor.execute(_WITHDRAW, (self._session,))]
            rows = cursor.execute(_FORGET_WITHDRAWN, (ids, self._session, ids))
            return [task for (task,) in rows]

    def clear(self) -> None:
        """Take the jobs back that nobody has begun, and forget what has ended."""
        with self._transaction() as cursor:
            self.withdraw()
            query = "DELETE FROM session_tasks WHERE session = ? AND outcome IS NOT NULL"
            cursor.execute(query, (self._session,))

    @contextmanager
    def _transaction(self) -> Iterator[Cursor]:
        """A transaction of the conductor. Raises SessionInUse if another process has the session by now."""
        with self._database.transaction() as cursor:
            self._database.check_lock(session_lock(self._session))
            yield cursor
