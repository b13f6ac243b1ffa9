"""What a page says after a change. The address carries a name of this list, never a text."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

MAX_KEPT = 100
"""Sessions of which remarks are kept."""

NOTES = {
    "started": "The session has begun.",
    "resumed": "The session goes on.",
    "stopping": "The session stops: no new call begins, and calls in flight may end first.",
    "stop-asked": "The process that runs the session was asked to stop it; it does so before its next call.",
    "queued": "The session waits for a worker.",
    "unqueued": "The session is out of the queue; if a worker had it, it stops before its next call.",
    "prioritised": "The session has its new priority.",
    "forked": "This is the fork. It waits at the moment that you chose; resume it to go on from there.",
    "forked-ended": "This is the fork. It starts at the other session's end; follow it up to ask for more.",
    "applied": "The change is in your working tree, uncommitted.",
    "merged": "The branch of the session is merged.",
    "nothing-to-apply": "The repository had the change already.",
    "undone": "The change was taken back.",
    "approved": "You approved. The session goes on.",
    "session": "You approved this tool for the session. The session goes on.",
    "edited": "The session goes on with your edit.",
    "rejected": "The session goes on with your remark.",
    "remembered": "The offer is kept: roles may recall it from now on.",
    "dropped": "The offer is dropped.",
    "corrected": "The new text is kept.",
    "forgotten": "It is forgotten.",
}
"""By name."""


def note_of(name: str) -> str:
    """The note of a name; empty for any other name."""
    return NOTES.get(name, "")


class Remarks:
    """What was assumed or left out when a session began, until the process ends; the page says it once."""

    def __init__(self) -> None:
        self._lines: OrderedDict[str, list[str]] = OrderedDict()

    def put(self, session_id: str, lines: Sequence[str]) -> None:
        """Keep the remarks of a session; the oldest of others are forgotten."""
        if lines:
            self._lines[session_id] = [*lines]
        while len(self._lines) > MAX_KEPT:
            self._lines.popitem(last=False)

    def of(self, session_id: str) -> list[str]:
        """The remarks of a session."""
        return self._lines.get(session_id, [])
