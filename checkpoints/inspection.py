"""The views, triggers, tables and indices of a database: only those of swarm_graph are accepted.

SQLite runs a trigger when a row is written, and the functions of a view, an index or a generated column when
a row is read. So a file that somebody else may have made is inspected before any other query.
"""

from __future__ import annotations

import re
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from functools import cache
from typing import NamedTuple

import sqlite_utils

from swarm_graph.checkpoints.schema import MEMORY_STEPS, MIGRATIONS, STEPS, applied_steps
from swarm_graph.errors import StorageError
from swarm_graph.text import printable

_CHECKPOINTS = """CREATE TABLE checkpoints (
    thread_id TEXT NOT NULL, checkpoint_ns TEXT NOT NULL DEFAULT '', checkpoint_id TEXT NOT NULL,
    parent_checkpoint_id TEXT, type TEXT, checkpoint BLOB, metadata BLOB,
    PRIMARY KEY (thread_id, checkpoint_ns, checkpoint_id))"""
_WRITES = """CREATE TABLE writes (
    thread_id TEXT NOT NULL, checkpoint_ns TEXT NOT NULL DEFAULT '', checkpoint_id TEXT NOT NULL,
    task_id TEXT NOT NULL, task_path TEXT NOT NULL DEFAULT '', idx INTEGER NOT NULL, channel TEXT NOT NULL,
    type TEXT, value BLOB,
    PRIMARY KEY (thread_id, checkpoint_ns, checkpoint_id, task_id, idx))"""
_OLD_WRITES = _WRITES.replace("task_path TEXT NOT NULL DEFAULT '', ", "")
_ADD_PATH = "ALTER TABLE writes ADD COLUMN task_path TEXT NOT NULL DEFAULT ''"
_LANGGRAPH = (_CHECKPOINTS, _WRITES, "DROP TABLE writes", _OLD_WRITES, _ADD_PATH)
"""How LangGraph's saver makes its tables, and how it upgrades those of its earlier versions."""

_SQLITE_TABLES = (
    "CREATE TABLE sqlite_sequence(name,seq)",
    "CREATE TABLE sqlite_stat1(tbl,idx,stat)",
    "CREATE TABLE sqlite_stat4(tbl,idx,neq,nlt,ndlt,sample)",
)
"""Tables that SQLite makes itself, as for ANALYZE."""

_TOKEN = re.compile(
    r"""[ \t\n\f\r]+|'(?:[^']|'')*'|"(?:[^"]|"")*"|\[[^\]]*\]|`(?:[^`]|``)*`|\w+|.""", re.ASCII | re.DOTALL
)
_QUOTED_NAME = re.compile(r"""["\[`](\w+)["\]`]""", re.ASCII)
_OLD_TYPES = {"float": "real"}
"""How earlier versions of sqlite-utils named a type."""


class SchemaObject(NamedTuple):
    """A table, index, view or trigger of a database."""

    type: str
    name: str
    table: str
    """The table that it belongs to; of a table its own name."""
    tokens: tuple[str, ...]
    """The statement that made it."""

    def __str__(self) -> str:
        place = f" on {self.table!r}" if self.type in ("trigger", "index") else ""
        return printable(f"{self.type} {self.name[:80]!r}{place}")


def distrust(connection: sqlite3.Connection) -> None:
    """Set up a connection as SQLite advises for files from elsewhere.

    A schema calls no function with side effects, triggers and views are off, and damaged pages are noticed
    when they are read.
    """
    connection.executescript("PRAGMA trusted_schema=OFF; PRAGMA cell_size_check=ON; PRAGMA mmap_size=0")
    if sys.version_info >= (3, 12):
        connection.setconfig(sqlite3.SQLITE_DBCONFIG_DEFENSIVE, True)
        for switch in (sqlite3.SQLITE_DBCONFIG_ENABLE_TRIGGER, sqlite3.SQLITE_DBCONFIG_ENABLE_VIEW):
            connection.setconfig(switch, False)


def refuse_foreign(database: sqlite_utils.Database, path: str) -> None:
    """Refuse a file with a view, trigger, table or index that no version of swarm_graph creates.

    Args:
        database: The open file; it is only read.
        path: Its name for messages.

    Raises:
        StorageError: It holds one, or a newer version wrote the file.
        sqlite3.Error: Its schema cannot be read.
    """
    foreign = [found for found in _objects(database.conn) if not _is_known(found)]
    if not foreign:
        return
    if all(found.table != MIGRATIONS.migrations_table for found in foreign):
        applied_steps(database, path)  # a newer version has tables that this one does not know
    more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
    raise StorageError(
        f"cannot use the database {path!r}: it holds the {foreign[0]}{more}, which swarm_graph does not "
        "create and SQLite may run; name another file, or if you added it, remove it with the sqlite3 shell"
    )


def _is_known(found: SchemaObject) -> bool:
    if found.type == "index" and not found.tokens:  # of a primary key: it has no statement
        return found.name.startswith("sqlite_autoindex_")
    known = (_known_objects, _memory_objects, _installed_langgraph_objects)  # the cheapest first
    return any(found in objects() for objects in known)


def _objects(connection: sqlite3.Connection) -> Iterator[SchemaObject]:
    for type_, name, table, sql in connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema"):
        yield SchemaObject(str(type_), str(name), str(table), _tokens("" if sql is None else str(sql)))


def _tokens(sql: str) -> tuple[str, ...]:
    """A statement without what means nothing to SQLite: white space, the case and the quotes of names."""
    return tuple(_plain(token) for token in _TOKEN.findall(sql) if token.strip(" \t\n\f\r"))


def _plain(token: str) -> str:
    quoted = _QUOTED_NAME.fullmatch(token)
    name = quoted[1] if quoted else token
    if token.startswith("'") or not name.isascii():
        return token
    return _OLD_TYPES.get(name.lower(), name.lower())


@cache
def _known_objects() -> frozenset[SchemaObject]:
    """Everything that a version of swarm_graph, with its version of LangGraph, has ever made."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        database = sqlite_utils.Database(connection, execute_plugins=False)
        MIGRATIONS.ensure_migrations_table(database)
        known = {*_objects(connection)}
        for step in STEPS:
            step(database)
            known.update(_objects(connection))
        for statement in _LANGGRAPH:
            connection.execute(statement)
            known.update(_objects(connection))
    for sql in _SQLITE_TABLES:
        name = sql.removeprefix("CREATE TABLE ").partition("(")[0]
        known.add(SchemaObject("table", name, name, _tokens(sql)))
    return frozenset(known)


@cache
def _memory_objects() -> frozenset[SchemaObject]:
    """Everything that memory has ever made, with the tables that FTS5 makes behind its own."""
    known: set[SchemaObject] = set()
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        database = sqlite_utils.Database(connection, execute_plugins=False)
        for step in MEMORY_STEPS:
            step(database)
            known.update(_objects(connection))
    return frozenset(known)


@cache
def _installed_langgraph_objects() -> frozenset[SchemaObject]:
    """What the installed version of LangGraph makes; it may be newer than the statements above."""
    from langgraph.checkpoint.sqlite import SqliteSaver  # heavy, and rarely needed here

    with closing(sqlite3.connect(":memory:")) as connection:
        SqliteSaver(connection).setup()
        return frozenset(_objects(connection))
