"""Pauses that wait for a person: of all sessions on one page, and the decision about one of them.

A decision carries the id of the pause and a digest of what the person has seen. It counts only while exactly
that waits. Nothing is approved by opening an address, and no field of text is in a form that approves.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response

from swarm_graph.checkpoints.records import Session
from swarm_graph.checkpoints.session_list import paused_sessions
from swarm_graph.checkpoints.swarm_saver import SwarmSaver
from swarm_graph.errors import InputError, SessionInUse, SwarmError, UntrustedSession
from swarm_graph.events import Event
from swarm_graph.reports.decision_view import FIELD, DecisionView
from swarm_graph.reports.listing import current_phase
from swarm_graph.sessions.coordinator import SwarmCoordinator
from swarm_graph.sessions.history import pauses_of
from swarm_graph.state import SwarmResult
from swarm_graph.text import local_time
from swarm_graph.web.actions import action, refused, to_session
from swarm_graph.web.addresses import session_address
from swarm_graph.web.pages import page, respond, show
from swarm_graph.web.sessions_here import go_on, person, resumable
from swarm_graph.web.site import Site, found_session, site_of
from swarm_graph.workflows.pauses import Decision, waiting_pauses

MAX_SESSIONS = 50
"""Sessions whose pauses one page shows."""
MAX_ANSWERS = 10_000
WORDS = {
    "approved": "approved it",
    "session": "approved this tool for the session",
    "edited": "edited it",
    "rejected": "rejected it",
}
"""What somebody has decided, by the word of the event."""
DECISIONS = ("approve", "session", "edit", "reject")


class Waiting(NamedTuple):
    """A session with its open pauses.

    Attributes:
        session: The session.
        address: Its page.
        decisions: The pauses.
    """

    session: Session
    address: str
    decisions: list[DecisionView]


class Decided(InputError):
    """What a person decided about does not wait any more, or is not what they saw; nothing was changed."""


class Edited(InputError):
    """Prompts or tasks were edited since the session began, and nobody has said how it goes on."""


def _waiting(saver: SwarmSaver | None) -> dict[str, Any]:
    names = paused_sessions(saver.catalogue, MAX_SESSIONS + 1) if saver else []
    found = [_of_session(saver, name) for name in names[:MAX_SESSIONS]]
    return {"waiting": [one for one in found if one.decisions], "is_cut": len(names) > MAX_SESSIONS}


def _of_session(
    saver: SwarmSaver | None, session_id: str, typed: Mapping[str, Mapping[str, str]] | None = None
) -> Waiting:
    saver, session = found_session(saver, session_id)
    views = [DecisionView(pause, (typed or {}).get(pause.id)) for pause in pauses_of(saver, session)]
    return Waiting(session, session_address(session_id), views)


async def show_decisions(request: Request) -> Response:
    """All open pauses."""
    return await show(request, "decisions.html", _waiting)


async def decide(request: Request, session_id: str, form: FormData) -> Response:
    """Take a person's decision about one pause, and let the session go on."""
    given = {name: value for name, value in form.items() if isinstance(value, str)}
    word = given.get("decision", "")
    try:
        await _decide(request, session_id, word, given)
    except UntrustedSession as error:
        return refused(request, session_id, error)
    except SwarmError as error:
        return await _again(request, session_id, given, error)
    return to_session(
        session_id, {"approve": "approved", "edit": "edited", "reject": "rejected"}.get(word, word)
    )


async def _decide(request: Request, session_id: str, word: str, given: Mapping[str, str]) -> None:
    """Decide about a pause. Raises Decided if somebody else was first, or it has changed."""
    site, pause = site_of(request), given.get("pause", "")
    view = None if site.background.live(session_id) else await site.read(_open_view, session_id, pause)
    if view is None:
        raise Decided(await _who_was_first(site, session_id, pause))
    if view.digest != given.get("shown"):
        raise Decided("it has changed since the page showed it, and nothing was decided; this is it now")
    decision = _decision(word, view, given)
    taken: list[str] = []

    def watch(event: Event) -> None:
        if event.kind == "pause_answered":
            taken.append(event.data["pause"])

    try:
        found = await resumable(site, session_id)
        as_before = given.get("edits") == "as-before"
        if found.question and not as_before:
            raise Edited(f"{found.question}; decide again, and say that it goes on with what it began with")
        options = {"as_before": as_before, "decided_by": person(request)}
        work = partial(_answered, session_id=session_id, decision={pause: decision}, options=options)
        await go_on(site, session_id, work, found, watch)
    except SwarmError as error:
        is_busy = isinstance(error, SessionInUse) or site.background.live(session_id)
        if is_busy or not await site.read(_still_waits, session_id, pause):
            raise Decided(await _who_was_first(site, session_id, pause)) from error
        raise
    if pause not in taken:  # the session had ended meanwhile, so there was nothing to decide
        raise Decided(await _who_was_first(site, session_id, pause))


