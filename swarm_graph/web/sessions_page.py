"""The list of sessions."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from swarm_graph.checkpoints.saver import SwarmSaver
from swarm_graph.reports.listing import session_rows
from swarm_graph.web.pages import page, show


def _rows(saver: SwarmSaver | None) -> dict[str, Any]:
    return {"rows": session_rows(saver.catalogue, saver.catalogue.sessions()) if saver else []}


async def show_sessions(request: Request) -> Response:
    """The list."""
    return await show(request, "sessions.html", _rows)


routes = [page("/", show_sessions)]
