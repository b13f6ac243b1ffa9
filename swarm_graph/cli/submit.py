"""The group `submit`: leave sessions to workers."""

from __future__ import annotations

import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from swarm_graph.cli.batch import batch
from swarm_graph.cli.console import EXIT_FAILED, end, print_result, program, say
from swarm_graph.cli.display import Display
from swarm_graph.cli.run import resume, run
from swarm_graph.cli.session_runner import RUNNER, Work, ending, print_session
from swarm_graph.cli.worker import NEEDS_SERVER, PRIORITY
from swarm_graph.errors import InputError

if TYPE_CHECKING:
    from swarm_graph.checkpoints.postgres import PostgresDatabase
    from swarm_graph.sessions.coordinator import SwarmCoordinator
    from swarm_graph.workers.queue import QueuedJob

POLL_S = 0.3
PATIENCE_S = 15.0
"""How long --wait waits before it says that no worker runs: one may just be starting."""
NO_WORKER = "no worker runs now; start one with `swarm-graph worker`, here or on another machine"
OPTIONS = (
    click.Option(
        ["--priority"],
        type=PRIORITY,
        default=0,
        show_default=True,
        metavar="N",
        help="Larger ones begin first.",
    ),
    click.Option(["--wait"], is_flag=True, help="Wait for the end, write the files and print the summary."),
)


@click.group(
    short_help="Leave sessions to workers on other machines.",
    epilog='Example: swarm-graph submit run "Create a CSV parser" --priority 5',
)
def submit() -> None:
    """Record a session in the PostgreSQL database, and leave it to the workers (`swarm-graph worker`).

    The options are those of `run`, `batch` and `resume`. The id of the session is printed. Input files and
    the commits of a repository are sent along. With --wait the result files are written here; `resume ID
    --output DIR` writes them later, on any machine.
    """


def _submitting(command: click.Command, short_help: str, epilog: str) -> click.Command:
    """A command with the options of another one, which leaves the session to workers."""

    def call(priority: int, wait: bool, **given: Any) -> None:
        assert command.callback
        assert command.name
        if given.get("dry_run"):
            raise InputError(f"--dry-run submits nothing; use `swarm-graph {command.name} --dry-run`")
        token = RUNNER.set(partial(_submit, priority=priority, waits=wait))
        try:
            command.callback(**given)
        finally:
            RUNNER.reset(token)

    params = [*command.params, *OPTIONS]
    return click.Command(
        command.name, params=params, callback=call, short_help=short_help, help=command.help, epilog=epilog
    )


submit.add_command(
    _submitting(run, "Submit a workflow on a request, or a task graph.", "Example: swarm-graph submit run -")
)
submit.add_command(
    _submitting(
        batch,
        "Submit one task per document or row of a table.",
        "Example: swarm-graph submit batch 'procedures/*.txt' --prompt extract.md --wait --output answers",
    )
)
submit.add_command(
    _submitting(
        resume,
        "Let workers go on with a session; also after an answer to its pause.",
        "Example: swarm-graph submit resume 20231205_143022_4f2a --approve",
    )
)


def _submit(
    coordinator: SwarmCoordinator,
    display: Display,
    work: Work,
    require_approval: bool,
    *,
    priority: int,
    waits: bool,
) -> None:
    """Record the session of a command, and put it into the queue."""
    import asyncio

    from swarm_graph.database_place import is_server

    if not is_server(coordinator.database):
        raise InputError(NEEDS_SERVER)
    if not coordinator.config.features.enable_checkpointing:
        raise InputError("a session for workers needs features.enable_checkpointing")
    from swarm_graph.checkpoints.open_database import open_server

    with open_server(str(coordinator.database), coordinator.data_dir) as database:
        from swarm_graph.workers.queue import count_workers  # the extra `distributed`, which is there now
        from swarm_graph.workers.submit import submit_work

        asyncio.run(submit_work(coordinator, work, priority))
        session_id = coordinator.session_id
        if not waits:
            if not count_workers(database):
                say(NO_WORKER)
            _print_submitted(session_id, priority, display)
            return
        say(f"session '{session_id}' waits for a worker (Ctrl-C leaves it to them; `queue cancel` stops it)")
        job = _end_of(database, session_id)
    _finish(coordinator, display, session_id, job, require_approval)


def _print_submitted(session_id: str, priority: int, display: Display) -> None:
    document = {"session": session_id, "phase": "queued", "priority": priority}
    print_result(document, f"{session_id}\n", display.options.as_json)


def _end_of(database: PostgresDatabase, session_id: str) -> QueuedJob | None:
    """Wait until a session has left the queue; returns its job if it has failed."""
    from swarm_graph.workers.queue import count_workers, job_of

    say_at: float | None = time.monotonic() + PATIENCE_S
    while True:
        job = job_of(database, session_id)
        if job is None or job.status == "failed":
            return job
        if say_at and time.monotonic() > say_at:
            say_at = None
            if not count_workers(database):
                say(NO_WORKER)
        time.sleep(POLL_S)


def _finish(
    coordinator: SwarmCoordinator,
    display: Display,
    session_id: str,
    job: QueuedJob | None,
    require_approval: bool,
) -> None:
    """Write the files of a session that workers have worked on, and print its summary."""
    import asyncio

    from swarm_graph.sessions.ids import get_session
    from swarm_graph.workers.submit import fetch_commits

    as_json = display.options.as_json
    if job:
        retry = f"`{program()} queue retry {session_id}`"
        end(f"session '{session_id}' failed: {job.reason}; {retry} tries again", EXIT_FAILED, as_json)
    session = get_session(coordinator.data_dir, session_id, coordinator.database)
    if session is None or session.phase in ("cancelled", "queued"):
        cure = f"continue with `{program()} submit resume {session_id}`"
        end(f"session '{session_id}' was stopped; {cure}", EXIT_FAILED, as_json)
    fetch_commits(coordinator.database, coordinator.data_dir, session, coordinator.config.repo)
    coordinator.leaves_to_workers = False
    asyncio.run(coordinator.aresume(session_id, as_before=True))
    print_session(coordinator, display.options)
    ended = ending(coordinator, require_approval=require_approval, is_submitted=True)
    if ended.message:
        end(ended.message, ended.code)
    if ended.code:
        sys.exit(ended.code)
