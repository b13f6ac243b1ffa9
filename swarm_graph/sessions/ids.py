"""Sessions by their ids: naming and finding them."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from swarm_graph.checkpoints.catalogue import Catalogue
from swarm_graph.checkpoints.database import Database
from swarm_graph.checkpoints.locks import is_running
from swarm_graph.checkpoints.records import Session
from swarm_graph.errors import InputError

DATABASE = "swarm.db"
SESSION_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def checked_session_id(session: str) -> str:
    """A session id that may name files. InputError for others."""
    if not SESSION_ID.fullmatch(session):
        raise InputError(
            f"session id {session[:80]!r} is not allowed; expected up to 64 of A-Z a-z 0-9 . _ -, "
            "the first a letter or digit"
        )
    return session


def new_session_id() -> str:
    """The local time and four random characters, as in 20231205_143022_4f2a."""
    return f"{time.strftime('%Y%m%d_%H%M%S')}_{secrets.token_hex(2)}"


def database_in(data_dir: Path) -> Path:
    """The database of a data folder. InputError when nothing was ever run there."""
    path = data_dir / DATABASE
    if not _is_file(path):
        raise InputError(f"no sessions in '{data_dir}'; run one first, or name its folder with --data-dir")
    return path


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError as error:
        raise InputError(f"cannot use the data folder '{path.parent}': {error.strerror}") from error


@contextmanager
def open_catalogue(data_dir: Path) -> Iterator[Catalogue]:
    """The catalogue of a data folder. InputError when nothing was ever run there."""
    with Database(database_in(data_dir)) as database:
        yield Catalogue(database)


def find_session(data_dir: Path, session_id: str | None, workflow: str = "") -> Session:
    """A session by its id, or the newest that waits to be resumed; of one workflow, if it is named.

    InputError when there is none.
    """
    with open_catalogue(data_dir) as catalogue:
        if session_id:
            found = catalogue.get(session_id)
        else:
            unfinished = (known for known in catalogue.unfinished() if workflow in ("", known.workflow))
            found = next((known for known in unfinished if not is_running(catalogue, known.session)), None)
    if found is None or workflow not in ("", found.workflow):
        kind = f"{workflow} session" if workflow else "session"
        what = f"no {kind} '{session_id}'" if session_id else f"no unfinished {kind}"
        raise InputError(f"{what} in '{data_dir}'; `swarm-graph sessions list` shows all")
    return found


def known_session(data_dir: Path, session: str) -> Session | None:
    """A session by its id; None when the database or the session does not exist."""
    if not _is_file(data_dir / DATABASE):
        return None
    with open_catalogue(data_dir) as catalogue:
        return catalogue.get(session)