async def _answered(
    coordinator: SwarmCoordinator,
    *,
    session_id: str,
    decision: Mapping[str, Decision],
    options: Mapping[str, Any],
) -> SwarmResult:
    return await coordinator.aresume(session_id, decision, **options)


def _open_view(saver: SwarmSaver | None, session_id: str, pause: str) -> DecisionView | None:
    saver, session = found_session(saver, session_id)
    return next((DecisionView(one) for one in pauses_of(saver, session) if one.id == pause), None)


def _decision(word: str, view: DecisionView, given: Mapping[str, str]) -> Decision:
    """The decision in the form of `workflows.pauses`. Raises InputError if it cannot be used."""
    if word not in DECISIONS:
        raise InputError(f"nothing was decided; expected one of {', '.join(DECISIONS)}")
    if word == "edit":
        return view.edit(given)
    if word == "reject":
        remark = given.get("remark", "").replace("\r\n", "\n").strip()
        if not remark:
            raise InputError("a rejection needs a remark: what is wrong?")
        return {"reject": remark}
    return "approve" if word == "approve" else {"approve": "session"}


async def _who_was_first(site: Site, session_id: str, pause: str) -> str:
    """Why a pause cannot be decided any more: who has decided it, and when."""
    if live := site.background.live(session_id):
        await live.beginning()  # the answer is recorded by then
    return await site.read(_found_first, session_id, pause)


def _still_waits(saver: SwarmSaver | None, session_id: str, pause: str) -> bool:
    """Whether a pause has no answer yet, also while its session is at work or was interrupted."""
    saved = saver.get_tuple({"configurable": {"thread_id": session_id}}) if saver else None
    return pause in {one.id for one in waiting_pauses(saved)}


def _found_first(saver: SwarmSaver | None, session_id: str, pause: str) -> str:
    saver, session = found_session(saver, session_id)
    answers = saver.catalogue.transcript.events(
        session_id=session_id, kinds=("pause_answered",), limit=MAX_ANSWERS
    )
    events = [stored.event for stored in answers if stored.event.data.get("pause") == pause]
    if events:
        return f"{_first(events[-1])}; nothing was changed"
    if _still_waits(saver, session_id, pause):
        if current_phase(saver.catalogue, session) == "running":
            return "the session is at work now; if this still waits after that, decide it then"
        return "the session was interrupted; resume it, and decide when it waits again"
    return "this does not wait any more, and nothing was changed; somebody else may have decided"


def _first(event: Event) -> str:
    said = event.data
    what = WORDS.get(str(said.get("decision")), "answered it")
    remark = f" ({said['remark']})" if said.get("remark") else ""
    return f"{said.get('by') or 'somebody'} was first and {what} at {local_time(event.time)}{remark}"


async def _again(request: Request, session_id: str, given: Mapping[str, str], error: SwarmError) -> Response:
    """The pauses of a session anew, with what the person has typed."""
    kept = {name: text for name, text in given.items() if name.startswith(FIELD) or name == "remark"}
    pause = given.get("pause", "")

    def rendered(saver: SwarmSaver | None) -> Response:
        waiting = _of_session(saver, session_id, {pause: kept})
        status = 409 if isinstance(error, Decided) else 400
        edited = isinstance(error, Edited)
        return respond(
            request, "decision_refused.html", status, waiting=waiting, problem=str(error), edited=edited
        )

    return await site_of(request).read(rendered)


routes = [page("/decisions", show_decisions), action("decide", decide)]
