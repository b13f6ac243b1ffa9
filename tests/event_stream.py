"""A reader of the page's streams, without a browser."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from servers.web_page import Page


class Sent(NamedTuple):
    """A message of a stream; `id` is 0 where it has none."""

    id: int
    event: dict[str, Any]

    @property
    def kind(self) -> str:
        return str(self.event["kind"])


class Stream:
    """An open stream. Iterating yields its messages, and ends when the server ends it."""

    def __init__(self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse) -> None:
        self._connection, self.response = connection, response

    def __iter__(self) -> Iterator[Sent]:
        number = 0
        while line := self.response.readline().decode():
            if line.startswith("id: "):
                number = int(line[4:])
            elif line.startswith("data: "):
                yield Sent(number, json.loads(line[6:]))
                number = 0

    def until(self, kind: str, **data: Any) -> list[Sent]:
        """The messages up to one of a kind, with this data."""
        found = []
        for sent in self:
            found.append(sent)
            if sent.kind == kind and data.items() <= sent.event["data"].items():
                return found
        raise AssertionError(f"the stream ended before {kind}: {found}")

    def events(self, count: int) -> list[Sent]:
        """The next events, without what is none."""
        messages = (sent for sent in self if sent.id)
        return [next(messages) for _ in range(count)]

    def close(self) -> None:
        self.response.close()
        self._connection.close()


@contextmanager
def stream(page: Page, address: str, **headers: str) -> Iterator[Stream]:
    """Open a stream of a page."""
    connection = http.client.HTTPConnection(page.authority, timeout=60)
    connection.request("GET", address, headers={"Cookie": page.cookie, **headers})
    opened = Stream(connection, connection.getresponse())
    try:
        yield opened
    finally:
        opened.close()
