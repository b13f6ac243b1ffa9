"""A user of a running page: fills its forms, follows where they lead, and waits for sessions."""

from __future__ import annotations

import html
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

import httpx

from servers.web_page import Page

Files = Sequence[tuple[str, tuple[str, bytes]]]


class PageUser:
    """A user who is logged in.

    Args:
        page: The page.
        name: The name that the user gives at the login.
    """

    def __init__(self, page: Page, name: str = "") -> None:
        self._page = page
        page.cookie = ""
        page.log_in(name)
        self._headers = {"Cookie": page.cookie, "Origin": page.root, "Accept": "text/html"}
        self.csrf = page.csrf

    def get(self, path: str) -> str:
        """The text of a page."""
        answer = httpx.get(f"{self._page.root}{path}", headers=self._headers, timeout=60)
        assert answer.status_code == 200, (path, answer.status_code, answer.text)
        return answer.text

    def send(self, path: str, form: Mapping[str, str | list[str]], files: Files = ()) -> httpx.Response:
        """The answer to a form with the user's CSRF token."""
        address, data = f"{self._page.root}{path}", {"csrf": self.csrf, **form}
        return httpx.post(address, data=data, files=files or None, headers=self._headers, timeout=60)

    def do(self, path: str, **form: str) -> str:
        """Send a form that is accepted; returns where it leads."""
        answer = self.send(path, form)
        assert answer.status_code == 303, (path, answer.status_code, alert(answer.text) or answer.text)
        return answer.headers["location"]

    def refusal(self, path: str, **form: str) -> str:
        """Why a form is refused, in the line that the page shows."""
        answer = self.send(path, form)
        assert answer.status_code in (400, 409), (answer.status_code, answer.headers)
        return alert(answer.text)

    def phase(self, session: str) -> str:
        """The phase that the title of a session's page says."""
        return self.get(f"/sessions/{quote(session, safe='')}/title").split(" · ")[1].split(" - ")[0]

    def wait(self, session: str, *phases: str) -> str:
        """Wait until a session has one of these phases, and return it."""
        deadline = time.monotonic() + 60
        while (phase := self.phase(session)) not in phases:
            assert time.monotonic() < deadline, (phase, phases)
            time.sleep(0.02)
        return phase


def main_of(text: str) -> str:
    """A page without its bar."""
    return text.partition('<main id="main">')[2]


def alert(text: str) -> str:
    """The alert of a page; empty without one."""
    found = re.search(r'role="alert">(.*?)<', text, re.DOTALL)
    return html.unescape(found[1]) if found else ""


def fields(text: str, name: str) -> list[str]:
    """The values of all fields of a name, in the order of the page."""
    values = re.findall(rf'name="{re.escape(name)}" value="([^"]*)"', text)
    values += re.findall(rf'<textarea name="{re.escape(name)}"[^>]*>\n(.*?)</textarea>', text, re.DOTALL)
    return [html.unescape(value) for value in values]


def files_below(folder: Path) -> list[str]:
    """All files and folders below one."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))
