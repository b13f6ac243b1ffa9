"""Who works now: the calls that are open with what they have written, tests, tools, and who waits."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from swarm_graph.checkpoints.catalogue import Catalogue
from swarm_graph.checkpoints.running_nodes import running_nodes, written
from swarm_graph.checkpoints.transcript import StoredEvent
from swarm_graph.reports.tool_lines import tool_call
from swarm_graph.text import printable

Number = TypeVar("Number", int, float)

MAX_WRITERS = 20
"""Calls whose text is shown; a task graph may have hundreds."""
MAX_SHOWN = 40_000
"""Characters of an answer that are shown while it is written: its end."""
MIN_RATE_S = 0.5
"""A rate over less time says nothing."""


@dataclass
class Writer:
    """A call that is open.

    Attributes:
        begun: Its beginning.
        after: The id of the latest event that is in its text; a page appends what comes later.
        tokens: How many it has written, estimated.
        text: What it has written; of a long text the end.
        thoughts: What it has thought; of a long text the end.
        is_cut: Whether a beginning is left out.
    """

    begun: StoredEvent
    after: int
    tokens: int = 0
    text: str = ""
    thoughts: str = ""
    is_cut: bool = False

    def add(self, stored: StoredEvent) -> None:
        """Take an event with tokens."""
        data = stored.event.data
        self.after = stored.id
        self.tokens = max(self.tokens, _number(data, "output_tokens", 0))
        self.text = self._end(self.text + _text(data, "text"))
        self.thoughts = self._end(self.thoughts + _text(data, "thoughts"))

    def _end(self, text: str) -> str:
        self.is_cut = self.is_cut or len(text) > MAX_SHOWN
        return text[-MAX_SHOWN:]

    @property
    def place(self) -> str:
        """Model, round and attempt, for people."""
        event, attempt = self.begun.event, _number(self.begun.event.data, "attempt", 1)
        words = [
            _text(event.data, "model"),
            f"round {event.iteration}" if event.iteration else "",
            f"attempt {attempt}" if attempt > 1 else "",
            "asked to repair its answer" if event.data.get("repair") else "",
        ]
        return ", ".join(filter(None, words))

    @property
    def queued_s(self) -> float:
        """Seconds that it waited for its turn."""
        return _number(self.begun.event.data, "queued_s", 0.0)

    @property
    def rate(self) -> float | None:
        """Tokens a second; None when there are none, or just begun."""
        seconds = time.time() - self.begun.event.time
        return self.tokens / seconds if self.tokens and seconds >= MIN_RATE_S else None


def _text(data: Mapping[str, Any], name: str) -> str:
    value = data.get(name)
    return printable(value) if isinstance(value, str) else ""


def _number(data: Mapping[str, Any], name: str, default: Number) -> Number:
    value = data.get(name)
    return type(default)(value) if isinstance(value, (int, float)) else default


@dataclass
class Writing:
    """What the nodes of a session do now.

    Attributes:
        writers: The calls that are open, in the order in which they began.
        more: How many calls are open besides.
        works: What the other nodes do, as a node and what it does.
        waiting: The nodes that have begun, and wait for their turn at a model.
    """

    writers: list[Writer] = field(default_factory=list)
    more: int = 0
    works: list[tuple[str, str]] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)


def now_writing(catalogue: Catalogue, session_id: str) -> Writing:
    """What the nodes of a session do now; a process must work on it.

    Args:
        catalogue: The catalogue.
        session_id: The session.
    """
    writing = Writing()
    with catalogue.database.view():  # one state of the file: each text is complete up to its latest event
        for stored in running_nodes(catalogue, session_id):
            _place(writing, stored)
        writing.more = max(len(writing.writers) - MAX_WRITERS, 0)
        writing.writers = writing.writers[:MAX_WRITERS]
        by_call = {writer.begun.id: writer for writer in writing.writers}
        for stored in written(catalogue, session_id, [*by_call]):
            by_call[stored.call or 0].add(stored)
    return writing


def _place(writing: Writing, stored: StoredEvent) -> None:
    event = stored.event
    match event.kind:
        case "call_started":
            writing.writers.append(Writer(stored, stored.id))
        case "tests_started":
            writing.works.append((event.node, "runs the tests"))
        case "tool_started":
            writing.works.append((event.node, f"calls {_tool(event.data)}"))
        case "tool_waiting":
            writing.works.append((event.node, f"waits for a person: may it call {_tool(event.data)}?"))
        case _:
            writing.waiting.append(event.node)


def _tool(data: dict[str, Any]) -> str:
    arguments = data.get("arguments")
    return tool_call(_text(data, "tool"), arguments if isinstance(arguments, dict) else {})
