"""The page in a real browser: what people see and do, on real servers, in their widths and colours."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import warm
from gallery import (
    APPROVED,
    CHANGE,
    HOSTILE,
    OTHER,
    PAGES,
    PAUSED,
    REQUEST,
    SCRIPT,
    TASKS,
    fill,
    session_address,
)
from playwright.sync_api import Page, expect
from servers.browser import DESK, PHONE, SCHEMES, Windows, beyond_the_edge, cut_tables, load_all, violations
from servers.llama import Llama
from servers.paced_proxy import PacedProxy
from servers.relay import Relay
from servers.web_page import Page as Site
from servers.web_page import running_page
from support import write_config

from swarm_graph.checkpoints.locks import lock_session
from swarm_graph.checkpoints.records import Session
from swarm_graph.checkpoints.saver import open_checkpointer
from swarm_graph.checkpoints.transcript import StoredEvent
from swarm_graph.events import Event
from swarm_graph.state import DATA_DIR, DATABASE

pytestmark = pytest.mark.slow

HEAR = """
window.heard = {};
window.EventSource = class extends EventSource {
    constructor(address) {
        super(address);
        this.addEventListener("message", (message) => {
            const said = JSON.parse(message.data);
            if ("time" in said) window.heard[message.lastEventId] = said; // the others are no events
        });
    }
};
"""
"""Keeps what a page's stream says, by the ids of the events."""
MAX_RELEASES, RELEASE_S, END_S = 10, 5.0, 60.0
POLL_S = 0.05
WRITES = "[data-writes]"
"""The box with the text of the call that is open."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with sessions of every kind."""
    folder = tmp_path_factory.mktemp("gallery")
    fill(folder)
    return folder


@pytest.fixture(scope="module")
def site(home: Path) -> Iterator[Site]:
    """The page of that folder; it starts simulated sessions."""
    with running_page(home, "--simulate") as page:
        yield page


@pytest.fixture
def paced(llama: Llama) -> Iterator[PacedProxy]:
    """A llama.cpp server whose answers take as long as the test wants."""
    with PacedProxy(llama.root) as proxy:
        yield proxy


def one_reviewer(folder: Path, paced: PacedProxy) -> Path:
    """A configuration with one reviewer on the server."""
    return write_config(
        folder,
        model_config={"single_model": {"url": paced.url, "model": "tiny"}},
        workflow={"reviewers": ["style"]},
        agent_parameters={"reviewer": {"seed": 7}},
    )


def writing(page: Page) -> tuple[int, str]:
    """The last event that the box of the open call holds, and its text."""
    found: list[Any] = page.locator("[data-call]").evaluate(
        "box => [Number(box.dataset.after), box.querySelector('[data-writes]').textContent]"
    )
    return found[0], found[1]


def expect_text(page: Page, selector: str, text: str) -> None:
    """Wait until the last element that a selector finds has exactly this text."""
    page.wait_for_function(
        "([found, text]) => [...document.querySelectorAll(found)].at(-1)?.textContent === text",
        arg=[selector, text],
    )


def write_more(folder: Path, session: str, paced: PacedProxy) -> str:
    """Let the model write until the database has a new piece of the open call; returns all of its text.

    A piece that comes too soon after the one before is kept together with the next one.
    """
    before = len(pieces(folder, session))
    for _ in range(MAX_RELEASES):
        paced.release()
        until = time.monotonic() + RELEASE_S
        while time.monotonic() < until:
            if len(texts := pieces(folder, session)) > before:
                return "".join(texts)
            time.sleep(POLL_S)
    pytest.fail("the model writes no more")


def heard(page: Page) -> list[int]:
    """The ids of the events that the stream of a page has brought since the page was loaded."""
    found: dict[str, Any] = page.evaluate("window.heard")
    return sorted(map(int, found))


def stored_events(folder: Path, session: str) -> list[StoredEvent]:
    """The events that the database keeps of a session."""
    with open_checkpointer(folder / DATA_DIR / DATABASE) as saver:
        return saver.catalogue.transcript.events(session_id=session)


def ids(folder: Path, session: str, after: int) -> list[int]:
    """The ids of the events that the database keeps after an event."""
    return [stored.id for stored in stored_events(folder, session) if stored.id > after]


