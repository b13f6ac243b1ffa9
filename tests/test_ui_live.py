"""A session's page, live: streams without gaps, parts that show what is so, caps, ends, hostile texts."""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from html import unescape
from pathlib import Path
from typing import Any

import pytest
import warm
from chaos.model_server import ModelServer
from event_stream import Sent, stream
from servers.web_page import Page, running_page
from support import write_config

from swarm_graph.checkpoints.catalogue import Catalogue
from swarm_graph.checkpoints.locks import lock_session
from swarm_graph.checkpoints.records import Session
from swarm_graph.checkpoints.running_nodes import running_nodes
from swarm_graph.checkpoints.saver import open_checkpointer
from swarm_graph.checkpoints.sqlite_saver import SqliteSwarmSaver
from swarm_graph.events import Event, Kind
from swarm_graph.web.addresses import Addresses, decoded, decoded_path, encoded, encoded_path
from swarm_graph.web.open_streams import MAX_STREAMS_OF_USER

HOSTILE = "<script>alert(1)</script>\x1b[31m\u202e&amp;"
ODD_IDS = (
    "plain-1.2_3", "a/b", "/", "..", ".", "%2F", "%", "a b", "~7E", "~", "", "täsk\n", "\x00\x7f", "日本 語",
    "?x=1#y", "s\\t", "'\"", HOSTILE,
)  # fmt: skip


def session(name: str, phase: str = "running") -> Session:
    now = time.time()
    return Session(name, "standard", "Make it", {}, phase, now, now)


def add(catalogue: Catalogue, name: str, kind: Kind, call: int | None = None, **data: Any) -> int:
    """Append an event, as a session in another process does."""
    event = Event(kind, time.time(), name, "coder", "coder", "T1", 1, data)
    return catalogue.transcript.append(event, call)


def add_tokens(catalogue: Catalogue, name: str, call: int, *texts: str) -> int:
    return [
        add(catalogue, name, "tokens", call, output_tokens=number, text=text, thoughts="")
        for number, text in enumerate(texts, 1)
    ][-1]


@contextmanager
def database(folder: Path) -> Iterator[SqliteSwarmSaver]:
    with open_checkpointer(folder / ".swarm" / "swarm.db") as saver:
        yield saver


def text_of(messages: list[Sent], call: int) -> str:
    """What a call has written, as a stream tells."""
    of_call = [sent.event for sent in messages if sent.kind == "tokens" and sent.event["call"] == call]
    return "".join(event["data"]["text"] for event in of_call)


def box(page: Page, name: str, call: int) -> tuple[int, str]:
    """The box of a call on the page: the event that it is as of, and its text."""
    html = page.get(f"{Addresses(name).part('writing')}", **{"x-part": "1"}).text
    found = re.search(
        rf'data-call="{call}" data-after="(\d+)".*?<pre [^>]*data-writes="[^>]*>\n(.*?)</pre>',
        html,
        re.DOTALL,
    )
    assert found, html
    return int(found[1]), unescape(found[2])


# --- addresses -----------------------------------------------------------------------------------


def test_every_session_and_file_has_an_address_that_no_server_changes() -> None:
    for text in ODD_IDS:
        assert decoded(encoded(text)) == text
        assert re.fullmatch(r"[A-Za-z0-9~._-]+", encoded(text)), text
        assert set(encoded(text)) != {"."}
        assert decoded_path(encoded_path(f"src/{text}/a.py")) == f"src/{text}/a.py"
    assert encoded("20261129-2301-ab12") == "20261129-2301-ab12"
    assert decoded("~zz~4") == "~zz~4"
    assert decoded("~FF") == "\ufffd"


def test_the_page_of_a_thread_with_any_id_is_found_and_its_id_stays_text(tmp_path: Path) -> None:
    with database(tmp_path) as saver:
        for name in ODD_IDS:
            saver.catalogue.add(session(name, "complete"))
    with running_page(tmp_path, "--simulate") as page:
        for name in ODD_IDS:
            address = Addresses(name)
            answer = page.get(address.own)
            assert answer.status == 200, name
            shown = "".join(char for char in name if char in "\n\t" or char.isprintable())
            assert f"{shown} · complete" in unescape(answer.text)
            assert "<script>alert" not in answer.text
        assert page.get(f"{address.own}/title").text.startswith(shown)
        assert page.get("/sessions/no-such").status == 404


# --- streams -------------------------------------------------------------------------------------


