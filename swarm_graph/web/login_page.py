"""The page that takes the token."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from swarm_graph.web.pages import page, respond
from swarm_graph.web.site import site_of

COOKIE_S = 12 * 3600


async def show_login(request: Request) -> Response:
    """The form for the token."""
    return respond(request, "login.html")


async def log_in(request: Request) -> Response:
    """Take the token, and set the cookie."""
    site = site_of(request)
    form = await request.form(max_fields=2, max_files=0)
    if not site.login.admits(str(form.get("token", ""))):
        return respond(request, "login.html", 401, problem="This is not the token of this page.")
    response = RedirectResponse("/", 303)
    response.set_cookie(
        site.login.cookie,
        site.login.new_cookie(str(form.get("name", ""))),
        max_age=COOKIE_S,
        httponly=True,
        samesite="strict",
        secure=site.settings.is_https,
    )
    return response


routes = [page("/login", show_login), Route("/login", log_in, methods=["POST"])]
