"""The order in which ready tasks start: by priority, then by the server's loaded model, then as added.

A server that swaps models in and out of memory loses seconds at each swap. So among tasks of equal priority
those for the loaded model start first. Where a server takes one call at a time, a look-ahead over the next
tasks picks the start that causes the fewest swaps.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

LOOK_AHEAD_JOBS = 32
"""How many ready tasks per model, and how many dependents per task, the look-ahead considers."""
LOOK_AHEAD_STEPS = 64
"""How many task starts the look-ahead simulates."""


@dataclass(frozen=True)
class Job:
    """A task as the scheduler sees it.

    Attributes:
        id: The task's id.
        rank: Its place in the order in which tasks were added.
        priority: Higher starts first.
        waits_for: The ids of the tasks that must finish first.
        server: The model server that it asks; empty if there is no server.
        model: The model that the server must have loaded.
    """

    id: str
    rank: tuple[int, ...]
    priority: int
    waits_for: tuple[str, ...]
    server: str = ""
    model: str = ""

    @property
    def sort_key(self) -> tuple[int, tuple[int, ...], str]:
        """Sorts by priority, highest first, then by rank."""
        return (-self.priority, self.rank, self.id)


@dataclass
class ServerQueue:
    """The ready tasks of one model server.

    Attributes:
        slots: How many calls the server takes at once.
        prefer_loaded: Whether tasks for the loaded model start first.
        loaded: The model of the latest task that started.
        running: How many tasks of this server run now.
        ready: The ready tasks for each model, sorted.
    """

    slots: int
    prefer_loaded: bool = True
    loaded: str = ""
    running: int = 0
    ready: dict[str, list[Job]] = field(default_factory=dict)

    def add(self, job: Job) -> None:
        """Add a ready task."""
        insort(self.ready.setdefault(job.model, []), job, key=_sort_key)

    def next(self, look_ahead: LookAhead, ahead: int = 1) -> Job | None:
        """The task to start next, which stays in the queue; None without a ready task or a free slot.

        Args:
            look_ahead: Estimates model swaps.
            ahead: How many tasks are started for each slot.
        """
        if self.running >= self.slots * ahead:
            return None
        candidates = _candidates(self.ready)
        if len(candidates) < 2 or not self.prefer_loaded:
            return min(candidates, key=_sort_key, default=None)
        if self.slots > 1:
            return _same_model_first(candidates, self.loaded)
        return min(
            candidates,
            key=lambda job: (look_ahead.swaps(self, job), job.model != self.loaded, job.sort_key),
        )

    def start(self, job: Job) -> None:
        """Take a task that `next` returned out of the queue, and count it as running."""
        jobs = self.ready[job.model]
        del jobs[0]
        if not jobs:
            del self.ready[job.model]
        self.loaded = job.model
        self.running += 1


def _sort_key(job: Job) -> tuple[int, tuple[int, ...], str]:
    return job.sort_key


def _candidates(ready: Mapping[str, list[Job]]) -> list[Job]:
    """The first task of each model, as far as it has the highest priority of all."""
    first = [jobs[0] for jobs in ready.values()]
    top = max((job.priority for job in first), default=0)
    return [job for job in first if job.priority == top]


def _by_priority(candidates: list[Job], _loaded: str) -> Job:
    return min(candidates, key=_sort_key)


def _same_model_first(candidates: list[Job], loaded: str) -> Job:
    return min(candidates, key=lambda job: (job.model != loaded, job.sort_key))


@dataclass(frozen=True)
class LookAhead:
    """Look-ahead: estimate the model swaps that a choice causes.

    Attributes:
        dependents: The tasks that wait for a task, by its id.
        open_dependencies: How many unfinished tasks a task waits for, by its id.
    """

    dependents: Callable[[str], Iterable[Job]]
    open_dependencies: Callable[[str], int]

    def swaps(self, queue: ServerQueue, first: Job) -> int:
        """The swaps of a server if `first` starts now, with the better of two simple rules after it."""
        # Neither rule is always better: staying with the loaded model can delay the task that many others
        # wait for.
        return min(self._simulated_swaps(queue, first, rule) for rule in (_same_model_first, _by_priority))

    def _simulated_swaps(self, queue: ServerQueue, first: Job, rule: Callable[[list[Job], str], Job]) -> int:
        ready = {model: jobs[:LOOK_AHEAD_JOBS] for model, jobs in queue.ready.items()}
        open_dependencies: dict[str, int] = {}
        loaded, swaps, job = queue.loaded, 0, first
        for _ in range(LOOK_AHEAD_STEPS):
            swaps += job.model != loaded
            loaded = job.model
            ready[loaded].remove(job)
            if not ready[loaded]:
                del ready[loaded]
            for dependent in self.dependents(job.id):
                before = open_dependencies.get(dependent.id, self.open_dependencies(dependent.id))
                open_dependencies[dependent.id] = before - 1
                if before == 1 and dependent.server == job.server:
                    insort(ready.setdefault(dependent.model, []), dependent, key=_sort_key)
            if not ready:
                break
            job = rule(_candidates(ready), loaded)
        return swaps