def test_a_stream_tells_each_event_once_over_reconnects_and_the_answers_are_whole(tmp_path: Path) -> None:
    tasks = [
        {"task_id": "A", "assigned_role": "documenter", "description": "Task A: do it."},
        {
            "task_id": "B",
            "assigned_role": "documenter",
            "description": "Task B: do it.",
            "dependencies": ["A"],
        },
    ]
    (tmp_path / "tasks.json").write_text(json.dumps({"tasks": tasks}))
    told: list[Sent] = []
    with ModelServer(latency=0.8) as server:
        write_config(tmp_path, model_config={"single_model": {"url": server.url, "model": "m"}})
        with running_page(tmp_path) as page:
            with stream(page, "/events?after=0") as everything:
                run = warm.Process("run", "--tasks", "tasks.json", "--session", "s", cwd=tmp_path)
                everything.until("session_started")
            with stream(page, "/sessions/s/events?after=0") as first:
                told += first.until("tokens")
            while told[-1].kind != "session_ended":  # each reader takes some events, and goes
                last = str(max(sent.id for sent in told))
                with stream(page, "/sessions/s/events?after=0", **{"Last-Event-ID": last}) as again:
                    told += again.events(4) if len(told) < 12 else again.until("session_ended")
            with run:
                assert run.wait() == 0
    told = [sent for sent in told if sent.id]
    ids = [sent.id for sent in told]
    assert ids == sorted(set(ids))
    with database(tmp_path) as saver:
        kept = [stored.id for stored in saver.catalogue.transcript.events()]
        answers = {call.node: call.answer for call in saver.catalogue.transcript.calls("s")}
    assert set(kept) <= set(ids)
    calls = {sent.event["node"]: sent.id for sent in told if sent.kind == "call_started"}
    assert text_of(told, calls["A"]) == answers["A"]
    assert answers["B"].startswith(text_of(told, calls["B"]))


def test_a_stream_that_waits_for_the_first_database_tells_its_first_events(tmp_path: Path) -> None:
    with running_page(tmp_path, "--simulate") as page, stream(page, "/events?after=0") as everything:
        with database(tmp_path) as saver:
            ids = [add(saver.catalogue, "s", "task_started") for _ in range(3)]
        assert [next(iter(everything)).id for _ in ids] == ids


def test_a_text_that_is_shown_and_a_stream_after_it_make_the_whole(tmp_path: Path) -> None:
    pieces = ["\n\nIt ", "begins ", HOSTILE, "```", "\nand", " ends\n"]
    with database(tmp_path) as saver, lock_session(saver.catalogue, "s"):
        saver.catalogue.begin_run(session("s"), "begin")
        call = add(saver.catalogue, "s", "call_started", model="m", attempt=1, queued_s=0.5)
        with running_page(tmp_path, "--simulate") as page:
            assert box(page, "s", call) == (call, "")
            last = add_tokens(saver.catalogue, "s", call, *pieces[:3])
            after, text = box(page, "s", call)
            assert after == last
            with stream(page, f"/sessions/s/events?after={after}") as rest:
                add_tokens(saver.catalogue, "s", call, *pieces[3:])
                told = rest.events(3)
            assert text + text_of(told, call) == "".join(pieces).replace("\x1b", "").replace("\u202e", "")
            with_all = page.get("/sessions/s").text
            assert "<script>alert" not in with_all
            add(saver.catalogue, "s", "call_ended", call, outcome="answered")
            assert "data-call" not in page.get(Addresses("s").part("writing"), **{"x-part": "1"}).text


def test_a_stream_of_all_sessions_has_no_tokens_and_one_of_a_session_no_other(tmp_path: Path) -> None:
    with database(tmp_path) as saver, running_page(tmp_path, "--simulate") as page:
        for name in ("a", "b"):
            saver.catalogue.add(session(name, "complete"))
            call = add(saver.catalogue, name, "call_started")
            add_tokens(saver.catalogue, name, call, "x", "y")
            add(saver.catalogue, name, "session_ended")
        with (
            stream(page, "/events?after=0") as everything,
            stream(page, "/sessions/b/events?after=0") as of_b,
        ):
            assert [(sent.kind, sent.event["session"]) for sent in everything.events(4)] == [
                ("call_started", "a"), ("session_ended", "a"), ("call_started", "b"), ("session_ended", "b"),
            ]  # fmt: skip
            assert [sent.kind for sent in of_b.events(4)] == [
                "call_started",
                "tokens",
                "tokens",
                "session_ended",
            ]
        with stream(page, "/sessions/b/events") as from_now:
            from_now.until("phase")
            add(saver.catalogue, "b", "verdict", approved=True, findings=0)
            assert [sent.kind for sent in from_now.events(1)] == ["verdict"]


