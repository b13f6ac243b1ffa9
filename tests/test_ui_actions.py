"""Sessions at the page: listed, started, resumed, stopped, forked, and their changes applied."""

from __future__ import annotations

import asyncio
import html
import json
import re
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

import pytest
import warm
from chaos.model_server import ModelServer
from repositories import commit_files, make_repository
from servers.page_user import PageUser, alert, fields, files_below, main_of
from servers.web_page import Answer, Page, running_page
from support import SIMULATED, write_config

from swarm_graph.checkpoints.saver import open_checkpointer
from swarm_graph.config import SwarmConfig
from swarm_graph.errors import StorageError
from swarm_graph.events import Event
from swarm_graph.sessions.background import BackgroundSessions
from swarm_graph.sessions.coordinator import SwarmCoordinator
from swarm_graph.sessions.input_files import InputFile, with_inputs
from swarm_graph.state import SwarmResult

DATABASE = Path(".swarm") / "swarm.db"


def run(folder: Path, *words: str, code: int = 0, **env: str) -> None:
    """Run a command of the command line; it must end with this exit code."""
    done = warm.run(*words, cwd=folder, text=True, env={**warm.ENVIRONMENT, **env})
    assert done.returncode == code, done.stderr


def asking(folder: Path, server: ModelServer, **sections: Any) -> None:
    """Write a configuration whose models are those of a server."""
    entry = {"url": server.url, "model": "m", "retries": 0}
    write_config(folder, model_config={"single_model": entry}, **sections)


def row_of(folder: Path, session: str = "s") -> dict[str, Any]:
    """The row of a session."""
    with closing(sqlite3.connect(folder / DATABASE)) as connection:
        connection.row_factory = sqlite3.Row
        row = connection.execute("SELECT * FROM sessions WHERE session = ?", (session,)).fetchone()
    return dict(row)


# --- the list ------------------------------------------------------------------------------------


def with_many(folder: Path, number: int) -> None:
    """Add sessions to a database by copying the row of `s`."""
    row = row_of(folder)
    rows = [
        {
            **row,
            "session": f"past-{index:05}",
            "request": f"Request {index} for {'pumps' if index % 100 == 7 else 'valves'} at 100%",
            "phase": "failed" if index % 1000 == 4 else "complete",
            "approved": index % 2,
            "workflow": "full" if index % 10 == 1 else "standard",
            "updated_at": row["updated_at"] - 1 - index,
        }
        for index in range(number)
    ]
    with closing(sqlite3.connect(folder / DATABASE)) as connection:
        marks = ", ".join(f":{name}" for name in row)
        connection.executemany(f"INSERT INTO sessions ({', '.join(row)}) VALUES ({marks})", rows)
        connection.commit()


def test_of_ten_thousand_sessions_the_list_shows_the_page_that_was_asked_for(tmp_path: Path) -> None:
    write_config(tmp_path)
    run(tmp_path, "run", "Create a <b>queue</b>", "--session", "s")
    with_many(tmp_path, 10_000)
    with running_page(tmp_path) as page:
        user = PageUser(page)

        def listed(address: str) -> tuple[str, list[str]]:
            text = user.get(address)
            caption = re.search(r"<caption>(.*?)</caption>", text)
            return caption[1] if caption else "", re.findall(r'<a href="/sessions/([^"]+)">', text)

        caption, first = listed("/")
        assert caption == "10,001 sessions, page 1 of 201"
        assert first == ["s", *(f"past-{index:05}" for index in range(49))]
        assert listed("/?page=201") == ("10,001 sessions, page 201 of 201", ["past-09999"])
        assert listed("/?page=999")[1] == []
        assert listed("/?text=PUMPS")[0] == "100 sessions, page 1 of 2"
        assert listed("/?text=100%25")[0] == "10,000 sessions, page 1 of 200"
        assert listed("/?text=1__%25")[0] == ""
        assert listed("/?text=past-0000&order=id") == (
            "10 sessions",
            [f"past-{index:05}" for index in range(10)],
        )
        assert listed("/?phase=failed&verdict=none")[0] == "10 sessions"
        assert listed("/?verdict=not+approved&workflow=full")[0] == ""
        assert listed("/?verdict=approved&workflow=full&phase=complete")[0] == "1,000 sessions, page 1 of 20"
        assert listed("/?phase=running")[0] == ""
        text = user.get("/?text=queue&order=nope&page=x&verdict=nope")
        assert "Create a &lt;b&gt;queue" in text
        assert "simulated" in text
        link = re.search(r'rel="next" href="([^"]+)"', user.get("/?text=pumps&order=id"))
        assert link
        assert len(listed(html.unescape(link[1]))[1]) == 50


