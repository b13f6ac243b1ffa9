"""Work that waits is committed in groups: in few transactions, with nothing told before it is on disk."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypedDict, cast

import psycopg
import pytest
from langchain_core.runnables import RunnableLambda
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt
from support import Crew, config, thread

from swarm_graph import build_graph, open_checkpointer
from swarm_graph.checkpoints import database
from swarm_graph.checkpoints.database_transcript import TRANSCRIPT_TABLES
from swarm_graph.checkpoints.group_commit import LINGER_S, MAX_TOGETHER
from swarm_graph.checkpoints.sqlite_saver import SqliteSwarmSaver
from swarm_graph.checkpoints.swarm_saver import SwarmSaver
from swarm_graph.checkpoints.transcript import Message, Texts
from swarm_graph.database_place import is_server
from swarm_graph.errors import StorageError
from swarm_graph.events import Event, parse_event

REQUEST = {"request": "Create a queue"}


@pytest.fixture
def saver(place: str | Path) -> Iterator[SwarmSaver]:
    with with_notes(open_checkpointer(place)) as opened:
        yield opened


def with_notes(saver: SwarmSaver) -> SwarmSaver:
    with saver.transaction() as cursor:
        cursor.execute("CREATE TABLE notes (text TEXT UNIQUE)")
    return saver


def note(saver: SwarmSaver, text: str) -> str:
    with saver.transaction() as cursor:
        cursor.execute("INSERT INTO notes VALUES (?)", (text,))
    return text


def on_disk(place: str | Path, query: str = "SELECT text FROM notes") -> list[Any]:
    """What another process would find."""
    connect: Any = psycopg.connect if is_server(place) else sqlite3.connect
    with closing(connect(place)) as connection:
        return [row[0] for row in connection.execute(query)]


class Count:
    """Counts the write transactions of a saver's database, and the calls of threads."""

    def __init__(self, saver: SwarmSaver, monkeypatch: pytest.MonkeyPatch) -> None:
        self.of: Counter[str] = Counter()
        submit = sys.modules["concurrent.futures.thread"].ThreadPoolExecutor.submit

        def counted(pool: Any, *args: Any, **kwargs: Any) -> Any:
            self.of[pool._thread_name_prefix] += 1
            return submit(pool, *args, **kwargs)

        monkeypatch.setattr("concurrent.futures.ThreadPoolExecutor.submit", counted)
        begin: Any = type(saver.database)._begin

        def counted_begin(database: Any, cursor: Any, *, writes: bool) -> None:
            self.of["transactions"] += writes
            begin(database, cursor, writes=writes)

        monkeypatch.setattr(type(saver.database), "_begin", counted_begin)


