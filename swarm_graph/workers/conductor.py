"""The conductor of a task graph: the session's job. It has the tasks run by any worker, as jobs of their own.

It learns of their ends from the database: workers announce them, and it looks by itself once a second. Short
tasks are put into the queue several to a job, so that the queue costs less than the tasks.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext, suppress
from typing import Any, cast

from swarm_graph.checkpoints.postgres import PostgresDatabase
from swarm_graph.errors import ConfigError, OverBudget, Stopped, SwarmError
from swarm_graph.roles.run import STOPPED, RunContext
from swarm_graph.sessions.fingerprints import recorded_texts
from swarm_graph.state import TaskRecord
from swarm_graph.tasks.elsewhere import ReadyTask, TaskEnd
from swarm_graph.workers.announcements import Announcements
from swarm_graph.workers.shared_budget import begin_budget, has_limits
from swarm_graph.workers.task_board import TaskBoard
from swarm_graph.workers.task_job import TaskJob, hash_of

LOOK_S = 1.0
"""How often the conductor looks by itself."""
GATHER_S = 0.002
"""How long tasks wait for others that become ready at the same moment, to be put into the queue with them."""
CHUNK_S = 0.25
"""About how long the tasks of one job take together."""
MAX_CHUNK = 32
"""The most tasks of one job: if its worker dies, another one begins with the first."""
LOST = "the job of the task failed or was cancelled (`swarm-graph queue` shows it); a resume runs it again"


class Conductors:
    """Has the tasks of a session run by any worker; see `tasks.elsewhere.Elsewhere`.

    Args:
        announcements: Say that tasks have ended.
        priority: The priority of the session's job, which its tasks take over.
        aside: Gives the place of the session's job to others while it waits for its tasks.
    """

    def __init__(
        self,
        announcements: Announcements,
        priority: int = 0,
        aside: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._announcements, self._priority, self._aside = announcements, priority, aside

    @asynccontextmanager
    async def deputies(
        self, run: RunContext, session: str, request: str, purpose: str
    ) -> AsyncIterator[Conductor]:
        """See `Elsewhere.deputies`."""
        with self._announcements.of(session) as announced, self._aside():
            conductor = Conductor(run, session, request, purpose, self._priority, announced)
            await conductor.begin()
            watching = asyncio.create_task(conductor.watch())
            try:
                yield conductor
            finally:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)
                await conductor.end()


class Conductor:
    """Has the tasks of one request run; see `tasks.elsewhere.Deputies`."""

    def __init__(
        self,
        run: RunContext,
        session: str,
        request: str,
        purpose: str,
        priority: int,
        announced: asyncio.Event,
    ) -> None:
        assert run.journal is not None
        self._run, self._journal, self._announced = run, run.journal, announced
        self._database = cast("PostgresDatabase", run.journal.catalogue.database)
        self._board = TaskBoard(self._database, session, request)
        self._session, self._request, self._purpose, self._priority = session, request, purpose, priority
        self._identity = self._prompts = ""
        self._config = hash_of(run.config.redacted())
        self._left: set[str] = set()
        """The tasks that an earlier conductor has had run, and whose ends nobody has taken."""
        self._waiting: dict[str, asyncio.Future[Mapping[str, Any]]] = {}
        self._ready: list[ReadyTask] = []
        self._posting: set[asyncio.Task[None]] = set()
        self._taken: set[str] = set()
        """The tasks whose ends are taken over, and whose rows are not forgotten yet."""
        self._seconds = CHUNK_S
        """About how long a task takes."""

    @property
    def ahead(self) -> int:
        """One job waits for each that is worked on, so that no worker waits for the next."""
        return 2 * self._chunk

    @property
    def _chunk(self) -> int:
        """How many tasks a job runs."""
        return max(1, min(MAX_CHUNK, int(CHUNK_S / max(self._seconds, 1e-3))))

    async def begin(self) -> None:
        """Take over what an earlier conductor has left."""
        self._left = await self._database.run(self._board.take_over)
        if has_limits(self._run.budget.limits):
            await self._database.run(begin_budget, self._database, self._session, self._run.budget)
        (self._identity,) = await self._database.run(lambda: self._database.identities)
        texts = await self._database.run(recorded_texts, self._journal.catalogue, self._session)
        self._prompts = hash_of(texts)

    async def end(self) -> None:
        """Take back what nobody has begun. What is worked on goes on, and the next conductor waits for it."""
        for posting in self._posting:
            posting.cancel()
        with suppress(SwarmError):  # then the next conductor does it
            await self._database.run(self._board.clear)

    async def run(self, task: ReadyTask) -> TaskEnd:
        """Have a task run, and return how it ended. See `tasks.elsewhere.Deputies`."""
        name = task.record["task_id"]
        self._run.stop.check()
        self._waiting[name] = asyncio.get_running_loop().create_future()
        self._taken.discard(name)  # it runs again, after a person's decision
        if name in self._left:
            self._left.remove(name)
            self._announced.set()  # it may have ended by now
        else:
            if not self._ready:
                posting = asyncio.create_task(self._post_soon())
                self._posting.add(posting)
                posting.add_done_callback(self._posting.discard)
            self._ready.append(task)
        try:
            outcome = await self._waiting[name]
        finally:
            del self._waiting[name]
        return self._end_of(task.record, outcome)

    def _end_of(self, record: TaskRecord, outcome: Mapping[str, Any]) -> TaskEnd:
        """How a task ended. Raises what ends the run."""
        if outcome.get("stopped"):
            raise Stopped(outcome["stopped"])
        if outcome.get("over_budget"):
            raise OverBudget(outcome["over_budget"])
        if seconds := outcome.get("seconds"):
            self._seconds += (seconds - self._seconds) / 4
        changes = outcome.get("record")
        return TaskEnd(
            record=cast("TaskRecord", {**record, **changes}) if changes else None,
            error=outcome.get("error", ""),
            pause=outcome.get("pause"),
            events=tuple(outcome.get("events", ())),
        )

    # --- the queue -------------------------------------------------------------------------------

    async def _post_soon(self) -> None:
        """Put the ready tasks into the queue, with those that become ready in the same moment."""
        await asyncio.sleep(GATHER_S)
        ready, self._ready = self._ready, []
        try:
            await self._database.run(self._board.post, [*self._jobs(ready)], self._priority)
        except Exception as error:  # whatever it is, nobody must wait for ever
            self._fail(error)

    def _jobs(self, ready: Iterable[ReadyTask]) -> Iterator[TaskJob]:
        by_model: dict[str, list[ReadyTask]] = {}
        for task in ready:
            by_model.setdefault(self._model(task), []).append(task)
        size = self._chunk
        for model, tasks in by_model.items():
            for at in range(0, len(tasks), size):
                yield TaskJob(
                    database=self._identity,
                    session=self._session,
                    request=self._request,
                    run=self._journal.run or 0,
                    purpose=self._purpose,
                    is_again=self._journal.has_answers or not self._run.is_new,
                    temperature=self._run.overrides.temperature,
                    config=self._config,
                    prompts=self._prompts,
                    model=model,
                    tasks=tasks[at : at + size],
                )

    def _model(self, task: ReadyTask) -> str:
        """The entry of multi_model that a task asks first; empty if there is only one model."""
        config, spec = self._run.config, task.record["spec"]
        if config.models.mode != "multi":
            return ""
        try:
            entry = config.model_for(spec["assigned_role"], spec.get("model"))
        except ConfigError:  # the task fails with it
            return ""
        return next((name for name, one in config.models.named.items() if one == entry), "")

    async def watch(self) -> None:
        """Take the ends of tasks until this is cancelled."""
        while True:
            is_announced = self._announced.is_set()
            self._announced.clear()
            try:
                await self._look(looks_for_lost=not is_announced)
            except Exception as error:  # whatever it is, nobody must wait for ever
                self._fail(error)
                return
            with suppress(TimeoutError):  # `wait_for` may lose a cancellation
                async with asyncio.timeout(LOOK_S):
                    await self._announced.wait()

    async def _look(self, *, looks_for_lost: bool) -> None:
        """Take the ends of the tasks that have ended, and heed a stop."""
        taken = {*self._taken}
        run = self._journal.run or 0
        ends = await self._database.run(self._board.collect, [*taken], run, looks_for_lost=looks_for_lost)
        self._taken -= taken
        lost = {name: {"error": f"{name}: {LOST}"} for name in ends.lost}
        for name, outcome in {**ends.outcomes, **lost}.items():
            if self._resolve(name, outcome) and name not in lost:
                self._taken.add(name)
        if ends.is_to_stop:
            self._run.stop.set()
        if self._run.stop.is_set:
            posted = {task.record["task_id"] for task in self._ready}
            self._ready.clear()
            for name in {*posted, *await self._database.run(self._board.withdraw)}:
                self._resolve(name, {"stopped": STOPPED})

    def _resolve(self, name: str, outcome: Mapping[str, Any]) -> bool:
        """Tell whoever waits for a task how it has ended; False if nobody waits."""
        future = self._waiting.get(name)
        if future is None or future.done():
            return False
        future.set_result(outcome)
        return True

    def _fail(self, error: Exception) -> None:
        """End the run, as when the database cannot be used, or another process has taken the session."""
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(error)