def test_without_a_session_the_list_says_how_to_start_one(tmp_path: Path) -> None:
    write_config(tmp_path)
    with running_page(tmp_path) as page:
        text = PageUser(page).get("/")
    assert "No session yet" in text
    assert 'href="/new"' in text
    assert not (tmp_path / ".swarm").exists()


# --- start ---------------------------------------------------------------------------------------


def test_a_session_starts_with_files_whose_names_are_no_paths(tmp_path: Path) -> None:
    folder, papers, temporary = tmp_path / "here", tmp_path / "papers", tmp_path / "temporary"
    for one in (folder, papers, temporary):
        one.mkdir()
    write_config(folder)
    (papers / "spec.txt").write_text("The pump holds 40 litres.")
    sent = [
        ("uploads", ('../../../etc/pass"wd\r\nx.txt', b"One.")),
        ("uploads", ("C:\\boot.ini", b"Two.")),
        ("uploads", ("/etc/shadow", b"Three.")),
        ("uploads", ("shadow", b"Four.")),
        ("uploads", ("..", b"Five.")),
        ("uploads", ("a`b.md", "Sechs \xe4.".encode("latin-1"))),
    ]
    with running_page(folder, "--folder", str(papers), TMPDIR=str(temporary)) as page:
        user = PageUser(page)
        form = {"request": "Summarise\r\nthese.", "session": "s", "inputs": "spec.txt", "kind": "document"}
        answer = user.send("/new", form, sent)
        assert (answer.status_code, answer.headers.get("location")) == (303, "/sessions/s?note=started")
        user.wait("s", "complete", "not_converged")
        text = html.unescape(user.get("/sessions/s?note=started"))
        assert "The session has begun." in text
        assert "a_b.md: " in text, "an assumed encoding is said"
        assert files_below(temporary) == []
        user.do("/new", request="Shorter.", follow_up="s")
        user.wait("s", "complete", "not_converged")
    with open_checkpointer(folder / DATABASE) as saver:
        first, second = saver.catalogue.runs("s")
    assert first.input
    request = first.input["request"]
    assert request.startswith("Summarise\nthese.\n\n")
    names = re.findall(r"^`+\w+ path=(.*)$", request, re.MULTILINE)
    assert names[:2] == ["spec.txt", names[1]]
    assert names[2:] == ["boot.ini", "shadow", "2-shadow", "file", "a_b.md"]
    assert not any("/" in name or "`" in name for name in names)
    assert "Sechs \xe4." in request
    assert second.input
    assert (second.kind, second.input["request"]) == ("follow_up", "Shorter.")


