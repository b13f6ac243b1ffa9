"""`swarm-graph ui`: how it starts, whom it lets in, and how it ends."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import warm
from repositories import make_repository
from servers.web_page import Visitor, page_in_process, running_page
from starlette.requests import Request
from starlette.responses import Response
from support import write_config

from swarm_graph.checkpoints.saver import open_checkpointer
from swarm_graph.errors import InputError
from swarm_graph.state import DATABASE
from swarm_graph.web import app, pages
from swarm_graph.web.origins import page_origins
from swarm_graph.web.peer import _owner_by_netlink, _owner_by_proc, end_of

TOKEN = "correct-horse-battery-staple"
PROXIED = {"Host": "page.example.org", "Origin": "https://page.example.org"}
BROWSER = """#!/bin/sh
echo "$1" > address.new
mv address.new address
echo junk
echo junk >&2
"""


# --- the start -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--host", "0.0.0.0"], "--host '0.0.0.0' lets other machines in: add --tls-cert FILE"),
        (["--host", "example.org", "--insecure-http"], "--host 'example.org' is no address"),
        (["--host", "192.0.2.1", "--insecure-http", "--port", "0"], "cannot listen on 192.0.2.1"),
        (["--tls-cert", "config.json"], "--tls-cert and --tls-key belong together"),
        (
            ["--tls-cert", "config.json", "--tls-key", "config.json"],
            "cannot use the certificate 'config.json'",
        ),
        (["--tls-cert", "no.pem", "--tls-key", "no.pem"], "No such file or directory"),
        (["--token-env", "NO_TOKEN"], "the environment variable NO_TOKEN is not set"),
        (["--token-env", "SHORT"], "the token in SHORT is too short"),
        (["--folder", "nowhere"], "--folder 'nowhere' is no folder"),
        (["--repo", "."], "is not inside the working tree of a git repository"),
        (["--config", "nowhere.json"], "nowhere.json"),
        (["--allowed-host", "https://page.example.org/x"], "is no name of a host"),
        (["--allowed-host", "a@b"], "is no name of a host"),
    ],
)
def test_the_command_refuses_what_cannot_work(arguments: list[str], line: str, tmp_path: Path) -> None:
    write_config(tmp_path)
    env = {**warm.ENVIRONMENT, "SHORT": "abc"}
    done = warm.run("ui", "--simulate", "--no-browser", *arguments, cwd=tmp_path, env=env, text=True)
    assert done.returncode == 2, done.stderr
    assert line in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not done.stdout
    assert not (tmp_path / ".swarm").exists()


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        done = warm.run("ui", "--simulate", "--no-browser", "--port", str(port), cwd=tmp_path, text=True)
    assert f"port {port}: Address already in use; name another --port" in done.stderr
    assert done.returncode == 2


@pytest.mark.parametrize("problem", ["damaged", "newer"])
def test_a_database_that_cannot_be_read_is_told_in_one_line(problem: str, tmp_path: Path) -> None:
    file = tmp_path / ".swarm" / DATABASE
    with open_checkpointer(file) as saver:
        if problem == "newer":
            step = {"migration_set": "swarm_graph", "name": "colours", "applied_at": "2030-01-01"}
            saver.database.tables.table("_sqlite_migrations").insert(step)
    if problem == "damaged":
        file.write_bytes(b"no database " * 1000)
    done = warm.run("ui", "--simulate", "--no-browser", "--port", "0", cwd=tmp_path, text=True)
    assert done.returncode == 1, done.stderr
    assert DATABASE in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_database_that_breaks_later_is_told_on_the_page(tmp_path: Path) -> None:
    with running_page(tmp_path, "--simulate") as page:
        assert "No session" in page.get("/").text
        (tmp_path / ".swarm").mkdir()
        (tmp_path / ".swarm" / DATABASE).write_bytes(b"no database " * 1000)
        answer = page.get("/")
        assert answer.status == 503
        assert "it is not a SQLite database" in answer.text
        assert "Traceback" not in answer.text


def test_an_unexpected_error_is_a_page_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    async def broken(_: Request) -> Response:
        raise LookupError("it is broken")

    class Module:
        routes = (pages.page("/broken", broken),)

    monkeypatch.setattr(app, "MODULES", (*app.MODULES, Module))
    monkeypatch.delenv("SWARM_DEBUG", raising=False)
    with page_in_process(tmp_path) as page:
        answer = page.get("/broken")
        assert (answer.status, "Unexpected LookupError" in answer.text) == (500, True)
        assert "it is broken" not in answer.text
        monkeypatch.setenv("SWARM_DEBUG", "1")
        assert page.get("/broken").status == 500
    told = capfd.readouterr()
    assert told.out.count("unexpected LookupError: it is broken; SWARM_DEBUG=1 shows where") == 2
    assert told.err.count("Traceback") == 1


NEEDED = "the page needs the packages of the extra ui: `pip install starlette uvicorn python-multipart`"
HIDDEN = """
import sys
for name in {names}: sys.modules[name] = None
from swarm_graph.__main__ import main
main()
"""


@pytest.mark.slow
def test_without_the_extra_the_command_names_it(tmp_path: Path) -> None:
    for name in ("uvicorn", "python_multipart"):
        program = HIDDEN.format(names=[name])
        done = subprocess.run(
            [sys.executable, "-c", program, "ui", "--simulate", "--no-browser", "--port", "0"],
            cwd=tmp_path, env=warm.ENVIRONMENT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 2
        assert done.stderr.splitlines()[-1].endswith(NEEDED)


IMPORTED = """
import sys
from swarm_graph.cli.main import swarm_graph
try:
    swarm_graph.main(sys.argv[1:], standalone_mode=False)
