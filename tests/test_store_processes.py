"""The store of memory in many threads and processes, killed, on a full disk, and damaged."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypedDict

import pytest
from langchain_core.runnables import RunnableLambda
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import get_runtime
from langgraph.store.base import GetOp, PutOp, SearchOp
from storages import count

from swarm_graph import open_checkpointer
from swarm_graph.checkpoints import schema
from swarm_graph.checkpoints.database import Database
from swarm_graph.checkpoints.memory_tables import index_problems, rebuild_index, version_of_memory
from swarm_graph.errors import StorageError
from swarm_graph.memory.store import SwarmStore, open_store

PLACE = ("plant",)
PASSAGES = [f"Pump P-{number} has {number % 7} seals and runs at {number} bar" for number in range(1000)]
DIMENSIONS = 4


class Vectors:
    """Embeddings that note what they are asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, texts: Sequence[str]) -> list[list[float]]:
        self.asked.extend(texts)
        return [[1.0, float(len(text)), float(sum(map(ord, text)) % 97), 1.0] for text in texts]


def opened(place: str | Path, embed: Vectors | None = None) -> SwarmStore:
    return open_store(place, index={"dims": DIMENSIONS, "embed": embed or Vectors(), "fields": ["text"]})


def add_all(store: SwarmStore) -> None:
    store.batch(PutOp(PLACE, str(number), {"text": text}) for number, text in enumerate(PASSAGES))


def connection_of(store: SwarmStore) -> sqlite3.Connection:
    assert isinstance(store.database, Database)
    return store.database.connection


def forked(work: Callable[[], None]) -> int:
    """Do something in a process of its own; return how it ended."""
    if (child := os.fork()) == 0:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


# --- kill -9 ---------------------------------------------------------------------------------------


def add_and_die(path: Path, die_at: int) -> None:
    """Add all passages; SIGKILL strikes when SQLite is given the statement with this number."""
    seen = 0

    def at(_: str) -> None:
        nonlocal seen
        seen += 1
        if seen == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    store = opened(path)
    connection_of(store).set_trace_callback(at)
    add_all(store)
    store.get(PLACE, "0")


def statements(path: Path) -> list[str]:
    """What SQLite is given when all passages are added."""
    found: list[str] = []
    with opened(path) as store:
        connection_of(store).set_trace_callback(found.append)
        add_all(store)
        store.get(PLACE, "0")
        connection_of(store).set_trace_callback(None)
    return found


