"""What a turn with tools keeps: a resume finds it, a new request does not, and it is forgotten at the end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from storages import ON_BOTH, opened, selected
from support import SIMULATED

from swarm_graph import open_checkpointer
from swarm_graph.checkpoints.database_transcript import DatabaseTranscript
from swarm_graph.checkpoints.journal import Journal
from swarm_graph.checkpoints.records import FORGOTTEN, Session
from swarm_graph.checkpoints.retention import forget_calls, remove
from swarm_graph.checkpoints.signatures import is_own
from swarm_graph.checkpoints.steps import NoSteps, Steps, ToolRecord
from swarm_graph.checkpoints.swarm_saver import SwarmSaver
from swarm_graph.checkpoints.thread_steps import ThreadSteps
from swarm_graph.checkpoints.tool_steps import JournalSteps
from swarm_graph.checkpoints.transcript import NO_TEXTS, Texts
from swarm_graph.checkpoints.value_threads import ValueThreads
from swarm_graph.config import load_config
from swarm_graph.errors import StorageError
from swarm_graph.events import Event
from swarm_graph.roles.emitter import Origin
from swarm_graph.roles.run import RunContext
from swarm_graph.roles.steps_of import steps_of
from swarm_graph.sessions.trust import trust
from swarm_graph.state import Reply, ToolCall, ToolResult

BEGUN = ToolRecord(
    session="s",
    node="coder",
    role="coder",
    task="T003_code",
    iteration=2,
    number=1,
    key="k1",
    tool="time.now",
    server="time",
    arguments={"zone": "Europe/Berlin", "deep": [{"ä": None}]},
    decision="edited",
    started_at=1000.5,
)
ENDED = replace(BEGUN, result=ToolResult("answered", "14:05\n", 6, 0.25))
REPLY = Reply("", False, 7, 3, tool_calls=(ToolCall("time__now", {"zone": "UTC"}, "call-1"),))
ROUND = ("T003_code", 2)


def begun(saver: SwarmSaver, kind: str = "begin", **changes: Any) -> int:
    """Begins a run of the session; returns its number."""
    now = time.time()
    session = Session("s", "standard", "Build it", SIMULATED, "running", now, now, **changes)
    return saver.catalogue.begin_run(session, kind, {"request": "Build it"} if kind != "resume" else None)


def journal(saver: SwarmSaver, *, resumed: bool = True, keeps_texts: bool = False) -> Journal:
    transcript = saver.catalogue.transcript if keeps_texts else None
    return Journal(saver.catalogue, "s", has_answers=resumed, transcript=transcript)


async def work(steps: Steps) -> None:
    """What a turn keeps whose second call is killed."""
    await steps.keep("mode:m", {"mode": "native"})
    await steps.keep_reply("q1", REPLY)
    await steps.keep_call(BEGUN)
    await steps.keep("decision:k1", {"edit": {"zone": "UTC"}})
    await steps.keep_call(ENDED)
    await steps.keep_call(replace(BEGUN, key="k2", number=2))
    await steps.approve_for_session("time.now")


# --- any saver -----------------------------------------------------------------------------------


@asynccontextmanager
async def any_saver(name: str, path: Path) -> AsyncIterator[BaseCheckpointSaver[Any]]:
    if name == "async sqlite":
        async with AsyncSqliteSaver.from_conn_string(str(path)) as saver:
            yield saver
    elif name == "sqlite":
        with SqliteSaver.from_conn_string(str(path)) as plain:
            yield plain
    elif name == "memory":
        yield InMemorySaver()
    else:
        with open_checkpointer(path) as ours:
            yield ours


def in_thread(saver: BaseCheckpointSaver[Any], scope: str, *, own: bool) -> Steps:
    """The steps that a node has whose graph is part of another one's thread, or has one of these savers."""
    run = RunContext(load_config(SIMULATED), saver=saver)
    where: Any = {"configurable": {"thread_id": "s", "checkpoint_ns": scope}}
    return steps_of(run, Origin("s", "coder", "coder", *ROUND), where, in_own_loop=own)


