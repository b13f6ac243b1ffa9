"""A running `swarm-graph ui`, and a user of it who is logged in; speaks HTTP without a browser."""

from __future__ import annotations

import asyncio
import http.client
import re
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import warm
from support import SIMULATED

from swarm_graph.config import load_config
from swarm_graph.serving.listen import authority_of, listen
from swarm_graph.sessions.background import BackgroundSessions
from swarm_graph.web.login import Login
from swarm_graph.web.origins import page_origins
from swarm_graph.web.serve import Endpoint, new_server
from swarm_graph.web.settings import PageSettings
from swarm_graph.web.site import Site

Headers = Mapping[str, str]


class Answer(NamedTuple):
    """What the server answers."""

    status: int
    headers: Message
    text: str


@dataclass(kw_only=True)
class Visitor:
    """What a user knows of a page, and has from it.

    Attributes:
        authority: Its host and port.
        token: The token of the printed address.
        cookie: The header Cookie of a user who is logged in; empty before `log_in`.
        login: What the page checks tokens with, if it runs in this process.
    """

    authority: str
    token: str
    cookie: str = ""
    login: Login | None = None

    @property
    def root(self) -> str:
        """The origin of the page."""
        return f"http://{self.authority}"

    @property
    def address(self) -> str:
        """The address that logs a browser in."""
        return f"{self.root}/login#{self.token}"

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Headers | None = None
    ) -> Answer:
        """Send a request as it is, and read the whole answer."""
        with closing(http.client.HTTPConnection(self.authority, timeout=30)) as connection:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read().decode())

    def get(self, path: str, **headers: str) -> Answer:
        """What the user gets at an address."""
        return self.ask("GET", path, headers={"Cookie": self.cookie, "Accept": "text/html", **headers})

    def post(self, path: str, form: Mapping[str, str] | None = None, **headers: str) -> Answer:
        """What the user gets for a form of the page; it has the CSRF token."""
        body = urlencode({"csrf": self.csrf if self.cookie else "", **(form or {})}).encode()
        kind = "application/x-www-form-urlencoded"
        own = {"Cookie": self.cookie, "Origin": self.root, "Content-Type": kind, "Accept": "text/html"}
        return self.ask("POST", path, body, {**own, **headers})

    @property
    def csrf(self) -> str:
        """The CSRF token of the user's forms."""
        found = re.search(r'name="csrf" value="(\w+)"', self.get("/").text)
        assert found
        return found[1]

    def log_in(self, name: str = "") -> None:
        """Get a cookie for the token."""
        answer = self.post("/login", {"token": self.token, "name": name})
        assert answer.status == 303, answer.text
        self.cookie = answer.headers["Set-Cookie"].partition(";")[0]

    def raw(self, request: bytes) -> bytes:
        """Send bytes as they are, and read the answer: all of it if its head says how long it is."""
        host, _, port = self.authority.rpartition(":")
        with closing(socket.create_connection((host, int(port)), timeout=30)) as connection:
            connection.sendall(request)
            answer = b""
            while _is_cut(answer) and (piece := connection.recv(1 << 16)):
                answer += piece
            return answer


def _is_cut(answer: bytes) -> bool:
    """Whether more of an answer comes."""
    head, _, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"\r\ncontent-length: (\d+)", head, re.IGNORECASE)
    return b"\r\n\r\n" not in answer or bool(length and len(body) < int(length[1]))


@dataclass(kw_only=True)
class Page(Visitor):
    """A page in a process of its own.

    Attributes:
        process: The server.
        lines: What it printed before it listened.
    """

    process: warm.Process
    lines: list[str] = field(default_factory=list)


@contextmanager
def page_in_process(folder: Path, allowed_hosts: Sequence[str] = (), **settings: Any) -> Iterator[Visitor]:
    """A page in a thread of this process, on a real socket, and a user who is logged in.

    Args:
        folder: The folder with its database.
        allowed_hosts: Names of a proxy.
        settings: Settings of the page.
    """
    listener, token = listen("127.0.0.1", 0), "t" * 32
    address = listener.getsockname()
    given = PageSettings(
        {"": load_config(SIMULATED)},
        folder / ".swarm",
        folder / "out",
        origins=page_origins(address, False, allowed_hosts, False),
        **settings,
    )
    site = Site(given, Login(token, address[1]), BackgroundSessions(4, print), print)
    server = new_server(site, Endpoint(listener))
    thread = threading.Thread(target=asyncio.run, args=[server.serve_on(listener)])
    thread.start()
    try:
        visitor = Visitor(authority=authority_of(listener), token=token, login=site.login)
        visitor.log_in()
        yield visitor
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def running_page(folder: Path, *arguments: str, log_in: bool = True, **env: str) -> Iterator[Page]:
    """A running `swarm-graph ui` on a free port in a process of its own; it is killed in the end.

    Args:
        folder: Where it runs: its `config.json`, its database.
        arguments: More arguments, such as `--simulate`.
        log_in: Whether the user has a cookie already.
        env: Variables of its environment.
    """
    process = warm.Process(
        "ui", "--port", "0", "--no-browser", *arguments,
        cwd=folder, env={**warm.ENVIRONMENT, **env}, stderr=subprocess.PIPE,
    )  # fmt: skip
    with process:
        try:
            page = _page(process)
            if log_in:
                page.log_in()
            yield page
        finally:
            process.kill()


def _page(process: warm.Process) -> Page:
    """A page that listens."""
    assert process.stderr
    lines: list[str] = []
    while not (
        found := re.search(
            r" open https?://([^/]+)/login(?:#(\S+))?", line := process.stderr.readline().decode()
        )
    ):
        assert line, lines
        lines.append(line)
    return Page(process=process, authority=found[1], token=found[2] or "", lines=lines)
