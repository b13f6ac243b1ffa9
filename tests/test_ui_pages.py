"""`swarm-graph ui`: the pages Compare, Memory and Doctor, asked over HTTP as a browser without JavaScript."""

from __future__ import annotations

import asyncio
import html
import json
import re
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest
import warm
from memories import RULE, remember_in
from servers.canned_embeddings import CannedEmbeddings
from servers.page_user import main_of
from servers.web_page import running_page
from support import REFUSED, Crew, config, dead_port, thread, write_config
from test_experience import DESIGN, in_session, keep

from swarm_graph import build_graph, open_checkpointer
from swarm_graph.errors import InputError
from swarm_graph.memory.store import open_store
from swarm_graph.memory.swarm_memory import SwarmMemory
from swarm_graph.reports.comparison_view import comparison_view
from swarm_graph.setup.checks import Check
from swarm_graph.state import DATA_DIR, DATABASE
from swarm_graph.web.checkups import Checkups
from swarm_graph.web.rows import PAGE, rows_from

SCRIPT = "<script>alert(1)</script>"
OWN = "Nobody checks the capacity of an empty list."
KEY = "sk-proj-0123456789abcdefghij"


@contextmanager
def visited(folder: Path, *arguments: str, key: str = "") -> Iterator[httpx.Client]:
    """The page of a folder, with a user who has logged in and has no JavaScript."""
    with running_page(folder, *arguments, MODEL_KEY=key) as ui:
        name, _, value = ui.cookie.partition("=")
        with httpx.Client(
            base_url=ui.root, cookies={name: value}, follow_redirects=True, timeout=60
        ) as client:
            yield client


def seen(answer: httpx.Response, status: int = 200) -> str:
    """What a page says, without its markup."""
    assert answer.status_code == status, answer.text
    assert SCRIPT not in answer.text
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", answer.text)).split())


def field(answer: httpx.Response, name: str) -> str:
    """The value of the first hidden field of this name."""
    (value, *_) = re.findall(f'name="{name}" value="([^"]*)"', answer.text)
    return html.unescape(value)


def send(client: httpx.Client, shown: httpx.Response, path: str, **values: str) -> httpx.Response:
    """Send a form of a page: its own token, and the values that the user gives."""
    own = {"origin": str(client.base_url).rstrip("/")}
    return client.post(path, data={"csrf": field(shown, "csrf"), **values}, headers=own)


def database(folder: Path) -> Path:
    return folder / DATA_DIR / DATABASE


# --- compare -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sessions of different configurations, and two of which each has a finding of its own."""
    folder = tmp_path_factory.mktemp("compared")
    for name, problem, rounds in (("a", "The queue never wakes its waiters.", 2), (f"b/{SCRIPT}", OWN, 1)):
        review = json.loads(REFUSED.replace("It fails.", problem))
        crew = Crew({"reviewer": json.dumps(review), "coder": f"```python path=src/a.py\nx = '{name}'\n```"})
        settings = config(workflow={"max_iterations": rounds})
        with open_checkpointer(folder / DATA_DIR / DATABASE) as saver:
            graph = build_graph("standard", config=settings, checkpointer=saver)
            graph.invoke({"request": "Create a queue"}, thread(name), context=crew.context)
    write_config(folder)
    return folder


def test_sessions_stand_side_by_side_with_what_only_one_of_them_has(compared: Path) -> None:
    with visited(compared) as client:
        form = client.get("/compare")
        assert html.unescape(form.text).count('<input type="checkbox" name="session"') == 2
        shown = client.get("/compare", params={"session": ["a", f"b/{SCRIPT}"]})
        text = seen(shown)
        assert "workflow.max_iterations 2 1" in text
        assert re.search(r"rounds 2 1 better not shown", text)
        assert "no difference beyond chance; six sessions or more" in text
        own = text.partition("Findings that only one session made")[2]
        assert own.index("wakes its waiters") < own.index(f"b/{SCRIPT}") < own.index(OWN)
        assert re.search(r"src/a\.py changed \+1 .1", own)
        assert 'href="/sessions/b~2F~3Cscript' in shown.text


def test_a_comparison_that_cannot_be_made_is_one_line(compared: Path, tmp_path: Path) -> None:
    with visited(compared) as client:
        assert "There is no session 'x" in seen(
            client.get("/compare", params={"session": ["a", "x" * 999]}), 404
        )
        assert "Choose another session" in seen(client.get("/compare?session=a&session=a"))
        found = client.get("/compare?q=nowhere")
        assert "No session matches." in seen(found)
        many = seen(client.get("/compare", params={"session": [f"s{number}" for number in range(99)]}), 404)
        assert "There is no session 's0'" in many
    write_config(tmp_path)
    with visited(tmp_path) as client:
        assert "No session yet." in seen(client.get("/compare"))