@pytest.mark.parametrize(
    ("name", "own_loop"),
    [("memory", False), ("sqlite", True), ("async sqlite", False), ("ours", False), ("ours", True)],
)
def test_a_node_that_runs_again_finds_its_steps_in_any_saver(
    name: str, own_loop: bool, tmp_path: Path
) -> None:
    async def check() -> None:
        async with any_saver(name, tmp_path / "x.db") as saver:
            session = ValueThreads(saver, "s", in_own_loop=own_loop)
            await session.keep(channel="request", value="x")  # an approval counts in the session of its time
            await work(in_thread(saver, "coder:1", own=own_loop))
            again = in_thread(saver, "coder:1", own=own_loop)
            assert isinstance(again, ThreadSteps)
            assert await again.find("mode:m") == {"mode": "native"}
            assert await again.find("decision:k1") == {"edit": {"zone": "UTC"}}
            assert await again.find_reply("q1") == REPLY
            assert await again.find_call("k1") == ENDED
            interrupted = await again.find_call("k2")
            assert interrupted
            assert interrupted.result is None
            assert await again.is_approved("time.now")
            assert not await again.is_approved("time.then")
            other = in_thread(saver, "coder:2", own=own_loop)  # another round, or another request
            assert [await other.find("mode:m"), await other.find_reply("q1")] == [None, None]
            assert [await other.find_call("k1"), await other.find("decision:k1")] == [None, None]
            assert await other.is_approved("time.now")

    asyncio.run(check())


@ON_BOTH
def test_steps_in_threads_of_our_saver_are_deleted_with_the_thread(tmp_path: Path) -> None:
    with opened(tmp_path) as saver:
        asyncio.run(work(in_thread(saver, "coder:1", own=False)))
        saver.delete_thread("s")
        assert not list(saver.list(None))


def test_the_steps_of_two_tasks_of_one_node_are_apart() -> None:
    async def check() -> None:
        saver = InMemorySaver()
        a, b = (ThreadSteps(saver, "s", "tasks:1", task) for task in ("a", "b"))
        await a.keep_call(ENDED)
        assert await b.find_call("k1") is None

    asyncio.run(check())


def test_a_graph_without_a_checkpointer_keeps_nothing_and_cannot_wait() -> None:
    where: Any = {"configurable": {"checkpoint_ns": "coder:1"}}
    steps = steps_of(RunContext(load_config(SIMULATED)), Origin("", "coder"), where, in_own_loop=False)
    assert isinstance(steps, NoSteps)
    assert not steps.can_wait


# --- our database --------------------------------------------------------------------------------


@ON_BOTH
def test_a_resume_finds_the_steps_and_a_new_request_does_not(tmp_path: Path) -> None:
    with opened(tmp_path) as saver:
        begun(saver)
        asyncio.run(work(JournalSteps(journal(saver, resumed=False), *ROUND)))
    with opened(tmp_path) as saver:
        begun(saver, "resume")

        async def resumed(steps: JournalSteps) -> list[Any]:
            calls = [await steps.find_call(key) for key in ("k1", "k2", "k3")]
            named = [await steps.find(name) for name in ("mode:m", "decision:k1")]
            return [*calls, *named, await steps.is_approved("time.now")]

        found = asyncio.run(resumed(JournalSteps(journal(saver), *ROUND)))
        killed = replace(BEGUN, key="k2", number=2)
        assert found == [ENDED, killed, None, {"mode": "native"}, {"edit": {"zone": "UTC"}}, True]
        nothing = [None] * 5
        assert asyncio.run(resumed(JournalSteps(journal(saver), "T003_code", 3))) == [*nothing, True]
        assert asyncio.run(resumed(JournalSteps(journal(saver), "T001", 2))) == [*nothing, True]
        begun(saver, "follow_up")
        # Even a journal that takes itself for one of a resume finds nothing: it is deleted.
        assert asyncio.run(resumed(JournalSteps(journal(saver), *ROUND))) == [*nothing, True]
        figures = [
            (call.number, call.tool, call.decision, call.result) for call in saver.catalogue.tool_calls("s")
        ]
        gone = ToolResult("answered", "", 6, 0.25)
        assert figures == [(1, "time.now", "edited", gone), (2, "time.now", "edited", None)]


@ON_BOTH
def test_a_call_that_was_killed_and_made_again_is_listed_twice(tmp_path: Path) -> None:
    with opened(tmp_path) as saver:
        begun(saver)
        steps = JournalSteps(journal(saver, keeps_texts=True), *ROUND)
        again = replace(ENDED, started_at=2000.5)
        for record in (BEGUN, replace(again, result=None), again):
            asyncio.run(steps.keep_call(record))
        killed, made = saver.catalogue.tool_calls("s")
        assert (killed.started_at, killed.result, made) == (1000.5, None, again)
        assert asyncio.run(steps.find_call("k1")) == again
        saver.catalogue.forget_answers("s")
        assert [call.arguments for call in saver.catalogue.tool_calls("s")] == [BEGUN.arguments] * 2


