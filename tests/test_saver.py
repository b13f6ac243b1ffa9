"""The checkpointer, from the outside: real databases of both kinds, real graphs, real processes."""

import asyncio
import gc
import operator
import os
import pickle
import random
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any, TypedDict, cast

import ormsgpack
import pytest
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langgraph.channels import DeltaChannel
from langgraph.checkpoint.base import BaseCheckpointSaver, Checkpoint, empty_checkpoint
from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.checkpoint.conformance.report import ProgressCallbacks
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command, Send, interrupt

from swarm_graph.checkpoints.saver import open_checkpointer
from swarm_graph.checkpoints.swarm_saver import SwarmSaver
from swarm_graph.errors import StorageError

TABLES = ("checkpoints", "writes", "channel_values")


class State(TypedDict, total=False):
    request: str
    big: str
    count: int
    log: Annotated[list[str], operator.add]


Graph = CompiledStateGraph[State, None, State, State]
Node = Callable[[State], State]


def thread(name: str) -> RunnableConfig:
    return {"configurable": {"thread_id": name}}


def both(call: Node) -> RunnableLambda[State, State]:
    async def acall(state: State) -> State:
        return call(state)

    return RunnableLambda(call, afunc=acall)


def append(name: str) -> RunnableLambda[State, State]:
    return both(lambda _: {"log": [name]})


def fan(saver: SwarmSaver, branch: Callable[[str], RunnableLambda[State, State]] = append) -> Graph:
    """Start, three parallel branches that append to one list, and their join."""
    graph = StateGraph(State)
    graph.add_node("join", both(lambda state: {"count": len(state["log"])}))
    for name in ("a", "b", "c"):
        graph.add_node(name, branch(name))
        graph.add_edge(START, name)
    graph.add_edge(["a", "b", "c"], "join")
    graph.add_edge("join", END)
    return graph.compile(checkpointer=saver)


def run(graph: Graph, state: State | None, use_async: bool) -> object:
    return asyncio.run(graph.ainvoke(state, thread("t"))) if use_async else graph.invoke(state, thread("t"))


def loop(saver: SwarmSaver, rounds: int) -> Graph:
    """One node that counts to `rounds` and never touches `big`."""
    graph = StateGraph(State)
    graph.add_node("step", both(lambda state: {"count": state["count"] + 1}))
    graph.add_edge(START, "step")
    graph.add_conditional_edges(
        "step", lambda state: "step" if state["count"] < rounds else END, ["step", END]
    )
    return graph.compile(checkpointer=saver)


def rows(saver: SwarmSaver, query: str, *parameters: object) -> list[Any]:
    with saver.transaction() as cursor:
        return cursor.execute(query, parameters).fetchall()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "swarm.db"


@pytest.fixture
def saver(place: str | Path, tmp_path: Path) -> Iterator[SwarmSaver]:
    with open_checkpointer(place, data_dir=tmp_path) as opened:
        yield opened


def test_langgraphs_conformance_suite(place: str | Path, tmp_path: Path) -> None:
    async def factory() -> AsyncGenerator[BaseCheckpointSaver[str], None]:
        async with open_checkpointer(place, data_dir=tmp_path) as opened:
            yield opened

    registered = checkpointer_test(name="SwarmSaver")(factory)
    report = asyncio.run(validate(registered, progress=ProgressCallbacks.quiet()))
    failures = {name: result.failures for name, result in report.results.items() if result.failures}
    assert not failures
    assert report.passed_all_base()


RESULT = {"request": "x", "log": ["a", "b", "c"], "count": 3}


def test_one_saver_serves_every_kind_of_caller(saver: SwarmSaver) -> None:
    graph = fan(saver)
    results = [graph.invoke({"request": "x"}, thread("sync"))]
    results += [asyncio.run(graph.ainvoke({"request": "x"}, thread(f"loop-{n}"))) for n in range(3)]
    with ThreadPoolExecutor(1) as pool:
        results.append(pool.submit(lambda: graph.invoke({"request": "x"}, thread("thread"))).result())

    async def inside() -> list[object]:
        here = graph.invoke({"request": "x"}, thread("sync-in-loop"))
        return [here, await graph.ainvoke({"request": "x"}, thread("async-in-loop"))]

    results.extend(asyncio.run(inside()))
    assert results == [RESULT] * 7
    assert graph.get_state(thread("loop-2")).values == RESULT