def test_a_difference_that_is_beyond_chance_says_whose_is_better(tmp_path: Path) -> None:
    rows = []
    with open_checkpointer(tmp_path / DATABASE) as saver:
        for rounds in (1, 3):
            crew = Crew({"reviewer": REFUSED})
            settings = config(workflow={"max_iterations": rounds})
            graph = build_graph("standard", config=settings, checkpointer=saver)
            for number in range(6):
                name = f"{rounds}-{number}"
                graph.invoke({"request": "Create a queue"}, thread(name), context=crew.context)
                rows.append(saver.catalogue.get(name))
        view = comparison_view(saver, [row for row in rows if row])
    (found,) = [row for row in view.figures if row.name == "rounds"]
    assert found.proof.startswith("shown: 1-0 (p = 0.00")
    assert [cell.is_better for cell in found.cells] == [True] * 6 + [False] * 6


# --- memory --------------------------------------------------------------------------------------


def test_a_database_without_memory_says_how_to_add_some_and_gets_no_tables(tmp_path: Path) -> None:
    write_config(tmp_path)
    with visited(tmp_path) as client:
        for path in ("/memory", "/memory?q=pump", "/memory/offers"):
            assert client.get(path).status_code == 200
        assert "swarm-graph memory add FILES" in seen(client.get("/memory"))
        assert not database(tmp_path).exists()
        warm.run("run", "Create a queue", "--workflow", "review_only", cwd=tmp_path)
        assert "swarm-graph memory add FILES" in seen(client.get("/memory?q=pump"))
        assert "Nothing is remembered" in seen(client.get("/memory/item?id=0123456789"), 404)
    with closing(sqlite3.connect(database(tmp_path))) as connection:
        assert not [*connection.execute("SELECT 1 FROM sqlite_schema WHERE name LIKE 'memory_%'")]


def test_memory_is_listed_searched_corrected_and_forgotten(tmp_path: Path) -> None:
    plant = tmp_path / "plant"
    plant.mkdir()
    (plant / "rules.md").write_text(f"# Rules\n\n{RULE}\n")
    (plant / "odd.md").write_text(f"# {SCRIPT}\n\n{SCRIPT} PSV-7 opens at 12 bar.\n")
    write_config(tmp_path)
    with SwarmMemory(database(tmp_path)) as memory:
        memory.add(plant, "plant")
    with visited(tmp_path) as client:
        listed = seen(client.get("/memory?collection=plant"))
        assert "rules.md" in listed
        found = client.get("/memory", params={"q": "limit switch of a valve"})
        assert seen(found).index("rules.md") < seen(found).index(RULE)
        item = client.get(html.unescape(re.findall(r'href="(/memory/item[^"]*)"', found.text)[0]))
        assert RULE in seen(item)
        assert "plant/rules.md" in seen(item)

        id, digest = field(item, "id"), field(item, "digest")
        new = f"{RULE}\r\nNot during tests. {SCRIPT}"
        edited = send(client, item, "/memory/edit", id=id, digest=digest, text=new)
        assert "Not during tests." in seen(edited)
        refused = send(client, item, "/memory/edit", id=id, digest=digest, text="Anything goes.")
        assert "has changed since the page was loaded" in seen(refused, 400)
        with SwarmMemory(database(tmp_path)) as memory:
            assert memory.show(id).passages[0].text == new.replace("\r\n", "\n")

        forgotten = send(client, edited, "/memory/forget", id=id, digest=field(edited, "digest"))
        assert "It is forgotten." in seen(forgotten)
        assert "No passage 1 of 'rules.md'" in seen(client.get("/memory/item", params={"id": id}), 404)
        assert "No collection 'gone'" in seen(client.get("/memory?collection=gone"), 404)
        shown = client.get("/memory?collection=plant")
        send(client, shown, "/memory/forget-collection", collection="plant")
        assert "rules.md" not in seen(client.get("/memory"))
    assert (plant / "rules.md").exists()


def test_a_read_only_page_shows_memory_and_changes_none(tmp_path: Path) -> None:
    write_config(tmp_path)
    remember_in(tmp_path / DATA_DIR)
    with open_store(database(tmp_path)) as store:
        keep(store, DESIGN, asks=True)
    with visited(tmp_path, "--read-only") as client:
        csrf = re.findall(r'name="csrf" value="(\w+)"', client.get("/memory").text)[0]
        own = {"origin": str(client.base_url).rstrip("/")}
        for path in ("/memory", "/memory/item?id=0000000000/0001", "/memory/offers", "/doctor"):
            assert 'method="post"' not in main_of(client.get(path).text)
        for path in ("edit", "forget", "forget-collection", "decide"):
            answer = client.post(f"/memory/{path}", data={"csrf": csrf}, headers=own)
            assert "it was started with --read-only" in seen(answer, 403)
        answer = client.post("/doctor", data={"csrf": csrf, "what": "config"}, headers=own)
        assert "it was started with --read-only" in seen(answer, 403)


