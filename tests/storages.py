"""Both storages for the same tests: a SQLite file, and a database of a PostgreSQL server."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import support
import warm
from servers.postgres import PostgresServer, running_server

from swarm_graph.checkpoints.open_database import open_database
from swarm_graph.checkpoints.saver import open_checkpointer
from swarm_graph.checkpoints.swarm_saver import SwarmSaver
from swarm_graph.database_place import VARIABLE, is_server, place_of
from swarm_graph.memory.store import SwarmStore

SQLITE, POSTGRES = "sqlite", "postgres"
SESSION_COLUMNS = """
SELECT table_name, column_name FROM information_schema.columns
WHERE table_schema = current_schema() AND column_name IN ('session', 'thread_id')
ORDER BY table_name, column_name DESC"""
Databases = Callable[[], str]
"""Makes the database of one session: the URL of a new one, or nothing for a file in the session's folder."""
MEMORY_TABLES = ("memory_items", "memory_texts", "memory_index", "memory_vectors", "memory_version")


def count(store: SwarmStore, table: str) -> int:
    """How many rows a table of a store's database has."""
    with store.database.view() as cursor:
        return int(cursor.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def pytest_itemcollected(item: pytest.Item) -> None:
    """Let `-k postgres` find the tests whose fixtures need a server, too, and not only those named so."""
    if any(POSTGRES in name for name in getattr(item, "fixturenames", ())):
        item.extra_keyword_matches.add(POSTGRES)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server for the tests of this process."""
    with running_server() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> str:
    """The URL of a new database with the tables of swarm_graph."""
    return postgres_server.url(postgres_server.new_database())


@pytest.fixture(scope="session")
def memory_url(postgres_server: PostgresServer) -> str:
    """The URL of a database for the tests of memory of this process."""
    return postgres_server.url(postgres_server.new_database())


@pytest.fixture
def emptied_url(memory_url: str) -> str:
    """The same without items: a new database would take longer than many a test."""
    with open_database(memory_url) as database, database.transaction() as cursor:
        for table in MEMORY_TABLES:
            cursor.execute(f"DELETE FROM {table}")
    return memory_url


@pytest.fixture(params=[SQLITE, POSTGRES])
def memory_place(request: pytest.FixtureRequest, tmp_path: Path) -> str | Path:
    """Where a database without items lies, in either storage."""
    if request.param == SQLITE:
        return tmp_path / "swarm.db"
    url: str = request.getfixturevalue("emptied_url")
    return url


@pytest.fixture(params=[SQLITE, POSTGRES])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str | Path:
    """Where a database lies: a file in the test's folder, or a new database of the server.

    Commands and coordinators with this data folder find it, too.
    """
    if request.param == SQLITE:
        return tmp_path / "swarm.db"
    url: str = request.getfixturevalue("postgres_url")
    monkeypatch.setenv("SWARM_DATABASE", url)
    return url


@pytest.fixture(params=[SQLITE, POSTGRES])
def databases(request: pytest.FixtureRequest) -> Databases:
    """Databases for sessions in processes of their own."""
    if request.param == SQLITE:
        return str
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return lambda: server.url(server.new_database())


@pytest.fixture
def data_place(place: str | Path, monkeypatch: pytest.MonkeyPatch) -> str | Path:
    """`place`, where every command and every coordinator of the test keeps its sessions, too."""
    if is_server(place):
        monkeypatch.setenv(VARIABLE, str(place))
        monkeypatch.setitem(warm.ENVIRONMENT, VARIABLE, str(place))
    return place


@pytest.fixture
def saver_kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Which checkpointer a test uses; with POSTGRES the sessions of its data folders lie on the server."""
    if request.param == POSTGRES:
        monkeypatch.setenv(VARIABLE, request.getfixturevalue("postgres_url"))
    return str(request.param)


ON_BOTH = pytest.mark.usefixtures("data_place")
"""Runs a test whose sessions lie in a data folder on both storages."""


def opened(folder: Path) -> SwarmSaver:
    """The checkpointer of the sessions of a data folder."""
    return open_checkpointer(place_of(folder), data_dir=folder)


def selected(folder: Path, query: str, values: Any = ()) -> list[Any]:
    """The rows that a statement returns from the database of a data folder; none if it only changes rows."""
    with opened(folder) as saver, saver.transaction() as cursor:
        found = cursor.execute(query, values)
        return found.fetchall() if found.description else []


def environment() -> dict[str, str]:
    """The environment in which a process of a test keeps its sessions where the test does."""
    return {**warm.ENVIRONMENT, VARIABLE: os.environ.get(VARIABLE, "")}


def stored_rows(folder: Path, session: str) -> dict[str, list[Any]]:
    """Every row that the database of a data folder has of a session, byte for byte, by table."""
    place = place_of(folder)
    if not is_server(place):
        return support.stored_rows(Path(place), session, "rowid, *")
    found: dict[str, list[Any]] = {}
    for table, key in selected(folder, SESSION_COLUMNS):
        found[table] = selected(folder, f"SELECT * FROM {table} WHERE {key} = ?", (session,))
    return found
