"""Open a checkpointer: on a SQLite file, or on a PostgreSQL server."""

from __future__ import annotations

from pathlib import Path
from typing import overload

from swarm_graph.checkpoints.database import Database
from swarm_graph.checkpoints.open_database import open_database
from swarm_graph.checkpoints.sqlite_saver import SqliteSwarmSaver
from swarm_graph.checkpoints.storage import Storage
from swarm_graph.checkpoints.swarm_saver import SwarmSaver
from swarm_graph.state import DATA_DIR


@overload
def open_checkpointer(path: Path, *, data_dir: str | Path = DATA_DIR) -> SqliteSwarmSaver: ...


@overload
def open_checkpointer(path: str | Path, *, data_dir: str | Path = DATA_DIR) -> SwarmSaver: ...


def open_checkpointer(path: str | Path, *, data_dir: str | Path = DATA_DIR) -> SwarmSaver:
    """Open a SQLite file, or a PostgreSQL database, as LangGraph checkpointer.

    A missing file is created with mode 0600, its missing folders with 0700; an older file is upgraded. The
    tables of a server come from `swarm-graph database init`.

    Args:
        path: The file; `:memory:` for none; or a URL, `postgresql://…`, which needs the extra `distributed`.
        data_dir: With a URL, the folder of this machine for logs, worktrees and the like.

    Raises:
        StorageError: It is a folder, no SQLite database, of a newer version, or cannot be written; or the
            server cannot be reached.
    """
    return saver_of(open_database(path, data_dir))


def saver_of(database: Storage) -> SwarmSaver:
    """The checkpointer of an open database."""
    if isinstance(database, Database):
        saver = SqliteSwarmSaver(database)
        saver.setup()
        return saver
    from swarm_graph.checkpoints.postgres import PostgresDatabase  # the extra `distributed`
    from swarm_graph.checkpoints.postgres_saver import PostgresSwarmSaver

    assert isinstance(database, PostgresDatabase)
    return PostgresSwarmSaver(database)