BAD: list[tuple[dict[str, str], str, str]] = [
    ({"request": " \r\n"}, "request", "the request is empty"),
    ({"workflow": "nope"}, "workflow", "no workflow 'nope'"),
    ({"config": "/etc/passwd"}, "config", "no such configuration"),
    ({"kind": "poem"}, "kind", "unknown kind"),
    ({"kind": "change"}, "kind", "a change needs a repository"),
    ({"rounds": "0"}, "rounds", "from 1 to 100"),
    ({"rounds": "9" * 400}, "rounds", "from 1 to 100"),
    ({"session": "../s"}, "session", "'../s' is not allowed"),
    ({"session": "old"}, "session", "session 'old' exists"),
    ({"follow_up": "nobody"}, "follow_up", "there is no session 'nobody'"),
    ({"follow_up": "old", "session": "new"}, "follow_up", "leave the id of a new session out"),
    ({"repository": "/etc"}, "repository", "no such repository"),
    ({"base": "HEAD"}, "repository", "need a repository"),
    ({"inputs": "../secret.txt"}, "inputs", "there is no file '../secret.txt'"),
    ({"inputs": "link.txt"}, "inputs", "there is no file 'link.txt'"),
    ({"inputs": "/etc/passwd"}, "inputs", "name a path relative to"),
    ({"inputs": "broken.pdf"}, "uploads", "broken.pdf"),
    ({"workflow": "custom"}, "tasks", "needs a task file"),
]


def test_what_cannot_be_used_comes_back_beside_its_field_with_what_was_typed(tmp_path: Path) -> None:
    folder = tmp_path / "papers"
    folder.mkdir()
    write_config(tmp_path)
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7 broken")
    run(tmp_path, "run", "Create a queue", "--session", "old")
    with running_page(tmp_path, "--folder", "papers") as page:
        user = PageUser(page)
        for wrong, field, line in BAD:
            answer = user.send("/new", {"request": "Typed <text>.", **wrong})
            assert answer.status_code == 400, wrong
            assert line.lower() in alert(answer.text).lower(), wrong
            assert f'id="wrong-{field}"' in answer.text or field == "repository", wrong
            assert "request" in wrong or "Typed &lt;text&gt;." in answer.text, wrong
            assert str(tmp_path) not in alert(answer.text), wrong
        found = user.send("/new", {"request": "Typed.", "find": "BROK", "do": "find", "inputs": "link.txt"})
        assert "broken.pdf" in found.text
        assert '<option value="link.txt" selected>' in found.text
        assert alert(found.text) == ""
        files = [("uploads", (f"{number}.txt", b"x")) for number in range(21)]
        answer = user.send("/new", {"request": "Read."}, files)
        assert "21 input files are too many" in alert(answer.text)
    with open_checkpointer(tmp_path / DATABASE) as saver:
        assert [one.session for one in saver.catalogue.sessions()] == ["old"]


def test_a_task_file_that_is_sent_reads_no_file_outside_of_the_operator_s_folder(tmp_path: Path) -> None:
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "a.txt").write_text("The pump holds 40 litres.")
    (tmp_path / "secret.txt").write_text("secret")
    write_config(tmp_path)

    def graph(**task: Any) -> list[tuple[str, tuple[str, bytes]]]:
        one = {"task_id": "read", "description": "Read it.", "assigned_role": "coder", **task}
        return [("tasks", ("tasks.json", json.dumps({"request": "All", "tasks": [one]}).encode()))]

    with running_page(tmp_path, "--folder", "papers") as page:
        user = PageUser(page)
        for task, line in (
            ({"files": ["/etc/passwd"]}, "name a path relative to"),
            ({"files": ["../secret.txt"]}, "there is no file"),
            ({"prompt": "/etc/passwd"}, "name a path relative to"),
            ({"files": [f"repo:{tmp_path}//x"]}, "names a repository"),
            ({"assigned_role": "nobody"}, "tasks.json: task 'read'"),
        ):
            answer = user.send("/new", {"workflow": "custom"}, graph(**task))
            assert answer.status_code == 400, task
            assert line.lower() in alert(answer.text).lower(), (task, alert(answer.text))
        answer = user.send("/new", {"workflow": "custom", "session": "s"}, graph(files=["a.txt"]))
        assert answer.status_code == 303, alert(answer.text)
        assert user.wait("s", "complete", "failed") == "complete"


