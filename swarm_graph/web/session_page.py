"""A session: its page, its parts, its files."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from swarm_graph.checkpoints.saver import SwarmSaver
from swarm_graph.reports.session_report import PARTS, SessionReport
from swarm_graph.web.pages import page, show
from swarm_graph.web.site import NotFound, found_session


def _report(saver: SwarmSaver | None, session_id: str) -> dict[str, Any]:
    session = found_session(saver, session_id)
    assert saver is not None
    return {"report": SessionReport(saver, session), "parts": PARTS}


async def show_session(request: Request) -> Response:
    """The page of a session."""
    return await show(request, "session.html", _report, request.path_params["id"])


async def show_part(request: Request) -> Response:
    """A part of the page, anew."""
    name = request.path_params["part"]
    if name not in PARTS:
        raise NotFound("a session has no such part")
    return await show(request, f"parts/{name}.html", _report, request.path_params["id"])


routes = [page("/sessions/{id}", show_session), page("/sessions/{id}/parts/{part}", show_part)]
