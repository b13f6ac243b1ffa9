"""The queue of the workers: what runs, waits and has failed, and who holds the slots of which server."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from swarm_graph.checkpoints.lease_list import disagreements, lease_rows
from swarm_graph.checkpoints.swarm_saver import SwarmSaver
from swarm_graph.database_place import is_server
from swarm_graph.errors import InputError
from swarm_graph.state import MAX_PRIORITY
from swarm_graph.text import duration
from swarm_graph.web.pages import change, page, session_id_of, show
from swarm_graph.web.site import NotFound, Site, site_of

if TYPE_CHECKING:
    from swarm_graph.checkpoints.postgres import PostgresDatabase

P = ParamSpec("P")
MAX_JOBS = 200
"""Jobs that the page shows."""
NO_QUEUE = (
    "there is no queue: the sessions of this page are in a file; with a PostgreSQL database "
    "(`database` in the configuration) workers on many machines share one"
)


def _queue(saver: SwarmSaver | None, site: Site) -> dict[str, Any]:
    database = _database(saver, site)
    from swarm_graph.workers.queue import counts_in_words, in_words, read_queue

    found, servers = read_queue(database, MAX_JOBS), lease_rows(database)
    assert saver is not None
    return {
        "after": saver.catalogue.transcript.latest(),
        "queue": found,
        "left": sum(found.counts.values()) - len(found.jobs),
        "counts": counts_in_words(found.counts),
        "in_words": in_words,
        "duration": duration,
        "servers": [row for row in servers if row.held or row.waiting],
        "disagreements": [*disagreements(servers)],
        "max_priority": MAX_PRIORITY,
    }


def _database(saver: SwarmSaver | None, site: Site) -> PostgresDatabase:
    if saver is None or not is_server(site.settings.place):
        raise NotFound(NO_QUEUE)
    from swarm_graph.checkpoints.postgres import PostgresDatabase

    assert isinstance(saver.database, PostgresDatabase)
    return saver.database


async def show_queue(request: Request) -> Response:
    """The queue."""
    return await show(request, "queue.html", _queue, site_of(request))


async def show_rows(request: Request) -> Response:
    """The tables of the queue, anew."""
    return await show(request, "queue_rows.html", _queue, site_of(request))


async def _change(
    request: Request, do: Callable[Concatenate[PostgresDatabase, str, P], object], note: str, *args: P.args,
    **options: P.kwargs,
) -> Response:  # fmt: skip
    """Change the job of a session, then show the queue."""
    site, session_id = site_of(request), session_id_of(request)

    def changed(saver: SwarmSaver | None) -> None:
        do(_database(saver, site), session_id, *args, **options)

    await site.read(changed)
    return RedirectResponse(f"/queue?note={note}", 303)


async def retry(request: Request, _: FormData) -> Response:
    """Let a session that has failed wait again."""
    from swarm_graph.workers.queue import retry

    return await _change(request, retry, "queued")


def take_out(saver: SwarmSaver, session_id: str) -> None:
    """Take a session out of the queue, or ask its worker to stop."""
    from swarm_graph.checkpoints.postgres import PostgresDatabase
    from swarm_graph.workers.queue import cancel

    if not isinstance(saver.database, PostgresDatabase):
        raise InputError(NO_QUEUE)
    cancel(saver.database, session_id)


async def cancel(request: Request, _: FormData) -> Response:
    """Take a session out of the queue, or ask its worker to stop."""
    from swarm_graph.workers.queue import cancel

    return await _change(request, cancel, "unqueued")


async def prioritise(request: Request, form: FormData) -> Response:
    """Change the priority of a session that waits."""
    from swarm_graph.workers.queue import set_priority

    return await _change(request, set_priority, "prioritised", _number(str(form.get("priority", ""))))


def _number(text: str) -> int:
    try:
        number = int(text) if text.isascii() and len(text) < 10 else None
    except ValueError:
        number = None
    if number is None or abs(number) > MAX_PRIORITY:
        raise InputError(f"a priority is a whole number from -{MAX_PRIORITY:,} to {MAX_PRIORITY:,}")
    return number


routes = [
    page("/queue", show_queue),
    page("/queue/rows", show_rows),
    change("/queue/{id}/retry", retry),
    change("/queue/{id}/cancel", cancel),
    change("/queue/{id}/priority", prioritise),
]