def test_an_offer_is_decided_once_and_only_as_it_was_shown(tmp_path: Path) -> None:
    write_config(tmp_path)
    with open_store(database(tmp_path)) as store:
        keep(store, in_session(DESIGN, f"s1 {SCRIPT}", text=f"One class. {SCRIPT}"), asks=True)
        with visited(tmp_path) as client:
            first = client.get("/memory/offers")
            assert "Write a queue." in seen(first)
            assert "not yours, or not here any more" in seen(first)
            id, digest = field(first, "id"), field(first, "digest")
            keep(store, in_session(DESIGN, "s2", text="Two classes."), asks=True)
            stale = send(client, first, "/memory/decide", id=id, digest=digest, decision="accepted")
            assert "The offer has changed" in seen(stale, 400)
            assert SwarmMemory(store).experiences() == []

            now = client.get("/memory/offers")
            assert "Two classes." in seen(now)
            decided = {"id": id, "digest": field(now, "digest")}
            assert "No decision" in seen(send(client, now, "/memory/decide", **decided, decision="x"), 400)
            accepted = send(client, now, "/memory/decide", **decided, decision="accepted")
            assert "The offer is kept" in seen(accepted)
            again = send(client, now, "/memory/decide", **decided, decision="rejected")
            assert "somebody has decided about it" in seen(again, 400)
        assert [one.text for one in SwarmMemory(store).experiences()] == ["Two classes."]


def test_rows_of_a_long_list_are_shown_in_pages() -> None:
    rows = [*range(PAGE * 2 + 5)]
    assert [row for first in (0, PAGE, 2 * PAGE) for row in rows_from(rows, first).rows] == rows
    assert (rows_from(rows, 0).after, rows_from(rows, PAGE).before) == (PAGE, 0)
    last = rows_from(rows, 10**9)
    assert (last.rows, last.after) == (rows[2 * PAGE :], 0)
    assert rows_from([], 5).rows == []


# --- doctor --------------------------------------------------------------------------------------


def test_the_doctor_contacts_servers_when_a_form_asks_and_shows_no_key(tmp_path: Path) -> None:
    with CannedEmbeddings() as server:
        gone = {"url": f"http://127.0.0.1:{dead_port()}/v1", "model": "gone", "api_key_env": "MODEL_KEY"}
        write_config(
            tmp_path,
            model_config={"single_model": gone},
            memory={"embeddings": server.settings(api_key_env="MODEL_KEY")},
        )
        other = tmp_path / "other.json"
        other.write_text(json.dumps({"model_config": {"single_model": {"model": "s"}}}))
        with visited(tmp_path, key=KEY) as client:
            shown = client.get("/doctor")
            assert "Not checked since the page was started" in seen(shown)
            assert server.asked == []
            checked = send(client, shown, "/doctor", what="config", config=field(shown, "config"))
            asked = len(server.asked)
            assert {*server.keys} == {f"Bearer {KEY}"}
            assert re.search(r"\b1 of \d+ checks failed", seen(checked))
            assert seen(client.get("/doctor")) == seen(checked)
            assert len(server.asked) == asked
            assert KEY not in checked.text
            unknown = send(client, shown, "/doctor", what="config", config=str(other))
            assert "No configuration" in seen(unknown, 404)


def test_the_doctor_checks_the_database(tmp_path: Path) -> None:
    write_config(tmp_path)
    with visited(tmp_path) as client:
        assert "There is no database yet" in seen(client.get("/doctor"))
        remember_in(tmp_path / DATA_DIR)
        shown = client.get("/doctor")
        assert "is sound" in seen(send(client, shown, "/doctor", what="database"))
        with closing(sqlite3.connect(database(tmp_path))) as connection, connection:
            connection.execute("UPDATE memory_items SET value = 'x'")
        assert "1 of 1 checks failed" in seen(send(client, shown, "/doctor", what="database"))


def test_checks_that_hang_end_at_the_time_limit_and_run_once_at_a_time() -> None:
    end, checkups = threading.Event(), Checkups(time_limit=0.05)

    def hang() -> list[Check]:
        end.wait()
        return []

    async def check() -> None:
        await checkups.run("a", hang)
        with pytest.raises(InputError, match="running already"):
            await checkups.run("a", hang)
        await checkups.run("b", lambda: [Check("b", True, "fine")])

    try:
        asyncio.run(check())
    finally:
        end.set()
    slow, fine = checkups.last("a"), checkups.last("b")
    assert slow
    assert fine
    assert "took longer than 0.05 s" in slow.checks[0].text
    assert (slow.failed, fine.failed, checkups.last("c")) == (1, 0, None)