def test_without_a_model_the_page_says_who_names_one(tmp_path: Path) -> None:
    with running_page(tmp_path) as page:
        assert "start the page with --config FILE" in PageUser(page).refusal("/new", request="Build it.")


# --- resume and stop -----------------------------------------------------------------------------


def test_a_session_of_a_killed_process_goes_on_and_finished_work_is_not_repeated(tmp_path: Path) -> None:
    with ModelServer(latency=0, held=True) as server, running_page(tmp_path, "--simulate") as page:
        asking(tmp_path, server)
        user = PageUser(page)
        with warm.Process("run", "Create a queue", "--session", "s", cwd=tmp_path, stderr=DEVNULL) as process:
            until(lambda: len(server.asked) == 1)
            server.release("")
            until(lambda: len(server.asked) == 2)
            assert user.phase("s") == "running"
            text = user.get("/?phase=running")
            assert f"process {process.pid} on " in text
            assert "runs in another process" in user.refusal("/sessions/s/resume")
            process.kill()
        assert user.phase("s") == "interrupted"
        assert "/sessions/s" in user.get("/?phase=interrupted")
        assert "does not run; its phase is interrupted" in user.refusal("/sessions/s/stop")
        server.drop()
        server.held = False
        assert user.do("/sessions/s/resume") == "/sessions/s?note=resumed"
        user.wait("s", "complete", "not_converged")
        assert [asked.key for asked in server.asked].count(server.asked[0].key) == 1
        assert "has ended" in user.refusal("/sessions/s/resume")
    assert row_of(tmp_path)["simulated"] == 0


@pytest.mark.slow
def test_a_session_is_stopped_in_this_process_and_in_another_one(tmp_path: Path) -> None:
    with ModelServer(latency=0, held=True) as server:
        asking(tmp_path, server, workflow={"grace_period": 0})
        with running_page(tmp_path) as first, running_page(tmp_path) as second:
            here, elsewhere = PageUser(first), PageUser(second)
            here.do("/new", request="Create a queue", session="here")
            here.do("/new", request="Create a stack", session="there")
            assert "runs already" in here.refusal("/sessions/here/resume")
            assert here.do("/sessions/here/stop") == "/sessions/here?note=stopping"
            assert here.wait("here", "cancelled")
            assert elsewhere.do("/sessions/there/stop") == "/sessions/there?note=stop-asked"
            server.release("")
            assert here.wait("there", "cancelled")
            server.held = False
            elsewhere.do("/sessions/there/resume")
            assert elsewhere.wait("there", "complete", "not_converged")


@pytest.mark.slow
def test_after_an_edit_of_a_prompt_the_user_says_how_the_session_goes_on(tmp_path: Path) -> None:
    (tmp_path / "prompts").mkdir()
    prompt = tmp_path / "prompts" / "clarifier.md"
    prompt.write_text("Clarify.")
    write_config(tmp_path, prompts_dir="prompts", limits={"calls": 2})
    run(tmp_path, "run", "Create a queue", "--session", "s", code=1)
    write_config(tmp_path, prompts_dir="prompts", workflow={"pause_after": ["architect"]})
    run(tmp_path, "run", "Create a queue", "--session", "waiting", code=3)
    prompt.write_text("Clarify it all.")
    with running_page(tmp_path) as page:
        user = PageUser(page)
        asked = user.send("/sessions/s/resume", {})
        assert asked.status_code == 200
        assert "Edited since the session began" in html.unescape(asked.text)
        assert user.phase("s") == "over_budget"
        user.do("/sessions/s/resume", edits="as-before")
        user.wait("s", "complete", "not_converged")
        shown = {name: fields(user.get("/decisions"), name)[0] for name in ("pause", "shown")}
        refused = user.send("/sessions/waiting/decide", {**shown, "decision": "approve"})
        assert "edited since the session began" in alert(refused.text).lower()
        assert 'name="edits" value="as-before" required' in refused.text
        user.do("/sessions/waiting/decide", **shown, decision="approve", edits="as-before")
        user.wait("waiting", "complete", "not_converged")


