"""What strangers, other sites, other users and hostile texts can do to the page: nothing.

The pages are those of `swarm_graph.web.app.MODULES`: a new route is attacked without a new test.
"""

from __future__ import annotations

import asyncio
import os
import re
import resource
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from servers.web_page import Answer, Page, Visitor, page_in_process, running_page
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from support import CODE, Crew, config

from swarm_graph.checkpoints.experiments import Experiment, Experiments, TrialRow
from swarm_graph.checkpoints.saver import open_checkpointer
from swarm_graph.state import DATABASE
from swarm_graph.web import app, connections, follower, pages
from swarm_graph.web.addresses import encoded
from swarm_graph.web.attempts import AT_ONCE, EACH_S, MAX_SOURCES, Attempts
from swarm_graph.web.guard import HEADERS, MAX_BODY_BYTES, MAX_HEAD_BYTES, MAX_LOGIN_BYTES, MAX_QUERY_BYTES
from swarm_graph.workflows.build import build_graph

SCRIPT = "<script>alert(1)</script>"
HOSTILE = f"{SCRIPT}'\"><img src=x onerror=alert(2)>"
SESSION = "s-1"
FILL = {"id": SESSION, "part": "header", "path": "src/a.py", "number": "1"}
"""What the parameters of routes stand for."""
STREAMS = "/events"
SECRET = "the-secret-of-the-machine"
OTHER_USER = 65534


def routes(method: str) -> list[Route]:
    """The routes of the page that take a method."""
    found = [route for module in app.MODULES for route in module.routes if isinstance(route, Route)]
    return [route for route in found if method in (route.methods or ())]


def path_of(route: Route, **given: str) -> str:
    """An address of a route."""
    return re.sub(r"{(\w+)(?::\w+)?}", lambda found: {**FILL, **given}.get(found[1], "x"), route.path)


def head(page: Visitor, *lines: str, cookie: bool = True) -> str:
    """The status line and the headers of what the server answers to these lines."""
    known = [f"Cookie: {page.cookie}"] if cookie else []
    request = "\r\n".join([*lines, *known, "", ""])
    return page.raw(request.encode()).decode().partition("\r\n\r\n")[0]