def test_a_session_takes_few_transactions_and_few_hops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six calls; 36 write transactions and 33 calls of threads before writes waited for each other.

    A slow machine must not count more, so what waits does so for long; rarely the last write of a session
    waits, too, and then the session with it.
    """
    monkeypatch.setattr("swarm_graph.checkpoints.group_commit.LINGER_S", 5)
    saver = open_checkpointer(tmp_path / "swarm.db")
    graph = build_graph("standard", config=config(), checkpointer=saver)
    count = Count(saver, monkeypatch)
    session = graph.ainvoke(REQUEST, thread(), context=Crew().context)
    assert asyncio.run(asyncio.wait_for(session, 300))["approved"]
    assert count.of["swarm-database"] <= 12
    assert count.of["transactions"] <= 11
    assert count.of["asyncio"] == 0, "a function of ours ran in asyncio's own pool"


def test_what_waits_is_committed_with_the_next_that_does_not(
    saver: SwarmSaver, place: str | Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = Count(saver, monkeypatch)

    async def work() -> list[str]:
        later = [asyncio.ensure_future(saver.database.run_soon(note, saver, text)) for text in "abc"]
        saver.database.start(note, saver, "d")
        await asyncio.sleep(0)
        assert on_disk(place) == []
        await saver.database.run(note, saver, "e")
        assert on_disk(place) == ["d", "a", "b", "c", "e"]
        assert count.of["transactions"] == 1
        return await asyncio.gather(*later)

    assert asyncio.run(work()) == ["a", "b", "c"]


def test_alone_it_waits_for_a_moment_only(saver: SwarmSaver, place: str | Path) -> None:
    async def work() -> None:
        assert await saver.database.run_soon(note, saver, "a") == "a"
        assert on_disk(place) == ["a"]
        saver.database.start(note, saver, "b")  # nobody waits for it
        while on_disk(place) != ["a", "b"]:  # noqa: ASYNC110  a disk sets no event
            await asyncio.sleep(LINGER_S)

    asyncio.run(asyncio.wait_for(work(), 60))


def test_of_a_group_only_the_work_that_fails_fails(saver: SwarmSaver, place: str | Path) -> None:
    note(saver, "a")

    def twice(text: str) -> str:
        with saver.transaction():
            note(saver, text)
            return note(saver, "a")  # is there already

    async def work() -> list[Any]:
        works = [
            partial(note, saver, "b"),
            partial(twice, "c"),
            *(partial(note, saver, text) for text in "da"),
        ]
        return await asyncio.gather(*map(saver.database.run_soon, works), return_exceptions=True)

    b, c, d, a = asyncio.run(work())
    assert (b, d) == ("b", "d")
    assert all(isinstance(failed, (sqlite3.IntegrityError, StorageError)) for failed in (a, c))
    assert on_disk(place) == ["a", "b", "d"], "what failed has left something"


def test_a_large_crowd_is_committed_in_several_groups(
    saver: SwarmSaver, place: str | Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [str(number) for number in range(3 * MAX_TOGETHER + 1)]

    async def work() -> list[str]:
        return await asyncio.gather(*(saver.database.run_soon(note, saver, text) for text in texts))

    count = Count(saver, monkeypatch)
    assert asyncio.run(work()) == texts == on_disk(place)
    assert count.of["transactions"] == 4


def test_other_threads_of_the_process_see_what_waits(saver: SwarmSaver) -> None:
    async def work() -> None:
        saver.database.start(note, saver, "a")
        with saver.transaction() as cursor:  # as a synchronous caller does
            assert cursor.execute("SELECT text FROM notes").fetchall() == [("a",)]

    asyncio.run(work())


@pytest.mark.parametrize("end", ["close", "cancel", "exit"])
def test_what_waits_is_done_at_every_end(end: str, place: str | Path) -> None:
    """Its event loop is gone before its time has come."""
    code = f"""
import asyncio, sys
from swarm_graph.checkpoints.saver import open_checkpointer
saver = open_checkpointer(sys.argv[1])
with saver.transaction() as cursor:
    cursor.execute("CREATE TABLE notes (text TEXT)")
def note():
    with saver.transaction() as cursor:
        cursor.execute("INSERT INTO notes VALUES ('a')")
async def work():
    if {end!r} == "close":
        saver.database.start(note)
    else:
        waiting = asyncio.ensure_future(saver.database.run_soon(note))
        await asyncio.sleep(0)
asyncio.run(work())
if {end!r} != "exit":
    saver.close()