def test_many_async_sessions_at_once(saver: SwarmSaver) -> None:
    async def together() -> list[object]:
        graph = fan(saver)
        runs = (graph.ainvoke({"request": "x"}, thread(str(n))) for n in range(40))
        return [*await asyncio.gather(*runs)]

    assert asyncio.run(together()) == [RESULT] * 40


def test_async_writes_do_not_wait_for_asyncios_own_pool(saver: SwarmSaver) -> None:
    stop = threading.Event()

    async def run() -> Any:
        running = asyncio.get_running_loop()
        running.set_default_executor(ThreadPoolExecutor(1))
        blocked = running.run_in_executor(None, stop.wait)
        try:
            async with asyncio.timeout(60):  # so that a failure does not hang
                return await fan(saver).ainvoke({"request": "x"}, thread("t"))
        finally:
            stop.set()
            await blocked

    assert asyncio.run(run()) == RESULT


@pytest.mark.parametrize("use_async", [False, True])
def test_resume_asks_only_the_branch_that_failed(saver: SwarmSaver, use_async: bool) -> None:
    asked: list[str] = []

    def siblings_are_stored() -> bool:
        return rows(saver, "SELECT count(*) FROM writes WHERE channel = 'log'") == [(2,)]

    def call(name: str) -> State:
        asked.append(name)
        if name == "b" and asked.count("b") == 1:
            raise ValueError("b is broken")
        return {"log": [name]}

    def branch(name: str) -> RunnableLambda[State, State]:
        def plain(_: State) -> State:
            while name == "b" and not siblings_are_stored():
                pass
            return call(name)

        return RunnableLambda(plain)

    graph = fan(saver, branch)
    with pytest.raises(ValueError, match="b is broken"):
        run(graph, {"request": "x"}, use_async)
    assert sorted(asked) == ["a", "b", "c"]
    assert run(graph, None, use_async) == RESULT
    assert asked[3:] == ["b"]


def test_history_update_and_fork(saver: SwarmSaver) -> None:
    graph = loop(saver, 3)
    graph.invoke({"request": "x", "big": "B" * 1000, "count": 0}, thread("t"))
    history = list(graph.get_state_history(thread("t")))
    assert [item.values.get("count") for item in history] == [3, 2, 1, 0, None]
    assert all(item.values["big"] == "B" * 1000 for item in history[:-1])
    forked = graph.update_state(history[2].config, {"count": 2, "big": "C" * 1000})
    assert graph.invoke(None, forked) == {"request": "x", "big": "C" * 1000, "count": 3, "log": []}
    assert graph.get_state(history[0].config).values["big"] == "B" * 1000
    assert asyncio.run(graph.aget_state(thread("t"))).values["big"] == "C" * 1000


def test_a_replayed_node_that_seeds_random_gets_a_version_of_its_own(saver: SwarmSaver) -> None:
    answers = iter(["x" * 1000, "y" * 1000])

    def node(_: State) -> State:
        random.seed(1)
        return {"big": next(answers)}

    graph = StateGraph(State).add_node("node", both(node)).add_edge(START, "node").compile(checkpointer=saver)
    before = random.getstate()
    graph.invoke({"request": "r"}, thread("t"))
    first = graph.get_state(thread("t")).config
    start = next(item.config for item in graph.get_state_history(thread("t")) if item.next == ("node",))
    graph.invoke(None, start)
    random.setstate(before)
    assert graph.get_state(thread("t")).values["big"] == "y" * 1000
    assert graph.get_state(first).values["big"] == "x" * 1000


def test_interrupts_and_sends_are_kept(place: str | Path) -> None:
    def build(saver: SwarmSaver) -> Graph:
        graph = StateGraph(State)
        graph.add_node("ask", both(lambda _: {"log": [interrupt("go on?")]}))
        graph.add_node("part", both(lambda state: {"log": [state["request"]]}))
        graph.add_edge(START, "ask")
        graph.add_conditional_edges(
            "ask", lambda _: [Send("part", {"request": name}) for name in "xy"], ["part"]
        )
        return graph.compile(checkpointer=saver)

    with open_checkpointer(place) as saver:
        build(saver).invoke({"request": "r"}, thread("t"))
    with open_checkpointer(place) as saver:
        assert build(saver).get_state(thread("t")).interrupts[0].value == "go on?"
        assert build(saver).invoke(Command(resume="yes"), thread("t"))["log"] == ["yes", "x", "y"]


