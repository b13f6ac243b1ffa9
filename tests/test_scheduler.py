"""The scheduler alone: when each task starts, how many run at once, and how often a server swaps models."""

from __future__ import annotations

import asyncio
import heapq
import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise

import pytest

from swarm_graph.tasks.affinity import Job
from swarm_graph.tasks.scheduler import Scheduler


def job(name: str, rank: int, *waits_for: str, priority: int = 5, server: str = "", model: str = "") -> Job:
    return Job(name, (rank,), priority, waits_for, server, model)


@dataclass
class Stage:
    """Plays a graph on a scripted clock: `seconds` says how long each task takes."""

    jobs: list[Job]
    seconds: dict[str, float] = field(default_factory=dict)
    skipped: set[str] = field(default_factory=set)
    adds: dict[str, list[Job]] = field(default_factory=dict)
    waiting: set[str] = field(default_factory=set)
    now: float = 0.0
    began: dict[str, float] = field(default_factory=dict)
    ended: dict[str, float] = field(default_factory=dict)
    peak: int = 0

    def play(self, cap: int = 1, *, width: int = 99, prefer_loaded: bool = True) -> list[str]:
        """The names of the tasks in the order of their starts."""
        asyncio.run(self._play(cap, width, prefer_loaded))
        return list(self.began)

    async def _play(self, cap: int, width: int, prefer_loaded: bool) -> None:
        alarms: list[tuple[float, int, asyncio.Event]] = []

        async def begin(name: str) -> Iterable[Job] | None:
            self.began[name] = self.now
            self.peak = max(self.peak, len(self.began) - len(self.ended))
            rings = asyncio.Event()
            heapq.heappush(alarms, (self.now + self.seconds.get(name, 1.0), len(self.began), rings))
            await rings.wait()
            self.ended[name] = self.now
            return None if name in self.waiting else self.adds.get(name, [])

        def admit(name: str) -> bool:
            return name not in self.skipped

        scheduler = Scheduler(cap, lambda _server: width, begin, admit, prefer_loaded=prefer_loaded)
        running = asyncio.ensure_future(scheduler.run(self.jobs))
        while not running.done():
            for _ in range(5):  # every task that can continue does
                await asyncio.sleep(0)
            if alarms:
                self.now, _, rings = heapq.heappop(alarms)
                rings.set()
        await running


def test_the_highest_priority_begins_first_then_the_order_added() -> None:
    jobs = [
        job("a", 0),
        job("b", 1, priority=9),
        job("c", 2),
        job("d", 3, priority=9),
        job("e", 4, priority=-1),
    ]
    assert Stage(jobs).play() == ["b", "d", "a", "c", "e"]


def test_a_task_starts_the_moment_its_last_dependency_ends() -> None:
    """There is no barrier: a quick branch does not wait for a slow one."""
    jobs = [job("a", 0), job("b", 1, "a"), job("c", 2, "b"), job("d", 3), job("e", 4, "d")]
    stage = Stage(jobs, {"d": 2.5, "e": 0.5})
    stage.play(cap=4)
    assert stage.began == {"a": 0, "d": 0, "b": 1, "c": 2, "e": 2.5}
    assert stage.now == 3.0


@pytest.mark.parametrize("cap", [1, 3, 8])
def test_the_cap_is_held_and_used(cap: int) -> None:
    dice = random.Random(cap)
    jobs = [
        job(f"t{n}", n, *([f"t{dice.randrange(n)}"] if n and dice.random() < 0.3 else [])) for n in range(60)
    ]
    stage = Stage(jobs, {one.id: dice.uniform(0.2, 1) for one in jobs})
    assert len(stage.play(cap)) == 60
    assert stage.peak == cap


def test_a_server_gets_no_more_calls_than_it_has_slots() -> None:
    jobs = [
        *(job(f"a{n}", n, server="a", priority=9) for n in range(4)),
        *(job(f"b{n}", n, server="b") for n in range(4)),
    ]
    stage = Stage(jobs)
    stage.play(cap=4, width=2)
    assert [name for name, at in stage.began.items() if at == 0] == ["a0", "a1", "b0", "b1"]
    assert stage.now == 2.0


def test_a_skipped_task_ends_at_once_and_takes_no_place() -> None:
    jobs = [
        job("a", 0),
        *(job(f"s{n}", n + 1, f"s{n - 1}" if n else "a") for n in range(5000)),
        job("z", 9, "s4999"),
    ]
    stage = Stage(jobs, skipped={f"s{n}" for n in range(5000)})
    assert stage.play() == ["a", "z"]


