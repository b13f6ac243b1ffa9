"""The page that takes the token, and the way out."""

from __future__ import annotations

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from swarm_graph.web.addresses import local_address
from swarm_graph.web.login import COOKIE_S
from swarm_graph.web.pages import change, page, read_form, respond
from swarm_graph.web.site import site_of

MAX_FIELDS = 4


async def show_login(request: Request) -> Response:
    """The form for the token."""
    return _form(request, request.query_params.get("next", "/"))


def _form(request: Request, address: str, status: int = 200, problem: str = "") -> Response:
    return respond(request, "login.html", status, next=local_address(address), problem=problem)


async def log_in(request: Request) -> Response:
    """Take the token, and set the cookie."""
    login = site_of(request).login
    client = request.client.host if request.client else "::"
    form = await read_form(request, max_fields=MAX_FIELDS, max_files=0)
    address = str(form.get("next", "/"))
    if wait_s := login.attempts.wait_s(client):
        response = _form(request, address, 429, f"Too many wrong tokens; wait {wait_s} s, then try again.")
        response.headers["Retry-After"] = str(wait_s)
        return response
    if not login.admits(str(form.get("token", "")), by_code=request.state.is_own):
        login.attempts.note_failure(client)
        return _form(
            request,
            address,
            401,
            "This is not the token of this page. Each start makes a new one; the terminal shows it.",
        )
    response = RedirectResponse(local_address(address), 303)
    response.set_cookie(
        login.cookie,
        login.new_cookie(str(form.get("name", "")), request.headers["host"]),
        max_age=COOKIE_S,
        httponly=True,
        samesite="strict",
        secure=_is_https(request),
    )
    return response


def _is_https(request: Request) -> bool:
    """Whether the browser reaches the page over TLS, its own or that of a proxy."""
    origins = site_of(request).settings.origins.of_host(request.headers["host"], request.scope["server"])
    origin = request.headers.get("origin")
    return (origin or min(origins)).startswith("https:")


async def log_out(request: Request, _: FormData) -> Response:
    """Accept the user's cookie no longer."""
    login = site_of(request).login
    login.log_out(request.state.user)
    response = RedirectResponse("/login", 303)
    response.delete_cookie(login.cookie, httponly=True, samesite="strict")
    return response


routes = [
    page("/login", show_login),
    Route("/login", log_in, methods=["POST"]),
    change("/logout", log_out, in_read_only=True),
]
