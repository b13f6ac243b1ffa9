"""A session: its page, its parts, its title."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from swarm_graph.checkpoints.swarm_saver import SwarmSaver
from swarm_graph.web.pages import page, respond
from swarm_graph.web.session_view import FRAGMENT_HEADER, SessionView, ShownPart, all_parts, view_of
from swarm_graph.web.site import NotFound, site_of


async def show_session(request: Request) -> Response:
    """The page of a session."""

    def shown(saver: SwarmSaver | None) -> Response:
        view = view_of(request, saver)
        return _respond(request, view, [view.shown(name) for name in view.names])

    return await site_of(request).read(shown)


async def show_part(request: Request) -> Response:
    """A part of the page: alone for the script, as a page of its own for a reader without one."""
    name = request.path_params["part"]
    if name not in all_parts():
        raise NotFound("a session has no such part")

    def shown(saver: SwarmSaver | None) -> Response:
        view = view_of(request, saver)
        if FRAGMENT_HEADER in request.headers:
            return HTMLResponse(view.part(name))
        return _respond(request, view, [view.shown(name, whole=True)])

    return await site_of(request).read(shown)


async def show_title(request: Request) -> Response:
    """The title of the page: a page in a background tab asks for nothing else."""

    def shown(saver: SwarmSaver | None) -> Response:
        return PlainTextResponse(view_of(request, saver).title)

    return await site_of(request).read(shown)


def _respond(request: Request, view: SessionView, parts: list[ShownPart]) -> Response:
    return respond(request, "session.html", view=view, report=view.report, page=view.page, parts=parts)


routes = [
    page("/sessions/{id}", show_session),
    page("/sessions/{id}/title", show_title),
    page("/sessions/{id}/parts/{part}", show_part),
]