def test_the_session_of_somebody_else_is_not_trusted_by_the_page(tmp_path: Path) -> None:
    write_config(tmp_path, workflow={"pause_after": ["architect"]}, proxy="http://127.0.0.1:9")
    run(tmp_path, "run", "Create a queue", "--session", "s", code=3, XDG_DATA_HOME=str(tmp_path / "hers"))
    (tmp_path / "config.json").unlink()
    with running_page(tmp_path) as page:
        user = PageUser(page)
        shown = {name: fields(user.get("/decisions"), name)[0] for name in ("pause", "shown")}
        answer = user.send("/sessions/s/decide", {**shown, "decision": "approve"})
        text = html.unescape(answer.text)
        assert answer.status_code == 409
        assert "was not started by you" in alert(answer.text)
        assert 'proxy = "http://127.0.0.1:9"' in text
        assert "swarm-graph resume s" in text
        assert user.phase("s") == "paused"


# --- fork ----------------------------------------------------------------------------------------


def test_a_fork_starts_at_the_chosen_moment_with_another_request(tmp_path: Path) -> None:
    write_config(tmp_path)
    run(tmp_path, "run", "Create a queue", "--session", "s")
    with running_page(tmp_path) as page:
        user = PageUser(page)
        text = user.get("/sessions/s/fork")
        moments = re.findall(r'name="moment" value="([^"]+)"', text)
        assert len(moments) > 4
        assert fields(text, "request") == ["Create a queue"]
        for wrong, line in (
            ({"moment": ""}, "Choose the moment"),
            ({"moment": "nope"}, "o checkpoint 'nope'"),
            ({"session": "s"}, "Session 's' exists"),
            ({"session": "../s"}, "is not allowed"),
        ):
            assert line in user.refusal("/sessions/s/fork", **{"moment": moments[-1], **wrong})
        user.do("/sessions/s/fork", moment=moments[-1], session="f", request="Create a stack")
        (chosen,) = re.findall(r'value="([^"]+)" required checked', text)
        assert chosen == moments[1]  # at moments[0] the session had ended
        assert user.do("/sessions/s/fork", moment=moments[0]).endswith("?note=forked-ended")
        assert "resume it to go on from there" in user.get("/sessions/f?note=forked")
        assert (row_of(tmp_path, "f")["request"], row_of(tmp_path)["request"]) == (
            "Create a stack",
            "Create a queue",
        )
        user.do("/sessions/f/resume")
        user.wait("f", "complete", "not_converged")


# --- apply ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_change_is_shown_applied_and_taken_back(tmp_path: Path) -> None:
    project = make_repository(tmp_path / "project", {"calc.py": "def add(a, b):\n    return a - b\n"})
    write_config(tmp_path)
    before = (project / "calc.py").read_bytes()
    with running_page(tmp_path, "--repo", str(project)) as page:
        user = PageUser(page)
        user.do("/new", request="Fix add", session="s", repository=str(project), rounds="1")
        user.wait("s", "complete", "not_converged")
        text = user.get("/sessions/s/apply")
        (shown,) = set(fields(text, "shown"))
        changed = re.findall(r"<summary><code>(.*?)</code>", text)
        assert changed
        assert 'class="line added"' in text
        assert "has changed since the page showed it" in user.refusal(
            "/sessions/s/apply", do="apply", shown=""
        )
        assert "Nothing was done" in user.refusal("/sessions/s/apply", do="", shown=shown)
        assert "There is no applied change to undo" in user.refusal("/sessions/s/apply", do="undo")
        assert user.do("/sessions/s/apply", do="apply", shown=shown) == "/sessions/s/apply?note=applied"
        assert all((project / path).is_file() for path in changed)
        text = user.get("/sessions/s/apply?note=applied")
        assert "has all of this change" in text
        assert "Take it back" in text
        user.do("/sessions/s/apply", do="undo")
        assert (project / "calc.py").read_bytes() == before
        commit_files(project, {changed[0]: "mine = 1\n"}, "Mine")
        assert "has changed since" in user.refusal("/sessions/s/apply", do="apply", shown=shown)
        assert (project / changed[0]).read_text() == "mine = 1\n"