@pytest.mark.slow
def test_a_killed_adding_is_whole_or_absent_at_twenty_moments(tmp_path: Path) -> None:
    """Whole or absent, with a sound index; and vectors that were made are not made again."""
    given = statements(tmp_path / "whole.db")
    last_begin = max(number for number, sql in enumerate(given, 1) if sql == "BEGIN IMMEDIATE")
    last_commit = max(
        number for number, sql in enumerate(given, 1) if sql == "COMMIT" and number < len(given)
    )
    while_embedding = [last_begin * part // 7 for part in range(1, 7)]
    inside = [last_begin + (last_commit - last_begin) * part // 11 for part in range(11)]
    after = given.index("BEGIN", last_commit) + 1
    at_the_end = [last_commit, (last_commit + after) // 2, after]  # FTS5 writes while SQLite commits
    ends, kept = [], []
    for number, moment in enumerate([*while_embedding, *inside, *at_the_end]):
        path = tmp_path / f"{number}.db"
        assert forked(partial(add_and_die, path, moment)) == -signal.SIGKILL
        vectors = Vectors()
        with opened(path, vectors) as store:
            items = count(store, "memory_items") if store.database.has_memory else 0
            made = count(store, "memory_vectors") if store.database.has_memory else 0
            assert items in (0, len(PASSAGES))
            assert index_problems(store.database) == []
            found = store.search(PLACE, query="P-404")
            assert [item.key for item in found][:1] == (["404"] if items else [])
            if number % 3 == 0:  # a next try
                vectors.asked.clear()
                add_all(store)
                assert len(vectors.asked) == len(PASSAGES) - made
                assert index_problems(store.database) == []
                assert [item.key for item in store.search(PLACE, query="P-404")][:1] == ["404"]
        ends.append(items > 0)
        kept.append(made)
    assert len(ends) == 20
    assert ends == [False] * 19 + [True]  # only the last moment is after the commit
    assert 0 < kept[2] < kept[5] <= len(PASSAGES) == kept[6]


# --- many at once ----------------------------------------------------------------------------------

EACH, BATCHES = 5, 4
SHARED = ("shared",)


def version_of(store: SwarmStore) -> int:
    with store.database.view() as cursor:
        return version_of_memory(cursor)


def add_and_search(place: str | Path, start: Any, me: int) -> None:
    """As a process that opens the database, or makes the file, at the same moment as seven others.

    It also puts what all of them put, in an order of its own, as two adding one document do.
    """
    start.wait()
    with opened(place) as store:
        for batch in range(BATCHES):
            shared = range(EACH) if me % 2 else reversed(range(EACH))
            store.batch(PutOp(SHARED, str(number), {"text": f"valve {me}x{batch}"}) for number in shared)
            names = [f"{me}x{batch}x{number}" for number in range(EACH)]
            store.batch(PutOp((*PLACE, str(me)), name, {"text": f"pump {name}"}) for name in names)
            (found,) = store.search(PLACE, query=names[-1], limit=1)
            assert found.key == names[-1]
            assert store.problem == ""


def test_eight_processes_add_and_search_at_once(memory_place: str | Path) -> None:
    context = get_context("fork")
    start = context.Barrier(8)
    processes = [context.Process(target=add_and_search, args=(memory_place, start, me)) for me in range(8)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 8
    with opened(memory_place) as store:
        (last,) = {item.value["text"] for item in store.search(SHARED)}  # one batch is the last one
        assert len(store.search(SHARED, query=last.partition(" ")[2])) == EACH
        assert len(store.search(PLACE, limit=1000)) == 8 * EACH * BATCHES
        for me in range(8):
            for batch in range(BATCHES):
                (found,) = store.search(PLACE, query=f"{me}x{batch}x0", limit=1)
                assert found.key == f"{me}x{batch}x0"
        assert index_problems(store.database) == []
        assert count(store, "memory_texts") == (8 * BATCHES + 1) * EACH
        assert version_of(store) >= 8 * BATCHES * 2


def test_threads_and_loops_share_a_store(memory_place: str | Path) -> None:
    with opened(memory_place) as store:

        def use(me: int) -> None:
            store.put(PLACE, f"{me}", {"text": f"pump of thread{me}"})
            assert [item.key for item in store.search(PLACE, query=f"thread{me}", limit=1)] == [f"{me}"]

        async def ause(me: int) -> None:
            await store.aput(PLACE, f"{me}", {"text": f"pump of task{me}"})
            found = await store.asearch(PLACE, query=f"task{me}", limit=1)
            assert [item.key for item in found] == [f"{me}"]

        async def all_tasks(first: int) -> None:
            await asyncio.gather(*(ause(first + number) for number in range(10)))

        with ThreadPoolExecutor(6) as pool:
            work = [pool.submit(use, number) for number in range(20)]
            work += [pool.submit(asyncio.run, all_tasks(100 * number)) for number in (1, 2)]
            for done in work:
                done.result()
        assert len(store.search(PLACE, limit=100)) == 40


def test_a_forked_child_uses_the_store_that_it_inherits(memory_place: str | Path) -> None:
    with opened(memory_place) as store:
        store.put(PLACE, "parent", {"text": "pump of the parent"})

        def work() -> None:
            assert [item.key for item in store.search(PLACE, query="parent", limit=1)] == ["parent"]
            store.put(PLACE, "child", {"text": "pump of the child"})
            asyncio.run(store.aput(PLACE, "async", {"text": "valve of the child"}))

        assert forked(work) == 0
        assert [item.key for item in store.search(PLACE, query="child", limit=2)] == ["child", "async"]


class State(TypedDict, total=False):
    found: list[str]


def test_nodes_search_the_store_of_their_graph(tmp_path: Path) -> None:
    """One file holds the checkpoints and the memory."""

    async def search(_: State) -> State:
        store = get_runtime().store
        assert store is not None
        await store.aput(PLACE, "new", {"text": "a new pump"})
        return {"found": [item.key for item in await store.asearch(PLACE, query="new pump")]}

    def search_again(state: State) -> State:
        store = get_runtime().store
        assert store is not None
        return {"found": state["found"] + [item.key for item in store.search(PLACE, query="valve")]}

    with open_checkpointer(tmp_path / "swarm.db") as saver:
        store = SwarmStore.on(saver.database)
        store.put(PLACE, "new", {"text": "a new pump"})
        store.put(PLACE, "valve", {"text": "the valve"})
        graph = StateGraph(State)
        graph.add_node("search", RunnableLambda(search))
        graph.add_node("again", search_again)
        graph.add_edge(START, "search")
        graph.add_edge("search", "again")
        graph.add_edge("again", END)
        app = graph.compile(checkpointer=saver, store=store)
        thread: Any = {"configurable": {"thread_id": "t"}}
        assert asyncio.run(app.ainvoke({}, thread)) == {"found": ["new", "valve"]}
        store.close()  # the file is the saver's
        assert app.get_state(thread).values == {"found": ["new", "valve"]}


# --- a file without memory, a full disk, damage ----------------------------------------------------


def tables(path: Path) -> set[str]:
    with sqlite3.connect(path) as connection:
        found = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
    connection.close()
    return found


def test_reading_a_file_without_memory_adds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "swarm.db"
    with open_checkpointer(path) as saver:
        before = tables(path)
        for store in (SwarmStore.on(saver.database), opened(path)):
            assert store.get(PLACE, "k") is None
            assert store.search((), query="pump") == store.search(()) == []
            assert asyncio.run(store.alist_namespaces()) == []
            assert store.batch([PutOp(PLACE, "k", None), GetOp(PLACE, "k"), SearchOp(PLACE)]) == [
                None,
                None,
                [],
            ]
            assert (store.sweep_ttl(), store.reindex(), store.problem) == (0, 0, "")
            assert (index_problems(store.database), rebuild_index(store.database)) == ([], 0)
            assert tables(path) == before
            store.close()


def test_a_full_disk_is_one_line_and_nothing_is_half_there(tmp_path: Path) -> None:
    with opened(tmp_path / "swarm.db") as store:
        store.put(PLACE, "first", {"text": "the first pump"})
        connection = connection_of(store)
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        for more in (0, 3, 20, 40):  # in the vectors, and in the items
            connection.execute(f"PRAGMA max_page_count = {pages + more}")
            with pytest.raises(StorageError, match="the disk is full; free some space and resume") as caught:
                add_all(store)
            assert "\n" not in str(caught.value)
            assert [item.key for item in store.search(PLACE, query="pump")] == ["first"]
        connection.execute("PRAGMA max_page_count = 100000")
        assert index_problems(store.database) == []
        add_all(store)
        assert count(store, "memory_items") == len(PASSAGES) + 1


EMPTY_INDEX = "INSERT INTO memory_index (memory_index) VALUES ('delete-all')"


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        ("DELETE FROM memory_index_data WHERE id > 10", "the index of memory is damaged"),
        ("UPDATE memory_index_data SET block = x'00' WHERE id = 10", "the index of memory is damaged"),
        ("DELETE FROM memory_index_docsize WHERE id = 4", "the index of memory is damaged"),
        ("DELETE FROM memory_index_idx", "the index of memory is damaged"),
        (EMPTY_INDEX, "the index of memory lacks 10 texts"),
        ("DELETE FROM memory_texts", "the index of memory holds 10 texts that memory does not have"),
        ("DELETE FROM memory_items WHERE key = '3'", "memory holds 1 text without an item"),
    ],
)  # fmt: skip
def test_a_damaged_index_is_found_and_rebuilt(tmp_path: Path, damage: str, problem: str) -> None:
    path = tmp_path / "swarm.db"
    with open_store(path) as store:
        texts = [f"安全 pump{number} {' '.join(PASSAGES[number:100])}" for number in range(10)]
        store.batch(PutOp(PLACE, str(number), {"text": text}, ["text"]) for number, text in enumerate(texts))
        store.put(PLACE, "hidden", {"text": "pump"}, index=False)
        assert index_problems(store.database) == []
    with sqlite3.connect(path) as connection:
        connection.execute(damage)
    connection.close()
    with open_store(path) as store:
        assert index_problems(store.database) == [problem]
        left = count(store, "memory_items") - 1
        assert rebuild_index(store.database) == left
        assert index_problems(store.database) == []
        for key in ("1", "5", "9"):
            assert [item.key for item in store.search(PLACE, query=f"pump{key}")] == [key]
        assert len(store.search(PLACE, query="安全", limit=20)) == left
        store.put(PLACE, "5", {"text": "valve"}, index=["text"])
        assert store.search(PLACE, query="pump5") == []


@pytest.mark.parametrize("damaged", ["id > 10", "id = 10"])
def test_a_damaged_index_names_the_cure(tmp_path: Path, damaged: str) -> None:
    """A lost list of blocks lets FTS5 find nothing, and write until two texts have one number."""
    path = tmp_path / "swarm.db"
    with open_store(path) as store:
        for number in range(30):
            store.put(PLACE, str(number), {"text": f"pump {number}"})
    with sqlite3.connect(path) as connection:
        connection.execute(f"UPDATE memory_index_data SET block = x'00' WHERE {damaged}")
    connection.close()
    with open_store(path) as store:
        with pytest.raises(StorageError, match="`swarm-graph doctor --database --repair`"):
            store.put(PLACE, "1", {"text": "valve"})
        if damaged == "id > 10":
            with pytest.raises(StorageError, match="`swarm-graph doctor --database --repair`"):
                store.search(PLACE, query="pump")
        item = store.get(PLACE, "1")
        assert item is not None
        assert item.value == {"text": "pump 1"}


def test_a_sqlite_without_fts5_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The module has another name here, so SQLite does not find it."""
    monkeypatch.setattr(schema, "MEMORY_INDEX", "CREATE VIRTUAL TABLE memory_index USING fts5_missing(text)")
    with open_store(tmp_path / "swarm.db") as store:
        for _ in range(2):
            with pytest.raises(
                StorageError, match="the SQLite of this Python has no FTS5, which memory needs"
            ):
                store.put(PLACE, "k", {"text": "pump"})
        assert store.search(PLACE, query="pump") == []
        assert not store.database.has_memory


def test_the_embedding_libraries_are_not_imported_for_words_alone(tmp_path: Path) -> None:
    program = (
        "import sys; from swarm_graph.memory.store import open_store; "
        f"store = open_store({str(tmp_path / 'swarm.db')!r}); store.put(('a',), 'k', {{'text': 'pump'}}); "
        "assert store.search((), query='pump'); "
        "assert not {'swarm_graph.models.embeddings', 'swarm_graph.memory.matrix', 'httpx'} & {*sys.modules}"
    )
    assert forked(partial(os.execv, sys.executable, [sys.executable, "-c", program])) == 0
