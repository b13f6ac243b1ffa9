"""Which job a worker takes next.

Tasks of sessions that have begun come before sessions that wait. Among tasks of equal priority those come
first whose model this worker has asked last: its server has it loaded.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import procrastinate
from procrastinate.jobs import Job

from swarm_graph.workers.app import models_of_queue
from swarm_graph.workers.task_job import TASKS

# Of an index, the first entry of each name: as many steps as there are names, however many jobs wait.
_NAMES = """
WITH RECURSIVE names AS (
    (SELECT queue_name AS name FROM procrastinate_jobs ORDER BY queue_name LIMIT 1)
    UNION ALL
    SELECT (
        SELECT queue_name FROM procrastinate_jobs WHERE queue_name > names.name ORDER BY queue_name LIMIT 1
    )
    FROM names WHERE names.name IS NOT NULL
)
SELECT name FROM names WHERE name IS NOT NULL
"""
_CLAIM = """
UPDATE procrastinate_jobs SET status = 'doing', worker_id = %(worker)s WHERE id = (
    SELECT id FROM procrastinate_jobs
    WHERE status = 'todo' AND queue_name = ANY(%(queues)s)
    AND (scheduled_at IS NULL OR scheduled_at <= now())
    ORDER BY priority DESC, queue_name = %(last)s DESC, id LIMIT 1 FOR UPDATE SKIP LOCKED
) RETURNING *
"""


class Claims:
    """Takes jobs out of the queue.

    Args:
        app: Procrastinate, open.
        models: Only jobs that need no other models than these are taken; None: any.
    """

    def __init__(self, app: procrastinate.App, models: Collection[str] | None) -> None:
        self._app, self._models = app, None if models is None else {*models}
        self._last = ""

    async def next(self, worker: int, *, takes_sessions: bool) -> Job | None:
        """Take a job; None if there is none.

        Args:
            worker: The number of the worker.
            takes_sessions: Whether it may be a session.
        """
        rows = await self._app.connector.execute_query_all_async(_NAMES)
        names = [name for row in rows if self._may_take(name := row["name"])]
        tasks = [name for name in names if name.partition(":")[0] == TASKS]
        if tasks and (job := await self._task(worker, tasks)):
            return job
        sessions = [name for name in names if name not in tasks]
        if not (takes_sessions and sessions):
            return None
        return await self._app.job_manager.fetch_job(sessions, worker)

    async def _task(self, worker: int, queues: list[str]) -> Job | None:
        values: dict[str, Any] = {"worker": worker, "queues": queues, "last": self._last}
        rows = await self._app.connector.execute_query_all_async(_CLAIM, **values)
        if not rows:
            return None
        self._last = rows[0]["queue_name"]
        return Job.from_row(rows[0])

    def _may_take(self, queue: str) -> bool:
        return self._models is None or models_of_queue(queue) <= self._models