@ON_BOTH
def test_a_call_that_is_made_again_by_a_later_request_has_a_row_of_its_own(tmp_path: Path) -> None:
    with opened(tmp_path) as saver:
        for number, kind in enumerate(("begin", "follow_up", "follow_up")):
            begun(saver, kind)
            steps = JournalSteps(journal(saver, resumed=False), *ROUND)
            record = replace(ENDED, started_at=float(number), result=ToolResult("answered", str(number), 1))
            asyncio.run(steps.keep_call(replace(record, result=None)))
            asyncio.run(steps.keep_call(record))
        assert [call.started_at for call in saver.catalogue.tool_calls("s")] == [0.0, 1.0, 2.0]
        assert saver.catalogue.tool_calls("other") == []
        assert saver.catalogue.tool_calls() == saver.catalogue.tool_calls("s")


@ON_BOTH
@pytest.mark.parametrize("keeps_texts", [True, False])
def test_an_ended_session_keeps_figures_and_what_people_read(keeps_texts: bool, tmp_path: Path) -> None:
    with opened(tmp_path) as saver:
        run = begun(saver)
        asyncio.run(work(JournalSteps(journal(saver, resumed=False, keeps_texts=keeps_texts), *ROUND)))
        before = saver.catalogue.tool_calls("s")
        assert [call.result for call in before] == [ENDED.result, None]
        saver.catalogue.end_run("s", run, "complete")
        first, second = saver.catalogue.tool_calls("s")
        if keeps_texts:
            assert replace(first, key="k1") == ENDED
            assert replace(second, key="k2") == before[1]
        else:
            assert (first.arguments, first.missing) == ({}, FORGOTTEN)
            assert first.result == ToolResult("answered", "", 6, 0.25)
        names = {name for (name,) in selected(tmp_path, "SELECT name FROM steps")}
        signatures = {name for name in names if name.startswith("signed:")}  # only a server has them
        assert names - signatures == {"approved:time.now"}
        assert selected(
            tmp_path, "SELECT count(*) FROM tool_calls WHERE text IS NOT NULL OR arguments IS NOT NULL"
        ) == [(0,)]
        forget_calls(saver, "s")
        assert {call.missing for call in saver.catalogue.tool_calls("s")} == {FORGOTTEN}
        remove(saver, "s")
    for table in ("tool_calls", "steps", "events", "texts"):
        assert selected(tmp_path, f"SELECT count(*) FROM {table}") == [(0,)], table


# --- what somebody else's database says ----------------------------------------------------------


@ON_BOTH
def test_a_received_database_approves_nothing(tmp_path: Path) -> None:
    with opened(tmp_path) as saver:
        begun(saver)
        asyncio.run(work(JournalSteps(journal(saver, resumed=False), *ROUND)))
        session = saver.catalogue.get("s")
        assert session
        assert not is_own(saver.catalogue, session)  # nobody has signed it
        run = RunContext(load_config(SIMULATED), journal=journal(saver), is_own=False)
        where: Any = {"configurable": {}}

        async def foreign() -> None:
            steps = steps_of(run, Origin("s", "coder", "coder", *ROUND), where, in_own_loop=False)
            assert await steps.find_call("k1") == ENDED  # a result is data
            assert await steps.find("decision:k1") is None
            assert not await steps.is_approved("time.now")
            await steps.approve_for_session("time.now")
            again = steps_of(run, Origin("s", "coder", "coder", *ROUND), where, in_own_loop=False)
            assert await again.is_approved("time.now")  # the user's own word in this run

        asyncio.run(foreign())
        trust(tmp_path, session)
        assert is_own(saver.catalogue, session)
        trusted = JournalSteps(journal(saver), *ROUND)
        assert not asyncio.run(trusted.is_approved("time.now"))
        assert asyncio.run(trusted.find("decision:k1")) is None


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("arguments", "[1]"),
        ("arguments", "{"),
        ("outcome", "fine"),
        ("number", "one"),
        ("characters", b"\0"),
        ("tool", b"\xff"),
    ],
)
def test_a_row_that_we_do_not_write_is_refused_in_one_line(
    column: str, value: object, tmp_path: Path
) -> None:
    with opened(tmp_path) as saver:
        begun(saver)
        steps = JournalSteps(journal(saver), *ROUND)
        asyncio.run(work(steps))
        with saver.transaction() as cursor:
            cursor.execute(f"UPDATE tool_calls SET {column} = ?", (value,))
            cursor.execute("UPDATE steps SET value = '{'")
        reads: list[Callable[[], object]] = [
            lambda: saver.catalogue.tool_calls("s"),
            lambda: asyncio.run(steps.find_call("k1")),
        ]
        if column in ("number", "characters", "tool"):
            reads.append(lambda: saver.catalogue.tool_figures("s"))
        for read in reads:
            with pytest.raises(StorageError, match="swarm_graph does not write") as refused:
                read()
            assert "\n" not in str(refused.value)
        assert asyncio.run(steps.find("mode:m")) is None


