"""Emitting events from a node: to LangGraph's `custom` stream, and to the database."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from swarm_graph.events import Event, Kind


@dataclass(frozen=True)
class Origin:
    """Where an event or a model call comes from: session, node, role, task and round."""

    session: str
    node: str
    role: str = ""
    task: str = ""
    iteration: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, as events, call records and LangChain metadata have them."""
        return {**vars(self)}


@dataclass(frozen=True)
class Emitter:
    """Emits the events of one node.

    Attributes:
        origin: What all events of the node have in common.
        write: LangGraph's stream writer, or one that stands in for it.
        record: Records an event in the database, and does not wait for that; None if none are kept.
    """

    origin: Origin
    write: Callable[[Any], None]
    record: Callable[[Event], None] | None = None

    def __call__(self, kind: Kind, **data: Any) -> None:
        event = self.event(kind, **data)
        if self.record:
            self.record(event)
        self.send(event)

    def event(self, kind: Kind, **data: Any) -> Event:
        """An event of the node, not yet emitted."""
        return Event(kind, time.time(), **vars(self.origin), data=data)

    def send(self, event: Event) -> None:
        """Emit an event to live observers alone, such as one that is recorded together with its texts."""
        self.write(event.to_dict())
