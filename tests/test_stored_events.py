"""The events of every run are in the database, for whoever follows a session: see docs/events.md."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import sys
import time
import zlib
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
import warm
from chaos.model_server import ModelServer
from langchain_core.messages import AIMessage
from storages import ON_BOTH, environment, opened, selected
from support import SIMULATED, Crew, config, thread
from test_tool_loop import Caller, call, weather

from swarm_graph import SwarmCoordinator, SwarmManager, build_graph
from swarm_graph.checkpoints import database_transcript
from swarm_graph.checkpoints.database_transcript import PARTIAL, DatabaseTranscript
from swarm_graph.checkpoints.open_database import open_database
from swarm_graph.checkpoints.postgres_events import MAX_WAIT_S
from swarm_graph.checkpoints.transcript import StoredEvent, Transcript
from swarm_graph.events import Event
from swarm_graph.roles import call as calls
from swarm_graph.roles.run import RunOptions
from swarm_graph.state import SwarmContext

OF_CALLS = {"call_started", "call_ended"}
TASKS: list[dict[str, Any]] = [
    {"task_id": "draft", "description": "Write it.", "assigned_role": "documenter"},
    {"task_id": "check", "description": "Read it.", "assigned_role": "documenter", "dependencies": ["draft"]},
]


def coordinator(folder: Path, crew: Crew | None = None, **sections: Any) -> SwarmCoordinator:
    context = crew.context if crew else None
    return SwarmCoordinator(config(**sections), data_dir=folder, output_dir=folder / "out", context=context)


def stored(folder: Path, session: str | None = "s", **options: Any) -> list[StoredEvent]:
    with opened(folder) as saver:
        return saver.catalogue.transcript.events(session_id=session, **options)


def kinds(events: Iterable[StoredEvent]) -> list[str]:
    return [one.event.kind for one in events]


def by_node(events: Iterable[Event]) -> dict[str, list[str]]:
    """The kinds of events of each node in order: nodes that work at once take turns as they like."""
    found: dict[str, list[str]] = {}
    for event in events:
        found.setdefault(event.node, []).append(event.kind)
    return found


def request_stop(folder: Path, session: str = "s") -> bool:
    with opened(folder) as saver:
        return saver.catalogue.request_stop(session)


# --- what is kept --------------------------------------------------------------------------------


@ON_BOTH
@pytest.mark.parametrize("workflow", ["full", "review_only", "custom"])
def test_the_database_has_the_events_that_observers_get(
    workflow: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "TOKEN_EVENT_S", 0.0)
    live: list[Event] = []
    written: dict[int, str] = {}

    def observe(event: Event) -> None:
        live.append(event)
        if event.kind == "call_ended":  # the pieces go when the session ends
            for one in stored(tmp_path, kinds=["tokens"], limit=10_000):
                assert one.call
                written.setdefault(one.call, "")
                written[one.call] += one.event.data["text"]
            found.append({**written})
            written.clear()

    found: list[dict[int, str]] = []
    pace = {"tokens_per_s": 1e7}
    models = {"single_model": {**SIMULATED["model_config"]["single_model"], "simulation": pace}}
    swarm = coordinator(tmp_path, model_config=models)
    swarm.on_event = observe
    for task in TASKS if workflow == "custom" else ():
        swarm.add_task(task)
    swarm.run_workflow("Build it", workflow, session_id="s")
    kept = stored(tmp_path, limit=10_000)
    assert (kinds(kept)[0], kinds(kept)[-1]) == ("session_started", "session_ended")
    without_pieces = [event for event in live if event.kind != "tokens"]
    assert by_node(one.event for one in kept) == by_node(without_pieces)
    assert sorted({one.id for one in kept}) == [one.id for one in kept]
    begun = {one.id: one for one in kept if one.event.kind == "call_started"}
    assert all((one.call in begun) == (one.event.kind == "call_ended") for one in kept)
    answers = {number: text for call in found for number, text in call.items() if text}
    assert {*answers} == {*begun}
    said = sorted(call.answer for call in swarm.calls())
    assert sorted(text for text in found[-1].values()) == said
    manager = SwarmManager(data_dir=tmp_path)
    assert manager.events("s", limit=5) + manager.events("s", after=kept[4].id) == kept
    assert {event.session for event in live} == {one.event.session for one in kept} == {"s"}


@ON_BOTH
@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
def test_a_graph_that_is_called_directly_keeps_its_events(way: str, tmp_path: Path) -> None:
    with opened(tmp_path) as saver:
        graph = build_graph("standard", config=config(), checkpointer=saver)
        given: Any = ({"request": "Build it"}, thread("s"))
        if way == "invoke":
            graph.invoke(*given, context=Crew().context)
        else:
            asyncio.run(graph.ainvoke(*given, context=Crew().context))
        live = [
            part["swarm_event"]
            for part in build_graph("standard", config=config()).stream(
                given[0], context=Crew().context, stream_mode="custom"
            )
            if part["swarm_event"] != "tokens"
        ]
    kept = stored(tmp_path)
    assert Counter(kinds(kept)) == Counter(["session_started", *live, "session_ended"])
    assert kinds(kept)[-2] == "verdict", "a node that LangGraph runs in a thread is in order, too"
    first, last = kept[0].event.data, kept[-1].event.data
    assert (first["workflow"], first["run"], first["resumed"]) == ("standard", "begin", False)
    assert first["nodes"][:2] == ["clarifier", "architect"]
    assert (last["phase"], last["approved"], last["findings"], last["error"]) == ("complete", True, 0, "")


@ON_BOTH
def test_without_events_only_those_of_calls_are_kept_as_ever(tmp_path: Path) -> None:
    swarm = coordinator(tmp_path, Crew(), ui={"events": False})
    swarm.run_workflow("Build it", "full", session_id="s")
    assert {*kinds(stored(tmp_path))} == OF_CALLS
    assert len(stored(tmp_path)) == 2 * len(swarm.calls())
    assert all(call.answer for call in swarm.calls())


@ON_BOTH
def test_without_keep_prompts_events_have_no_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "TOKEN_EVENT_S", 0.0)
    secret = "```python path=src/a.py\nSECRET = 1\n```"
    swarm = coordinator(tmp_path, Crew({"coder": secret}), features={"keep_prompts": False})
    pieces: list[StoredEvent] = []

    def observe(event: Event) -> None:
        if event.kind == "call_ended":
            pieces.extend(stored(tmp_path, kinds=["tokens"]))

    swarm.on_event = observe
    swarm.run_workflow("Build SOMETHING", session_id="s")
    assert pieces
    assert {*pieces[0].event.data} == {"output_tokens"}
    assert selected(tmp_path, "SELECT count(*) FROM texts") == [(0,)]
    texts = [_text(data) for (data,) in selected(tmp_path, "SELECT data FROM events")]
    assert "SECRET" not in "".join(texts)
    assert "SOMETHING" not in "".join(texts)
    assert all("features.keep_prompts was false" in call.missing for call in swarm.calls())
    assert {"task_started", "verdict", "session_ended"} <= {*kinds(stored(tmp_path))}


def _text(data: bytes) -> str:
    return (data if data[:1] == b"{" else zlib.decompress(data)).decode()


@ON_BOTH
def test_calls_of_tools_say_what_their_live_events_say(tmp_path: Path) -> None:
    def play(messages: list[Any]) -> AIMessage:
        return call("weather", city="Bern") if len(messages) < 4 else AIMessage("Sunny.")

    live: list[Event] = []
    swarm = SwarmCoordinator(
        config(),
        data_dir=tmp_path,
        output_dir=tmp_path / "out",
        context=SwarmContext(model={"*": Crew().context.model, "architect": Caller(play=play)}),
        tools={"architect": [weather]},
        on_event=live.append,
    )
    swarm.run_workflow("Build it", session_id="s")
    events = stored(tmp_path, kinds=["tool_started", "tool_ended"])
    of_tools = [event for event in live if event.kind.startswith("tool_")]
    assert [one.event.kind for one in events] == [event.kind for event in of_tools] != []
    for one, event in zip(events, of_tools, strict=True):
        told = {name: value for name, value in event.data.items() if name != "cut"}
        assert told.items() <= one.event.data.items()


# --- how much ------------------------------------------------------------------------------------


def test_a_full_session_keeps_events_without_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "TOKEN_EVENT_S", 0.0)
    monkeypatch.setattr(database_transcript, "MAX_SESSION_BYTES", 0)
    pieces: list[StoredEvent] = []
    swarm = coordinator(tmp_path, Crew())
    swarm.on_event = lambda _: pieces.extend(stored(tmp_path, kinds=["tokens"]))
    swarm.run_workflow("Build it", session_id="s")
    assert pieces == []
    assert kinds(stored(tmp_path))[-1] == "session_ended"
    assert all("not kept: the transcript of the session" in call.missing for call in swarm.calls())


@ON_BOTH
def test_the_end_of_a_session_drops_the_pieces_of_its_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "TOKEN_EVENT_S", 0.0)
    seen: list[StoredEvent] = []
    swarm = coordinator(tmp_path, Crew({"coder": "I would rather not."}))
    swarm.on_event = lambda _: seen.extend(stored(tmp_path, kinds=["tokens"]))
    assert swarm.run_workflow("Build it", session_id="s")["phase"] == "failed"
    assert seen
    assert "tokens" not in kinds(stored(tmp_path))
    assert all(call.answer for call in swarm.calls()), "its last event has them"


# --- reading -------------------------------------------------------------------------------------


WRITER = """
from swarm_graph import SwarmCoordinator
from swarm_graph.roles import call
from swarm_graph.testing import simulated_config

