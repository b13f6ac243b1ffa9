"""Which ready task begins next: the highest priority, then the model that its server has loaded, then order.

A lane is a model server. Servers that swap models in and out of memory lose seconds at each swap, so among
tasks of equal priority those for the loaded model come first; where a server takes one call at a time, the
next few tasks are tried out in thought, and the choice that needs the fewest swaps is taken.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

AHEAD = 32
"""How many ready tasks of a model, and of those that wait for one, are looked at in thought."""
STEPS = 64
"""How many tasks are begun in thought."""


@dataclass(frozen=True)
class Job:
    """A task as the scheduler sees it. `rank`: its place in the order added.

    `lane`: the server that it asks; `model`: what that server must have loaded.
    """

    id: str
    rank: tuple[int, ...]
    priority: int
    waits_for: tuple[str, ...]
    lane: str = ""
    model: str = ""

    @property
    def key(self) -> tuple[int, tuple[int, ...], str]:
        """Sorts by priority, highest first, then by order."""
        return (-self.priority, self.rank, self.id)


Queue = list[Job]
"""Ready tasks for one model, sorted by their keys."""


@dataclass
class Lane:
    """The ready tasks for one server, at most `width` of whose calls run at once."""

    width: int
    affine: bool = True
    loaded: str = ""
    running: int = 0
    queues: dict[str, Queue] = field(default_factory=dict)

    def put(self, job: Job) -> None:
        insort(self.queues.setdefault(job.model, []), job, key=_key)

    def next(self, ahead: Ahead) -> Job | None:
        """The task to begin next, which stays where it is; None when there is none or no room for one."""
        if self.running >= self.width:
            return None
        heads = _heads(self.queues)
        if len(heads) < 2 or not self.affine:
            return min(heads, key=_key, default=None)
        if self.width > 1:
            return _sticky(heads, self.loaded)
        return min(heads, key=lambda job: (ahead.swaps(self, job), job.model != self.loaded, job.key))

    def take(self, job: Job) -> None:
        """Begins a task."""
        queue = self.queues[job.model]
        del queue[0]
        if not queue:
            del self.queues[job.model]
        self.loaded = job.model
        self.running += 1


def _key(job: Job) -> tuple[int, tuple[int, ...], str]:
    return job.key


def _heads(queues: Mapping[str, Queue]) -> list[Job]:
    """The first task for each model, of those that have the highest priority."""
    heads = [queue[0] for queue in queues.values()]
    top = max((job.priority for job in heads), default=0)
    return [job for job in heads if job.priority == top]


def _plain(heads: list[Job], _loaded: str) -> Job:
    return min(heads, key=_key)


def _sticky(heads: list[Job], loaded: str) -> Job:
    return min(heads, key=lambda job: (job.model != loaded, job.key))


@dataclass(frozen=True)
class Ahead:
    """Tries out in thought what a choice leads to.

    `dependents`: the tasks that wait for one; `waiting`: for how many others a task still waits.
    """

    dependents: Callable[[str], Iterable[Job]]
    waiting: Callable[[str], int]

    def swaps(self, lane: Lane, first: Job) -> int:
        """The swaps from here on if `first` begins now and one of two simple rules goes on from there."""
        return min(self._tried(lane, first, rule) for rule in (_sticky, _plain))

    def _tried(self, lane: Lane, first: Job, rule: Callable[[list[Job], str], Job]) -> int:
        queues = {model: queue[:AHEAD] for model, queue in lane.queues.items()}
        left: dict[str, int] = {}
        loaded, swaps, job = lane.loaded, 0, first
        for _ in range(STEPS):
            swaps += job.model != loaded
            loaded = job.model
            queues[loaded].remove(job)
            if not queues[loaded]:
                del queues[loaded]
            for waiting in self.dependents(job.id):
                left[waiting.id] = left.get(waiting.id, self.waiting(waiting.id)) - 1
                if not left[waiting.id] and waiting.lane == job.lane:
                    insort(queues.setdefault(waiting.model, []), waiting, key=_key)
            if not queues:
                break
            job = rule(_heads(queues), loaded)
        return swaps
