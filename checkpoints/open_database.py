"""Open a database by its place: a SQLite file, or a PostgreSQL server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from swarm_graph.checkpoints.database import Database
from swarm_graph.checkpoints.storage import Storage
from swarm_graph.database_place import is_server
from swarm_graph.database_place import place_of as place_of
from swarm_graph.errors import StorageError
from swarm_graph.state import DATA_DIR

if TYPE_CHECKING:
    from swarm_graph.checkpoints.postgres import PostgresDatabase

NO_EXTRA = "a PostgreSQL database needs the extra distributed; pip install 'swarm-graph[distributed]'"


def open_database(place: str | Path, data_dir: str | Path = DATA_DIR) -> Storage:
    """Open a database.

    Args:
        place: A file, `:memory:`, or `postgresql://…`.
        data_dir: With a URL, the folder of this machine for logs, worktrees and the like.

    Raises:
        StorageError: It cannot be used, or the extra `distributed` is missing.
    """
    return open_server(str(place), data_dir) if is_server(place) else Database(place)


_SHARED: dict[tuple[str, Path], Storage] = {}


@contextmanager
def shared(place: str | Path, data_dir: str | Path) -> Iterator[None]:
    """Have `borrowed` lend one connection to a server, in this process, as long as the block runs.

    A connection costs the server a process, and a session that a worker resumes looks things up often.
    """
    key = _key(place, data_dir)
    with open_database(place, data_dir) as database:
        _SHARED[key] = database
        try:
            yield
        finally:
            del _SHARED[key]


@contextmanager
def borrowed(place: str | Path, data_dir: str | Path = DATA_DIR) -> Iterator[Storage]:
    """A database for a short look: the shared one, if this process has one, or one that is opened for it.

    Raises:
        StorageError: See `open_database`.
    """
    if found := _SHARED.get(_key(place, data_dir)):
        yield found
    else:
        with open_database(place, data_dir) as opened:
            yield opened


def _key(place: str | Path, data_dir: str | Path) -> tuple[str, Path]:
    return str(place), Path(data_dir).absolute()


def open_server(url: str, data_dir: str | Path = DATA_DIR, *, checks_schema: bool = True) -> PostgresDatabase:
    """Connect to a PostgreSQL database; see `PostgresDatabase`.

    Raises:
        StorageError: It cannot be used, or the extra `distributed` is missing.
    """
    try:
        from swarm_graph.checkpoints.postgres import PostgresDatabase
    except ImportError as error:
        raise StorageError(NO_EXTRA) from error
    return PostgresDatabase(url, data_dir, checks_schema=checks_schema)
