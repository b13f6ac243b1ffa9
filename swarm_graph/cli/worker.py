"""The command `worker`: do the jobs of the queue on this machine."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from swarm_graph.cli.console import EXIT_INTERRUPTED, EXIT_TERMINATED, say
from swarm_graph.cli.options import MAX_SESSIONS, config_option, data_option, log_option
from swarm_graph.errors import InputError
from swarm_graph.state import MAX_PRIORITY

if TYPE_CHECKING:
    from swarm_graph.workers.jobs import SessionJobs
    from swarm_graph.workers.task_jobs import TaskJobs
    from swarm_graph.workers.worker import Worker

NEEDS_SERVER = (
    "workers need a PostgreSQL database: set `database` in the configuration, or SWARM_DATABASE, "
    "as in postgresql://swarm@db-server/swarm"
)

PRIORITY = click.IntRange(-MAX_PRIORITY, MAX_PRIORITY)
"""Of a session in the queue."""


@click.command(
    short_help="Work on submitted sessions, on this machine.",
    epilog="Example: swarm-graph worker --concurrency 8",
)
@click.option(
    "--models",
    metavar="NAME,…",
    help="Take only work that asks these entries of multi_model; default: any.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(min=1),
    default=MAX_SESSIONS,
    show_default=True,
    metavar="N",
    help="Sessions and tasks at once.",
)
@config_option
@data_option
@log_option
def worker(models: str | None, concurrency: int, config_file: str | None, data_dir: str) -> None:
    """Take sessions from the queue of the PostgreSQL database, and work on them until a signal comes.

    Sessions that you have submitted run with the settings that they were submitted with. Those of others run
    with --config. SIGTERM or Ctrl-C lets calls in flight end, and other workers go on; a second signal
    cancels the calls.
    """
    import asyncio

    from swarm_graph.cli.session_runner import prepare_imports
    from swarm_graph.config import config_path, load_config

    config = load_config(config_file)
    own = config if config_path(config_file) or config.entries else None
    url = server_of(data_dir, config.database)
    prepare_imports(config)
    from swarm_graph.checkpoints.open_database import shared
    from swarm_graph.database_place import without_password
    from swarm_graph.workers.app import SESSIONS
    from swarm_graph.workers.files import own_folder
    from swarm_graph.workers.jobs import SessionJobs
    from swarm_graph.workers.task_job import TASKS
    from swarm_graph.workers.task_jobs import TaskJobs
    from swarm_graph.workers.worker import Worker

    with own_folder(Path(data_dir)) as folder:
        tasks = TaskJobs(url, Path(data_dir), folder, own)
        jobs = SessionJobs(url, Path(data_dir), folder, own, concurrency, say)
        names = None if models is None else [name for name in models.split(",") if name]
        worker = Worker(url, {SESSIONS: jobs, TASKS: tasks}, concurrency=concurrency, models=names, say=say)
        say(f"worker {worker.number} waits for work in {without_password(url)} (Ctrl-C ends it)")
        with shared(url, data_dir):
            number = asyncio.run(_run(worker, jobs, tasks, url))
    sys.exit(EXIT_TERMINATED if number == signal.SIGTERM else EXIT_INTERRUPTED)


def server_of(data_dir: str, database: str | None = None) -> str:
    """The URL of the PostgreSQL database.

    Raises:
        InputError: None is configured.
    """
    from swarm_graph.checkpoints.open_database import open_database
    from swarm_graph.database_place import is_server, place_of

    place = place_of(data_dir, database)
    if not is_server(place):
        raise InputError(NEEDS_SERVER)
    open_database(place, data_dir).close()  # says what is wrong with it
    return str(place)


async def _run(worker: Worker, jobs: SessionJobs, tasks: TaskJobs, url: str) -> int:
    """Work until a signal comes, and until what runs then has ended; returns the signal."""
    import asyncio

    from swarm_graph.workers.announcements import Announcements
    from swarm_graph.workers.conductor import Conductors

    loop, received, draining = asyncio.get_running_loop(), list[int](), list[asyncio.Task[None]]()

    def stop(number: int) -> None:
        received.append(number)
        if len(received) > 1:
            jobs.cancel_calls()
            return
        worker.drain()
        tasks.drain()
        draining.append(loop.create_task(jobs.drain()))
        if worker.count:
            say(
                f"stopping {worker.count} running: calls in flight may end, a second signal stops now; "
                "other workers go on"
            )

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number)
    async with Announcements(url) as announcements, tasks:
        jobs.conductors = lambda priority: Conductors(announcements, priority, worker.aside)
        await worker.run()
        for task in draining:
            await task
    return received[0] if received else signal.SIGINT
