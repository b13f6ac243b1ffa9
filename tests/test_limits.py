"""Slots work across threads and event loops, in order, however waiters end; a run waits for its branches."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest
from support import config

from swarm_graph.errors import ModelError
from swarm_graph.models.slots import Slots, named_slots
from swarm_graph.roles.run import RunContext

PATIENCE = 30
"""Seconds; only a bug makes a test wait so long."""


async def settle(condition: Callable[[], object]) -> None:
    """Let the other tasks of this event loop run until the condition holds."""
    for _ in range(1000):
        await asyncio.sleep(0)
    assert condition()


def in_threads(count: int, work: Callable[[int], None]) -> None:
    failures: list[BaseException] = []

    def attempt(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=attempt, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert failures == []


class Gauge:
    """Counts the holders of a slot: now, at most, and all of them."""

    def __init__(self) -> None:
        self.now = self.most = self.served = 0
        self._lock = threading.Lock()

    def change(self, by: int) -> None:
        with self._lock:
            self.now += by
            self.most = max(self.most, self.now)
            self.served += by > 0


async def hold(slots: Slots, gauge: Gauge, work: Awaitable[object] | None = None) -> None:
    async with slots:
        gauge.change(1)
        try:
            await (work or asyncio.sleep(0))
        finally:
            gauge.change(-1)


@pytest.mark.parametrize("limit", [1, 3])
def test_never_more_than_the_limit_over_threads_and_event_loops(limit: int) -> None:
    slots, gauge = Slots(limit), Gauge()

    async def many(times: int) -> None:
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*(hold(slots, gauge) for _ in range(times)))

    def thread(_: int) -> None:
        for _ in range(5):  # a new event loop each time
            asyncio.run(many(10))

    in_threads(8, thread)
    assert (gauge.most, gauge.now, gauge.served) == (limit, 0, 8 * 5 * 10)


def test_slots_do_not_wait_for_each_other_below_the_limit() -> None:
    async def scenario() -> None:
        slots, gauge, gate = Slots(3), Gauge(), asyncio.Event()
        tasks = [asyncio.create_task(hold(slots, gauge, gate.wait())) for _ in range(3)]
        await settle(lambda: gauge.now == 3)
        gate.set()
        await asyncio.gather(*tasks)

    asyncio.run(scenario())


def test_first_come_first_served() -> None:
    async def scenario() -> list[int]:
        slots, served = Slots(1), list[int]()

        async def take(number: int) -> None:
            async with slots:
                served.append(number)
                await asyncio.sleep(0)

        tasks = []
        async with slots:
            for number in range(20):
                tasks.append(asyncio.create_task(take(number)))
                await asyncio.sleep(0)
        tasks.append(asyncio.create_task(take(20)))  # must not overtake the others
        await asyncio.gather(*tasks)
        return served

    assert asyncio.run(scenario()) == list(range(21))


def with_one_waiting(
    scenario: Callable[[Slots, asyncio.Task[None], Gauge], Coroutine[Any, Any, None]],
) -> None:
    """Run a scenario with the only slot taken and a task waiting; afterwards the slot must be free."""

    async def whole() -> None:
        slots, gauge = Slots(1), Gauge()
        await slots.__aenter__()
        waiter = asyncio.create_task(hold(slots, gauge))
        await asyncio.sleep(0)
        await scenario(slots, waiter, gauge)
        async with asyncio.timeout(PATIENCE):
            await hold(slots, gauge)
            await asyncio.gather(*(hold(slots, gauge) for _ in range(5)))
        assert gauge.most == 1

    asyncio.run(whole())


def test_a_waiter_that_is_cancelled_takes_no_slot() -> None:
    async def scenario(slots: Slots, waiter: asyncio.Task[None], gauge: Gauge) -> None:
        waiter.cancel()
        await asyncio.wait([waiter])
        assert waiter.cancelled()
        await slots.__aexit__()
        assert gauge.served == 0

    with_one_waiting(scenario)


def test_a_waiter_that_is_cancelled_just_as_its_turn_comes_passes_the_slot_on() -> None:
    async def scenario(slots: Slots, waiter: asyncio.Task[None], gauge: Gauge) -> None:
        await slots.__aexit__()  # the slot is the waiter's now, but it has not run since
        waiter.cancel()
        await asyncio.wait([waiter])
        assert waiter.cancelled()
        assert gauge.served == 0

    with_one_waiting(scenario)


def test_a_waiter_that_is_cancelled_once_called_passes_the_slot_on() -> None:
    async def scenario(slots: Slots, waiter: asyncio.Task[None], gauge: Gauge) -> None:
        await slots.__aexit__()
        asyncio.get_running_loop().call_soon(waiter.cancel)  # after the call, before the waiter's next step
        await asyncio.wait([waiter])
        assert waiter.cancelled()
        assert gauge.served == 0

    with_one_waiting(scenario)


def test_a_holder_that_fails_gives_its_slot_back() -> None:
    async def scenario() -> None:
        slots, gauge = Slots(1), Gauge()
        for error in (ValueError(), asyncio.CancelledError()):
            future = asyncio.get_running_loop().create_future()
            future.set_exception(error)
            with pytest.raises(type(error)):
                await hold(slots, gauge, future)
        async with asyncio.timeout(PATIENCE):
            await hold(slots, gauge)

    asyncio.run(scenario())


@pytest.mark.parametrize("called", [False, True])
def test_an_event_loop_that_is_closed_under_its_waiters_takes_no_slot_with_it(called: bool) -> None:
    slots, gauge = Slots(2), Gauge()
    asyncio.run(slots.__aenter__())
    asyncio.run(slots.__aenter__())
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)  # it would log that its tasks never ended
    waiting = [loop.create_task(hold(slots, gauge)) for _ in range(3)]
    loop.run_until_complete(asyncio.sleep(0))
    if called:
        asyncio.run(slots.__aexit__())
        loop.close()
    else:
        loop.close()
        asyncio.run(slots.__aexit__())
    del waiting
    gc.collect()
    asyncio.run(slots.__aexit__())

    async def two_and_no_more() -> None:
        gate = asyncio.Event()
        tasks = [asyncio.create_task(hold(slots, gauge, gate.wait())) for _ in range(5)]
        await settle(lambda: gauge.now == 2)
        gate.set()
        await asyncio.gather(*tasks)

    asyncio.run(two_and_no_more())
    assert (gauge.most, gauge.served) == (2, 5)


def test_a_larger_limit_lets_waiters_in_and_a_smaller_one_waits_for_holders() -> None:
    async def scenario() -> None:
        slots, gauge = Slots(1), Gauge()
        gates = [asyncio.Event() for _ in range(6)]
        tasks = [asyncio.create_task(hold(slots, gauge, gate.wait())) for gate in gates]
        await settle(lambda: gauge.now == 1)
        slots.resize(3)
        await settle(lambda: gauge.now == 3)
        slots.resize(1)
        for still, gate in zip((2, 1, 1), gates[:3], strict=True):
            gate.set()
            await settle(lambda still=still: gauge.now == still)  # type: ignore[misc]
        assert gauge.served == 4
        for gate in gates[3:]:
            gate.set()
        await asyncio.gather(*tasks)
        assert gauge.most == 3

    asyncio.run(scenario())


def test_a_server_has_one_limiter_whose_limit_is_the_latest() -> None:
    first = named_slots("http://one:1", 2)
    assert named_slots("http://one:1", 5) is first
    assert first.limit == 5
    assert named_slots("http://two:1", 2) is not first


def fail(message: str) -> ModelError:
    return ModelError(message)


def test_a_branch_that_fails_waits_until_its_siblings_have_ended() -> None:
    async def scenario() -> list[str]:
        run, gate, ended = RunContext(config()), asyncio.Event(), list[str]()

        async def branch(name: str, error: Exception | None) -> None:
            try:
                async with run.branch():
                    if error:
                        raise error
                    await gate.wait()
                    ended.append(f"{name} answered")
            except ModelError as failure:
                ended.append(str(failure))

        tasks = [
            asyncio.create_task(branch(name, error))
            for name, error in {"a": fail("a failed"), "b": None, "c": fail("c failed"), "d": None}.items()
        ]
        for _ in range(10):
            await asyncio.sleep(0)
        assert ended == []
        gate.set()
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*tasks)
        return ended

    assert asyncio.run(scenario()) == ["b answered", "d answered", "a failed", "c failed"]


def test_a_branch_that_fails_at_once_waits_for_siblings_that_begin_late() -> None:
    async def scenario() -> list[str]:
        run, gate, ended = RunContext(config()), asyncio.Event(), list[str]()

        async def failing() -> None:
            with pytest.raises(ModelError, match="failed"):
                async with run.branch():
                    raise fail("failed")
            ended.append("failed")

        async def late() -> None:
            async with run.branch():
                await gate.wait()
                ended.append("answered")

        first = asyncio.create_task(failing())
        await asyncio.sleep(0)
        second = asyncio.create_task(late())
        await asyncio.sleep(0.1)  # well over the grace
        gate.set()
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(first, second)
        return ended

    assert asyncio.run(scenario()) == ["answered", "failed"]


def test_a_fault_of_ours_is_not_held_back_and_a_cancelled_branch_counts_as_ended() -> None:
    async def scenario() -> None:
        run = RunContext(config())

        async def working() -> None:
            async with run.branch():
                await asyncio.Event().wait()

        sibling = asyncio.create_task(working())
        await asyncio.sleep(0)
        with pytest.raises(KeyError):
            async with run.branch():
                raise KeyError("a fault")
        sibling.cancel()
        await asyncio.wait([sibling])
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(ModelError):
                async with run.branch():
                    raise fail("the last one")

    asyncio.run(scenario())


def test_the_configuration_sets_the_cap_of_a_run() -> None:
    assert RunContext(config(workflow={"max_parallel_agents": 3})).slots.limit == 3
    assert RunContext(config(workflow={"enable_parallel": False})).slots.limit == 1
