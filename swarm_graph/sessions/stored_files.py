"""The files of a session as text, made from its state: nothing is read from its output folder."""

from __future__ import annotations

from contextlib import suppress

from swarm_graph.checkpoints.records import Session
from swarm_graph.checkpoints.signatures import is_own
from swarm_graph.checkpoints.swarm_saver import SwarmSaver
from swarm_graph.errors import SwarmError
from swarm_graph.roles.answered_document import DOCUMENT_FILE
from swarm_graph.sessions.change_summary import PATCH_FILE, change_files
from swarm_graph.sessions.output import PROJECT_DIR, session_files
from swarm_graph.sessions.resume import roles_to_read
from swarm_graph.state import SwarmState


def stored_files(saver: SwarmSaver, session: Session, state: SwarmState) -> dict[str, str]:
    """The files of a session, path to text, the most wanted first.

    Those that git makes of its change are only there if the session is the user's own.

    Args:
        saver: The database.
        session: The session.
        state: Its state.
    """
    trusted = is_own(saver.catalogue, session)
    roles = roles_to_read(session, trusted=trusted)
    files: dict[str, str] = {}
    if trusted:  # git runs in the folder that the session names
        with suppress(SwarmError):
            files = {name: data.decode(errors="replace") for name, data in change_files(state).items()}
    files |= session_files(state, roles, saver.catalogue.places(session.session))
    return dict(sorted(files.items(), key=lambda item: (_rank(item[0]), item[0])))


def _rank(path: str) -> int:
    """The place of a file among the others: the result itself comes before what was said about it."""
    if path in (DOCUMENT_FILE, PATCH_FILE):
        return 0
    return 1 if path.startswith(f"{PROJECT_DIR}/") else 2
