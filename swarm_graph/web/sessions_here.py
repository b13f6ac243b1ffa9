"""Begins and resumes sessions in the server's process, by the rules of the command line."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from starlette.requests import Request

from swarm_graph.checkpoints.signatures import is_own
from swarm_graph.config import SwarmConfig
from swarm_graph.database_place import is_server
from swarm_graph.errors import InputError, NoModel
from swarm_graph.events import Event
from swarm_graph.reports.listing import current_phase
from swarm_graph.sessions.background import Work
from swarm_graph.sessions.coordinator import SwarmCoordinator
from swarm_graph.sessions.resume import resume_config
from swarm_graph.sessions.run import OnEvent
from swarm_graph.state import QUEUED, has_ended
from swarm_graph.web.site import Site, found_session

NO_MODEL = (
    "no model is configured; start the page with --config FILE, or --url URL --model NAME, or --simulate"
)


class Resumable(NamedTuple):
    """A session that can go on.

    Attributes:
        config: The configuration that it goes on with.
        origin: The file to record as its origin.
        question: What was edited since, so that a person has to decide how it goes on; empty if nothing.
        is_submitted: Whether it was left to workers, who go on with it.
    """

    config: SwarmConfig
    origin: str
    question: str
    is_submitted: bool


def person(request: Request) -> str:
    """Who decides, for the record."""
    return f"{request.state.user.name or 'somebody'} at the page"


def new_coordinator(
    site: Site, config: SwarmConfig, origin: str, watch: OnEvent | None = None
) -> Callable[[OnEvent], SwarmCoordinator]:
    """Returns what makes a coordinator for a session in this process.

    Args:
        site: The site.
        config: The configuration.
        origin: The file to record as its origin.
        watch: Called with each event first.
    """
    settings = site.settings

    def made(on_event: OnEvent) -> SwarmCoordinator:
        def watched(event: Event) -> None:
            if watch:
                watch(event)
            on_event(event)

        return SwarmCoordinator(
            config,
            data_dir=settings.data_dir,
            output_dir=settings.output_dir,
            on_event=watched,
            config_origin=origin,
            database=settings.place,
        )

    return made


async def begin(
    site: Site,
    session_id: str,
    work: Work,
    config: SwarmConfig,
    origin: str,
    watch: OnEvent | None = None,
) -> None:
    """Begin to work on a session; returns once a role has begun, or the work has ended.

    Args:
        site: The site.
        session_id: The session.
        work: Begins or resumes it.
        config: The configuration.
        origin: The file to record as its origin.
        watch: Called with each event.

    Raises:
        SwarmError: The work was refused before it began; nothing was changed.
    """
    try:
        await site.background.begin(session_id, work, new_coordinator(site, config, origin, watch))
    except NoModel as error:
        raise InputError(NO_MODEL) from error


async def go_on(
    site: Site, session_id: str, work: Work, found: Resumable, watch: OnEvent | None = None
) -> None:
    """Go on with a session: one that was submitted waits for a worker again, others go on in this process.

    Args:
        site: The site.
        session_id: The session.
        work: Resumes it, or answers its pauses.
        found: What `resumable` has found.
        watch: Called with each event.

    Raises:
        SwarmError: The work was refused before it began; nothing was changed.
    """
    if not found.is_submitted:
        await begin(site, session_id, work, found.config, found.origin, watch)
        return
    from swarm_graph.workers.submit import submit_work

    await submit_work(new_coordinator(site, found.config, found.origin, watch)(lambda _: None), work)


async def resumable(site: Site, session_id: str) -> Resumable:
    """A session with the configuration to resume it with.

    Raises:
        InputError: There is no such session, or it runs, or has ended.
        UntrustedSession: Somebody else began it.
    """
    if site.background.live(session_id):
        raise InputError(f"session '{session_id}' runs already, in the process of this page")
    return await asyncio.to_thread(_resumable, site, session_id)


def _resumable(site: Site, session_id: str) -> Resumable:
    with site.open() as saver:
        saver, session = found_session(saver, session_id)
        phase, trusted = current_phase(saver.catalogue, session), is_own(saver.catalogue, session)
        is_submitted = is_server(site.settings.place) and saver.catalogue.was_submitted(session_id)
    if phase == QUEUED and is_server(site.settings.place):
        raise InputError(f"session '{session_id}' waits for a worker; the page Queue shows it")
    if phase == "running":
        raise InputError(f"session '{session_id}' runs in another process")
    if has_ended(phase):
        raise InputError(f"session '{session_id}' has ended; ask it for more with a follow-up")
    found = resume_config(session, trusted=trusted, simulate=session.simulated)
    edits = new_coordinator(site, found.config, found.origin)(lambda _: None).edits(session)
    return Resumable(found.config, found.origin, edits.question, is_submitted)
