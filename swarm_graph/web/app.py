"""The web application: all routes, and what every request passes."""

from __future__ import annotations

from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from swarm_graph.errors import SwarmError
from swarm_graph.reports.templates import STYLE
from swarm_graph.web import login_page, session_page, sessions_page
from swarm_graph.web.guard import Guard
from swarm_graph.web.pages import page, respond
from swarm_graph.web.site import NotFound, Site

STATIC = Path(__file__).with_name("static")
MODULES = (login_page, sessions_page, session_page)
"""The modules with routes."""


def new_app(site: Site) -> ASGIApp:
    """The application of a site."""
    routes = [route for module in MODULES for route in module.routes]
    app = Starlette(
        routes=[
            *routes,
            page("/static/report.css", _show_style),
            Mount("/static", StaticFiles(directory=STATIC)),
        ],
        exception_handlers={SwarmError: _tell},
    )
    app.state.site = site
    return Guard(app, site.settings, site.login)


async def _show_style(_: Request) -> Response:
    return FileResponse(STYLE)


async def _tell(request: Request, error: Exception) -> Response:
    """A page that says what is wrong, in one line."""
    status = 404 if isinstance(error, NotFound) else 400
    return respond(request, "problem.html", status, problem=str(error))
