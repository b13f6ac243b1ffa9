"""One cap over the calls of all machines, by leases in PostgreSQL; a model server's own log is the judge."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

import pytest
from chaos.model_server import ModelServer
from servers.postgres import PostgresServer

from swarm_graph import SwarmCoordinator
from swarm_graph.checkpoints.database import Database
from swarm_graph.checkpoints.lease_list import disagreements, lease_rows
from swarm_graph.checkpoints.open_database import open_database
from swarm_graph.checkpoints.storage import Grant, Storage, Wanted
from swarm_graph.errors import SlotLost, StorageError

P = ParamSpec("P")
TESTS = Path(__file__).parent
SERVER = "http://models.example:8000"
PATIENCE_S = 60.0
SLOTS = 3


def in_a_loop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """The test, run in an event loop of its own."""

    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


async def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110  another process makes it so
            await asyncio.sleep(0.01)


def waiting(storage: Storage) -> int:
    return sum(row.waiting for row in lease_rows(storage))


class Machines:
    """Two machines that share a database, and the order in which their calls get slots."""

    def __init__(self, here: Storage, there: Storage) -> None:
        self.storages = (here, there)
        self.order: list[str] = []
        self._granted: dict[str, Grant] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def take(self, name: str, wanted: Wanted, machine: int = 0) -> None:
        """Take a slot, and hold it until `release`."""
        found = self.storages[machine].limits
        assert found
        self._granted[name] = await found.take(wanted)
        self.order.append(name)

    async def queue(self, name: str, wanted: Wanted, machine: int = 0) -> None:
        """Ask for a slot that is not free; returns when the database knows."""
        before = waiting(self.storages[0])
        self._tasks.append(asyncio.create_task(self.take(name, wanted, machine)))
        await until(lambda: waiting(self.storages[0]) > before)

    async def release(self, name: str) -> None:
        """Give a slot back; returns when the next one has it, if somebody waits."""
        count, waits = len(self.order), waiting(self.storages[0])
        self._granted.pop(name).release()
        if waits:
            await until(lambda: len(self.order) > count)

    async def drain(self) -> list[str]:
        """Release one after the other; returns the order in which they were granted."""
        for name in self.order:  # grows meanwhile
            if name in self._granted:
                await self.release(name)
        return self.order

    def back_date(self, name: str, minutes: int) -> None:
        """Let a request that waits be older."""
        with self.storages[0].transaction() as cursor:
            cursor.execute(
                "UPDATE leases SET asked_at = asked_at - make_interval(mins => ?) "
                "WHERE model = ? AND granted_at IS NULL",
                (minutes, name),
            )


@pytest.fixture
def machines(postgres_url: str, tmp_path: Path) -> Iterator[Machines]:
    another = f"{postgres_url}&application_name=another"  # the storages of one place share their leases
    with open_database(postgres_url, tmp_path) as here, open_database(another, tmp_path) as there:
        yield Machines(here, there)


def wanted(
    slots: int = 1, *, priority: int = 0, model: str = "m", session: str = "", slot: str = ""
) -> Wanted:
    return Wanted(SERVER, slots, session, 1, slot, model, priority)


@in_a_loop
async def test_slots_go_by_priority_then_age_whichever_machine_asks(machines: Machines) -> None:
    await machines.take("first", wanted())
    for name, priority, machine in [("a", 0, 0), ("b", 5, 1), ("c", 0, 1), ("d", 5, 0), ("e", -1, 0)]:
        await machines.queue(name, wanted(priority=priority), machine)
    assert await machines.drain() == ["first", "b", "d", "a", "c", "e"]


@in_a_loop
async def test_the_loaded_model_goes_first_among_equals(machines: Machines) -> None:
    await machines.take("first", wanted(model="x"))
    for name, model, priority in [("a", "y", 0), ("b", "x", 0), ("c", "y", 1), ("d", "x", 0), ("e", "y", 0)]:
        await machines.queue(name, wanted(model=model, priority=priority), machine=1)
    assert await machines.drain() == ["first", "c", "a", "e", "b", "d"]


@in_a_loop
async def test_a_model_that_was_preferred_for_long_lets_the_oldest_request_go_first(
    machines: Machines,
) -> None:
    await machines.take("first", wanted(model="x"))
    await machines.queue("old", wanted(model="y"))
    await machines.queue("new", wanted(model="x"))
    with machines.storages[0].transaction() as cursor:
        cursor.execute("UPDATE lease_servers SET loaded_at = loaded_at - interval '11 seconds'")
    assert await machines.drain() == ["first", "old", "new"]


@in_a_loop
async def test_a_request_that_has_waited_for_minutes_goes_before_a_higher_priority(
    machines: Machines,
) -> None:
    await machines.take("first", wanted(model="x"))
    await machines.queue("low", wanted(model="low"))
    await machines.queue("high", wanted(model="x", priority=9))
    machines.back_date("low", minutes=11)
    with machines.storages[0].view() as cursor:
        found = cursor.execute("SELECT count(*) FROM leases WHERE is_overdue")
        assert found.fetchone() == (0,)

    def is_overdue() -> bool:
        with machines.storages[0].view() as cursor:
            row: tuple[int] = cursor.execute("SELECT count(*) FROM leases WHERE is_overdue").fetchone()
        return row == (1,)

    await until(is_overdue)  # renewals see to it
    assert await machines.drain() == ["first", "low", "high"]


@in_a_loop
async def test_of_different_numbers_of_slots_the_smallest_holds(machines: Machines) -> None:
    await machines.take("a", wanted(slots=2), 0)
    await machines.take("b", wanted(slots=5), 1)
    await machines.queue("c", wanted(slots=5), 1)
    rows = lease_rows(machines.storages[0])
    assert [(row.server, row.slots, row.held, row.waiting, row.model) for row in rows if row.slots == 5] == [
        (SERVER, 5, 1, 1, "m")
    ]
    (line,) = disagreements(rows)
    assert line.startswith(f"{SERVER} is given 2 calls at once")
    assert "says 5; set the same `slots`" in line
    assert await machines.drain() == ["a", "b", "c"]


@in_a_loop
async def test_the_cap_of_a_session_and_a_numbered_slot_hold_on_all_machines(machines: Machines) -> None:
    await machines.take("a", wanted(slots=9, session="s"), 0)
    await machines.queue("b", wanted(slots=9, session="s"), 1)
    await machines.take("another session", wanted(slots=9, session="t", slot="0"), 1)
    await machines.queue("c", wanted(slots=9, slot="0"), 0)
    await machines.take("another slot", wanted(slots=9, slot="1"), 0)
    await machines.release("a")
    assert machines.order[-1] == "b"
    await machines.release("another session")
    assert machines.order[-1] == "c"


@in_a_loop
async def test_a_call_that_gives_up_waiting_leaves_its_place(machines: Machines) -> None:
    await machines.take("first", wanted())
    found = machines.storages[1].limits
    assert found
    given_up = asyncio.create_task(found.take(wanted()))
    await until(lambda: waiting(machines.storages[0]) == 1)
    await machines.queue("next", wanted())
    given_up.cancel()
    await until(lambda: waiting(machines.storages[0]) == 1)
    assert await machines.drain() == ["first", "next"]


@in_a_loop
async def test_whoever_waits_when_the_database_is_closed_is_told(machines: Machines) -> None:
    await machines.take("first", wanted())
    found = machines.storages[1].limits
    assert found
    waits = asyncio.create_task(found.take(wanted()))
    await until(lambda: waiting(machines.storages[0]) == 1)
    machines.storages[1].close()
    with pytest.raises(StorageError, match="the database was closed while a call waited for its slot"):
        await waits
    with pytest.raises(StorageError, match="the database was closed"):
        await found.take(wanted())


def test_a_file_has_no_limits_to_share(tmp_path: Path) -> None:
    with Database(tmp_path / "swarm.db") as database:
        assert database.limits is None
        assert lease_rows(database) == []


# --- losses, with real processes and servers ---------------------------------------------------------


@pytest.mark.slow
@in_a_loop
async def test_a_call_ends_when_its_lease_cannot_be_renewed(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    with open_database(postgres_server.url(postgres_server.new_database()), tmp_path) as storage:
        assert storage.limits
        grant = await storage.limits.take(wanted())
        postgres_server.stop("fast")
        with pytest.raises(SlotLost, match="cannot renew the slot of http"):
            async with grant.kept():
                await asyncio.sleep(PATIENCE_S)
        grant.release()
        postgres_server.start()
        async with asyncio.timeout(PATIENCE_S):
            grant = await storage.limits.take(wanted())
        async with grant.kept():
            rows = await storage.run(lease_rows, storage)
            assert [row.held for row in rows] == [1]


@contextmanager
def worker(url: str, server: str, name: str, slots: int = SLOTS) -> Iterator[subprocess.Popen[bytes]]:
    """A process of `lease_worker.py`."""
    command = [sys.executable, "lease_worker.py", url, server, name, str(slots)]
    process = subprocess.Popen(command, cwd=TESTS)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()


class Log:
    """What a model server has noted."""

    def __init__(self, server: ModelServer) -> None:
        self._server = server

    def wait_for_full_use(self) -> None:
        """Return when new questions use all slots."""
        self._wait(lambda asked: asked.beside == SLOTS)

    def wait_for_questions(self, count: int) -> None:
        """Return when so many new questions have come."""
        self._wait(lambda _: True, count)

    def _wait(self, counts: Callable[..., bool], least: int = 1) -> None:
        begun, deadline = len(self._server.asked), time.monotonic() + PATIENCE_S
        while sum(counts(asked) for asked in self._server.asked[begun:]) < least:
            assert time.monotonic() < deadline, "the processes ask nothing more"
            time.sleep(0.02)


@pytest.mark.slow
def test_no_loss_of_a_process_or_of_the_database_exceeds_the_cap(postgres_server: PostgresServer) -> None:
    url = postgres_server.url(postgres_server.new_database())
    with ModelServer(latency=0.3) as server, ExitStack() as running:
        log = Log(server)
        first, second, _ = (
            running.enter_context(worker(url, server.url, name, slots))
            for name, slots in [("a", SLOTS), ("b", SLOTS + 2), ("c", SLOTS)]
        )
        log.wait_for_full_use()
        os.kill(first.pid, signal.SIGKILL)
        log.wait_for_questions(5)
        log.wait_for_full_use()  # what the dead one held is free again
        os.kill(second.pid, signal.SIGSTOP)
        log.wait_for_questions(5)
        postgres_server.restart("immediate")
        log.wait_for_questions(5)
        os.kill(second.pid, signal.SIGCONT)
        running.enter_context(worker(url, server.url, "d"))
        log.wait_for_questions(5)
        postgres_server.restart("fast")
        log.wait_for_questions(5)
        log.wait_for_full_use()
        assert max(asked.beside for asked in server.asked) == SLOTS


@pytest.mark.slow
def test_a_session_asks_again_when_the_database_was_away_for_longer_than_its_leases(
    postgres_server: PostgresServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with ModelServer(held=True) as server, ThreadPoolExecutor(1) as thread:
        entry = {"url": server.url, "model": "chaos", "slots": 1, "retries": 0}
        swarm = SwarmCoordinator(
            {"model_config": {"single_model": entry}, "workflow": {"reviewers": ["style"]}},
            data_dir=tmp_path,
            output_dir=tmp_path / "out",
            database=postgres_server.url(postgres_server.new_database()),
        )
        running = thread.submit(swarm.run_workflow, "Review it", "review_only", session_id="s")
        wait_until(lambda: len(server.asked) == 1)
        postgres_server.stop("fast")
        wait_until(lambda: "cannot renew slots in the database" in caplog.text)
        server.drop()
        server.held = False
        postgres_server.start()
        assert running.result(PATIENCE_S)["phase"] == "complete"
        first, second, *_ = server.asked
        assert first.key == second.key


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)