def test_an_untouched_channel_is_stored_once(saver: SwarmSaver) -> None:
    text = "x" * 1_000_000
    loop(saver, 20).invoke({"request": "r", "big": text, "count": 0}, thread("t"))
    stored = rows(saver, "SELECT version, length(value) FROM channel_values WHERE channel = 'big'")
    assert len(stored) == 1
    assert stored[0][1] >= len(text)
    sizes = rows(saver, "SELECT length(CAST(checkpoint AS TEXT)) FROM checkpoints")
    assert len(sizes) == 22
    assert sum(size for (size,) in sizes) < 100_000
    # LangGraph's own two copies of every input, and the channel: not one per step
    texts = [*rows(saver, "SELECT value FROM channel_values"), *rows(saver, "SELECT value FROM writes")]
    assert sum(len(value) for (value,) in texts) < 3.2 * len(text)


def test_every_version_is_one_row(saver: SwarmSaver) -> None:
    def grow(name: str) -> RunnableLambda[State, State]:
        return both(lambda state: {"big": state["big"] + name * 50, "log": [name]})

    names = ["n0", "n1", "n2", "n3"]
    graph = StateGraph(State)
    for previous, name in zip([START, *names], names, strict=False):
        graph.add_node(name, grow(name))
        graph.add_edge(previous, name)
    graph.compile(checkpointer=saver).invoke({"big": "start" * 50, "log": []}, thread("t"))
    counts = dict(rows(saver, "SELECT channel, count(DISTINCT version) FROM channel_values GROUP BY channel"))
    assert counts == {"__start__": 1, "big": 5, "log": 5}
    assert rows(saver, "SELECT count(*) FROM channel_values") == [(11,)]


CHANNELS = ['with "quotes"', "back\\slash", "übung\n", "'; DROP TABLE checkpoints; --", "branch:to:x"]


def checkpoint(number: int, values: dict[str, Any], versions: dict[str, str | int | float]) -> Checkpoint:
    return {
        **empty_checkpoint(),
        "id": f"{number:08}",
        "channel_values": values,
        "channel_versions": versions,
    }


VALUES = [
    None, True, 3, 10**15, 2.5, 1e22, -0.0, float("inf"), "short", "long" * 100, "a \0 b", "\x10", "\x100",
    [1], {"k": [None]}, b"raw", "",
]  # fmt: skip


@pytest.mark.parametrize("version", ["00001.abc", 7, 1.5])
def test_values_come_back_as_they_were(saver: SwarmSaver, version: str | int | float) -> None:
    for number, value in enumerate(VALUES):
        values = dict.fromkeys(CHANNELS, value)
        config: RunnableConfig = {"configurable": {"thread_id": number, "checkpoint_ns": "child:1"}}
        stored = saver.put(config, checkpoint(1, values, dict.fromkeys(CHANNELS, version)), {"step": 1}, {})
        for found in (saver.get_tuple(stored), next(saver.list(config))):
            assert found is not None
            kept = found.checkpoint["channel_values"]
            assert {name: repr(kept[name]) for name in kept} == dict.fromkeys(CHANNELS, repr(value))


def test_values_without_a_version_are_kept(saver: SwarmSaver) -> None:
    config: RunnableConfig = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
    stored = saver.put(config, checkpoint(1, {"lone": ["x"] * 99}, {}), {}, {})
    found = saver.get_tuple(stored)
    assert found is not None
    assert found.checkpoint["channel_values"] == {"lone": ["x"] * 99}


def test_a_file_of_langgraphs_sqlite_saver_can_be_continued(path: Path) -> None:
    with SqliteSaver.from_conn_string(str(path)) as stock:
        loop(cast("Any", stock), 2).invoke({"request": "x", "big": "B" * 1000, "count": 0}, thread("t"))
    with open_checkpointer(path) as saver:
        graph = loop(saver, 2)
        assert graph.get_state(thread("t")).values["big"] == "B" * 1000
        result = graph.invoke({"count": 0}, thread("t"))
        assert result == {"request": "x", "big": "B" * 1000, "count": 2, "log": []}