def kinds(folder: Path, session: str) -> set[str]:
    """The kinds of the events that the database keeps of a session."""
    return {stored.event.kind for stored in stored_events(folder, session)}


def pieces(folder: Path, session: str) -> list[str]:
    """What has been kept of the answer of a call that is open."""
    events = [stored.event for stored in stored_events(folder, session)]
    return [event.data["text"] for event in events if event.kind == "tokens"]


def last_answer(folder: Path, session: str) -> str:
    """What a session's last call has answered, as the database keeps it."""
    with open_checkpointer(folder / DATA_DIR / DATABASE) as saver:
        (*_, call) = saver.catalogue.transcript.calls(session)
    return call.answer


def log_in(page: Page, site: Site, name: str = "") -> None:
    """Fill the form of the login."""
    page.get_by_label("Token").fill(site.token)
    page.get_by_label("Your name").fill(name)
    page.get_by_role("button", name="Open").click()


def test_the_printed_address_logs_in_and_its_token_leaves_the_address_bar(
    windows: Windows, site: Site
) -> None:
    page = windows.open(site.address)
    expect(page.get_by_role("heading", name="Sessions", exact=True)).to_be_visible()
    assert page.url == f"{site.root}/"
    page.go_back()
    assert site.token not in page.url
    page.goto(f"{site.root}/login")
    windows.expected.add("401")
    page.get_by_label("Token").fill(f"{site.token}x")
    page.get_by_role("button", name="Open").click()
    expect(page.get_by_role("alert")).to_contain_text("not the token")
    page.goto(site.address)  # in the tab that has the form already, so nothing is loaded
    page.wait_for_url(f"{site.root}/")


def test_a_run_on_a_real_server_streams_and_neither_reload_nor_a_lost_connection_loses_anything(
    windows: Windows, paced: PacedProxy, tmp_path: Path
) -> None:
    windows.expected.add("net::ERR_")
    one_reviewer(tmp_path, paced)
    with Relay() as relay, running_page(tmp_path, "--allowed-host", f"127.0.0.1:{relay.port}") as site:
        relay.mend(site.authority)
        page = windows.open(f"{relay.root}/login#{site.token}", script=HEAR)
        page.get_by_role("link", name="Start").first.click()
        start(page, "x = 1", "review_only")
        session = urlsplit(page.url).path.rpartition("/")[2]
        for _ in range(2):
            expect_text(page, WRITES, write_more(tmp_path, session, paced))
        page.reload()
        after, text = writing(page)
        assert text == "".join(pieces(tmp_path, session))
        lost = page.get_by_text("has lost the server")
        relay.cut()
        expect(lost).to_be_visible()
        for _ in range(2):
            missed = write_more(tmp_path, session, paced)
        assert writing(page)[1] == text != missed
        relay.mend(site.authority)
        expect_text(page, WRITES, missed)
        expect(lost).to_be_hidden()
        expect_text(page, WRITES, write_more(tmp_path, session, paced))
        assert heard(page) == ids(tmp_path, session, after)
        relay.cut()
        expect(lost).to_be_visible()
        end(paced, tmp_path, session)
        relay.mend(site.authority)
        expect(page.locator("#part-header")).to_contain_text("complete")
        assert {*ids(tmp_path, session, after)} <= {*heard(page)}
        expect_answer(page, last_answer(tmp_path, session))


def end(paced: PacedProxy, folder: Path, session: str) -> None:
    """Let the model write to its end, and wait for that of the session."""
    paced.hurry()
    until = time.monotonic() + END_S
    while "session_ended" not in kinds(folder, session):
        assert time.monotonic() < until
        time.sleep(POLL_S)


def expect_answer(page: Page, answer: str) -> None:
    """Check that the page shows the answer of the last call, from its first to its last character."""
    load_all(page)
    expect_text(page, "#part-calls pre", answer)
    expect(page.locator("[data-call]")).to_have_count(0)