@ON_BOTH
def test_texts_of_a_changed_transcript_are_left_out(tmp_path: Path) -> None:
    with opened(tmp_path) as saver:
        run = begun(saver)
        asyncio.run(work(JournalSteps(journal(saver, keeps_texts=True), *ROUND)))
        saver.catalogue.end_run("s", run, "complete")
        with saver.transaction() as cursor:
            cursor.execute("UPDATE events SET data = ?", (bytes(9),))
        assert {call.missing for call in saver.catalogue.tool_calls("s")} == {FORGOTTEN}


# --- secrets, and a full disk --------------------------------------------------------------------


def test_arguments_are_kept_without_secrets(tmp_path: Path) -> None:
    key = "sk-0123456789abcdef"
    path = tmp_path / "swarm.db"
    with open_checkpointer(path) as saver:
        begun(saver)
        steps = JournalSteps(
            journal(saver, keeps_texts=True), *ROUND, mask=lambda text: text.replace(key, "***")
        )
        said = {"url": f"http://x/?k={key}", "deep": [{key: key}], "n": 1}
        asyncio.run(steps.keep_call(replace(BEGUN, arguments=said)))
        (kept,) = saver.catalogue.tool_calls("s")
        assert kept.arguments == {"url": "http://x/?k=***", "deep": [{"***": "***"}], "n": 1}
    assert key.encode() not in path.read_bytes()


@ON_BOTH
@pytest.mark.parametrize("room", [0, 1])
def test_a_call_is_kept_when_there_is_no_room_for_what_people_read(room: int, tmp_path: Path) -> None:
    with opened(tmp_path) as saver:

        class Full(DatabaseTranscript):
            left = room

            def append(self, event: Event, call: int | None = None, texts: Texts = NO_TEXTS) -> int:
                if not self.left:
                    raise StorageError("the disk is full")
                self.left -= 1
                return super().append(event, call, texts)

        begun(saver)
        full = Journal(saver.catalogue, "s", has_answers=True, transcript=Full(saver.database))
        steps = JournalSteps(full, *ROUND)
        asyncio.run(work(steps))
        assert asyncio.run(steps.find_call("k1")) == ENDED


def test_a_result_that_cannot_be_kept_is_said_to_be_lost(tmp_path: Path) -> None:
    """SQLite itself reports the full disk: the file may have no more pages."""
    with open_checkpointer(tmp_path / "swarm.db") as saver:
        begun(saver)
        steps = JournalSteps(journal(saver, keeps_texts=True), *ROUND)
        asyncio.run(steps.keep_call(BEGUN))
        pages = saver.database.connection.execute("PRAGMA page_count").fetchone()[0]
        saver.database.connection.execute(f"PRAGMA max_page_count={pages}")
        long = replace(ENDED, result=ToolResult("answered", "x" * 100_000, 100_000))
        with pytest.raises(StorageError) as full:
            asyncio.run(steps.keep_call(long))
        assert str(full.value).endswith(
            "the disk is full; free some space and resume; the tool 'time.now' had ended its call and its "
            "result is lost, so a resume makes the call again"
        )
        assert asyncio.run(steps.find_call("k1")) == BEGUN
        saver.database.connection.execute("PRAGMA max_page_count=1000000")
        asyncio.run(steps.keep_call(long))
        assert asyncio.run(steps.find_call("k1")) == long