def status(answer: str) -> int:
    return int(answer.split()[1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a database with a session whose texts are hostile."""
    place = tmp_path_factory.mktemp("attacked")
    (place / "secret.txt").write_text(SECRET)
    finding = (
        '{"findings": [{"severity": "major", "location": "src/a.py:1", "problem": %s, "suggestion": %s}]'
    )
    quoted = '"' + HOSTILE.replace('"', '\\"') + '"'
    crew = Crew(
        {
            "architect": HOSTILE,
            "coder": CODE.replace("x = ", f"# {SCRIPT}\nx = "),
            "reviewer": f'{finding % (quoted, quoted)}, "approved": false}}',
            "documenter": f"# {HOSTILE}",
        }
    )
    (place / ".swarm").mkdir()
    with open_checkpointer(place / ".swarm" / DATABASE) as saver:
        for name in (SESSION, HOSTILE):
            graph = build_graph("full", config=config(workflow={"max_iterations": 1}), checkpointer=saver)
            where: Any = {"configurable": {"thread_id": name}}
            state = graph.invoke({"request": HOSTILE}, where, context=crew.context)
            # Paths that no answer may have, as a received database may.
            odd = dict.fromkeys((f"src/{HOSTILE}.py", "../secret.txt", "/etc/passwd"), SCRIPT)
            graph.update_state(where, {"code": {**state["code"], **odd}}, as_node="coder")
        experiments = Experiments(saver.database)
        trial = TrialRow(SESSION, 1, HOSTILE, HOSTILE, HOSTILE, HOSTILE, error=HOSTILE, phase=HOSTILE)
        experiments.begin(Experiment(SESSION, "eval", {}, 1.0), [trial])
        experiments.end(SESSION, HOSTILE)
    return place


@pytest.fixture(scope="module")
def page(folder: Path) -> Iterator[Page]:
    """A page in a process of its own, and a user who is logged in."""
    with running_page(folder, "--simulate") as found:
        found.log_in(HOSTILE)
        yield found


# --- other sites ---------------------------------------------------------------------------------


def test_requests_of_other_sites_and_under_other_names_are_refused(page: Page) -> None:
    host, port = f"Host: {page.authority}", page.authority.partition(":")[2]
    rebound = [
        "rebound.example", f"rebound.example:{port}", f"127.0.0.1.rebound.example:{port}", "127.0.0.1",
        f"localhost.:{port}", f"127.1:{port}", f"0.0.0.0:{port}", f"[::1]:{port}", f"a@127.0.0.1:{port}", "",
    ]  # fmt: skip
    for name in rebound:
        assert status(head(page, "GET / HTTP/1.1", f"Host: {name}")) == 403, name
    assert status(head(page, "GET / HTTP/1.1", f"Host: LOCALHOST:{port}", "Accept: text/html")) == 303
    assert status(head(page, "GET / HTTP/1.0")) == 403
    assert status(head(page, "GET / HTTP/1.1")) == 400
    assert status(head(page, "GET / HTTP/1.1", host, "Host: rebound.example")) == 400
    assert status(head(page, "GET http://rebound.example/ HTTP/1.1", host)) == 400

    foreign = [
        "https://evil.example",
        "null",
        "",
        f"https://{page.authority}",
        "http://127.0.0.1:1",
        page.root + "/",
    ]
    for origin in foreign:
        for path in ("/", "/login", STREAMS, "/static/app.js"):
            assert status(head(page, f"GET {path} HTTP/1.1", host, f"Origin: {origin}")) == 403, (
                origin,
                path,
            )
        assert page.post("/login", {"token": page.token}, Origin=origin).status == 403
        assert page.post("/logout", Origin=origin).status == 403
    assert (
        status(head(page, "GET / HTTP/1.1", host, f"Origin: {page.root}", "Origin: https://evil.example"))
        == 403
    )

    for site in ("cross-site", "same-site", "nonsense", ""):
        for path in ("/", STREAMS, "/static/app.js"):
            assert page.get(path, **{"Sec-Fetch-Site": site}).status == 403
        assert page.post("/logout", {}, **{"Sec-Fetch-Site": site}).status == 403
        framed = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}
        assert page.get("/", **framed).status == 403
    assert page.get("/", **{"Sec-Fetch-Site": "none"}).status == 200


def test_a_form_must_say_where_it_comes_from(page: Page) -> None:
    form = f"csrf={page.csrf}".encode()
    kind = {"Cookie": page.cookie, "Content-Type": "application/x-www-form-urlencoded"}
    assert page.ask("POST", "/logout", form, kind).status == 403
    assert page.ask("POST", "/login", b"token=x", kind).status == 403


def test_a_link_of_another_site_opens_a_page_that_asks_first(page: Page) -> None:
    linked = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    answer = page.get("/?q=%22%3E%3Cb%3E", **linked)
    assert answer.status == 403
    assert 'href="/?q=%22%3E%3Cb%3E"' in answer.text
    assert SESSION not in answer.text
    for foreign in ("//evil.example/x", "//evil.example%2F..", "/\\evil.example"):
        assert "evil" not in page.get(foreign, **linked).text, foreign
    assert page.get("/login", **linked).status == 200


def test_no_answer_leads_away_from_the_scheme_and_the_name_that_the_browser_uses(page: Page) -> None:
    """Behind a proxy with TLS the server would call itself http://."""
    answers = [page.get(path) for path in ("/doctor/", "/static", "//evil.example/", "/sessions/s-1/")]
    answers += [page.post("/doctor", {"what": "database"}), page.get("/", Cookie=""), page.post("/doctor")]
    found = [answer.headers["Location"] for answer in answers if answer.status in range(300, 400)]
    assert len(found) == 3
    assert all(address.startswith("/") for address in found), found


def test_every_answer_forbids_frames_foreign_scripts_and_guessed_types(page: Page) -> None:
    host = f"Host: {page.authority}"
    wanted = {name: value.lower() for name, value in HEADERS.items() if name != "cache-control"}
    answers = {
        200: head(page, "GET / HTTP/1.1", host),
        303: head(page, "GET / HTTP/1.1", host, "Accept: text/html", cookie=False),
        304: _again(page, "/static/app.js"),
        400: head(page, "\0garbage", host),
        401: head(page, "GET / HTTP/1.1", host, cookie=False),
        403: head(page, "GET / HTTP/1.1", "Host: x"),
        404: head(page, "GET /no/such/page HTTP/1.1", host),
        405: head(page, "POST / HTTP/1.1", host, f"Origin: {page.root}", "Content-Length: 0"),
        413: head(page, "POST /logout HTTP/1.1", host, f"Origin: {page.root}", f"Content-Length: {1 << 40}"),
        414: head(page, f"GET /?{'q' * (MAX_QUERY_BYTES + 1)} HTTP/1.1", host),
        431: head(page, "GET / HTTP/1.1", host, f"X: {'x' * MAX_HEAD_BYTES}"),
    }
    for wants, answer in answers.items():
        # A head that comes in more than one piece is refused before it is read to its end.
        assert status(answer) == wants or (wants == 431 and status(answer) == 400), answer
        sent = dict(line.split(": ", 1) for line in answer.lower().splitlines()[1:])
        assert {name: sent.get(name) for name in wanted} == wanted, wants
        assert "cache-control" in sent
        assert "server" not in sent


def _again(page: Page, path: str) -> str:
    """The answer to a browser that has a file already."""
    tag = page.get(path).headers["ETag"]
    return head(page, f"GET {path} HTTP/1.1", f"Host: {page.authority}", f"If-None-Match: {tag}")


# --- who is logged in ----------------------------------------------------------------------------


def test_without_a_cookie_of_this_page_nothing_is_shown_and_nothing_done(page: Page, tmp_path: Path) -> None:
    key, ends, rest = page.cookie.split(".", 2)
    with running_page(tmp_path, "--simulate") as other:
        foreign = page.cookie.partition("=")[0] + "=" + other.cookie.partition("=")[2]
    cookies = ["", "x=y", page.cookie[:-1], f"{key}.{int(ends) + 1}.{rest}", f"{key}x.{ends}.{rest}", foreign]
    for cookie in cookies:
        for route in routes("GET"):
            if route.path != "/login":
                answer = page.ask("GET", path_of(route), headers={"Cookie": cookie})
                assert answer.status == 401, (route.path, cookie)
        for route in routes("POST"):
            if route.path != "/login":
                assert page.post(path_of(route), Cookie=cookie).status == 401
    assert page.ask("GET", "/login-page").status == 401
    assert page.ask("GET", "/static/../sessions/s-1").status == 404


def test_every_change_needs_the_token_of_the_users_own_form(page: Page, folder: Path) -> None:
    mallory = Visitor(authority=page.authority, token=page.token)
    mallory.log_in()
    changes = [path_of(route) for route in routes("POST") if route.path != "/login"]
    assert "/logout" in changes
    before = rows(folder)
    for path in changes:
        for stolen in ({"csrf": ""}, {"csrf": "0" * 64}, {"csrf": mallory.csrf}):
            answer = page.post(path, stolen)
            assert (answer.status, "load it again" in answer.text) == (403, True), path
        assert page.post(path, {"csrf": ""}, **{"X-Csrf": mallory.csrf}).status == 403
        assert page.ask("GET", path, headers={"Cookie": page.cookie}).status in (200, 404, 405, 409)
    assert rows(folder) == before
    assert page.get("/").status == 200, "somebody else's form logged the user out"


def test_no_page_changes_anything(page: Page, folder: Path) -> None:
    before = rows(folder)
    for route in routes("GET"):
        if not route.path.endswith(STREAMS):
            assert page.get(path_of(route)).status < 500, route.path
            assert page.ask("HEAD", path_of(route), headers={"Cookie": page.cookie}).status < 500
    assert rows(folder) == before


def rows(folder: Path) -> list[str]:
    """All that the database holds."""
    with closing(sqlite3.connect(folder / ".swarm" / DATABASE)) as connection:
        return [*connection.iterdump()]


def test_a_page_that_only_shows_changes_nothing(folder: Path) -> None:
    before = rows(folder)
    with page_in_process(folder, read_only=True) as shown:
        for route in routes("POST"):
            if route.path not in ("/login", "/logout"):
                assert "--read-only" in shown.post(path_of(route)).text
        assert shown.post("/logout").status == 303
        assert shown.get("/").status == 303
    assert rows(folder) == before


def test_a_cookie_is_good_under_one_name_only_and_ends_with_the_logout(page: Page) -> None:
    port = page.authority.partition(":")[2]
    visitor = Visitor(authority=page.authority, token=page.token)
    visitor.log_in()
    assert visitor.get("/", Host=f"localhost:{port}").status == 303
    assert visitor.post("/logout").status == 303
    assert visitor.get("/").status == 303
    assert page.get("/").status == 200


def test_a_stream_ends_with_the_login(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower, "ALIVE_S", 0.01)
    with page_in_process(folder) as page:
        host, _, port = page.authority.rpartition(":")
        with closing(socket.create_connection((host, int(port)), timeout=30)) as connection:
            lines = f"GET {STREAMS} HTTP/1.1\r\nHost: {page.authority}\r\nCookie: {page.cookie}\r\n\r\n"
            connection.sendall(lines.encode())
            with connection.makefile("rb") as stream:
                assert b"200" in stream.readline()
                assert page.post("/logout").status == 303
                assert b"0\r\n" in stream, "the last chunk"


def test_wrong_tokens_are_slowed_down_and_lock_out_nobody_who_is_in(tmp_path: Path) -> None:
    with running_page(tmp_path, "--simulate") as page:
        tries = [page.post("/login", {"token": f"guess-{number}"}) for number in range(AT_ONCE + 2)]
        assert [answer.status for answer in tries] == [401] * AT_ONCE + [429] * 2
        right = page.post("/login", {"token": page.token})
        assert right.status == 429
        assert 0 < int(right.headers["Retry-After"]) <= EACH_S
        assert page.get("/").status == 200


def test_the_limit_ends_soon_counts_networks_and_needs_little_memory() -> None:
    now = [0.0]
    attempts = Attempts(lambda: now[0])
    for _ in range(AT_ONCE):
        assert attempts.wait_s("10.0.0.1") == 0
        attempts.note_failure("10.0.0.1")
    assert attempts.wait_s("10.0.0.1") == EACH_S
    assert attempts.wait_s("10.0.0.2") == 0
    now[0] += EACH_S
    assert attempts.wait_s("10.0.0.1") == 0
    for number in range(AT_ONCE):
        attempts.note_failure(f"2001:db8::{number}")
    assert attempts.wait_s("2001:db8::ffff") > 0
    assert attempts.wait_s("2001:db8:0:1::1") == 0
    assert attempts.wait_s("::ffff:10.0.0.1") == attempts.wait_s("10.0.0.1")
    for _ in range(AT_ONCE):
        attempts.note_failure("::ffff:10.0.0.3")
    assert (attempts.wait_s("10.0.0.3"), attempts.wait_s("::ffff:10.0.0.4")) == (EACH_S, 0)
    for number in range(3 * MAX_SOURCES):
        attempts.note_failure(f"10.1.{number // 250}.{number % 250}")
    assert len(attempts._spent_until) == MAX_SOURCES


def test_the_login_leads_to_no_other_site(page: Page) -> None:
    tricks = [
        "//evil.example", "/\\evil.example", "\\\\evil.example", "https://evil.example", "/\t/evil.example",
        "javascript:alert(1)", " //evil.example", "/a\r\nSet-Cookie: x=y", "evil", "", "/ä",
    ]  # fmt: skip
    for trick in tricks:
        answer = page.post("/login", {"token": page.token, "next": trick})
        assert (answer.status, answer.headers["Location"]) == (303, "/"), trick
    wanted = page.get("/sessions/a%2Fb?x=1&y=%22", Cookie="").headers["Location"]
    form = page.get(wanted).text
    assert 'name="next" value="/sessions/a%2Fb?x=1&amp;y=%22"' in form
    answer = page.post("/login", {"token": page.token, "next": "/sessions/a%2Fb?x=1&y=%22"})
    assert answer.headers["Location"] == "/sessions/a%2Fb?x=1&y=%22"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be another user")
def test_the_code_in_the_arguments_of_the_browser_is_no_use_to_another_user(tmp_path: Path) -> None:
    """Behind a proxy others may connect, and the arguments of a program can be read by all."""
    with page_in_process(tmp_path, ["swarm.example"]) as page:
        head = (
            "POST /login HTTP/1.1\r\nHost: swarm.example\r\nOrigin: https://swarm.example\r\nContent-Length: "
        )
        kind = "\r\nContent-Type: application/x-www-form-urlencoded\r\n\r\n"
        for given, wants in ((_new_code(page), 401), (page.token, 303)):
            body = f"token={given}"
            answer = _as_user(OTHER_USER, page, f"{head}{len(body)}{kind}{body}".encode())
            assert status(answer.decode()) == wants
        assert page.post("/login", {"token": _new_code(page)}).status == 303


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be another user")
def test_another_user_of_the_machine_is_refused_even_with_the_cookie(page: Page) -> None:
    """Browsers send the cookies of 127.0.0.1 to the servers of all users."""
    request = f"GET / HTTP/1.1\r\nHost: {page.authority}\r\nCookie: {page.cookie}\r\n\r\n".encode()
    assert _as_user(0, page, request).startswith(b"HTTP/1.1 200")
    answer = _as_user(OTHER_USER, page, request)
    assert answer.startswith(b"HTTP/1.1 403")
    assert b"another user of this machine" in answer


def _new_code(page: Visitor) -> str:
    assert page.login
    return page.login.new_code()


def _as_user(user: int, page: Visitor, request: bytes) -> bytes:
    """What another user of this machine is answered."""
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        try:
            os.setuid(user)
            os.write(writing, page.raw(request))
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    return answer


# --- hostile texts -------------------------------------------------------------------------------


class Risks(HTMLParser):
    """Collects what a page would run, or load from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            is_foreign = name in ("src", "href", "action", "formaction") and not _is_local(value or "")
            if name.startswith("on") or name == "style" or is_foreign:
                self.found.append(f"<{tag} {name}={value!r}>")
        if tag in ("img", "iframe", "object", "embed") or (
            tag == "script" and ("src", "/static/app.js") not in attrs
        ):
            self.found.append(f"<{tag}>")


def _is_local(address: str) -> bool:
    return address.startswith(("/", "#", "?", "data:")) and not address.startswith("//")


def test_texts_of_models_people_and_files_stay_texts_on_every_page(page: Page) -> None:
    for name in (SESSION, HOSTILE):
        for route in routes("GET"):
            for part in app_parts() if "{part}" in route.path else ("",):
                if not route.path.endswith(STREAMS):
                    answer = page.get(path_of(route, id=encoded(name), part=part))
                    _check_text(answer, f"{route.path} {part} {name}")
    hostile = encoded(HOSTILE)
    for address in (f"/?q={hostile}", f"/sessions/{hostile}x", f"/{hostile}", f"/login?next={hostile}"):
        _check_text(page.get(address), address)
    _check_text(page.post("/login", {"token": page.token, "next": HOSTILE, "name": HOSTILE}), "login")


def _check_text(answer: Answer, place: str) -> None:
    kind = answer.headers["Content-Type"] or "text/html"
    if kind.startswith("text/html"):
        risks = Risks()
        risks.feed(answer.text)
        assert risks.found == [], place
    else:
        assert kind.startswith(("text/plain", "application/json")) or "attachment" in (
            answer.headers["Content-Disposition"] or ""
        ), place


def app_parts() -> list[str]:
    """The parts of a session's page."""
    from swarm_graph.web.session_view import all_parts

    return [*all_parts()]


def test_no_trick_with_a_path_reaches_a_file_of_the_machine(page: Page, folder: Path) -> None:
    up = "../" * 12
    wanted = [
        f"{up}etc/passwd",
        "/etc/passwd",
        f"{up}{folder}/secret.txt",
        "secret.txt",
        "../secret.txt",
        "link.txt",
    ]
    for path in (*wanted, "", ".", "..", "a\0b", "src/../../secret.txt", "~2E~2E/secret.txt", "~00"):
        forms = {
            path,
            path.replace(".", "%2e").replace("/", "%2F"),
            path.replace("..", "%252e%252e"),
            path.replace("/", "\\"),
            path.replace("/", "//"),
            "/".join(map(encoded, path.split("/"))),
            encoded(path),
        }
        bases = ["/static/", "/", *(_with_path(route) for route in routes("GET") if "{path" in route.path)]
        for base in bases:
            for form in forms:
                target = (base + form).replace("\0", "%00").replace(" ", "%20")
                answer = page.get(target)
                assert answer.status < 500, target
                assert SECRET not in answer.text, target
                assert "root:" not in answer.text, target


def _with_path(route: Route) -> str:
    """The address of a route up to its path."""
    return path_of(route, path="\n").partition("\n")[0]


# --- odd and endless requests --------------------------------------------------------------------


def test_only_get_and_post_are_served_and_no_websocket(page: Page) -> None:
    host, origin = f"Host: {page.authority}", f"Origin: {page.root}"
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "get"):
        for path in ("/", "/login", "/logout", "/static/app.js", "*"):
            answer = head(page, f"{method} {path} HTTP/1.1", host, origin)
            assert status(answer) in (400, 405), (method, path)
            assert "access-control" not in answer.lower()
    assert status(head(page, f"CONNECT {page.authority} HTTP/1.1", host)) in (400, 405)
    for trick in ("X-HTTP-Method-Override: POST", "X-HTTP-Method: POST", "X-Original-URL: /logout"):
        assert status(head(page, "GET /logout HTTP/1.1", host, trick)) == 405
    upgrade = (
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: eA==",
    )
    assert status(head(page, f"GET {STREAMS} HTTP/1.1", host, origin, *upgrade)) == 400
    smuggled = ("Transfer-Encoding: chunked", "Content-Length: 4")
    assert status(head(page, "POST /logout HTTP/1.1", host, origin, *smuggled)) in (400, 403)


def test_bodies_are_limited_whether_their_size_is_declared_or_not(page: Page) -> None:
    lines = ["HTTP/1.1", f"Host: {page.authority}", f"Origin: {page.root}", f"Cookie: {page.cookie}"]
    lines += ["Content-Type: application/x-www-form-urlencoded"]

    def request(path: str, *more: str) -> bytes:
        ends = "\r\n".join([*lines, *more, "", ""])
        return f"POST {path} {ends}".encode()

    assert status(page.raw(request("/logout", f"Content-Length: {MAX_BODY_BYTES + 1}")).decode()) == 413
    assert status(page.raw(request("/login", f"Content-Length: {MAX_LOGIN_BYTES + 1}")).decode()) == 413
    for wrong in ("-1", "1e9", "0x10", "9" * 30):
        assert status(page.raw(request("/logout", f"Content-Length: {wrong}")).decode()) in (400, 413), wrong
    body = b"token=" + b"x" * MAX_LOGIN_BYTES
    chunked = b"%x\r\n%s\r\n" % (len(body), body)
    answer = page.raw(request("/login", "Transfer-Encoding: chunked") + chunked).decode()
    assert (status(answer), "at most 4 KiB" in answer) == (413, True)
    assert page.get("/").status == 200


def test_odd_encodings_and_numbers_are_refused_in_a_line(page: Page) -> None:
    part = b'--x\r\nContent-Disposition: form-data; name="token"\r\n\r\n\\ud800\r\n--x--\r\n'
    for charset in ("unicode_escape", "punycode", "undefined", "utf-16-surrogatepass"):
        kind = f"multipart/form-data; boundary=x; charset={charset}"
        answer = page.ask("POST", "/login", part, {"Origin": page.root, "Content-Type": kind})
        assert (answer.status, "not in UTF-8" in answer.text) == (415, True), charset
    for number in ("9" * 5000, "9" * 30, "-1", "1.5", "%D9%A3", "x"):
        assert page.get(f"/sessions/{SESSION}/calls/{number}").status == 404, number


def test_a_client_that_sends_no_end_is_closed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HEAD_S", "BODY_S", "LINGER_S"):
        monkeypatch.setattr(connections, name, 0.05)
    with page_in_process(folder) as page:
        form = f"POST /login HTTP/1.1\r\nHost: {page.authority}\r\nOrigin: {page.root}\r\n"
        kind = "Content-Type: application/x-www-form-urlencoded\r\n"
        refused = form.replace("/login", "/logout") + kind
        for begun in (
            "",
            "GET / HT",
            f"GET / HTTP/1.1\r\nHost: {page.authority}\r\nX: ",
            f"{form}{kind}Content-Length: 1000\r\n\r\ntoken=",
            f"{form}{kind}Transfer-Encoding: chunked\r\n\r\n5\r\ntok",
            f"{refused}Content-Length: 1000\r\n\r\ncsrf=",
        ):
            assert _is_closed(page, begun.encode()), begun
        assert page.get("/").status == 200


def _is_closed(page: Visitor, begun: bytes) -> bool:
    """Whether the server closes a connection that goes on as slowly as this machine lets it."""
    host, _, port = page.authority.rpartition(":")
    with closing(socket.create_connection((host, int(port)), timeout=30)) as connection:
        connection.sendall(begun)
        try:
            while connection.recv(1 << 16):
                pass
        except ConnectionResetError:
            pass
        return True


def test_a_client_that_reads_nothing_is_closed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[str] = []

    async def endless(_: Request) -> Response:
        return StreamingResponse(_zeros(ended))

    monkeypatch.setattr(connections, "STALL_S", 0.05)
    monkeypatch.setattr(
        app, "MODULES", [*app.MODULES, SimpleNamespace(routes=[pages.page("/zeros", endless)])]
    )
    with page_in_process(folder) as page:
        host, _, port = page.authority.rpartition(":")
        with closing(socket.create_connection((host, int(port)), timeout=30)) as connection:
            connection.sendall(
                f"GET /zeros HTTP/1.1\r\nHost: {page.authority}\r\nCookie: {page.cookie}\r\n\r\n".encode()
            )
            while not ended:
                assert page.get("/").status == 200
    assert ended == ["closed"]


async def _zeros(ended: list[str]) -> Any:
    try:
        while True:
            yield bytes(1 << 16)
            await asyncio.sleep(0)
    finally:
        ended.append("closed")


@pytest.mark.slow
def test_thousands_of_connections_and_streams_leave_room_for_the_owner(folder: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    count = min(3 * connections.MAX_CONNECTIONS, hard - 500)
    try:
        with running_page(folder, "--simulate") as page, ExitStack() as stack:
            host, _, port = page.authority.rpartition(":")
            stream = (
                f"GET {STREAMS} HTTP/1.1\r\nHost: {page.authority}\r\nCookie: {page.cookie}\r\n\r\n".encode()
            )
            for number in range(count):
                attacker = stack.enter_context(
                    closing(socket.create_connection((host, int(port)), timeout=60))
                )
                attacker.sendall(stream if number % 2 else b"GET / HTTP/1.1\r\nX")
                if number % 250 == 0:
                    assert page.get("/").status == 200
            assert page.get(f"/sessions/{SESSION}").status == 200
            assert _descriptors(page) < connections.MAX_CONNECTIONS + 150
            full = Visitor(authority=page.authority, token=page.token, cookie=page.cookie)
            assert full.get(STREAMS).status == 503
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _descriptors(page: Page) -> int:
    return len([*Path(f"/proc/{page.process.pid}/fd").iterdir()])


def test_the_page_leaves_descriptors_to_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_descriptors", lambda: 256)
    assert connections.Connections(HEADERS).limit == 256 // connections.DESCRIPTORS_EACH