"""
    done = subprocess.run([sys.executable, "-c", code, str(place)], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert on_disk(place) == ["a"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_leaves_what_waits_to_its_parent(saver: SwarmSaver, place: str | Path) -> None:
    async def work() -> None:
        waiting = asyncio.ensure_future(saver.database.run_soon(note, saver, "a"))
        await asyncio.sleep(0)
        if (child := os.fork()) == 0:
            note(saver, "child")
            os._exit(on_disk(place).count("a") > 1)
        children.append(child)
        await waiting

    children: list[int] = []
    asyncio.run(work())
    assert os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]) == 0
    assert sorted(on_disk(place)) == ["a", "child"]


def test_a_closed_file_fails_all_of_a_group(place: str | Path) -> None:
    saver = open_checkpointer(place)
    saver.close()

    async def work() -> list[Any]:
        two = (saver.database.run_soon(saver.get_tuple, thread()) for _ in range(2))
        return [*await asyncio.gather(*two, return_exceptions=True)]

    assert [type(error) for error in asyncio.run(work())] == [StorageError] * 2


# --- what LangGraph is promised ------------------------------------------------------------------


class State(TypedDict, total=False):
    seen: list[int]


def chain(saver: Any, look: Callable[[], int], nodes: int = 4) -> Any:
    """Nodes in a row, each of which looks at the file."""

    async def node(state: State) -> State:
        return {"seen": [*state.get("seen", []), look()]}

    graph = StateGraph(State)
    names = [f"n{number}" for number in range(nodes)]
    for before, name in zip([START, *names], names, strict=False):
        graph.add_node(name, node)
        graph.add_edge(before, name)
    graph.add_edge(names[-1], END)
    return graph.compile(checkpointer=saver)


def checkpoints(place: str | Path) -> int:
    return int(on_disk(place, "SELECT count(*) FROM checkpoints")[0])


def test_sync_durability_has_each_checkpoint_on_disk_before_the_next_node(
    saver: SwarmSaver, place: str | Path
) -> None:
    graph = chain(saver, lambda: checkpoints(place))
    state = asyncio.run(graph.ainvoke({"seen": []}, thread(), durability="sync"))
    assert state["seen"] == [2, 3, 4, 5]  # the input is a step of its own; LangGraph saves it before
    assert checkpoints(place) == 6


@pytest.mark.parametrize("durability", ["async", "sync", "exit"])
def test_all_is_on_disk_when_invoke_returns(durability: Any, saver: SwarmSaver, place: str | Path) -> None:
    async def work() -> tuple[Any, int]:
        graph = chain(saver, lambda: 0)
        return await graph.ainvoke({"seen": []}, thread(), durability=durability), checkpoints(place)

    state, there = asyncio.run(work())
    assert state["seen"] == [0] * 4
    assert there == (1 if durability == "exit" else 6)


@pytest.mark.parametrize("durability", ["async", "sync", "exit"])
def test_an_interrupt_is_on_disk_when_invoke_returns(
    durability: Any, saver: SwarmSaver, place: str | Path
) -> None:
    graph: Any = StateGraph(State)
    graph.add_node("ask", RunnableLambda(lambda _: {"seen": [interrupt("?")]}))
    graph.add_edge(START, "ask")
    graph = graph.compile(checkpointer=saver)

    async def work() -> list[Any]:
        await graph.ainvoke({"seen": []}, thread(), durability=durability)
        return on_disk(place, "SELECT channel FROM writes")

    assert "__interrupt__" in asyncio.run(work())
    assert asyncio.run(graph.ainvoke(Command(resume=7), thread()))["seen"] == [7]


def test_a_full_disk_fails_the_run_whose_writes_waited(tmp_path: Path) -> None:
    """The run's own error, although its node had ended; the other session in the group is not lost."""
    saver: Any = open_checkpointer(tmp_path / "swarm.db")
    graph = chain(saver, lambda: 0)
    (pages,) = saver.conn.execute("PRAGMA page_count").fetchone()
    saver.conn.execute(f"PRAGMA max_page_count = {pages + 1}")
    with pytest.raises(StorageError, match="the disk is full; free some space and resume"):
        asyncio.run(graph.ainvoke({"seen": ["x" * 50_000]}, thread()))
    saver.conn.execute("PRAGMA max_page_count = 100000")
    assert asyncio.run(graph.ainvoke({"seen": []}, thread("u")))["seen"] == [0] * 4


def test_an_answer_is_committed_before_its_role_reads_it(saver: SwarmSaver, place: str | Path) -> None:
    answers: list[int] = []
    graph = build_graph("standard", config=config(), checkpointer=saver)

    async def work() -> None:
        async for part in graph.astream(REQUEST, thread(), context=Crew().context, stream_mode="custom"):
            event = parse_event(part)
            if event and event.kind == "call_ended":
                answers.append(int(on_disk(place, "SELECT count(answer) FROM calls")[0]))

    asyncio.run(work())
    assert all(committed >= number for number, committed in enumerate(answers, 1))
    assert len(answers) == 6


