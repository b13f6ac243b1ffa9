"""Starts each task the moment its last dependency is finished, and never more than a cap at once.

The scheduler knows nothing of models, states or files: its callbacks run the tasks.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from itertools import islice

from swarm_graph.tasks.affinity import LOOK_AHEAD_JOBS, Job, LookAhead, ServerQueue

Start = Callable[[str], Awaitable[Iterable[Job] | None]]
"""Called to run a task; returns the tasks that it adds, or None if it has not finished.

The dependents of a task that has not finished keep waiting. Raises only errors that end the whole run.
"""
Admit = Callable[[str], bool]
"""Called when the dependencies of a task are finished; False skips the task."""


class Scheduler:
    """Runs one task graph."""

    def __init__(
        self,
        cap: int,
        slots: Callable[[str], int],
        start: Start,
        admit: Admit,
        *,
        prefer_loaded: bool = True,
        ahead: Callable[[], int] = lambda: 1,
    ) -> None:
        """Set the limits and the callbacks.

        Args:
            cap: How many tasks run at once.
            slots: How many calls a server takes at once, by its address.
            start: See `Start`.
            admit: See `Admit`.
            prefer_loaded: Whether tasks for a server's loaded model start first.
            ahead: How many tasks are started for each that may run at once; more than one where those who
                run them limit themselves, and must not wait for the next.
        """
        self._ahead = ahead
        self._cap, self._slots, self._start, self._admit = cap, slots, start, admit
        self._prefer_loaded = prefer_loaded
        self._jobs: dict[str, Job] = {}
        self._open_dependencies: dict[str, int] = {}
        self._dependents: dict[str, list[str]] = {}
        self._finished: set[str] = set()
        self._queues: dict[str, ServerQueue] = {}
        self._look_ahead = LookAhead(self._first_dependents, self._open_dependencies.__getitem__)
        self._running: dict[str, asyncio.Task[None]] = {}
        self._outcomes: asyncio.Queue[tuple[str, Iterable[Job] | BaseException | None]] = asyncio.Queue()

    async def run(self, jobs: Iterable[Job]) -> None:
        """Run until no other task can start. A cancellation cancels the running tasks.

        Args:
            jobs: The tasks to start with; a dependency that is not among them never finishes.

        Raises:
            BaseException: The first error that `start` raised, once the tasks that ran then have finished.
        """
        failure: BaseException | None = None
        try:
            self._add(jobs)
            self._start_ready()
            while self._running:
                name, outcome = await self._outcomes.get()
                job = self._jobs[name]
                await self._running.pop(name)
                self._queues[job.server].running -= 1
                if isinstance(outcome, BaseException):
                    failure = failure or outcome
                elif failure is None and outcome is not None:
                    self._add_children(name, outcome)
                    self._admit_or_skip(self._finish(name))
                if failure is None:
                    self._start_ready()
        finally:
            for task in self._running.values():
                task.cancel()
            await asyncio.gather(*self._running.values())
        if failure is not None:
            raise failure

    def _add(self, jobs: Iterable[Job]) -> None:
        added = list(jobs)
        for job in added:
            self._jobs[job.id] = job
            waits_for = [name for name in job.waits_for if name not in self._finished]
            self._open_dependencies[job.id] = len(waits_for)
            for name in waits_for:
                self._dependents.setdefault(name, []).append(job.id)
        self._admit_or_skip(job.id for job in added if not self._open_dependencies[job.id])

    def _add_children(self, parent: str, jobs: Iterable[Job]) -> None:
        """Add the tasks that a task adds; its dependents wait for them, too."""
        children = list(jobs)
        for name in self._dependents.get(parent, []):
            self._open_dependencies[name] += len(children)
            for job in children:
                self._dependents.setdefault(job.id, []).append(name)
        self._add(children)

    def _admit_or_skip(self, names: Iterable[str]) -> None:
        """Queue tasks without open dependencies, or skip them; a skipped task is finished at once."""
        # A loop: a recursion would fail on a chain of a thousand skipped tasks.
        unsettled = deque(names)
        while unsettled:
            name = unsettled.popleft()
            if self._admit(name):
                self._enqueue(self._jobs[name])
            else:
                unsettled += self._finish(name)

    def _enqueue(self, job: Job) -> None:
        if job.server not in self._queues:
            self._queues[job.server] = ServerQueue(self._slots(job.server), self._prefer_loaded)
        self._queues[job.server].add(job)

    def _finish(self, name: str) -> list[str]:
        """Mark a task as finished; returns the dependents that have no other open dependency."""
        self._finished.add(name)
        dependents = self._dependents.pop(name, [])
        for dependent in dependents:
            self._open_dependencies[dependent] -= 1
        return [dependent for dependent in dependents if not self._open_dependencies[dependent]]

    def _start_ready(self) -> None:
        ahead = self._ahead()
        while len(self._running) < self._cap * ahead:
            queues = self._queues.values()
            candidates = [job for queue in queues if (job := queue.next(self._look_ahead, ahead))]
            if not candidates:
                return
            job = min(candidates, key=lambda job: job.sort_key)
            self._queues[job.server].start(job)
            # A fresh context: LangGraph keeps the config of the calling node in context variables, and a task
            # must not inherit it.
            self._running[job.id] = asyncio.get_running_loop().create_task(
                self._run_job(job.id), context=contextvars.Context()
            )

    async def _run_job(self, name: str) -> None:
        outcome: Iterable[Job] | BaseException | None
        try:
            outcome = await self._start(name)
        except BaseException as error:
            outcome = error
        self._outcomes.put_nowait((name, outcome))

    def _first_dependents(self, name: str) -> Iterable[Job]:
        dependents = islice(self._dependents.get(name, ()), LOOK_AHEAD_JOBS)
        return (self._jobs[dependent] for dependent in dependents)
