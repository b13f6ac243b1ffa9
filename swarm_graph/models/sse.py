"""Server-sent events: the bytes of a `text/event-stream` as events, however they are cut into pieces."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from swarm_graph.models.wire import MAX_DOCUMENT_BYTES, Lines, UnreadableStream


class Event(NamedTuple):
    """One event of a stream, or the whole body of an answer that is no stream."""

    name: str
    """The event's type; empty when it has none."""
    data: bytes
    """Its data; several lines are joined by newlines."""
    is_body: bool = False
    """The data is the whole body: the server sent one JSON document instead of events."""
    is_cut: bool = False
    """The stream ended in the middle of its last line."""


class EventReader:
    """Reads events as their bytes arrive.

    Comments are no events, but the caller sees their bytes. An event at the end of the stream needs no empty
    line after it.
    """

    def __init__(self) -> None:
        self._lines = Lines()
        self._name = ""
        self._data: list[bytes] = []
        self._size = 0
        self._is_body = False
        self._begun = False

    def feed(self, data: bytes) -> Iterator[Event]:
        """The events that more bytes complete.

        Raises:
            UnreadableStream: A line or an event is too long.
        """
        for line in self._lines.feed(data):
            if line or self._is_body:
                self._read(line)
                continue
            if self._data:
                yield self._event()
            self._name = ""

    def end(self) -> Iterator[Event]:
        """The event that the end of the stream completes, if one has begun."""
        if last := self._lines.end():
            self._read(last)
        if self._data:
            yield self._event(is_cut=bool(last))

    def _read(self, line: bytes) -> None:
        if self._is_body or (not self._begun and line.lstrip().startswith(b"{")):
            self._is_body = True
            self._add(line)
            return
        field, _, value = line.partition(b":")
        if field == b"data":
            self._begun = True
            self._add(value.removeprefix(b" "))
        elif field == b"event":
            self._name = value.strip().decode(errors="replace")

    def _add(self, data: bytes) -> None:
        self._data.append(data)
        self._size += len(data) + 1
        if self._size > MAX_DOCUMENT_BYTES:
            raise UnreadableStream(f"an event of more than {MAX_DOCUMENT_BYTES >> 20} MiB")

    def _event(self, *, is_cut: bool = False) -> Event:
        event = Event(self._name, b"\n".join(self._data), self._is_body, is_cut)
        self._name, self._data, self._size = "", [], 0
        return event