def concatenate(old: list[str], new: list[list[str]]) -> list[str]:
    return sum(new, old)


class Delta(TypedDict):
    log: Annotated[list[str], DeltaChannel(concatenate, list[str], snapshot_frequency=4)]


def test_delta_channels_are_rebuilt(saver: SwarmSaver) -> None:
    def node(name: str) -> RunnableLambda[Delta, Delta]:
        return RunnableLambda(lambda _: {"log": [name]})

    names = [f"n{number}" for number in range(10)]
    graph = StateGraph(Delta)
    for previous, name in zip([START, *names], names, strict=False):
        graph.add_node(name, node(name))
        graph.add_edge(previous, name)
    app = graph.compile(checkpointer=saver)
    assert app.invoke({"log": ["in"]}, thread("t"))["log"] == ["in", *names]
    assert app.get_state(thread("t")).values["log"] == ["in", *names]
    assert asyncio.run(app.aget_state(thread("t"))).values["log"] == ["in", *names]
    lengths = [len(item.values["log"]) for item in app.get_state_history(thread("t"))]
    assert lengths == list(range(11, -1, -1))


def test_threads_share_one_saver(saver: SwarmSaver) -> None:
    start = threading.Barrier(8)

    def run(number: int) -> list[Any]:
        start.wait()
        return [fan(saver).invoke({"request": "x"}, thread(f"{number}-{turn}")) for turn in range(5)]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(run, range(8))) == [[RESULT] * 5] * 8


PROCESS = """
import sys
from swarm_graph.checkpoints.saver import open_checkpointer
from langgraph.checkpoint.base import empty_checkpoint
print("ready", flush=True)
sys.stdin.readline()
with open_checkpointer(sys.argv[1]) as saver:
    config = {"configurable": {"thread_id": sys.argv[2], "checkpoint_ns": ""}}
    for number in range(50):
        new = {"channel_values": {"big": [number] * 2000}, "channel_versions": {"big": number}}
        config = saver.put(config, {**empty_checkpoint(), **new, "id": f"{number:08}"}, {"step": number}, {})
        saver.put_writes(config, [("big", number)], "task")
"""