def test_of_a_huge_answer_the_end_is_shown_while_it_is_written(windows: Windows, tmp_path: Path) -> None:
    with open_checkpointer(tmp_path / DATA_DIR / DATABASE) as saver, lock_session(saver.catalogue, "s"):
        began = Session("s", "standard", "Make it", {}, "running", time.time(), time.time())
        saver.catalogue.begin_run(began, "begin")
        append = saver.catalogue.transcript.append
        call = append(Event("call_started", time.time(), "s", "coder", "coder"))
        with running_page(tmp_path, "--simulate") as site:
            page = windows.open(f"{site.root}/sessions/s", site=site)
            pieces = [{"output_tokens": n, "text": "one line\n" * 200, "thoughts": ""} for n in range(600)]
            pieces.append({"output_tokens": 601, "text": "THE END", "thoughts": ""})
            with saver.transaction():
                for data in pieces:
                    append(Event("tokens", time.time(), "s", "coder", "coder", data=data), call)
            for _ in range(2):  # as it was streamed, and as it is loaded
                expect(page.locator("[data-writes]")).to_contain_text("THE END")
                assert len(writing(page)[1]) < 100_000
                expect(page.get_by_text("Only the end is shown")).to_be_visible()
                page.reload()
            page.close()


def test_a_reader_at_the_end_of_a_long_list_of_tasks_stays_there_when_it_is_fetched_anew(
    windows: Windows, tmp_path: Path
) -> None:
    tasks = [{"task_id": f"t{number:03}", "assigned_role": "documenter"} for number in range(230)]
    (tmp_path / "tasks.json").write_text(json.dumps({"tasks": tasks}))
    command = ("run", "--tasks", "tasks.json", "--simulate", "--session", "s")
    assert warm.run(*command, cwd=tmp_path).returncode == 0
    with running_page(tmp_path, "--simulate") as site:
        page = windows.open(f"{site.root}/sessions/s", site=site)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.locator("[data-rows]").evaluate("box => { box.scrollTop = box.scrollHeight }")
        expect(page.get_by_role("rowheader", name="t229")).to_be_visible()
        with open_checkpointer(tmp_path / DATA_DIR / DATABASE) as saver:
            before = len(asked)
            saver.catalogue.transcript.append(Event("task_ended", time.time(), "s", "t229", task="t229"))
        with page.expect_response(lambda answer: "from=" in answer.url):
            pass
        expect(page.get_by_role("rowheader", name="t229")).to_be_visible()
        assert {url.rpartition("=")[2] for url in asked[before:] if "from=" in url} == {"130"}
        page.close()


def test_a_session_of_another_process_appears_and_streams_also_from_a_new_server(
    windows: Windows, paced: PacedProxy, tmp_path: Path
) -> None:
    windows.expected |= {"net::ERR_", "401"}
    one_reviewer(tmp_path, paced)
    secret = {"PAGE_TOKEN": "0123456789abcdef0123456789abcdef"}
    options = ("--token-env", "PAGE_TOKEN", "--port")
    with running_page(tmp_path, *options, "0", log_in=False, **secret) as site:
        page = windows.open(f"{site.root}/login")
        site.token = secret["PAGE_TOKEN"]
        log_in(page, site)
        expect(page.get_by_text("No session yet")).to_be_visible()
        process = warm.Process("run", "-w", "review_only", "--session", "theirs", "x = 1", cwd=tmp_path)
        page.get_by_role("link", name="theirs").click()
        expect_text(page, WRITES, write_more(tmp_path, "theirs", paced))
    expect(page.get_by_text("has lost the server")).to_be_visible()
    port = site.authority.rpartition(":")[2]
    with process, running_page(tmp_path, *options, port, log_in=False, **secret):
        page.get_by_role("link", name="Log in").click()
        log_in(page, site)  # which leads back to the session
        expect_text(page, WRITES, write_more(tmp_path, "theirs", paced))
        paced.hurry()
        expect(page.locator("#part-header")).to_contain_text("complete")
        assert process.wait() == 0
        expect_answer(page, last_answer(tmp_path, "theirs"))


def start(page: Page, request: str, workflow: str) -> None:
    """Start a session with the form."""
    page.get_by_role("textbox", name="Request").fill(request)
    page.get_by_label(f"{workflow}:").check()
    page.get_by_role("button", name="Start").click()
    page.wait_for_url("**/sessions/*")


def waiting_session(folder: Path, session: str) -> str:
    """The address of a new session that waits for a person before the coder."""
    config = folder / "with-pauses/config.json"
    done = warm.run("run", REQUEST, "--session", session, "--config", config, cwd=folder, text=True)
    assert done.returncode == 3, done.stderr
    return session_address(session)