finally:
    print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def test_the_help_loads_nothing_of_the_page(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED, "ui", "--help"],
        cwd=tmp_path, env=warm.ENVIRONMENT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "--insecure-http" in done.stdout
    loaded = {*done.stdout.splitlines()[-1].split()}
    assert not loaded & {
        "starlette",
        "uvicorn",
        "jinja2",
        "pygments",
        "langgraph",
        "pydantic",
        "mcp",
        "asyncio",
    }


@pytest.mark.slow
def test_the_page_needs_nothing_of_mcp(tmp_path: Path) -> None:
    program = HIDDEN.format(names=["mcp", "mcp_types", "sse_starlette"])
    process = subprocess.Popen(
        [sys.executable, "-c", program, "ui", "--simulate", "--no-browser", "--port", "0"],
        cwd=tmp_path, env=warm.ENVIRONMENT, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        assert process.stderr
        assert " open http://127.0.0.1:" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130


# --- the token -----------------------------------------------------------------------------------


def test_the_token_of_a_variable_is_never_printed(tmp_path: Path) -> None:
    with running_page(tmp_path, "--simulate", "--token-env", "TOKEN", log_in=False, TOKEN=TOKEN) as page:
        assert page.token == ""
        page.token = TOKEN
        page.log_in()
        assert page.get("/").status == 200
        page.process.send_signal(signal.SIGTERM)
        assert page.process.wait() == 143
        assert page.process.stderr
        assert TOKEN not in page.process.stderr.read().decode()


@contextmanager
def opened(folder: Path) -> Iterator[tuple[warm.Process, str, str]]:
    """A page that opens a browser: its process, the printed token, and the address that the browser gets."""
    browser = folder / "browser"
    browser.write_text(BROWSER)
    browser.chmod(0o755)
    env = {**warm.ENVIRONMENT, "BROWSER": str(browser)}
    process = warm.Process("ui", "--simulate", "--port", "0", cwd=folder, env=env, stderr=subprocess.PIPE)
    with process:
        try:
            assert process.stderr
            found = re.search(r"/login#(\S+)", process.stderr.readline().decode())
            assert found
            while not (folder / "address").exists():
                time.sleep(0.01)
            yield process, found[1], (folder / "address").read_text().strip()
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait() == 130
            assert process.stderr
            assert process.stderr.read() == b"", "the browser printed into the terminal"


def test_a_browser_gets_a_code_that_works_once_and_no_argument_holds_the_token(tmp_path: Path) -> None:
    with opened(tmp_path) as (process, token, address):
        origin, _, code = address.partition("/login#")
        assert code != token
        assert token not in Path(f"/proc/{process.pid}/cmdline").read_text()
        visitor = Visitor(authority=origin.removeprefix("http://"), token=code)
        visitor.log_in()
        assert visitor.get("/").status == 200
        assert visitor.post("/login", {"token": code}).status == 401
        assert visitor.post("/login", {"token": token}).status == 303


def test_a_folder_with_a_module_of_a_hostile_name_starts_no_code_of_its_own(tmp_path: Path) -> None:
    for name in ("webbrowser", "shlex", "subprocess"):
        (tmp_path / f"{name}.py").write_text("open('ran', 'w')")
    with opened(tmp_path):
        assert not (tmp_path / "ran").exists()


def test_the_cookie_is_for_this_page_alone(tmp_path: Path) -> None:
    with page_in_process(tmp_path) as page:
        sent = page.post("/login", {"token": page.token}).headers["Set-Cookie"]
        assert "HttpOnly" in sent
        assert "SameSite=strict" in sent
        assert "Secure" not in sent
        assert sent.startswith(f"swarm-{page.authority.partition(':')[2]}=")


# --- beyond this machine -------------------------------------------------------------------------


def test_names_under_which_the_page_may_be_called() -> None:
    local = page_origins(("127.0.0.1", 8366), False, ["page.example.org", "localhost:9000"], False)
    assert local.own == "http://127.0.0.1:8366"
    assert local.direct == {"http://127.0.0.1:8366", "http://localhost:8366", "http://localhost:9000"}
    assert local.proxied == {"https://page.example.org", "https://page.example.org:8366"}
    server = ("10.0.0.5", 443)
    everywhere = page_origins(("0.0.0.0", 443), True, [], False)
    assert everywhere.of_host("10.0.0.5", server) == {"https://10.0.0.5"}
    assert everywhere.of_host("10.0.0.5", ("::ffff:10.0.0.5", server[1])) == {"https://10.0.0.5"}
    assert everywhere.of_host("10.0.0.6", server) == frozenset()
    assert everywhere.of_host("rebound.example", server) == frozenset()
    six = page_origins(("::1", 80), False, [], False)
    assert six.of_host("[::1]", ("::1", 80)) == {"http://[::1]"}
    assert page_origins(("0.0.0.0", 80), False, ["Box.lan:81"], True).of_host("box.lan:81", None) == {
        "http://box.lan:81",
        "https://box.lan:81",
    }
    with pytest.raises(InputError, match="is no name of a host"):
        page_origins(("127.0.0.1", 1), False, ["a/b"], False)


def test_a_proxy_gives_its_name_and_a_cookie_of_this_machine_is_no_use_there(tmp_path: Path) -> None:
    with page_in_process(tmp_path, ["page.example.org"]) as page:
        sent = page.post("/login", {"token": page.token}, **PROXIED)
        assert sent.status == 303
        assert "Secure" in sent.headers["Set-Cookie"]
        cookie = sent.headers["Set-Cookie"].partition(";")[0]
        assert page.get("/", Host="page.example.org", Cookie=cookie).status == 200
        assert page.get("/", Cookie=cookie).status == 303
        assert page.get("/", Host="page.example.org").status == 303
        forged = {"X-Forwarded-Host": "page.example.org", "Forwarded": "for=127.0.0.1;host=page.example.org"}
        assert page.get("/", Host="rebound.example", **forged).status == 403
        assert page.post("/login", Origin="http://page.example.org", Host="page.example.org").status == 403


def test_the_page_serves_tls(tmp_path: Path) -> None:
    make_certificate(tmp_path)
    files = ("--tls-cert", "cert.pem", "--tls-key", "key.pem")
    with running_page(tmp_path, "--simulate", "--host", "0.0.0.0", *files, log_in=False) as page:
        port = int(page.authority.partition(":")[2])
        trust = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
        for number in range(3):
            with closing(
                http.client.HTTPSConnection("127.0.0.1", port, timeout=30, context=trust)
            ) as connection:
                form = f"token={page.token}&name=Ann"
                kind = "application/x-www-form-urlencoded"
                host = f"127.0.0.1:{port}"
                connection.request(
                    "POST", "/login", form, {"Origin": f"https://{host}", "Content-Type": kind}
                )
                answer = connection.getresponse()
                answer.read()
                assert answer.status == 303, number
                cookie = str(answer.headers["Set-Cookie"])
                assert "Secure" in cookie
                connection.request("GET", "/", headers={"Cookie": cookie.partition(";")[0]})
                assert b"Sessions" in connection.getresponse().read()
        assert page.raw(f"GET / HTTP/1.1\r\nHost: {page.authority}\r\n\r\n".encode()) == b""
        page.process.send_signal(signal.SIGTERM)
        assert page.process.wait() == 143


def make_certificate(folder: Path) -> None:
    """A certificate of this machine's loopback address, in `cert.pem` and `key.pem`."""
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -keyout key.pem -out cert.pem -subj /CN=localhost"
    )
    names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run([*command.split(), *names], cwd=folder, check=True, capture_output=True)


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="needs Linux")
def test_linux_says_whose_a_connection_is() -> None:
    for host, family in (("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6), ("::", socket.AF_INET6)):
        with closing(socket.create_server((host, 0), family=family)) as listener:
            port = listener.getsockname()[1]
            for target in ("127.0.0.1", "::1") if host == "::" and socket.has_dualstack_ipv6() else (host,):
                if host == "::" and target == "127.0.0.1":
                    continue  # create_server leaves IPv4 out
                client = socket.create_connection((target, port))
                accepted, _ = listener.accept()
                with closing(accepted):
                    peer, here = end_of(accepted.getpeername()), end_of(accepted.getsockname())
                    for owner in (_owner_by_netlink, _owner_by_proc):
                        assert owner(peer, here) == os.getuid()
                    client.close()
                    # Nobody's: an attacker must not become root by closing a connection.
                    for owner in (_owner_by_netlink, _owner_by_proc):
                        assert owner(peer, here) is None


# --- the end -------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_streams_at_once(number: signal.Signals, tmp_path: Path) -> None:
    with open_checkpointer(tmp_path / ".swarm" / DATABASE):
        pass
    with running_page(tmp_path, "--simulate") as page:
        host, _, port = page.authority.rpartition(":")
        with closing(socket.create_connection((host, int(port)), timeout=30)) as connection:
            head = f"GET /events HTTP/1.1\r\nHost: {page.authority}\r\nCookie: {page.cookie}\r\n\r\n"
            connection.sendall(head.encode())
            assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200")
            page.process.send_signal(number)
            while connection.recv(1 << 16):
                pass
        assert page.process.wait() == 128 + number
        assert page.process.stderr
        assert page.process.stderr.read() == b""


def test_repositories_and_configurations_are_checked_at_the_start(tmp_path: Path) -> None:
    make_repository(tmp_path / "repo", {"a.py": "x = 1\n"})
    for name in ("one.json", "two.json"):
        (tmp_path / name).write_text(json.dumps({"workflow": {"max_iterations": 2}}))
    (tmp_path / "docs").mkdir()
    given = ("--config", "one.json", "--config", "two.json", "--repo", "repo", "--folder", "docs")
    with running_page(tmp_path, "--simulate", *given) as page:
        assert page.get("/").status == 200
