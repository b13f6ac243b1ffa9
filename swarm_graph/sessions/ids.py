"""Session ids: check them, and find sessions by them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from swarm_graph.checkpoints.catalogue import Catalogue
from swarm_graph.checkpoints.database import Database
from swarm_graph.checkpoints.locks import is_running
from swarm_graph.checkpoints.records import Session
from swarm_graph.config_source import closest_match
from swarm_graph.errors import InputError
from swarm_graph.state import DATABASE, SESSION_ID


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


def database_path(data_dir: Path) -> Path:
    """The path of the existing database in a data folder.

    Raises:
        InputError: There is none, because no session ever ran there, or the folder cannot be read.
    """
    path = data_dir / DATABASE
    if not _is_file(path):
        raise InputError(
            f"no sessions in '{data_dir}'; run one first, or name its folder with --data-dir "
            "(in Python data_dir)"
        )
    return path


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError as error:
        raise InputError(f"cannot use the data folder '{path.parent}': {error.strerror}") from error


@contextmanager
def open_catalogue(data_dir: Path) -> Iterator[Catalogue]:
    """Open the catalogue of a data folder.

    Raises:
        InputError: No session ever ran there.
    """
    with Database(database_path(data_dir)) as database:
        yield Catalogue(database)


def find_session(data_dir: Path, session_id: str | None, workflow: str = "") -> Session:
    """A session by its id, or the newest session that can be resumed, without trials of experiments.

    Args:
        data_dir: The folder of the database.
        session_id: The id; None for the newest session that has not ended and is not running.
        workflow: The workflow that the session must have; empty for any.

    Raises:
        InputError: No session matches.
    """
    with open_catalogue(data_dir) as catalogue:
        session = catalogue.get(session_id) if session_id else _newest_unfinished(catalogue, workflow)
    if session is None or workflow not in ("", session.workflow):
        kind = f"{workflow} session" if workflow else "session"
        missing = f"no {kind} '{session_id}'" if session_id else f"no unfinished {kind}"
        raise InputError(f"{missing} in '{data_dir}'; `swarm-graph sessions list` shows all")
    return session


def session_to_read(catalogue: Catalogue, session_id: str | None) -> Session:
    """A session by its id, or the one that was worked on last, without trials of experiments.

    Raises:
        InputError: There is no such session.
    """
    folder = str(catalogue.database.file.parent)
    if session_id is None:
        sessions = catalogue.sessions(experiment="")
        if not sessions:
            raise InputError(f"no sessions in '{folder}'; run one first, or name its folder with --data-dir")
        return sessions[0]
    session = catalogue.get(session_id)
    if session is None:
        meant = closest_match(session_id, [known.session for known in catalogue.sessions()])
        cure = f"did you mean '{meant}'?" if meant else "`swarm-graph sessions list` shows all"
        raise InputError(f"no session '{session_id}' in '{folder}'; {cure}")
    return session


def _newest_unfinished(catalogue: Catalogue, workflow: str) -> Session | None:
    matching = (session for session in catalogue.unfinished() if workflow in ("", session.workflow))
    return next((session for session in matching if not is_running(catalogue, session.session)), None)


def get_session(data_dir: Path, session_id: str) -> Session | None:
    """A session by its id; None when the database or the session does not exist."""
    if not _is_file(data_dir / DATABASE):
        return None
    with open_catalogue(data_dir) as catalogue:
        return catalogue.get(session_id)
