"""What the modules of pages use: render a template, accept a form, name a route."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

from jinja2 import Environment
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from swarm_graph.checkpoints.saver import SwarmSaver
from swarm_graph.reports.templates import new_environment
from swarm_graph.web.site import site_of

TEMPLATES = Path(__file__).with_name("templates")
MAX_FORM_FIELDS = 200
CSRF_FIELD, CSRF_HEADER = "csrf", "x-csrf"
Page = Callable[[Request], Awaitable[Response]]
P = ParamSpec("P")
Change = Callable[[Request, FormData], Awaitable[Response]]


@lru_cache(maxsize=1)
def environment() -> Environment:
    """The templates of the page, and those of the reports."""
    return new_environment(TEMPLATES)


async def show(
    request: Request,
    template: str,
    look: Callable[Concatenate[SwarmSaver | None, P], Mapping[str, Any]],
    *args: P.args,
    **options: P.kwargs,
) -> HTMLResponse:
    """A page that shows something of the database; it is rendered in a thread while the database is open.

    Args:
        request: The request.
        template: The name of the template.
        look: Returns what the template shows, from the open database (None if no session ever ran).
        args: Further arguments of `look`.
        options: Further arguments of `look`.
    """

    def rendered(saver: SwarmSaver | None) -> HTMLResponse:
        return respond(request, template, **look(saver, *args, **options))

    return await site_of(request).read(rendered)


def respond(request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A page, or a part of one, as a response.

    Args:
        request: The request.
        template: The name of the template.
        status: The HTTP status.
        values: What the template shows besides what every page has: `csrf`, `user`, `read_only`, `path`.
    """
    site, user = site_of(request), request.state.user
    html = (
        environment()
        .get_template(template)
        .render(
            csrf=site.login.csrf(user) if user else "",
            user=user,
            read_only=site.settings.read_only,
            path=request.url.path,
            **values,
        )
    )
    return HTMLResponse(html, status)


def page(path: str, show: Page, *, name: str | None = None) -> Route:
    """A route that changes nothing."""
    return Route(path, show, methods=["GET"], name=name)


def change(path: str, do: Change, *, name: str | None = None) -> Route:
    """A route that changes something: it takes a form of the user's own, unless the page is read-only."""

    async def checked(request: Request) -> Response:
        site = site_of(request)
        if site.settings.read_only:
            return PlainTextResponse("this page only shows: it was started with --read-only\n", 403)
        form = await request.form(max_fields=MAX_FORM_FIELDS)
        given = request.headers.get(CSRF_HEADER) or str(form.get(CSRF_FIELD, ""))
        if not site.login.is_csrf(request.state.user, given):
            return PlainTextResponse("this form is not of this page; load it again\n", 403)
        return await do(request, form)

    return Route(path, checked, methods=["POST"], name=name)