def test_tests_fail_and_pass_a_finding_stands_beside_its_code_and_sessions_are_compared(
    windows: Windows, site: Site
) -> None:
    page = windows.open(f"{site.root}/new", site=site)
    start(page, REQUEST, "full")
    expect(page.locator("#part-header")).to_contain_text("approved, tests passed", timeout=60_000)
    first, second = page.locator("#round-1"), page.locator("#round-2")
    expect(second).to_contain_text("Tests: passed")
    assert "note=" not in page.url
    expect(page.locator("#part-graph ~ #part-rounds")).to_be_visible()
    page.reload()  # a round that was open while it was the last one stays open
    expect(page.locator("#part-rounds ~ #part-graph")).to_be_visible()
    page.get_by_role("navigation", name="Parts of the session").get_by_role("link", name="Calls").click()
    expect(page.locator("#part-calls")).to_be_in_viewport()
    first.locator("summary").first.click()
    expect(first).to_contain_text("Tests: failed")
    finding = first.locator("article", has_text="test_get_keeps_its_timeout").first
    line = finding.locator(".marked")
    expect(line).to_contain_text("still waiting after")
    expect(line).to_be_visible()
    failure = first.locator(".tests details", has_text="test_get_keeps_its_timeout").first
    failure.locator("summary").click()
    expect(failure.locator("pre")).to_contain_text("still waiting after")
    second.get_by_text("src/fifo_queue.py").first.click()
    expect(second.locator(".added").first).to_be_visible()
    expect(page.locator("[data-node=coder]")).to_have_attribute("data-state", "done")
    session = page.locator("h1").inner_text()
    page.get_by_role("link", name="Sessions").click()
    for name in (session, OTHER):
        page.get_by_label(f"Compare {name}", exact=True).check()
    page.get_by_role("button", name="Compare the checked sessions").click()
    for name in (session, OTHER):
        expect(page.get_by_role("columnheader", name=name)).to_be_visible()
    expect(page.get_by_role("row", name="test runs")).to_contain_text("1 failed, 1 passed")


def test_a_pause_is_approved_once_and_the_second_person_is_told_who_was_first(
    windows: Windows, home: Path, site: Site
) -> None:
    address = waiting_session(home, "asked-once")
    windows.expected.add("409")
    late = windows.open(f"{site.root}/login", scripts=False)
    log_in(late, site, "Ben")
    late.goto(site.root + address)
    page = windows.open(f"{site.root}/login")
    log_in(page, site, "Ann")
    page.goto(f"{site.root}/decisions")
    page.get_by_role("region", name="asked-once").get_by_role("button", name="Approve").click()
    page.goto(site.root + address)
    expect(page.locator("#part-header")).to_contain_text("complete")
    late.get_by_role("button", name="Approve").click()
    expect(late.get_by_role("alert")).to_contain_text(re.compile("Ann.* was first and approved"))


def press_until(page: Page, label: str) -> None:
    """Press Tab until an element with this text, label or value has the focus."""
    seen = []
    for _ in range(80):
        page.keyboard.press("Tab")
        named = page.evaluate(
            """() => {
                const at = document.activeElement;
                const names = [at.labels?.[0]?.textContent, at.ariaLabel, at.textContent];
                return names.find(Boolean)?.trim() ?? "";
            }"""
        )
        if str(named).startswith(label):
            return
        seen.append(named)
    pytest.fail(f"Tab reaches no {label!r}: {seen}")


