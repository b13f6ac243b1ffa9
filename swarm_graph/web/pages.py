"""What the modules of pages use: render a template, accept a form, name a route."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

from jinja2 import Environment
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from swarm_graph.checkpoints.swarm_saver import SwarmSaver
from swarm_graph.database_place import is_server
from swarm_graph.errors import InputError
from swarm_graph.reports.templates import new_environment
from swarm_graph.web.addresses import decoded, encoded, session_address
from swarm_graph.web.notes import note_of
from swarm_graph.web.site import site_of

TEMPLATES = Path(__file__).with_name("templates")
MAX_FORM_FIELDS, MAX_FILES, MAX_FIELD_BYTES = 1000, 40, 16 << 20
"""Of a form; a person edits the files of a session in one. The guard limits the whole."""
_WORD = re.compile(r"[a-z]+[ ,]")
Page = Callable[[Request], Awaitable[Response]]
P = ParamSpec("P")
Change = Callable[[Request, FormData], Awaitable[Response]]


@lru_cache(maxsize=1)
def environment() -> Environment:
    """The templates of the page, and those of the reports."""
    found = new_environment(TEMPLATES)
    found.filters |= {"session_address": session_address, "segment": encoded, "sentence": sentence}
    return found


def sentence(message: str) -> str:
    """A message of an error as a sentence. A file's name at its beginning stays as it is."""
    begun = message[:1].upper() + message[1:] if _WORD.match(message) else message
    return begun if begun.endswith((".", "?", "!", "…")) else f"{begun}."


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
        values: What the template shows besides what every page has: `csrf`, `user`, `read_only`,
            `has_queue`, `path`, `note` and `remarks`.
    """
    site = site_of(request)
    note = note_of(request.query_params.get("note", ""))
    html = (
        environment()
        .get_template(template)
        .render(
            csrf=csrf_of(request),
            user=request.state.user,
            read_only=site.settings.read_only,
            has_queue=is_server(site.settings.place),
            path=request.url.path,
            note=note,
            remarks=site.remarks.of(session_id_of(request)) if note else [],
            **values,
        )
    )
    return HTMLResponse(html, status)


def csrf_of(request: Request) -> str:
    """The token that the forms of the user hold; empty if nobody is logged in."""
    user = request.state.user
    return site_of(request).login.csrf(user) if user else ""


def query_number(query: Mapping[str, str], name: str, default: int = 0) -> int:
    """A number in the query of an address; anything but a number from 0 to 999,999,999 counts as absent."""
    text = query.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else default


def session_id_of(request: Request) -> str:
    """The id of the session in the address; empty for an address without one."""
    return decoded(request.path_params.get("id", ""))


def page(path: str, show: Page) -> Route:
    """A route that changes nothing."""
    return Route(path, show, methods=["GET"])


async def read_form(request: Request, **limits: int) -> FormData:
    """The form that a request brings.

    Args:
        request: The request.
        limits: As `Request.form` has them.

    Raises:
        HTTPException: The form is not in UTF-8. Browsers send that; with other encodings of Python a client
            could write texts that are no Unicode.
        InputError: It cannot be read, or has more fields or files than the limits allow.
    """
    _, options = parse_options_header(request.headers.get("content-type"))
    if options.get(b"charset", b"utf-8").lower() != b"utf-8":
        raise HTTPException(415, "this form is not in UTF-8")
    try:
        return await request.form(**limits)
    except HTTPException as error:
        if error.status_code != 400:
            raise
        raise InputError(f"the form cannot be read: {error.detail} Go back, and send less") from error


def change(path: str, do: Change, *, in_read_only: bool = False) -> Route:
    """A route that changes something: it takes a form of the user's own.

    Args:
        path: The path.
        do: Makes the change.
        in_read_only: Whether a page that was started with --read-only takes it, too.
    """

    async def checked(request: Request) -> Response:
        site = site_of(request)
        if site.settings.read_only and not in_read_only:
            return PlainTextResponse("this page only shows: it was started with --read-only\n", 403)
        form = await read_form(
            request, max_files=MAX_FILES, max_fields=MAX_FORM_FIELDS, max_part_size=MAX_FIELD_BYTES
        )
        if not site.login.is_csrf(request.state.user, str(form.get("csrf", ""))):
            return PlainTextResponse("this form is not of this page; load it again\n", 403)
        try:
            return await do(request, form)
        finally:
            await form.close()

    return Route(path, checked, methods=["POST"])
