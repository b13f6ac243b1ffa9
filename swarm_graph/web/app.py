"""The web application: all routes, and what every request passes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from swarm_graph.errors import StorageError, SwarmError
from swarm_graph.reports.templates import STYLE
from swarm_graph.web import (
    actions,
    compare_page,
    decisions_page,
    doctor_page,
    experiments_page,
    login_page,
    memory_page,
    new_page,
    queue_page,
    session_files_page,
    session_page,
    sessions_page,
    stream,
)
from swarm_graph.web.guard import Guard
from swarm_graph.web.pages import page, respond
from swarm_graph.web.site import NotFound, Site, site_of

STATIC = Path(__file__).with_name("static")
MODULES = (
    login_page,
    sessions_page,
    new_page,
    stream,
    session_page,
    session_files_page,
    actions,
    decisions_page,
    compare_page,
    memory_page,
    experiments_page,
    queue_page,
    doctor_page,
)
"""The modules with routes."""
KEPT = "no-cache"
NO_PAGE = "there is no page at this address"


def new_app(site: Site) -> ASGIApp:
    """The application of a site."""
    routes = [route for module in MODULES for route in module.routes]
    app = Starlette(
        routes=[
            *routes,
            page("/static/report.css", _show_style),
            Mount("/static", _Static(directory=STATIC)),
        ],
        exception_handlers={
            SwarmError: _tell,
            HTTPException: _tell_http,
            ClientDisconnect: _tell_nobody,
            Exception: _tell_unexpected,
        },
    )
    app.router.redirect_slashes = False  # it would lead to http:// behind a proxy with TLS
    app.state.site = site
    return Guard(app, site.settings, site.login)


class _Static(StaticFiles):
    """Files that browsers keep, and ask for again only if they have changed."""

    def file_response(self, *args: Any, **options: Any) -> Response:
        response = super().file_response(*args, **options)
        response.headers["cache-control"] = KEPT
        return response


async def _show_style(_: Request) -> Response:
    return FileResponse(STYLE, headers={"cache-control": KEPT})


async def _tell(request: Request, error: Exception) -> Response:
    """A page that says what is wrong, in one line."""
    if isinstance(error, NotFound):
        return _problem(request, 404, str(error))
    return _problem(request, 503 if isinstance(error, StorageError) else 400, str(error))


def _problem(request: Request, status: int, problem: str) -> Response:
    title = "Not found" if status == 404 else "Not possible"
    return respond(request, "problem.html", status, title=title, problem=problem)


async def _tell_http(request: Request, error: Exception) -> Response:
    """A page for an address that does not exist, or a form that cannot be read."""
    assert isinstance(error, HTTPException)
    problem = NO_PAGE if error.status_code == 404 else error.detail
    response = _problem(request, error.status_code, problem)
    response.headers.update(error.headers or {})
    return response


async def _tell_nobody(_: Request, __: Exception) -> Response:
    """The client went away in the middle of its request."""
    return Response(status_code=400)


async def _tell_unexpected(request: Request, error: Exception) -> Response:
    """A page for an error in our code; the terminal says more."""
    site_of(request).report(error)
    problem = f"unexpected {type(error).__name__}; the terminal of `swarm-graph ui` says more"
    return _problem(request, 500, problem)
