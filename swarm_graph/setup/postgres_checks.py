"""Checks of a PostgreSQL database: the extra, the server, its tables, rights, clock and connections."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from swarm_graph.checkpoints.open_database import open_server
from swarm_graph.database_place import without_password
from swarm_graph.errors import StorageError
from swarm_graph.setup.checks import Check, failed_check
from swarm_graph.text import first_names

if TYPE_CHECKING:
    from swarm_graph.checkpoints.postgres import PostgresDatabase
    from swarm_graph.checkpoints.storage import Cursor

NAME = "database"
MIN_VERSION = 15
MAX_DIFFERENCE_S = 2.0
"""How far the clocks of this machine and of the server may differ."""
FEW_CONNECTIONS = 20
_DURABLE = ("fsync", "full_page_writes", "synchronous_commit")
"""Settings of a server without which a crash may take answers that were committed."""
_RIGHTS = ("SELECT", "INSERT", "UPDATE", "DELETE")


def examine_server(url: str, data_dir: Path) -> list[Check]:
    """Checks of a PostgreSQL database. Nothing is changed.

    Args:
        url: Its URL.
        data_dir: The data folder of this machine.
    """
    try:
        with open_server(url, data_dir, checks_schema=False) as database:
            return [*_checks(database)]
    except StorageError as error:
        return [failed_check(NAME, str(error))]


def no_repair(url: str) -> Check:
    """What `doctor --database --repair` says of a server."""
    text = (
        f"'{without_password(url)}' is a server, which recovers by itself after a crash; nothing was repaired"
    )
    return Check("repair", None, text, "if it reports damage, restore a backup (pg_restore)")


def _checks(database: PostgresDatabase) -> Iterator[Check]:
    with database.view() as cursor:
        yield from _server(cursor, database)
        try:
            database.check_schema()
        except StorageError as error:
            yield failed_check("its tables", str(error))
            return
        (count,) = cursor.execute("SELECT count(*) FROM sessions").fetchone()
        yield Check("its tables", True, f"are of this version; sessions: {count}")
        yield _rights(cursor)
        yield from _exposure(cursor)


def _server(cursor: Cursor, database: PostgresDatabase) -> Iterator[Check]:
    version, encoding = _setting(cursor, "server_version"), _setting(cursor, "server_encoding")
    major = int(_setting(cursor, "server_version_num")) // 10_000
    name = f"PostgreSQL {version} at '{database.path}'"
    if major < MIN_VERSION:
        yield Check(NAME, False, f"{name} is too old", f"use PostgreSQL {MIN_VERSION} or newer")
    elif encoding != "UTF8":
        cure = "make the database anew with ENCODING 'UTF8' TEMPLATE template0"
        yield Check(NAME, False, f"{name} keeps texts as {encoding}, which lacks characters", cure)
    else:
        yield Check(NAME, True, name)
    if off := [setting for setting in _DURABLE if _setting(cursor, setting) == "off"]:
        cure = "turn on what is off in postgresql.conf"
        yield Check("durability", None, f"{', '.join(off)} off: a crash may take committed answers", cure)
    yield _clock(cursor)
    yield _connections(cursor)


def _setting(cursor: Cursor, name: str) -> str:
    (value,) = cursor.execute("SELECT current_setting(?)", (name,)).fetchone()
    return str(value)


def _clock(cursor: Cursor) -> Check:
    before = time.time()
    (server,) = cursor.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()
    difference = float(server) - (before + time.time()) / 2
    if abs(difference) <= MAX_DIFFERENCE_S:
        return Check("clock", True, f"it differs from the server's by less than {MAX_DIFFERENCE_S:g} s")
    side = "behind" if difference > 0 else "ahead of"
    return Check(
        "clock", None, f"it is {abs(difference):.0f} s {side} the server's", "synchronise both (NTP)"
    )


def _connections(cursor: Cursor) -> Check:
    limit = int(_setting(cursor, "max_connections")) - int(_setting(cursor, "superuser_reserved_connections"))
    (used,) = cursor.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
    ).fetchone()
    text = f"{used} of {limit} are in use; each session that runs takes one or two, a page up to ten"
    if limit - used < FEW_CONNECTIONS:
        cure = "raise max_connections, or run fewer workers, or sessions at once"
        return Check("connections", None, text, cure)
    return Check("connections", True, text)


def _rights(cursor: Cursor) -> Check:
    """Whether the user may do with every table what runs do."""
    query = (
        "SELECT DISTINCT relname FROM pg_class, unnest(?::text[]) AS privilege "
        "WHERE relnamespace = to_regnamespace(current_schema()) AND relkind IN ('r', 'p', 'v') "
        "AND NOT has_table_privilege(pg_class.oid, privilege) ORDER BY relname"
    )
    lacking = [str(name) for (name,) in cursor.execute(query, ([*_RIGHTS],))]
    if not lacking:
        return Check("rights", True, "the user may read and write every table")
    more = f" and {len(lacking) - 3} more" if len(lacking) > 3 else ""
    text = f"the user may not read and write {', '.join(lacking[:3])}{more}"
    return Check("rights", False, text, f"GRANT {', '.join(_RIGHTS)} ON ALL TABLES IN SCHEMA … TO the user")


def _exposure(cursor: Cursor) -> Iterator[Check]:
    """Warn of more rights than are needed: of the user, and of others in the schema that is used."""
    query = "SELECT rolname FROM pg_roles WHERE rolname = current_user AND rolsuper"
    if row := cursor.execute(query).fetchone():
        text = f"'{row[0]}' is a superuser: whoever has its password rules the server and may read its files"
        yield Check("login", None, text, "make a role without SUPERUSER that owns the database, and name it")
    query = (
        "SELECT quote_ident(nspname), "
        "CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END "
        "FROM pg_namespace, aclexplode(nspacl) WHERE nspname = current_schema() "
        "AND privilege_type = 'CREATE' AND (grantee = 0 OR grantee NOT IN (nspowner, "
        "(SELECT oid FROM pg_roles WHERE rolname = current_user))) ORDER BY 2"
    )
    if rows := cursor.execute(query).fetchall():
        schema, names = rows[0][0], [str(name) for _, name in rows]
        text = f"{first_names(names)} may create tables and functions in the schema {schema}, beside ours"
        yield Check("schema", None, text, f"REVOKE CREATE ON SCHEMA {schema} FROM {', '.join(names)}")
