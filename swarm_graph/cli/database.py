"""The group `database`: make the tables of a PostgreSQL database, upgrade them, copy sessions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from swarm_graph.cli.options import SessionOptions, config_option, data_option, session_options
from swarm_graph.database_place import (
    EXAMPLE,
    VARIABLE,
    is_server,
    is_there,
    place_of,
    validated_database,
)
from swarm_graph.errors import InputError
from swarm_graph.state import DATABASE

if TYPE_CHECKING:
    from swarm_graph.checkpoints.postgres import PostgresDatabase

place_options = session_options(config_option, data_option)


@click.group(
    short_help="Make and upgrade a PostgreSQL database, copy sessions.",
    epilog="Example: swarm-graph database init",
)
def database() -> None:
    """Keep the sessions of many machines in one PostgreSQL database, which the setting `database` names."""


@database.command(
    short_help="Make the tables in an empty PostgreSQL database.",
    epilog=f"Example: {VARIABLE}={EXAMPLE} swarm-graph database init",
)
@place_options
def init(options: SessionOptions) -> None:
    """Make the tables of swarm_graph in the PostgreSQL database that the setting `database` names.

    A database that has them already stays as it is. The database itself comes from `createdb`.
    """
    with _server(options) as server:
        if server.applied_steps():
            server.check_schema()
            click.echo(f"{server.path} has its tables already")
        else:
            server.upgrade()
            click.echo(f"made the tables in {server.path}; `swarm-graph run` keeps its sessions there now")


@database.command(
    short_help="Upgrade the tables of an older version.",
    epilog="Example: swarm-graph database upgrade",
)
@place_options
def upgrade(options: SessionOptions) -> None:
    """Upgrade the tables that an older version of swarm_graph has made.

    Programs of the older version refuse the database from then on, so end them first.
    """
    with _server(options) as server:
        if not server.applied_steps():
            server.check_schema()  # which says what to do
        steps = server.upgrade()
        done = f"upgraded {server.path}: {', '.join(steps)}" if steps else f"{server.path} is of this version"
        click.echo(done)


@database.command(
    short_help="Copy all sessions into another database.",
    epilog=f"Example: swarm-graph database copy .swarm {EXAMPLE}",
)
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@place_options
def copy(source: str, target: str, options: SessionOptions) -> None:
    """Copy all sessions, experiments and memories of FROM into TO, where they can be resumed.

    Each is a data folder, a database file, or the URL of a PostgreSQL database. FROM stays as it is. Nothing
    is copied if a session is running, or is in both.
    """
    from swarm_graph.checkpoints.copying import copy_database
    from swarm_graph.checkpoints.saver import open_checkpointer

    places = [_named_place(name) for name in (source, target)]
    if not is_there(places[0]):
        raise InputError(f"there is no database in '{source}'; name a data folder, a file, or a URL")
    with (
        open_checkpointer(places[0], data_dir=options.data_dir) as read,
        open_checkpointer(places[1], data_dir=options.data_dir) as written,
    ):
        copied = copy_database(read, written)
        click.echo(f"copied {copied.text} to {written.path}; {read.path} stays as it is")


def _named_place(name: str) -> str | Path:
    """The place that an argument names. Raises InputError."""
    if is_server(name):
        try:
            return validated_database(name)
        except ValueError as error:
            raise InputError(str(error)) from None
    if "://" in name:
        raise InputError(f"expected a data folder, a file, or a URL such as {EXAMPLE}")
    return Path(name) / DATABASE if Path(name).is_dir() else Path(name)


def _server(options: SessionOptions) -> PostgresDatabase:
    """Connect to the configured database, whatever tables it has.

    Raises:
        InputError: None is configured.
        StorageError: It cannot be used, or the extra `distributed` is missing.
    """
    from swarm_graph.checkpoints.open_database import open_server

    place = place_of(options.data_dir)
    if not is_server(place):
        raise InputError(
            f"no PostgreSQL database is configured; name it as `database` in the config, or in {VARIABLE}, "
            f"as in {EXAMPLE}"
        )
    return open_server(str(place), options.data_dir, checks_schema=False)