def test_a_stream_waits_for_the_first_session_and_tells_when_a_process_was_killed(tmp_path: Path) -> None:
    with ModelServer(held=True) as server:
        write_config(tmp_path, model_config={"single_model": {"url": server.url, "model": "m"}})
        with running_page(tmp_path) as page, stream(page, "/events") as everything:
            run = warm.Process("run", "Make it", "--session", "s", cwd=tmp_path)
            everything.until("call_started")
            with stream(page, "/sessions/s/events?after=0") as of_s:
                of_s.until("phase", phase="running")
                assert "clarifier" in page.get(Addresses("s").part("writing")).text
                run.kill()
                with run:
                    of_s.until("phase", phase="interrupted")
            assert "s · interrupted" in page.get("/sessions/s/title").text
            assert "data-call" not in page.get(Addresses("s").part("writing"), **{"x-part": "1"}).text


@pytest.mark.slow
def test_a_reader_who_does_not_read_holds_up_nobody_and_loses_nothing(tmp_path: Path) -> None:
    text, count = "x" * 4_000, 5_000
    with database(tmp_path) as saver, running_page(tmp_path, "--simulate") as page:
        saver.catalogue.add(session("s", "complete"))
        call = add(saver.catalogue, "s", "call_started")
        with (
            stream(page, f"/sessions/s/events?after={call}") as slow,
            stream(page, f"/sessions/s/events?after={call}") as quick,
        ):
            before = resident_mb(page)
            for _ in range(count // 1000):
                with saver.transaction():
                    add_tokens(saver.catalogue, "s", call, *[text] * 1000)
            assert [sent.id for sent in quick.events(count)] == [*range(call + 1, call + count + 1)]
            assert resident_mb(page) - before < 50, "20 MB wait for the slow one"
            assert [sent.id for sent in slow.events(count)] == [*range(call + 1, call + count + 1)]


def resident_mb(page: Page) -> float:
    status = Path(f"/proc/{page.process.pid}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024


def test_streams_have_a_cap_and_end_with_the_server(tmp_path: Path) -> None:
    with running_page(tmp_path, "--simulate") as page, ExitStack() as opened:
        streams = [opened.enter_context(stream(page, "/events")) for _ in range(MAX_STREAMS_OF_USER)]
        refused = page.get("/events")
        assert (refused.status, refused.headers["Retry-After"]) == (503, "5")
        assert page.get("/").status == 200
        streams.pop().close()
        while page_is_full(page):
            time.sleep(0.01)
        page.process.send_signal(signal.SIGTERM)
        assert page.process.wait() == 128 + signal.SIGTERM
        for one in streams:
            assert [*one] == []


def page_is_full(page: Page) -> bool:
    with stream(page, "/events") as one:
        return one.response.status == 503


def test_a_stream_tells_why_the_database_cannot_be_read_and_reloads_only_for_another_one(
    tmp_path: Path,
) -> None:
    file, copy = tmp_path / ".swarm" / "swarm.db", tmp_path / "copy.db"
    with database(tmp_path) as saver:
        saver.catalogue.add(session("s", "complete"))
        add(saver.catalogue, "s", "call_started")
        add(saver.catalogue, "other", "call_started")
        with running_page(tmp_path, "--simulate") as page, stream(page, "/sessions/s/events") as one:
            one.until("phase")
            saver.catalogue.transcript.forget("other")
            add(saver.catalogue, "s", "verdict")
            assert [sent.kind for sent in one.until("verdict") if sent.kind != "state"] == ["verdict"]
            saver.conn.execute(f"VACUUM INTO '{copy}'")
            saver.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            (tmp_path / "text").write_text("no database " * 1000)
            (tmp_path / "text").replace(file)
            (trouble,) = one.until("trouble")
            assert "it is not a SQLite database" in trouble.event["data"]["trouble"]
            copy.replace(file)
            assert [sent.kind for sent in one.until("trouble", trouble="")] == ["reload", "trouble"]


def test_what_runs_is_known_when_the_clock_was_set_back(tmp_path: Path) -> None:
    with database(tmp_path) as saver, lock_session(saver.catalogue, "s"):
        saver.catalogue.begin_run(session("s"), "begin")
        add(saver.catalogue, "s", "call_started")
        begun = Event("session_started", time.time(), "s", "")
        saver.catalogue.transcript.append(begun)
        call = saver.catalogue.transcript.append(
            Event("call_started", time.time() - 3600, "s", "coder", "coder")
        )
        assert [one.id for one in running_nodes(saver.catalogue, "s")] == [call]


def test_a_stream_begins_anew_where_another_database_lies(tmp_path: Path) -> None:
    with running_page(tmp_path, "--simulate") as page:
        with stream(page, "/events?after=1000") as one:
            one.until("reload")
        for wrong in ("x", "-1", "9" * 30):
            assert page.get(f"/events?after={wrong}").status == 400
        assert page.ask("GET", "/events").status == 401


# --- files, calls, tasks, reports ----------------------------------------------------------------


def test_only_files_of_the_state_are_there_and_a_download_is_never_a_page(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("from the disk")
    assert warm.run("run", "Make it", "--simulate", "--session", "s", cwd=tmp_path).returncode == 0
    address = Addresses("s")
    with running_page(tmp_path, "--simulate") as page:
        listed = page.get(address.part("files")).text
        path = re.findall(r'href="/sessions/s/files/(project/src/\w+.py)"', listed)[0]
        code = (tmp_path / "swarm-output" / "s" / path).read_text()
        shown, raw = page.get(address.file(path)), page.get(address.file(path, raw=True))
        assert code.splitlines()[0] in unescape(re.sub(r"<[^>]+>", "", shown.text))
        assert raw.headers["Content-Disposition"].startswith(f'attachment; filename="{Path(path).name}"')
        assert raw.headers["Content-Type"].startswith("text/plain")
        assert raw.text == code
        for trick in (
            "../../secret.txt", "..%2f..%2fsecret.txt", "~2E~2E/~2E~2E/secret.txt", "/etc/passwd", "%00",
            "project/src/", path.replace("/", "//"), "./" + path, str(tmp_path / "secret.txt"),
            path + "~00", "project%5Csrc",
        ):  # fmt: skip
            answer = page.get(f"{address.own}/files/{trick}?raw=1")
            assert answer.status in (400, 404), trick
            assert "from the disk" not in answer.text
        report = page.get(address.report)
        assert report.headers["Content-Disposition"].startswith('attachment; filename="report-s.html"')
        assert code.splitlines()[0] in unescape(re.sub(r"<[^>]+>", "", report.text))
        calls = re.findall(r'href="(/sessions/s/calls/\d+)"', page.get(address.part("calls")).text)
        assert "Make it" in page.get(calls[0]).text
        assert [page.get(f"{address.own}/calls/{number}").status for number in (0, 9**9, 9**30)] == [404] * 3


def test_tasks_and_calls_come_in_pages_and_tasks_are_found(tmp_path: Path) -> None:
    tasks = [{"task_id": f"t{number:03}", "assigned_role": "documenter"} for number in range(230)]
    (tmp_path / "tasks.json").write_text(json.dumps({"tasks": tasks}))
    command = ("run", "--tasks", "tasks.json", "--simulate", "--session", "s")
    assert warm.run(*command, cwd=tmp_path).returncode == 0
    address = Addresses("s")
    with running_page(tmp_path, "--simulate") as page:
        whole = page.get(address.own).text
        assert whole.count('<th scope="row">') == 100
        assert 'data-total="230"' in whole
        rows = page.get(address.tasks(start=200, count=100), **{"x-part": "1"}).text
        assert re.findall(r'<th scope="row">(\w+)', rows) == [f"t{number:03}" for number in range(200, 230)]
        last = page.get(address.tasks(start=200)).text
        assert "Tasks 201 to 230 of 230" in last
        found = page.get(address.tasks(q="T12", status="done")).text
        assert re.findall(r'<th scope="row">(\w+)', found) == [f"t12{number}" for number in range(10)]
        calls = page.get(address.part("calls")).text
        assert "Calls 1 to 20 of 230" in calls
        later = page.get(re.findall(r'href="(\S+)">Later calls', calls)[0]).text
        assert "Calls 21 to 40 of 230" in later
        assert not {*re.findall(r"/calls/\d+", calls)} & {*re.findall(r"/calls/\d+", later)}
        assert "No such task." in page.get(f"{address.own}/tasks?from=-1&count=x&status=odd&q=%3Cb%3E").text