def test_processes_share_one_database(place: str | Path) -> None:
    command = [sys.executable, "-W", "error", "-c", PROCESS, str(place)]
    workers = [
        subprocess.Popen(
            [*command, str(n)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for n in range(4)
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"ready\n"
    for worker in workers:  # all make the file, and write to it, at the same time
        assert worker.stdin is not None
        worker.stdin.write(b"go\n")
        worker.stdin.flush()
    for worker in workers:
        _, errors = worker.communicate()
        assert (worker.returncode, errors) == (0, b"")
    with open_checkpointer(place) as saver:
        for number in range(4):
            found = list(saver.list(thread(str(number))))
            assert [item.checkpoint["channel_values"]["big"][0] for item in found] == list(range(49, -1, -1))
            assert all(item.pending_writes for item in found)


def test_delete_thread_leaves_no_rows(saver: SwarmSaver) -> None:
    graph = loop(saver, 2)
    for name in ("gone", "gone too", "stays"):
        graph.invoke({"request": "x", "big": "B" * 1000, "count": 0}, thread(name))
    saver.delete_thread("gone")
    asyncio.run(saver.adelete_thread("gone too"))
    for table in TABLES:
        assert rows(saver, f"SELECT DISTINCT thread_id FROM {table}") == [("stays",)]
    assert graph.get_state(thread("stays")).values["big"] == "B" * 1000


def test_list_holds_no_lock_while_the_caller_works(saver: SwarmSaver) -> None:
    graph = loop(saver, 5)
    graph.invoke({"request": "x", "big": "B" * 1000, "count": 0}, thread("t"))
    found = saver.list(thread("t"))
    next(found)
    with ThreadPoolExecutor(1) as pool:  # another thread writes in the middle
        pool.submit(lambda: graph.invoke({"count": 0}, thread("other"))).result()
    next(found)
    saver.delete_thread("t")
    assert list(found) == []


def test_a_failed_transaction_leaves_nothing(saver: SwarmSaver) -> None:
    config: RunnableConfig = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
    with pytest.raises(TypeError, match="not msgpack serializable"):
        saver.put(config, checkpoint(1, {"a": ["x"] * 99, "b": object()}, {"a": 1, "b": 1}), {}, {})

    def put_and_fail() -> None:
        with saver.transaction():
            saver.put(config, checkpoint(1, {"a": ["x"]}, {"a": 1}), {}, {})
            saver.put_writes(
                {"configurable": {**config["configurable"], "checkpoint_id": "1"}}, [("a", 1)], "task"
            )
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        put_and_fail()
    for table in TABLES:
        assert rows(saver, f"SELECT * FROM {table}") == []


def test_a_transaction_takes_more_tables(saver: SwarmSaver) -> None:
    with saver.transaction() as cursor:
        cursor.execute("CREATE TABLE extras (id TEXT PRIMARY KEY)")
        cursor.execute("INSERT INTO extras VALUES ('one')")
    with pytest.raises((sqlite3.IntegrityError, StorageError)), saver.transaction() as cursor:
        cursor.execute("INSERT INTO extras VALUES ('two'), ('one')")
    with pytest.raises(StorageError, match=r"no such table: nowhere|\"nowhere\" does not exist"):
        rows(saver, "SELECT * FROM nowhere")
    assert rows(saver, "SELECT * FROM extras") == [("one",)]


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (os.environ["BOMB"],)


def ext(code: int, *content: object) -> bytes:
    return ormsgpack.packb([ormsgpack.Ext(code, ormsgpack.packb(content))])


HOSTILE = {
    "constructor": ext(0, "os", "mkdir", "{bomb}"),
    "constructor with arguments": ext(1, "os", "mkdir", ["{bomb}"]),
    "constructor with names": ext(2, "os", "mkdir", {"path": "{bomb}"}),
    "method": ext(3, "pathlib", "os", "{bomb}", "mkdir"),
    "old pydantic": ext(4, "os", "mkdir", {"path": "{bomb}"}),
    "pydantic": ext(5, "os", "mkdir", {"path": "{bomb}"}, "model_validate_json"),
}
CONSTRUCTOR = b'{"lc": 2, "type": "constructor", "id": ["os", "mkdir"], "args": ["{bomb}"]}'


@pytest.mark.parametrize("column", ["checkpoint", "value", "write"])
@pytest.mark.parametrize("attack", [*HOSTILE, "pickle", "json"])
def test_a_received_file_runs_no_code(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, column: str, attack: str
) -> None:
    bomb = tmp_path / "bomb"
    monkeypatch.setenv("BOMB", str(bomb))
    # the same length as the hole, so that msgpack's length marks stay true
    monkeypatch.chdir(tmp_path)
    blob = {"pickle": pickle.dumps(Bomb()), "json": CONSTRUCTOR, **HOSTILE}[attack].replace(
        b"{bomb}", b"./bomb"
    )
    kind = attack if attack in ("pickle", "json") else "msgpack"
    with open_checkpointer(path) as saver:
        config: RunnableConfig = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
        stored = saver.put(config, checkpoint(1, {"big": ["x"]}, {"big": 1}), {}, {})
        saver.put_writes(stored, [("big", ["y"])], "task")
    table, content = {
        "checkpoint": ("checkpoints", "checkpoint"),
        "value": ("channel_values", "value"),
        "write": ("writes", "value"),
    }[column]
    hostile = sqlite3.connect(path)
    hostile.execute(f"UPDATE {table} SET type = ?, {content} = ?", (kind, blob))
    hostile.commit()
    hostile.close()
    with open_checkpointer(path) as saver:
        if kind == "msgpack" and column != "checkpoint":
            assert saver.get_tuple(stored) is not None  # plain data in place of the object
        else:
            with pytest.raises((StorageError, TypeError)):  # a checkpoint that is no dict
                saver.get_tuple(stored)
    assert not bomb.exists()


STRICT = """
import operator
from dataclasses import dataclass
from typing import Annotated, TypedDict
from langgraph.graph import START, StateGraph
from swarm_graph.checkpoints.saver import open_checkpointer

@dataclass
class Own:
    text: str

class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    own: Own

def build():
    graph = StateGraph(State).add_node("n", lambda s: {"log": ["n"]}).add_edge(START, "n")
    return graph.compile(checkpointer=open_checkpointer(":memory:"))

graph = build()
config = {"configurable": {"thread_id": "t"}}
for _ in range(2):
    graph.invoke({"log": ["in"]}, config)
print(graph.get_state(config).values)
"""


@pytest.mark.parametrize("strict", ["true", "false"])
def test_langgraphs_own_allow_list_changes_nothing(strict: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", STRICT],
        env={**os.environ, "LANGGRAPH_STRICT_MSGPACK": strict},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("{'log': ['in', 'n', 'in', 'n']}\n", "")


def test_files_are_private_and_in_wal_mode(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with open_checkpointer(tmp_path / "new" / "deep" / "swarm.db") as saver:
            rows(saver, "SELECT 1")
            saver.delete_thread("makes the WAL file")
            made = [tmp_path / "new", *(tmp_path / "new").rglob("*")]
            connection = saver.conn
            modes = {item.name: stat.S_IMODE(item.stat().st_mode) for item in made}
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
            assert connection.execute("PRAGMA synchronous").fetchone() == (1,)
            assert connection.execute("PRAGMA busy_timeout").fetchone() == (30_000,)
    finally:
        os.umask(before)
    assert modes == {
        "new": 0o700,
        "deep": 0o700,
        "swarm.db": 0o600,
        "swarm.db-wal": 0o600,
        "swarm.db-shm": 0o600,
    }


def test_memory_keeps_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with open_checkpointer(":memory:") as saver:
        assert fan(saver).invoke({"request": "x"}, thread("t")) == RESULT
    assert list(tmp_path.iterdir()) == []


def test_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    open_checkpointer("swarm.db").close()
    open_checkpointer("a/swarm.db").close()
    assert sorted(item.name for item in tmp_path.rglob("*")) == ["a", "swarm.db", "swarm.db"]


def test_a_closed_saver_says_so(place: str | Path) -> None:
    saver = open_checkpointer(place)
    with saver:
        pass
    saver.close()
    with pytest.raises(StorageError, match="it is closed; open it again"):
        saver.get_tuple(thread("t"))
    with pytest.raises(StorageError, match="it is closed; open it again"):
        asyncio.run(saver.aget_tuple(thread("t")))


def test_a_dropped_saver_closes_its_file(path: Path) -> None:
    saver = open_checkpointer(path)
    saver.delete_thread("makes the WAL file")
    assert path.with_name("swarm.db-wal").exists()
    del saver
    gc.collect()
    assert not path.with_name("swarm.db-wal").exists()


def test_it_closes_at_exit_without_a_warning(place: str | Path) -> None:
    code = (
        "import asyncio, sys; from swarm_graph.checkpoints.saver import open_checkpointer\n"
        "saver = open_checkpointer(sys.argv[1]); asyncio.run(saver.adelete_thread('t'))"
    )
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", code, str(place)], capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert not Path(f"{place}-wal").exists()


def refusal(path: Path) -> str:
    with pytest.raises(StorageError) as caught:
        open_checkpointer(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def test_a_folder_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path).endswith("it is a folder; name a file in it")


def test_another_kind_of_file_is_refused_and_left_alone(path: Path) -> None:
    path.write_text("my notes\n" * 200)
    assert "it is not a SQLite database; name another file" in refusal(path)
    assert path.read_text() == "my notes\n" * 200
    assert [item.name for item in path.parent.iterdir()] == ["swarm.db"]


def test_a_path_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("x")
    assert "name another place" in refusal(tmp_path / "notes" / "swarm.db")


UNPRIVILEGED = """
import os, sys
from swarm_graph.checkpoints.saver import open_checkpointer
open_checkpointer(":memory:").close()
if os.geteuid() == 0:
    os.setuid(65534)
try:
    open_checkpointer(sys.argv[1])
except Exception as error:
    print(f"{type(error).__name__}: {error}")
"""


@pytest.mark.parametrize("target", ["locked/swarm.db", "locked/new/swarm.db", "read-only.db"])
def test_what_cannot_be_written_is_refused(tmp_path: Path, target: str) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "locked").mkdir(mode=0o555)
    (tmp_path / "read-only.db").touch(mode=0o444)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", UNPRIVILEGED, target],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.startswith(f"StorageError: cannot use the database '{target}': ")
    assert "Permission denied; make the file and its folder writable or name another place" in done.stdout
