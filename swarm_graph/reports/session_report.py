"""A session as people read it: the data of its report, which is a file and a page.

Each property is computed when a template first asks for it, so a page can show a part of a report anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import NamedTuple, cast

from swarm_graph.checkpoints.records import Session
from swarm_graph.checkpoints.saver import SwarmSaver
from swarm_graph.checkpoints.signatures import is_own
from swarm_graph.state import SwarmState


class Part(NamedTuple):
    """A part of a report: the template `parts/NAME.html`.

    Attributes:
        title: Its heading.
        refresh: The kinds of events after which a page shows it anew.
    """

    title: str
    refresh: tuple[str, ...] = ()


PARTS: Mapping[str, Part] = {
    "header": Part("Session", ("session_started", "session_ended", "verdict")),
}
"""The parts of a report in their order."""


class SessionReport:
    """The data of a report. It must be rendered while the database is open.

    Attributes:
        session: The session's row.
        is_own: Whether the user began the session, or has trusted it.
    """

    def __init__(self, saver: SwarmSaver, session: Session) -> None:
        self._saver, self.session = saver, session
        self.is_own = is_own(saver.catalogue, session)

    def has(self, part: str) -> bool:
        """Whether a part has something to show."""
        return part in PARTS

    @cached_property
    def state(self) -> SwarmState:
        """The session's latest state."""
        saved = self._saver.get_tuple({"configurable": {"thread_id": self.session.session}})
        return cast("SwarmState", saved.checkpoint["channel_values"] if saved else {})

    @cached_property
    def latest_event(self) -> int:
        """The id of the session's latest event; what a page shows is as of this event."""
        return self._saver.catalogue.transcript.latest(self.session.session)
