"""The job of tasks: run them here, one after the other, and say how they ended.

The job's lock belongs to the worker's connection. A worker that was stopped, and whose job another one has by
now, finds it lost and writes nothing more. What has ended is committed under the ids of the tasks before the
job leaves the queue; a worker that gets the job after a loss finds that, and every answer, and asks nobody.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self, cast

from procrastinate.jobs import Job

from swarm_graph.checkpoints.postgres import PostgresDatabase
from swarm_graph.checkpoints.saver import open_checkpointer
from swarm_graph.config import SwarmConfig
from swarm_graph.errors import InputError, SessionInUse, StorageError, SwarmError
from swarm_graph.models.slots import CALL_PRIORITY
from swarm_graph.state import TaskRecord
from swarm_graph.tasks.elsewhere import ReadyTask
from swarm_graph.workers.outcome import Again, Done, Failed, Outcome
from swarm_graph.workers.task_board import ENDED
from swarm_graph.workers.task_graphs import TaskGraph, TaskGraphs
from swarm_graph.workers.task_job import TaskJob, read_job

PAUSE_S = 1.0
"""How long a job waits whose lock another worker still holds, or while the database cannot be used."""

_EXPECTED = "SELECT task FROM session_tasks WHERE session = ? AND job = ? AND outcome IS NULL"
_TELL = (
    "UPDATE session_tasks SET outcome = told.outcome "
    "FROM unnest(?::text[], ?::text[]) AS told (task, outcome) "
    "WHERE session = ? AND session_tasks.task = told.task AND job = ?"
)


class TaskJobs:
    """Does the jobs of tasks in this process. Use it in `async with`: it has a connection to the database.

    Args:
        url: The database.
        data_dir: The data folder of this machine.
        folder: Where this worker keeps what it receives.
        own: The worker's configuration for the sessions of others; None for what may be used of theirs.
    """

    def __init__(self, url: str, data_dir: Path, folder: Path, own: SwarmConfig | None) -> None:
        self._place, self._folder, self._own = (url, data_dir), folder, own
        self._is_draining = False

    async def __aenter__(self) -> Self:
        url, data_dir = self._place
        self._saver = await asyncio.to_thread(open_checkpointer, url, data_dir=data_dir)
        self._database = cast("PostgresDatabase", self._saver.database)
        self._graphs = TaskGraphs(self._saver, self._folder, self._own)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._graphs.close()
        self._saver.close()

    def drain(self) -> None:
        """Begin no other task; the jobs that run leave the rest of theirs to other workers."""
        self._is_draining = True

    async def __call__(self, job: Job) -> Outcome:
        """Run the tasks of a job."""
        CALL_PRIORITY.set(job.priority)
        try:
            return await self._locked(job)
        except SessionInUse:  # it is another worker's by now
            return Again()
        except StorageError:
            return Again(PAUSE_S)
        except InputError as error:
            return Failed(str(error))

    async def _locked(self, job: Job) -> Outcome:
        order, is_signed = read_job(job.task_kwargs)
        lock = f"tasks {job.id}"
        if not await self._database.run(self._database.try_lock, lock):
            return Again(PAUSE_S)
        try:
            return await self._run(_Claimed(self._database, job, order, lock), is_signed)
        finally:
            with suppress(SwarmError):
                await self._database.run(self._database.unlock, lock)

    async def _run(self, claimed: _Claimed, is_signed: bool) -> Outcome:
        expected, is_to_stop = await self._database.run(claimed.expected)
        if not expected:
            return Done()  # its conductor has taken it back
        try:
            graph = await self._graphs.of(claimed.order, is_signed=is_signed)
        except StorageError:
            raise
        except SwarmError as error:
            outcomes = {name: {"error": f"{name}: {error}"} for name in expected}
            await self._database.run(claimed.tell, None, [], outcomes)
            return Done()
        try:
            if is_to_stop:
                graph.stop()
            tasks = [task for task in claimed.order.tasks if task.record["task_id"] in expected]
            return await self._run_all(claimed, graph, tasks)
        finally:
            graph.leave()

    async def _run_all(self, claimed: _Claimed, graph: TaskGraph, tasks: Sequence[ReadyTask]) -> Outcome:
        records, outcomes = list[TaskRecord](), dict[str, dict[str, Any]]()
        try:
            for task in tasks:
                if self._is_draining and outcomes:
                    break
                # A task of its own: what a role's own code sets in its context ends with it.
                running = asyncio.create_task(self._run_one(claimed, graph, task, records))
                outcomes[task.record["task_id"]] = await running
        finally:
            if outcomes:
                await self._database.run(claimed.tell, graph, records, outcomes)
        return Done() if len(outcomes) == len(tasks) else Again()

    async def _run_one(
        self, claimed: _Claimed, graph: TaskGraph, task: ReadyTask, records: list[TaskRecord]
    ) -> dict[str, Any]:
        """How a task ended; its record, if it has one that is not committed yet, is added to `records`."""
        name, began = task.record["task_id"], time.monotonic()
        if claimed.is_again and (found := await graph.threads.find(name)):
            return {"record": found}
        try:
            outcome = await graph.run_task(task, claimed.lock, is_again=claimed.is_again)
        except SwarmError:
            raise
        except Exception as error:  # of code of the user's own: the other tasks go on
            return {"error": f"{name}: unexpected {type(error).__name__}: {error}"}
        if changes := outcome.get("record"):
            records.append(cast("TaskRecord", {**task.record, **changes}))
            outcome["seconds"] = time.monotonic() - began
        return outcome


class _Claimed:
    """A job that this worker has, and its rows."""

    def __init__(self, database: PostgresDatabase, job: Job, order: TaskJob, lock: str) -> None:
        self._database, self._job, self.order, self.lock = database, job, order, lock
        self.is_again = bool(job.attempts)

    def expected(self) -> tuple[set[str], bool]:
        """Its tasks whose ends the conductor waits for, and whether the run is to stop."""
        with self._database.view() as cursor:
            values = (self.order.session, self._job.id)
            names = {name for (name,) in cursor.execute(_EXPECTED, values)}
            query = "SELECT 1 FROM runs WHERE id = ? AND stop_requested != 0"
            return names, cursor.execute(query, (self.order.run,)).fetchone() is not None

    def tell(
        self, graph: TaskGraph | None, records: Sequence[TaskRecord], outcomes: dict[str, dict[str, Any]]
    ) -> None:
        """Commit the records of tasks under their ids, and tell the conductor how they ended.

        Raises:
            SessionInUse: The job is another worker's by now.
        """
        names, texts = [*outcomes], [json.dumps(outcome) for outcome in outcomes.values()]
        with self._database.transaction() as cursor:
            self._database.check_lock(self.lock)
            if graph and records:
                graph.threads.put(records)
            cursor.execute(_TELL, (names, texts, self.order.session, self._job.id))
            cursor.execute("SELECT pg_notify(?, ?)", (ENDED, self.order.session))
