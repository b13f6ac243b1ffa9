"""Begins each task the moment the last one that it waits for has ended; never more than a cap at once.

It knows nothing of models, states or files: what a task does is the business of the one who asks.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from itertools import islice

from swarm_graph.tasks.affinity import AHEAD, Ahead, Job, Lane

Begin = Callable[[str], Awaitable[Iterable[Job]]]
"""Does a task and returns the tasks that it adds; it raises only what must end the whole run."""
Admit = Callable[[str], bool]
"""Whether a task that waits for nobody any more is to begin; False: it is skipped."""


class Scheduler:
    """One run of a task graph.

    `cap`: tasks at once; `width`: how many calls a server takes at once; `affine`: prefer the tasks of a
    server's loaded model.
    """

    def __init__(
        self, cap: int, width: Callable[[str], int], begin: Begin, admit: Admit, *, affine: bool = True
    ) -> None:
        self._cap, self._width, self._begin, self._admit, self._affine = cap, width, begin, admit, affine
        self._jobs: dict[str, Job] = {}
        self._left: dict[str, int] = {}
        self._dependents: dict[str, list[str]] = {}
        self._ended: set[str] = set()
        self._lanes: dict[str, Lane] = {}
        self._ahead = Ahead(self._waiting_for, self._left.__getitem__)
        self._running: dict[str, asyncio.Task[None]] = {}
        self._returned: asyncio.Queue[tuple[str, Iterable[Job] | BaseException]] = asyncio.Queue()

    async def run(self, jobs: Iterable[Job]) -> None:
        """Returns when every task has ended or was skipped.

        What a task raises, it raises again, once those that were at work then have ended. When it is
        cancelled, they are, too.
        """
        failure: BaseException | None = None
        try:
            self._add(jobs)
            self._start()
            while self._running:
                name, outcome = await self._returned.get()
                job = self._jobs[name]
                await self._running.pop(name)
                self._lanes[job.lane].running -= 1
                if isinstance(outcome, BaseException):
                    failure = failure or outcome
                elif failure is None:
                    self._extend(name, outcome)
                    self._settle(self._freed_by(name))
                if failure is None:
                    self._start()
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
            waits_for = [name for name in job.waits_for if name not in self._ended]
            self._left[job.id] = len(waits_for)
            for name in waits_for:
                self._dependents.setdefault(name, []).append(job.id)
        self._settle(job.id for job in added if not self._left[job.id])

    def _extend(self, parent: str, jobs: Iterable[Job]) -> None:
        """Adds the tasks that one adds; whoever waits for it waits for them as well."""
        added = list(jobs)
        for name in self._dependents.get(parent, []):
            self._left[name] += len(added)
            for job in added:
                self._dependents.setdefault(job.id, []).append(name)
        self._add(added)

    def _settle(self, names: Iterable[str]) -> None:
        """Tasks that wait for nobody any more become ready, or are skipped, which ends them at once."""
        settled = deque(names)
        while settled:
            name = settled.popleft()
            if self._admit(name):
                self._queue(self._jobs[name])
            else:
                settled += self._freed_by(name)

    def _queue(self, job: Job) -> None:
        if job.lane not in self._lanes:
            self._lanes[job.lane] = Lane(self._width(job.lane), self._affine)
        self._lanes[job.lane].put(job)

    def _freed_by(self, name: str) -> list[str]:
        """Notes that a task has ended; those that waited for nobody else."""
        self._ended.add(name)
        dependents = self._dependents.pop(name, [])
        for dependent in dependents:
            self._left[dependent] -= 1
        return [dependent for dependent in dependents if not self._left[dependent]]

    def _start(self) -> None:
        while len(self._running) < self._cap:
            offers = [job for lane in self._lanes.values() if (job := lane.next(self._ahead))]
            if not offers:
                return
            job = min(offers, key=lambda job: job.key)
            self._lanes[job.lane].take(job)
            # a fresh context: a task must not see what LangGraph keeps there of the caller's node
            self._running[job.id] = asyncio.get_running_loop().create_task(
                self._work(job.id), context=contextvars.Context()
            )

    async def _work(self, name: str) -> None:
        outcome: Iterable[Job] | BaseException
        try:
            outcome = await self._begin(name)
        except BaseException as error:
            outcome = error
        self._returned.put_nowait((name, outcome))

    def _waiting_for(self, name: str) -> Iterable[Job]:
        return (self._jobs[waiting] for waiting in islice(self._dependents.get(name, ()), AHEAD))
