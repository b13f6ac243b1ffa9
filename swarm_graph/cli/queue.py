"""The group `queue`: what waits for workers, runs there, and has failed."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from swarm_graph.cli.console import print_result, program, say
from swarm_graph.cli.options import config_option, data_option, json_option
from swarm_graph.cli.worker import PRIORITY, server_of

if TYPE_CHECKING:
    from swarm_graph.checkpoints.lease_list import LeaseRow
    from swarm_graph.checkpoints.postgres import PostgresDatabase
    from swarm_graph.workers.queue import Queue

SERVER_HEADS = ("server", "slots", "waiting", "for", "model", "process")
HEADS = ("session", "status", "priority", "worker", "for", "why")


@click.group(
    invoke_without_command=True,
    short_help="What waits for workers, runs there, and has failed.",
    epilog="Example: swarm-graph queue retry 20231205_143022_4f2a",
)
@config_option
@data_option
@json_option
@click.pass_context
def queue(context: click.Context, config_file: str | None, data_dir: str, as_json: bool) -> None:
    """Show the sessions that run at workers, wait for one, and have failed, in this order."""
    context.obj = (data_dir, config_file)
    if context.invoked_subcommand is not None:
        return
    from swarm_graph.checkpoints.lease_list import lease_rows

    with _database(context) as database:
        from swarm_graph.workers.queue import read_queue

        found, servers = read_queue(database), lease_rows(database)
    document = {
        "workers": found.workers,
        "counts": found.counts,
        "jobs": [job._asdict() for job in found.jobs],
        "without_job": found.without_job,
        "servers": [row._asdict() for row in servers],
    }
    print_result(document, _text(found) + _servers_text(servers), as_json)


def _text(found: Queue) -> str:
    from swarm_graph.text import duration, format_count, text_table, without_empty_columns
    from swarm_graph.workers.queue import counts_in_words, in_words

    left_out = "".join(
        f"session '{name}' is not in the queue: its files are still being sent, or `submit` was killed; then "
        f"`{program()} submit resume {shlex.quote(name)}` puts it there\n"
        for name in found.without_job
    )
    if not found.jobs:
        return f"Nothing waits, runs or has failed; {format_count(found.workers, 'worker')}.\n{left_out}"
    rows = [
        (
            job.session,
            in_words(job.status),
            str(job.priority or ""),
            str(job.worker or "") if job.status == "doing" else "",
            duration(job.seconds),
            job.reason,
        )
        for job in found.jobs
    ]
    left = sum(found.counts.values()) - len(rows)
    more = f"… and {left} more\n" if left else ""
    table = text_table(*without_empty_columns(HEADS, rows))
    counts = counts_in_words(found.counts)
    return f"{table}{more}{counts}; {format_count(found.workers, 'worker')}\n{left_out}"


def _servers_text(rows: list[LeaseRow]) -> str:
    """Who holds the slots of the model servers now."""
    from swarm_graph.checkpoints.lease_list import disagreements
    from swarm_graph.text import duration, text_table

    busy = [
        (
            row.server,
            f"{row.held} of {row.slots}",
            str(row.waiting or ""),
            duration(row.waits_s) if row.waiting else "",
            row.model,
            f"{row.process} on {row.host}",
        )
        for row in rows
        if row.held or row.waiting
    ]
    table = f"\n{text_table(SERVER_HEADS, busy)}" if busy else ""
    return table + "".join(f"{line}\n" for line in disagreements(rows))


@contextmanager
def _database(context: click.Context) -> Iterator[PostgresDatabase]:
    from swarm_graph.checkpoints.open_database import open_server
    from swarm_graph.config import load_config

    data_dir, config_file = context.obj
    with open_server(server_of(data_dir, load_config(config_file).database), data_dir) as database:
        yield database


@queue.command(short_help="Let a session that has failed wait again.")
@click.argument("session")
@click.pass_context
def retry(context: click.Context, session: str) -> None:
    """Let SESSION wait again, as after its model server has come back. Finished work is not repeated."""
    with _database(context) as database:
        from swarm_graph.workers.queue import retry

        retry(database, session)
    say(f"session '{session}' waits for a worker")


@queue.command(short_help="Take a session out of the queue, or stop it where it runs.")
@click.argument("session")
@click.pass_context
def cancel(context: click.Context, session: str) -> None:
    """Take SESSION out of the queue. If a worker works on it, calls in flight end, and it stops there."""
    with _database(context) as database:
        from swarm_graph.workers.queue import cancel

        what = cancel(database, session)
    say(f"session '{session}' {what}; `swarm-graph submit resume {session}` goes on with it")


@queue.command(short_help="Change the priority of a session that waits.")
@click.argument("session")
@click.argument("number", type=PRIORITY, metavar="N")
@click.pass_context
def priority(context: click.Context, session: str, number: int) -> None:
    """Give SESSION the priority N; larger ones begin first, and the default is 0."""
    with _database(context) as database:
        from swarm_graph.workers.queue import set_priority

        set_priority(database, session, number)
    say(f"session '{session}' has priority {number}")
