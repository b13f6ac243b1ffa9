"""The addresses of the page: how ids of sessions and paths of files stand in them.

The thread of another program may have any id: with slashes, control characters, or dots alone. Servers and
proxies decode `%2F` before they look for a route, and browsers drop the segment `..`. So every byte that is
no letter, digit, `-`, `_` or `.` stands as `~` and two hexadecimal digits, which no server and no browser
changes. The ids of our own sessions stay as they are.
"""

from __future__ import annotations

import re
from urllib.parse import urlencode

_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")
_EMPTY = "~"
_ESCAPE = re.compile(rb"~([0-9A-F]{2})")
_LOCAL = re.compile(r"/(?![/\\])[!-\[\]-~]*")


def encoded(text: str) -> str:
    """A text as one segment of an address; `decoded` is the inverse.

    Args:
        text: Any text, such as the id of a session.
    """
    if not text:
        return _EMPTY
    only_dots = not text.strip(".")
    return "".join(
        chr(byte) if byte in _SAFE and not only_dots else f"~{byte:02X}"
        for byte in text.encode("utf-8", "surrogatepass")
    )


def decoded(segment: str) -> str:
    """The text that a segment of an address stands for; what `encoded` would not write stands for itself."""
    if segment == _EMPTY:
        return ""
    raw = segment.encode("utf-8", "surrogatepass")
    text = _ESCAPE.sub(lambda escape: bytes.fromhex(escape[1].decode()), raw)
    return text.decode("utf-8", "surrogatepass" if _is_valid(text) else "replace")


def _is_valid(text: bytes) -> bool:
    try:
        text.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return False
    return True


def local_address(address: str) -> str:
    """An address of this page; any other one becomes that of the list.

    Browsers take `//host` and `/\\host` for another host.
    """
    return address if _LOCAL.fullmatch(address) else "/"


def encoded_path(path: str) -> str:
    """The path of a file as the end of an address; `decoded_path` is the inverse."""
    return "/".join(map(encoded, path.split("/")))


def decoded_path(path: str) -> str:
    """The path of a file that the end of an address stands for."""
    return "/".join(map(decoded, path.split("/")))


def session_address(session_id: str) -> str:
    """The address of a session's page."""
    return f"/sessions/{encoded(session_id)}"


class Addresses:
    """The addresses of one session. Templates have them as `page`; a report in a file has no `page`.

    Args:
        session_id: The session.
    """

    def __init__(self, session_id: str) -> None:
        self._session_id, self._base = session_id, session_address(session_id)

    @property
    def own(self) -> str:
        """The session's page."""
        return self._base

    @property
    def events(self) -> str:
        """Its events as they are written."""
        return f"{self._base}/events"

    @property
    def report(self) -> str:
        """Its report as a file."""
        return f"{self._base}/report"

    def session(self, session_id: str) -> str:
        """The page of another session."""
        return session_address(session_id)

    def part(self, name: str) -> str:
        """One part of the page."""
        return f"{self._base}/parts/{name}"

    def tasks(self, **options: object) -> str:
        """Rows of its tasks.

        Args:
            options: `from` (as `start`), `count`, `status`, `q`; empty ones are left out.
        """
        given = {("from" if name == "start" else name): value for name, value in options.items() if value}
        return f"{self._base}/tasks?{urlencode(given)}" if given else f"{self._base}/tasks"

    def file(self, path: str, *, raw: bool = False) -> str:
        """A file that it has made.

        Args:
            path: Its path in the session.
            raw: As a download.
        """
        return f"{self._base}/files/{encoded_path(path)}{'?raw=1' if raw else ''}"

    def call(self, number: int) -> str:
        """A call of a model, by the number of its beginning in the transcript."""
        return f"{self._base}/calls/{number}"

    def calls(self, start: int) -> str:
        """Its calls from one on, counted from 0."""
        return f"{self.part('calls')}?calls={start}"

    def action(self, name: str) -> str:
        """Where a form for the session is sent: resume, stop, fork, apply or decide."""
        return f"{self._base}/{name}"

    def comparison(self, *others: str) -> str:
        """The comparison with other sessions, with empty fields to choose them if there are none."""
        return f"/compare?{urlencode([('session', name) for name in (self._session_id, *others)])}"
