"""What a user does with a session: resume, stop, fork, apply its change, take that back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from swarm_graph.checkpoints.records import new_session_id
from swarm_graph.checkpoints.swarm_saver import SwarmSaver
from swarm_graph.errors import InputError, SwarmError, UntrustedSession
from swarm_graph.reports.listing import current_phase
from swarm_graph.reports.terminal import session_command
from swarm_graph.sessions.apply import Change, change_of
from swarm_graph.sessions.coordinator import SwarmCoordinator
from swarm_graph.sessions.history import find_moment, fork, moments, pauses_of
from swarm_graph.sessions.ids import validated_session_id
from swarm_graph.state import QUEUED, SwarmResult
from swarm_graph.web import queue_page
from swarm_graph.web.addresses import session_address
from swarm_graph.web.change_preview import Preview, preview
from swarm_graph.web.pages import change, page, respond, session_id_of, show
from swarm_graph.web.sessions_here import go_on, resumable
from swarm_graph.web.site import found_session, site_of

Action = Callable[[Request, str, FormData], Awaitable[Response]]
"""Does something with the session of an id, and says where to go on."""


def to_session(session_id: str, note: str, page: str = "") -> Response:
    """Go on at a session's page, which says what was done.

    Args:
        session_id: The session.
        note: One of `notes.NOTES`.
        page: A page below that of the session.
    """
    return RedirectResponse(f"{session_address(session_id)}{page}?note={note}", 303)


def refused(request: Request, session_id: str, error: SwarmError) -> Response:
    """The page that says why something was not done."""
    settings = error.settings if isinstance(error, UntrustedSession) else []
    command = session_command(
        "swarm-graph", "resume", session_id, data_dir=site_of(request).settings.data_dir
    )
    return respond(
        request,
        "refused.html",
        409,
        problem=str(error),
        session_id=session_id,
        address=session_address(session_id),
        recorded=settings,
        command=command if settings else "",
    )


def action(name: str, do: Action) -> Route:
    """The route of an action; what it refuses is said with the way back to the session."""

    async def acted(request: Request, form: FormData) -> Response:
        session_id = session_id_of(request)
        try:
            return await do(request, session_id, form)
        except SwarmError as error:
            return refused(request, session_id, error)

    return change(f"/sessions/{{id}}/{name}", acted)


# --- resume and stop -----------------------------------------------------------------------------


async def resume(request: Request, session_id: str, form: FormData) -> Response:
    """Go on with a session. After edits of its prompts or tasks the user says how."""
    site, choice = site_of(request), form.get("edits")
    found = await resumable(site, session_id)
    if found.question and choice not in ("as-before", "anew"):
        address = session_address(session_id)
        return respond(
            request, "edited.html", question=found.question, session_id=session_id, address=address
        )
    if choice != "anew" and await site.read(_waits, session_id):
        raise InputError(f"session '{session_id}' waits for a person; decide on its page, then it goes on")
    as_before, anew = choice == "as-before", choice == "anew"
    work = partial(_resumed, session_id=session_id, as_before=as_before, anew=anew)
    await go_on(site, session_id, work, found)
    return to_session(session_id, "queued" if found.is_submitted else "resumed")


async def _resumed(
    coordinator: SwarmCoordinator, *, session_id: str, as_before: bool, anew: bool
) -> SwarmResult:
    return await coordinator.aresume(session_id, as_before=as_before, anew=anew)


def _waits(saver: SwarmSaver | None, session_id: str) -> bool:
    return bool(pauses_of(*found_session(saver, session_id)))


async def stop(request: Request, session_id: str, _: FormData) -> Response:
    """Stop a session, in this process or in another one."""
    site = site_of(request)
    if site.background.stop(session_id):
        return to_session(session_id, "stopping")
    return to_session(session_id, await site.read(_ask_to_stop, session_id))


def _ask_to_stop(saver: SwarmSaver | None, session_id: str) -> str:
    """Ask the process that works on a session to stop, or take it out of the queue; returns the note."""
    saver, session = found_session(saver, session_id)
    phase = current_phase(saver.catalogue, session)
    if phase == QUEUED:
        queue_page.take_out(saver, session_id)
        return "unqueued"
    if phase != "running":
        raise InputError(f"session '{session_id}' does not run; its phase is {phase}")
    if not saver.catalogue.request_stop(session_id):
        raise InputError(
            f"session '{session_id}' has just ended, or cannot be asked to stop; look at it again"
        )
    return "stop-asked"


# --- fork ----------------------------------------------------------------------------------------


def _moments(saver: SwarmSaver | None, session_id: str) -> dict[str, Any]:
    saver, session = found_session(saver, session_id)
    found = moments(saver, session)[::-1]
    return {
        "session_id": session_id,
        "address": session_address(session_id),
        "request_text": session.request,
        "moments": found,
        "chosen": next((one.checkpoint for one in found if one.next), ""),
    }


async def show_fork(request: Request) -> Response:
    """The moments of a session, to choose the one that a fork starts from."""
    return await show(request, "fork.html", _moments, session_id_of(request))


async def fork_session(request: Request, session_id: str, form: FormData) -> Response:
    """Make a session that starts from a moment of another one."""
    name = str(form.get("session", "")).strip()
    new_id = validated_session_id(name) if name else new_session_id()
    given = {key: str(form.get(key, "")) for key in ("moment", "request")}
    goes_on = await site_of(request).read(_fork, session_id, new_id, **given)
    return to_session(new_id, "forked" if goes_on else "forked-ended")


def _fork(saver: SwarmSaver | None, session_id: str, new_id: str, *, moment: str, request: str) -> bool:
    """Fork a session; returns whether the fork has something left to do."""
    saver, session = found_session(saver, session_id)
    if not moment:
        raise InputError("choose the moment that the fork starts from")
    chosen = find_moment(moments(saver, session), moment)
    text = request.replace("\r\n", "\n")
    is_edited = bool(text.strip()) and text != session.request.replace("\r\n", "\n")
    fork(saver, session, chosen, new_id, {"request": text} if is_edited else {})
    return bool(chosen.next)


# --- apply ---------------------------------------------------------------------------------------


def _change(saver: SwarmSaver | None, session_id: str) -> Change:
    saver, session = found_session(saver, session_id)
    return change_of(saver, session, None)


def _preview(saver: SwarmSaver | None, session_id: str) -> dict[str, Any]:
    found: Preview = preview(_change(saver, session_id))
    return {"session_id": session_id, "address": session_address(session_id), "preview": found}


async def show_apply(request: Request) -> Response:
    """What `apply` would change in the user's repository, before it does."""
    session_id = session_id_of(request)
    try:
        return await show(request, "apply.html", _preview, session_id)
    except SwarmError as error:
        return refused(request, session_id, error)


async def apply(request: Request, session_id: str, form: FormData) -> Response:
    """Bring the change of a session into the user's repository as the page has shown it, or take it back."""
    given = {key: str(form.get(key, "")) for key in ("do", "shown")}
    note = await site_of(request).read(_apply, session_id, **given)
    return to_session(session_id, note, "/apply")


def _apply(saver: SwarmSaver | None, session_id: str, *, do: str, shown: str) -> str:
    change = _change(saver, session_id)
    if do not in ("apply", "merge", "undo"):
        raise InputError("nothing was done; expected apply, merge or undo")
    if do == "undo":
        change.undo()
        return "undone"
    if preview(change).digest != shown:
        raise InputError(
            "the repository or the session has changed since the page showed it; look at it again"
        )
    if do == "merge":
        change.apply(merge=True)
        return "merged"
    applied = change.apply()
    return "applied" if applied.written or applied.deleted else "nothing-to-apply"


routes = [
    action("resume", resume),
    action("stop", stop),
    page("/sessions/{id}/fork", show_fork),
    action("fork", fork_session),
    page("/sessions/{id}/apply", show_apply),
    action("apply", apply),
]
