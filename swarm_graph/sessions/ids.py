"""Session ids: check them, and find sessions by them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from swarm_graph.checkpoints.catalogue import Catalogue
from swarm_graph.checkpoints.locks import is_running
from swarm_graph.checkpoints.open_database import borrowed
from swarm_graph.checkpoints.records import Session
from swarm_graph.config_source import closest_match
from swarm_graph.database_place import is_server, is_there, place_name, place_of
from swarm_graph.errors import InputError
from swarm_graph.state import SESSION_ID


def validated_session_id(session_id: str) -> str:
    """The same id, which can name files.

    Raises:
        InputError: It has other characters or is too long.
    """
    if not SESSION_ID.fullmatch(session_id):
        raise InputError(
            f"session id {session_id[:80]!r} is not allowed; expected up to 64 of A-Z a-z 0-9 . _ -, "
            "the first a letter or digit"
        )
    return session_id


def existing_place(data_dir: Path, database: str | Path = "") -> str | Path:
    """The file of the existing database of a data folder, or the URL of its server.

    Args:
        data_dir: The data folder.
        database: Where it is kept; empty for the usual place (see `place_of`).

    Raises:
        InputError: There is none, because no session ever ran there, or the folder cannot be read.
    """
    place = place_of(data_dir, database)
    if not is_there(place):
        raise InputError(no_sessions(data_dir, place))
    return place


def no_sessions(data_dir: Path, place: str | Path) -> str:
    """The message about a place without sessions."""
    if is_server(place):
        return f"no sessions in '{place_name(data_dir, place)}'; run one first, or name another database"
    return (
        f"no sessions in '{data_dir}'; run one first, or name its folder with --data-dir (in Python data_dir)"
    )


@contextmanager
def open_catalogue(data_dir: Path, database: str | Path = "") -> Iterator[Catalogue]:
    """Open the catalogue of a data folder, kept where `place_of` says.

    Raises:
        InputError: No session ever ran there.
    """
    with borrowed(existing_place(data_dir, database), data_dir) as opened:
        yield Catalogue(opened)


def find_session(
    data_dir: Path, session_id: str | None, workflow: str = "", *, database: str | Path = ""
) -> Session:
    """A session by its id, or the newest session that can be resumed, without trials of experiments.

    Args:
        data_dir: The data folder.
        session_id: The id; None for the newest session that has not ended and is not running.
        workflow: The workflow that the session must have; empty for any.
        database: Where it is kept; empty for the usual place (see `place_of`).

    Raises:
        InputError: No session matches.
    """
    with open_catalogue(data_dir, database) as catalogue:
        session = catalogue.get(session_id) if session_id else _newest_unfinished(catalogue, workflow)
    if session is None or workflow not in ("", session.workflow):
        kind = f"{workflow} session" if workflow else "session"
        missing = f"no {kind} '{session_id}'" if session_id else f"no unfinished {kind}"
        name = place_name(data_dir, place_of(data_dir, database))
        raise InputError(f"{missing} in '{name}'; `swarm-graph sessions list` shows all")
    return session


def session_to_read(catalogue: Catalogue, session_id: str | None) -> Session:
    """A session by its id, or the one that was worked on last, without trials of experiments.

    Raises:
        InputError: There is no such session.
    """
    folder, place = catalogue.database.folder, catalogue.database.path
    if session_id is None:
        sessions = catalogue.sessions(experiment="")
        if not sessions:
            raise InputError(no_sessions(folder, place))
        return sessions[0]
    session = catalogue.get(session_id)
    if session is None:
        meant = closest_match(session_id, [known.session for known in catalogue.sessions()])
        cure = f"did you mean '{meant}'?" if meant else "`swarm-graph sessions list` shows all"
        raise InputError(f"no session '{session_id}' in '{place_name(folder, place)}'; {cure}")
    return session


def _newest_unfinished(catalogue: Catalogue, workflow: str) -> Session | None:
    matching = (session for session in catalogue.unfinished() if workflow in ("", session.workflow))
    return next((session for session in matching if not is_running(catalogue, session.session)), None)


def get_session(data_dir: Path, session_id: str, database: str | Path = "") -> Session | None:
    """A session by its id; None when the database or the session does not exist."""
    if not is_there(place_of(data_dir, database)):
        return None
    with open_catalogue(data_dir, database) as catalogue:
        return catalogue.get(session_id)