def test_dependents_of_a_task_that_has_not_finished_wait_and_all_others_run() -> None:
    jobs = [
        job("a", 0),
        job("b", 1, "a"),
        job("c", 2, "b"),
        job("d", 3),
        job("e", 4, "d"),
        job("f", 5, "a", "e"),
    ]
    assert Stage(jobs, waiting={"a"}).play() == ["a", "d", "e"]


def test_dependents_of_a_task_wait_for_the_tasks_it_adds() -> None:
    added = [job("a.1", 0, "a"), job("a.2", 0, "a", "a.1")]
    stage = Stage([job("a", 0), job("z", 1, "a")], adds={"a": added, "a.2": [job("a.2.x", 0, "a.2")]})
    assert stage.play(cap=4) == ["a", "a.1", "a.2", "a.2.x", "z"]


def test_an_error_ends_the_run_after_the_running_tasks() -> None:
    ended = []

    async def begin(name: str) -> Iterable[Job]:
        if name == "bad":
            raise OSError("no space")
        await asyncio.sleep(0.01)
        ended.append(name)
        return []

    scheduler = Scheduler(2, lambda _server: 9, begin, lambda _name: True)
    with pytest.raises(OSError, match="no space"):
        asyncio.run(scheduler.run([job("good", 0), job("bad", 1), job("never", 2)]))
    assert ended == ["good"]


def test_a_cancelled_run_leaves_no_task_running() -> None:
    left = []

    async def begin(name: str) -> Iterable[Job]:
        try:
            await asyncio.sleep(60)
        finally:
            left.append(name)
        return []

    async def cancelled() -> None:
        running = asyncio.ensure_future(
            Scheduler(2, lambda _server: 9, begin, lambda _: True).run([job("a", 0)])
        )
        await asyncio.sleep(0.01)
        running.cancel()
        await running

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancelled())
    assert left == ["a"]


# --- model affinity ------------------------------------------------------------------------------


def random_jobs(seed: int, size: int, priorities: int) -> list[Job]:
    dice = random.Random(seed)
    jobs = []
    for n in range(size):
        waits_for = dice.sample(range(n), min(n, dice.choice([0, 1, 1, 2])))
        jobs.append(
            job(
                f"t{n}",
                n,
                *(f"t{one}" for one in waits_for),
                priority=dice.randrange(priorities),
                model=dice.choice("ABC"),
            )
        )
    return jobs


def swaps(jobs: list[Job], *, prefer_loaded: bool) -> int:
    models = {one.id: one.model for one in jobs}
    began = Stage(jobs).play(cap=1, width=1, prefer_loaded=prefer_loaded)
    return sum(models[a] != models[b] for a, b in pairwise(began))


def fewest_swaps(jobs: list[Job]) -> int:
    """Over every order that the priorities and dependencies allow."""
    numbers = {one.id: n for n, one in enumerate(jobs)}
    needs = [sum(1 << numbers[name] for name in one.waits_for) for one in jobs]
    everything = (1 << len(jobs)) - 1

    @cache
    def fewest(done: int, loaded: str) -> int:
        if done == everything:
            return 0
        ready = [n for n in range(len(jobs)) if not done >> n & 1 and needs[n] & done == needs[n]]
        top = max(jobs[n].priority for n in ready)
        return min(
            (loaded not in ("", jobs[n].model)) + fewest(done | 1 << n, jobs[n].model)
            for n in ready
            if jobs[n].priority == top
        )

    return fewest(0, "")


@pytest.mark.parametrize("priorities", [1, 2, 4])
def test_a_server_swaps_models_hardly_more_often_than_it_must(priorities: int) -> None:
    graphs = [random_jobs(seed, 12, priorities) for seed in range(100)]
    ours = [swaps(jobs, prefer_loaded=True) for jobs in graphs]
    plain = [swaps(jobs, prefer_loaded=False) for jobs in graphs]
    fewest = [fewest_swaps(jobs) for jobs in graphs]
    assert sum(ours) <= 1.15 * sum(fewest)
    assert all(a <= b for a, b in zip(ours, plain, strict=True))
    assert sum(ours) < sum(plain)


def test_priority_goes_before_the_loaded_model() -> None:
    jobs = [job("a", 0, model="A"), job("b", 1, model="B", priority=9), job("c", 2, model="A", priority=7)]
    assert Stage(jobs).play(width=1) == ["b", "c", "a"]