def test_a_person_with_a_keyboard_alone_logs_in_starts_and_decides(
    windows: Windows, home: Path, site: Site
) -> None:
    page = windows.open(f"{site.root}/login")
    page.keyboard.type(site.token)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{site.root}/")
    press_until(page, "Start a session")
    page.keyboard.press("Enter")
    page.wait_for_url("**/new")
    expect(page.get_by_role("textbox", name="Request")).to_be_focused()
    page.keyboard.type("Create a stack")
    page.keyboard.press("Control+Enter")
    page.wait_for_url("**/sessions/*")
    expect(page.locator("#part-header")).to_contain_text("complete")
    page.goto(site.root + waiting_session(home, "keyboard-rejects"))
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.method))
    for fold, field in (("Edit it first", "design"), ("Reject it", "What is wrong")):
        press_until(page, fold)
        page.keyboard.press("Enter")
        press_until(page, field)
        page.keyboard.type("It needs a limit.")
        for key in ("Enter", "Control+Enter"):  # in a field neither decides anything
            page.keyboard.press(key)
    assert "POST" not in sent
    press_until(page, "Reject")
    page.keyboard.press("Enter")
    expect(page.locator("#part-header")).to_contain_text("complete")
    assert decisions(home, "keyboard-rejects") == ["rejected"]
    page.goto(site.root + waiting_session(home, "keyboard-approves"))
    press_until(page, "Approve")
    page.keyboard.press("Enter")
    expect(page.locator("#part-header")).to_contain_text("complete")
    assert decisions(home, "keyboard-approves") == ["approved"]


def decisions(folder: Path, session: str) -> list[str]:
    """What people have decided at the pauses of a session."""
    events = [stored.event for stored in stored_events(folder, session)]
    return [event.data["decision"] for event in events if event.kind == "pause_answered"]


def test_without_scripts_everything_can_be_read_and_forms_work(
    windows: Windows, home: Path, site: Site
) -> None:
    address = waiting_session(home, "without-scripts")
    page = windows.open(f"{site.root}/login", scripts=False)
    log_in(page, site)
    page.goto(site.root + session_address(APPROVED))
    for part in page.get_by_role("link", name=re.compile("^Show")).all():
        reader = windows.open(f"{site.root}{part.get_attribute('href')}", scripts=False, site=site)
        assert len(reader.locator("main").inner_text()) > 40
    page.goto(site.root + address)
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_role("heading", name="without-scripts")).to_be_visible()
    page.goto(f"{site.root}/new")
    start(page, "Create a stack", "standard")
    expect(page.get_by_text("Create a stack")).to_be_visible()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_its_window_and_has_no_serious_fault(name: str, windows: Windows, site: Site) -> None:
    if name == "problem":
        windows.expected.add("404")
    page = windows.open(site.root + PAGES[name], site=None if name == "login" else site, width=PHONE)
    load_all(page)
    assert beyond_the_edge(page) == []
    assert violations(page, colours=False) == []
    page.set_viewport_size({"width": DESK, "height": 900})
    assert beyond_the_edge(page) == cut_tables(page) == []
    assert violations(page) == []
    page.emulate_media(color_scheme="dark")
    assert violations(page, rest=False) == []
    assert page.evaluate("window.ran") is None


@pytest.mark.parametrize("session", [APPROVED, PAUSED, TASKS, CHANGE, HOSTILE])
def test_a_saved_report_fits_has_no_fault_and_prints_every_round(
    session: str, windows: Windows, home: Path
) -> None:
    file = home / "report.html"
    warm.run("sessions", "report", file, "--session", session, cwd=home)
    page = windows.open(file.as_uri(), width=PHONE)
    for width in (PHONE, DESK):
        page.set_viewport_size({"width": width, "height": 900})
        assert beyond_the_edge(page) == []
        for scheme in SCHEMES:
            page.emulate_media(color_scheme=scheme)
            assert violations(page) == []
    page.emulate_media(media="print")
    for words in page.locator(".round .reviews").all():
        assert words.evaluate("element => element.checkVisibility({contentVisibilityAuto: true})")


def test_the_report_on_all_sessions_fits_whatever_a_session_is_called(windows: Windows, home: Path) -> None:
    file = home / "all.html"
    warm.run("sessions", "report", file, cwd=home)
    page = windows.open(file.as_uri())
    tables = page.locator(".wide").all()
    assert tables
    assert [table.evaluate("box => box.scrollWidth - box.clientWidth") for table in tables] == [0] * len(
        tables
    )
    assert violations(page) == []


def test_what_others_say_is_shown_as_text(windows: Windows, site: Site) -> None:
    page = windows.open(site.root + session_address(HOSTILE), site=site)
    load_all(page)
    expect(page.locator("h1")).to_have_text(HOSTILE)
    expect(page.locator("#round-2 .said").first).to_contain_text(SCRIPT)
    assert page.evaluate("window.ran") is None
    assert page.locator("main script, main img").count() == 0
