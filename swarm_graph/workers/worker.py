"""A worker: takes jobs from the queue as long as it runs, and does several of them at once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from procrastinate.exceptions import ConnectorException
from procrastinate.jobs import Job

from swarm_graph.sessions.logs import log
from swarm_graph.workers.app import ALL_QUEUES, SESSION_FAILED, WAKE_WORKERS, new_app
from swarm_graph.workers.claiming import Claims
from swarm_graph.workers.heartbeat import Heartbeat
from swarm_graph.workers.outcome import Again, Done, Failed, Outcome

POLL_S = 1.0
"""How often a worker looks for jobs, beside being told of new ones."""
PAUSE_S = 0.5
"""Between attempts to reach the server."""

Work = Callable[[Job], Awaitable[Outcome]]
"""Does a job."""

# A worker that was taken for dead may come back: what is another's job by now is left alone.
_MINE = (
    "WITH mine AS (SELECT id FROM procrastinate_jobs WHERE id = %(job)s AND status = 'doing' "
    "AND worker_id = %(worker)s AND attempts = %(attempts)s FOR UPDATE)"
)
_END = f"{_MINE} SELECT procrastinate_finish_job_v1(id, %(status)s, %(forget)s) FROM mine"
_RETRY = (
    f"{_MINE} SELECT procrastinate_retry_job_v2(id, now() + %(after)s * interval '1 second', NULL, NULL, "
    f"NULL), {WAKE_WORKERS} FROM mine"
)
_REASON = (
    "UPDATE procrastinate_jobs SET args = args || %(data)s::jsonb WHERE id = %(job)s AND status = 'doing' "
    "AND worker_id = %(worker)s AND attempts = %(attempts)s"
)


class Worker:
    """Takes jobs and does them.

    Args:
        url: The database.
        works: What does the jobs of each task, by its name.
        concurrency: How many jobs are done at once.
        models: Only jobs that need no other models than these are taken; None: any.
        say: Called with a line for the operator.

    Attributes:
        number: Its number in the database.
        is_draining: Whether it takes no more jobs.
    """

    def __init__(
        self,
        url: str,
        works: Mapping[str, Work],
        *,
        concurrency: int,
        models: Collection[str] | None,
        say: Callable[[str], None],
    ) -> None:
        self._works, self._say = works, say
        self._heartbeat = Heartbeat(url, say)
        self._app = new_app(url)
        self._claims = Claims(self._app, models)
        self._concurrency = self._free = concurrency
        self._aside = 0
        self._running: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self.is_draining = False

    @property
    def number(self) -> int:
        """Its number in the database."""
        return self._heartbeat.worker

    @property
    def count(self) -> int:
        """How many jobs it does now."""
        return len(self._running)

    def drain(self) -> None:
        """Take no more jobs. `run` returns when the running ones have ended."""
        self.is_draining = True
        self._changed.set()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Give the place of a job to others while it only waits for them, as a session does for its tasks."""
        self._free += 1
        self._aside += 1
        self._changed.set()
        try:
            yield
        finally:
            self._free -= 1
            self._aside -= 1

    async def run(self) -> None:
        """Do jobs until `drain`, and until those that run then have ended."""
        self._heartbeat.start()
        try:
            async with self._app.open_async():
                listening = asyncio.create_task(self._listen())
                try:
                    await self._work()
                finally:
                    listening.cancel()
        finally:
            await asyncio.to_thread(self._heartbeat.end)

    async def _work(self) -> None:
        while not self.is_draining:
            self._changed.clear()
            try:
                await self._take()
            except ConnectorException as error:
                log.warning("worker %s cannot reach the database: %s", self.number, error.__cause__ or error)
                await asyncio.sleep(PAUSE_S)
            with suppress(TimeoutError):  # `wait_for` may lose a cancellation
                async with asyncio.timeout(POLL_S):
                    await self._changed.wait()
        while self._running:
            await asyncio.wait(self._running)

    async def _take(self) -> None:
        """Begin the jobs that wait, as far as there is room."""
        while self._free > 0 and not self.is_draining:
            takes_sessions = self._aside < self._concurrency
            job = await self._claims.next(self.number, takes_sessions=takes_sessions)
            if job is None:
                return
            self._free -= 1
            task = asyncio.create_task(self._do(job))
            self._running.add(task)
            task.add_done_callback(self._end_of)

    def _end_of(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._free += 1
        self._changed.set()

    async def _do(self, job: Job) -> None:
        work = self._works.get(job.task_name)
        try:
            outcome = (
                await work(job) if work else Failed(f"this worker knows no jobs named {job.task_name!r}")
            )
        except asyncio.CancelledError:
            outcome = Again()
        except Exception as error:
            log.exception("job %s failed", job.id)
            outcome = Failed(f"unexpected {type(error).__name__}: {error}")
        await self._settle(job, outcome)

    async def _settle(self, job: Job, outcome: Outcome) -> None:
        """Record how a job ended, as soon as the server can be reached; not if it is another worker's now."""
        values: dict[str, Any] = {"job": job.id, "worker": self.number, "attempts": job.attempts}
        while True:
            try:
                await self._record(outcome, values)
                return
            except ConnectorException as error:
                cause = error.__cause__ or error.__context__
                if "Job was not found" in str(cause):  # it was cancelled, or is another's job
                    return
                if isinstance(cause, (psycopg.IntegrityError, psycopg.DataError)):
                    self._say(f"job {job.id} is taken out of the queue: {cause.diag.message_primary}")
                    outcome = Done()  # such as that a job of its session waits already
                await asyncio.sleep(PAUSE_S)

    async def _record(self, outcome: Outcome, values: dict[str, Any]) -> None:
        execute = self._app.connector.execute_query_async
        match outcome:
            case Done():
                await execute(_END, **values, status="succeeded", forget=True)
            case Failed(reason):
                await execute(_REASON, **values, data=json.dumps({"reason": " ".join(reason.split())}))
                await execute(SESSION_FAILED, **values)
                await execute(_END, **values, status="failed", forget=False)
            case Again(after_s):
                await execute(_RETRY, **values, after=after_s)

    async def _listen(self) -> None:
        """Wake up when jobs come."""

        async def wake(**_: Any) -> None:
            self._changed.set()

        while True:
            with suppress(ConnectorException):
                await self._app.connector.listen_notify(on_notification=wake, channels=[ALL_QUEUES])
            await asyncio.sleep(PAUSE_S)