def test_whoever_opens_the_file_sees_whole_states_only(place: str | Path) -> None:
    """As another process does, between any two pieces of LangGraph's stream."""
    graph = build_graph("standard", config=config(), checkpointer=open_checkpointer(place))
    looks: list[tuple[int, int]] = []

    def look() -> None:
        with open_checkpointer(place) as other:
            saved = other.get_tuple(thread())
            calls = other.catalogue.calls("t")
        tasks = saved.checkpoint["channel_values"].get("tasks", {}) if saved else {}
        assert len(tasks) <= len([call for call in calls if call["outcome"] == "answered"])
        looks.append((len(tasks), len(calls)))

    async def work() -> None:
        async for _ in graph.astream(REQUEST, thread(), context=Crew().context, stream_mode="updates"):
            look()
            await asyncio.sleep(2 * LINGER_S)
            look()

    asyncio.run(work())
    assert looks == sorted(looks)
    assert looks[-1] == (6, 6)


# --- groups that fail ----------------------------------------------------------------------------


def test_a_group_waits_once_for_a_lock_and_not_each_of_its_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 30 seconds for each of 64 works a session would hear of it after half an hour."""
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 0.3)
    monkeypatch.setattr(database, "BUSY_AGAIN_S", 0.0)
    path = tmp_path / "swarm.db"
    with with_notes(open_checkpointer(path)) as saver, closing(sqlite3.connect(path)) as other:
        waits: list[str] = []
        connection = cast("SqliteSwarmSaver", saver).conn
        connection.set_trace_callback(lambda text: waits.append(text) if "busy_timeout" in text else None)

        async def work() -> list[Any]:
            notes = [saver.database.run_soon(note, saver, text) for text in "abc"]
            sessions = saver.database.run_soon(saver.catalogue.sessions)
            return await asyncio.gather(*notes, sessions, return_exceptions=True)

        other.execute("BEGIN IMMEDIATE")
        *failed, read = asyncio.run(work())
        other.execute("ROLLBACK")
        assert all("another program held its lock" in str(error) for error in failed)
        assert read == [], "who only reads needs no lock"
        assert waits == ["PRAGMA busy_timeout = 0", "PRAGMA busy_timeout = 300"]
        assert asyncio.run(work())[:3] == ["a", "b", "c"]


def test_what_a_transcript_takes_is_not_counted_twice(saver: SwarmSaver, place: str | Path) -> None:
    """Each work of a group that fails is done again."""
    transcript: Any = saver.catalogue.transcript
    event = Event("call_started", 0.0, "s", "coder")
    texts = Texts([Message("human", "a question")])

    async def work() -> None:
        appended = saver.database.run_soon(transcript.append, event, texts=texts)
        fails = saver.database.run_soon(note, saver, "a")  # is there already
        await asyncio.gather(appended, fails, return_exceptions=True)

    note(saver, "a")
    transcript.append(event, texts=texts)
    asyncio.run(work())
    transcript.append(event, texts=texts)
    sizes = [
        on_disk(place, f"SELECT coalesce(sum(length(data)), 0) FROM {name}") for name in TRANSCRIPT_TABLES
    ]
    assert transcript._bytes == {"s": sum(size for (size,) in sizes)}


def test_a_run_whose_opening_was_undone_has_no_end(
    saver: SwarmSaver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its number is another run's by then."""
    note(saver, "a")
    graph = build_graph("review_only", config=config(), checkpointer=saver)
    begin, begun, ended = saver.catalogue.begin_run, list[int](), list[Any]()

    def begin_once(*args: Any) -> int:
        if begun:
            raise StorageError("the disk is full")
        begun.append(begin(*args))
        return begun[0]

    async def run_in_group(*args: Any) -> Any:
        result = asyncio.ensure_future(saver.database.run_soon(*args))
        await asyncio.sleep(0)
        with suppress(sqlite3.IntegrityError, StorageError):
            await run(note, saver, "a")  # is there already
        return await result

    run = saver.database.run
    monkeypatch.setattr(saver.database, "run", run_in_group)
    monkeypatch.setattr(saver.catalogue, "begin_run", begin_once)
    monkeypatch.setattr(saver.catalogue, "end_run", lambda *args: ended.append(args))
    with pytest.raises(StorageError, match="the disk is full"):
        asyncio.run(graph.ainvoke(REQUEST, thread()))
    assert (len(begun), ended) == (1, [])
