"""What people have decided at the pauses of a session: the part `decided` of its report."""

from __future__ import annotations

from typing import NamedTuple

from swarm_graph.checkpoints.catalogue import Catalogue

MAX_DECISIONS = 300
WORDS = {
    "approved": "approved",
    "session": "approved for the whole session",
    "edited": "edited",
    "rejected": "rejected",
}
"""A decision for people, by the word of its event."""


class Decided(NamedTuple):
    """A decision.

    Attributes:
        time: When it was made, in seconds since 1970.
        place: The pause, as in `before coder`.
        decision: What was decided; a word of the event that has none here stands as it is.
        by: Who decided; it is what they said of themselves.
        remark: What they remarked.
    """

    time: float
    place: str
    decision: str
    by: str
    remark: str

    @property
    def is_rejection(self) -> bool:
        """Whether it was rejected."""
        return self.decision == WORDS["rejected"]


def decided_of(catalogue: Catalogue, session_id: str) -> list[Decided]:
    """The decisions of a session in their order.

    Args:
        catalogue: The catalogue.
        session_id: The session.
    """
    events = catalogue.transcript.events(
        session_id=session_id, kinds=("pause_answered",), limit=MAX_DECISIONS
    )
    return [_decided(stored.event.time, stored.event.data) for stored in events]


def _decided(time: float, said: dict[str, object]) -> Decided:
    place, word, by, remark = (str(said.get(name) or "") for name in ("place", "decision", "by", "remark"))
    return Decided(time, place, WORDS.get(word, word), by or "somebody", remark)