call.TOKEN_EVENT_S = 0.0
model = {"model": "simulated", "api_type": "simulated", "simulation": {"tokens_per_s": 2000}}
swarm = SwarmCoordinator(simulated_config(model_config={"single_model": model}), data_dir=".")
swarm.run_workflow("Build it", "full", session_id="s")
"""
"""Streams each piece of an answer as an event."""


@ON_BOTH
def test_a_reader_misses_nothing_while_another_process_writes(tmp_path: Path) -> None:
    """It asks for what comes after the last id that it has seen, as a page does that reconnects.

    The end of the session deletes the pieces of answers: a slow reader has seen only the beginning of some.
    """
    seen: list[StoredEvent] = []
    with (
        opened(tmp_path) as saver,
        subprocess.Popen([sys.executable, "-c", WRITER], cwd=tmp_path) as process,
    ):
        transcript = saver.catalogue.transcript
        while True:
            had_ended = process.poll() is not None
            seen += transcript.events(seen[-1].id if seen else 0, limit=3)
            if had_ended and seen and transcript.latest() == seen[-1].id:
                break
        kept = transcript.events()
        pieces = [one for one in seen if one.event.kind == "tokens"]
        assert [one.id for one in seen] == sorted({one.id for one in seen})
        assert [one for one in seen if one.event.kind != "tokens"] == kept
        answers = sorted(call.answer for call in transcript.calls("s"))
    assert process.returncode == 0
    texts = {one.call: "" for one in pieces}
    for one in pieces:
        texts[one.call] += one.event.data["text"]
    assert set(texts.values()) & set(answers)
    assert all(any(answer.startswith(text) for answer in answers) for text in texts.values())
    assert kinds(kept)[-1] == "session_ended"


def said(transcript: Transcript, after: int = 0) -> list[str]:
    return [one.event.node for one in transcript.events(after)]


def event(word: str) -> Event:
    return Event("task_started", 1.0, "s", word)


def test_followers_wait_for_events_that_another_transaction_may_still_commit(postgres_url: str) -> None:
    with open_database(postgres_url) as one, open_database(postgres_url) as other:
        held, free = DatabaseTranscript(one), DatabaseTranscript(other)
        first = held.append(event("first"))
        with one.transaction():
            held.append(event("held back"))
            later = free.append(event("later"))
            assert (said(free), free.latest(), free.latest("s")) == (["first"], first, first)
            assert free.events(first, session_id="s", kinds=["task_started"]) == []
            query = "UPDATE events SET written_at = clock_timestamp() - interval '1 second' * ? WHERE id = ?"
            with other.transaction() as cursor:
                cursor.execute(query, (MAX_WAIT_S, later))
            assert said(free) == ["first", "later"], "nobody waits for longer"
        assert said(free, first) == ["held back", "later"]
        with suppress(RuntimeError), one.transaction():
            held.append(event("undone"))
            free.append(event("last"))
            raise RuntimeError
        assert said(free, later) == ["last"], "nobody can fill this gap"
        assert held.latest() == free.latest("s") == free.events()[-1].id


WRITERS, TRANSACTIONS = 3, 40


def test_a_follower_of_several_writers_gets_each_event_once_in_order(postgres_url: str) -> None:
    def write(name: str) -> None:
        with open_database(postgres_url) as database:
            transcript = DatabaseTranscript(database)
            start.wait()
            for number in range(TRANSACTIONS):
                with suppress(RuntimeError), database.transaction():
                    for _ in range(1 + number % 3):
                        transcript.append(event(f"{name}{number}"))
                    if number % 5 == 4:
                        raise RuntimeError

    start = Barrier(WRITERS)
    seen: list[StoredEvent] = []
    with ThreadPoolExecutor(WRITERS) as pool, open_database(postgres_url) as database:
        transcript = DatabaseTranscript(database)
        writers = [pool.submit(write, name) for name in "abcdef"[:WRITERS]]
        have_ended = False
        while not have_ended:
            have_ended = all(writer.done() for writer in writers)
            seen += transcript.events(seen[-1].id if seen else 0)
        for writer in writers:
            writer.result()
        assert seen == transcript.events()
        assert len({one.event.node for one in seen}) == WRITERS * TRANSACTIONS * 4 // 5


@ON_BOTH
def test_a_killed_process_leaves_what_had_arrived_of_its_answer(tmp_path: Path) -> None:
    models = {
        "single_model": {**SIMULATED["model_config"]["single_model"], "simulation": {"tokens_per_s": 12}}
    }
    (tmp_path / "config.json").write_text(json.dumps({**SIMULATED, "model_config": models}))
    place = ("--data-dir", str(tmp_path))
    run = ("run", "Build it", "--session", "s", *place)
    process = warm.Process(
        *run, cwd=tmp_path, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    with opened(tmp_path) as saver:
        transcript = saver.catalogue.transcript
        while len(pieces := transcript.events(kinds=["tokens"])) < 3:
            assert process.poll() is None
            time.sleep(0.02)
        process.kill()
        process.wait()
        pieces = transcript.events(kinds=["tokens"])
        (call,) = transcript.calls("s")
    assert call.outcome == "open"
    assert call.answer == "".join(one.event.data["text"] for one in pieces) != ""
    assert call.note == PARTIAL
    assert "session_ended" not in kinds(stored(tmp_path))
    log = warm.run("log", "s", *place, cwd=tmp_path, env=environment(), text=True).stdout
    assert "no end: its process was killed" in log
    assert f"note: {PARTIAL}" in log
    (tmp_path / "config.json").write_text(json.dumps(SIMULATED))
    assert warm.run("resume", "s", *place, cwd=tmp_path, env=environment()).returncode == 0
    with opened(tmp_path) as saver:
        killed, *others = saver.catalogue.transcript.calls("s")
    assert killed == call, "a part of an answer that was paid for stays"
    assert all(other.outcome == "answered" and not other.note for other in others)
    began = [one.event.data["run"] for one in stored(tmp_path, kinds=["session_started"])]
    assert began == ["begin", "resume"]


FORGED = (
    b"{", b"{}", b'{"data": 7}', b'{"data": {"a": NaN}}', b"\xff", zlib.compress(b'{"data": [1]}'), 7, "{}",
    b'{"data": ' + b'{"a": ' * 5000 + b"1" + b"}" * 5001, zlib.compress(b" " * 40_000_000 + b"{}"),
)  # fmt: skip


def test_events_that_somebody_changed_are_left_out(tmp_path: Path) -> None:
    coordinator(tmp_path, Crew()).run_workflow("Build it", session_id="s")
    whole = stored(tmp_path)
    changes = [("data", data) for data in FORGED]
    changes += [("kind", b"x"), ("time", "soon"), ("iteration", "x"), ("node", b"\xff"), ("call", "x")]
    for column, value in changes:
        with closing(sqlite3.connect(tmp_path / "swarm.db")) as connection, connection:
            before = connection.execute(f"SELECT id, {column} FROM events").fetchall()
            connection.execute(f"UPDATE events SET {column} = ? WHERE id > ?", (value, whole[1].id))
            connection.execute(f"UPDATE events SET {column} = ? WHERE id = ?", (before[-1][1], whole[-1].id))
        left = [whole[0], whole[1], whole[-1]]
        assert stored(tmp_path, limit=3) == left, (column, str(value)[:40])
        with closing(sqlite3.connect(tmp_path / "swarm.db")) as connection, connection:
            connection.executemany(
                f"UPDATE events SET {column} = ? WHERE id = ?", [(old, number) for number, old in before]
            )
    assert stored(tmp_path) == whole


# --- pauses --------------------------------------------------------------------------------------


@ON_BOTH
@pytest.mark.parametrize(
    ("decision", "word", "remark"),
    [
        ("approve", "approved", ""),
        ({"edit": "Another design."}, "edited", ""),
        ({"reject": "Not yet."}, "rejected", "Not yet."),
    ],
)
def test_who_decided_at_a_pause_is_kept(decision: Any, word: str, remark: str, tmp_path: Path) -> None:
    live: list[Event] = []
    swarm = coordinator(tmp_path, Crew(), workflow={"pause_before": ["coder"]})
    swarm.run_workflow("Build it", session_id="s")
    (pause,) = swarm.pauses
    swarm.on_event = live.append
    swarm.resume("s", decision, decided_by="Ada at the page")
    (one,) = stored(tmp_path, kinds=["pause_answered"])
    assert one.event.data == {
        "pause": pause.id,
        "place": "before coder",
        "decision": word,
        "remark": remark,
        "by": "Ada at the page",
    }
    assert [event for event in live if event.kind == "pause_answered"] == [one.event]
    order = kinds(stored(tmp_path, limit=1000))
    again = order.index("session_started", 1)
    assert order[again - 1 : again + 2] == ["session_ended", "session_started", "pause_answered"]
    assert stored(tmp_path, kinds=["session_ended"])[0].event.data["pauses"] == ["before coder"]


def test_the_command_line_says_that_the_terminal_decided(tmp_path: Path) -> None:
    settings = {**SIMULATED, "workflow": {"pause_before": ["coder"]}}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    folder = ("--data-dir", str(tmp_path))
    assert warm.run("run", "Build it", "--session", "s", *folder, cwd=tmp_path).returncode == 3
    warm.run("resume", "s", "--approve", *folder, cwd=tmp_path)
    (one,) = stored(tmp_path, kinds=["pause_answered"])
    assert one.event.data["by"] == "the terminal"
    log = warm.run("log", "s", *folder, cwd=tmp_path, text=True).stdout
    before, _, after = log.partition("── before coder: approved by the terminal")
    assert "── architect, round 1" in before
    assert "── coder, round 1" in after


# --- stop ----------------------------------------------------------------------------------------


@ON_BOTH
@pytest.mark.parametrize("events", [True, False])
def test_another_process_stops_a_session(events: bool, tmp_path: Path) -> None:
    with ModelServer(held=True) as server:
        models = {"single_model": {"url": server.url, "model": "m", "retries": 0}}
        settings = {**SIMULATED, "model_config": models, "ui": {"events": events}}
        (tmp_path / "config.json").write_text(json.dumps(settings))
        folder = ("--data-dir", str(tmp_path))
        run = ("run", "Build it", "--session", "s", *folder)
        with warm.Process(
            *run, cwd=tmp_path, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        ) as process:
            while not server.asked:
                assert process.poll() is None
                time.sleep(0.01)
            assert request_stop(tmp_path)
            assert not request_stop(tmp_path, "another")
            server.release("")
            process.wait()
            assert process.stderr
            assert b"stopped by another process; continue with" in process.stderr.read()
        assert process.returncode == 1
        assert len(server.asked) == 1, "the call in flight has ended, and no other began"
        assert not request_stop(tmp_path), "nothing runs"
        with opened(tmp_path) as saver:
            assert [run.phase for run in saver.catalogue.runs("s")] == ["cancelled"]
        server.held = False
        server.release("")
        assert warm.run("resume", "s", *folder, cwd=tmp_path, env=environment()).returncode == 0, (
            "the stop was for that run"
        )


@ON_BOTH
def test_a_task_graph_is_stopped_by_another_reader_of_its_database(tmp_path: Path) -> None:
    crew = Crew({"documenter": "Done."})
    swarm = coordinator(tmp_path, crew)
    for task in TASKS:
        swarm.add_task(task)

    def observe(event: Event) -> None:
        if event.kind == "call_started":
            request_stop(tmp_path)

    swarm.on_event = observe
    assert swarm.run_workflow("", "custom", session_id="s")["phase"] == "cancelled"
    assert crew.asked == ["draft"]
    live: list[Event] = []
    swarm.on_event = live.append
    assert swarm.resume("s")["phase"] == "complete"
    assert crew.asked == ["draft", "check"]
    assert [event.data["kept"] for event in live if event.kind == "task_ended"] == [True, False]
    ends = [(one.event.task, one.event.data["kept"]) for one in stored(tmp_path, kinds=["task_ended"])]
    assert ends == [("draft", False), ("check", False)], "the end of a task is recorded once"


@ON_BOTH
def test_a_stop_of_a_run_that_was_killed_does_not_stop_the_next(tmp_path: Path) -> None:
    with opened(tmp_path) as saver:
        graph = build_graph("review_only", config=config(), checkpointer=saver)
        graph.invoke({"request": "x = 1"}, thread("s"), context=Crew().context)
        with saver.database.transaction() as cursor:
            cursor.execute("UPDATE runs SET ended_at = NULL")
        assert saver.catalogue.request_stop("s")
        options = RunOptions(Crew().context.model)
        result = graph.invoke({"request": "y = 2"}, thread("s"), context=options)
    assert result["phase"] == "complete"
    options.stop.check()