# --- every action --------------------------------------------------------------------------------


@pytest.mark.parametrize("session", ["nobody", "~2E~2E~2Fetc", "~3Cscript~3E"])
def test_an_action_on_no_session_says_so(session: str, tmp_path: Path) -> None:
    write_config(tmp_path)
    run(tmp_path, "run", "Create a queue", "--session", "s")

    def line(answer: Answer) -> str:
        assert answer.status in (400, 404, 409)
        assert "<script>" not in answer.text.replace("<script src", "")
        return alert(answer.text)

    with running_page(tmp_path) as page:
        for action in ("resume", "stop", "fork", "apply", "decide"):
            assert "There is no session" in line(page.post(f"/sessions/{session}/{action}")), action
        for shown in ("fork", "apply"):
            assert "There is no session" in line(page.get(f"/sessions/{session}/{shown}"))


def test_no_address_changes_anything_and_a_page_that_only_shows_does_nothing(tmp_path: Path) -> None:
    write_config(tmp_path)
    run(tmp_path, "run", "Create a queue", "--session", "s")
    before = row_of(tmp_path)

    def tried(page: Page) -> None:
        for action in ("resume", "stop", "decide"):
            assert page.get(f"/sessions/s/{action}").status == 405
        for action in ("resume", "stop", "fork", "apply", "decide"):
            assert page.post(f"/sessions/s/{action}", {"csrf": "x"}).status == 403
        assert page.post("/new", {"csrf": "x", "request": "Build it."}).status == 403

    with running_page(tmp_path) as page:
        tried(page)
    with running_page(tmp_path, "--read-only") as page:
        tried(page)
        assert page.post("/new", {"request": "Build it."}).status == 403
        assert "<form" not in main_of(page.get("/new").text)
    assert row_of(tmp_path) == before
    with open_checkpointer(tmp_path / DATABASE) as saver:
        assert [one.session for one in saver.catalogue.sessions()] == ["s"]


def until(holds: Callable[[], bool]) -> None:
    """Poll what other processes change."""
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_files_of_one_name_are_all_read(tmp_path: Path) -> None:
    for number, name in enumerate(("2-a.txt", "a.txt", "b.txt")):
        (tmp_path / name).write_text(f"text {number}")
    names = {"2-a.txt": "2-a.txt", "a.txt": "a.txt", "b.txt": "a.txt"}
    files = [InputFile(name, tmp_path / file) for file, name in names.items()]
    whole = with_inputs("Read them", files, SwarmConfig().documents, is_code=False)
    assert re.findall(r"path=(\S+)\ntext (\d)", whole.request) == [
        ("2-a.txt", "0"), ("a.txt", "1"), ("3-a.txt", "2")
    ]  # fmt: skip


def test_work_that_fails_before_any_node_begins_was_refused() -> None:
    """As a decision on a full disk: the session is opened, and closed again."""
    listeners: list[Callable[[Event], None]] = []

    def new_coordinator(on_event: Callable[[Event], None]) -> SwarmCoordinator:
        listeners.append(on_event)
        return SwarmCoordinator(SIMULATED)

    async def work(_: SwarmCoordinator) -> SwarmResult:
        listeners[0](Event("session_started", 0.0, "s", "", data={"max_iterations": 1, "done": []}))
        listeners[0](Event("session_ended", 0.0, "s", ""))
        raise StorageError("the disk is full")

    reported: list[str] = []
    with pytest.raises(StorageError, match="the disk is full"):
        asyncio.run(BackgroundSessions(1, reported.append).begin("s", work, new_coordinator))
    assert reported == []
