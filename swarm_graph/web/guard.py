"""Refuses requests from other sites and under other names, and users that are not logged in."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from swarm_graph.web.login import Login
from swarm_graph.web.settings import PageSettings

OPEN_PATHS = ("/login", "/static/")
"""What needs no login: the way in, and files that hold nothing of a session."""
HEADERS: Mapping[str, str] = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
"""Of every response."""


class Guard:
    """The outermost layer of the page.

    Args:
        app: What serves the requests that pass.
        settings: The names under which the page may be called.
        login: Cookies.
    """

    def __init__(self, app: ASGIApp, settings: PageSettings, login: Login) -> None:
        self._app, self._settings, self._login = app, settings, login

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        request = Request(scope)
        request.state.user = self._login.user(request.cookies.get(self._login.cookie, ""))
        refusal = self._refusal(request)
        await (refusal or self._app)(scope, receive, guarded)

    def _refusal(self, request: Request) -> Response | None:
        """The answer to a request that may not pass; None if it may."""
        headers, hosts = request.headers, self._settings.hosts
        origin = headers.get("origin")
        scheme = "https" if self._settings.is_https else "http"
        site = headers.get("sec-fetch-site", "none")
        if (
            headers.get("host") not in hosts
            or (origin is not None and origin not in {f"{scheme}://{host}" for host in hosts})
            or site not in ("none", "same-origin")
        ):
            return PlainTextResponse("this request comes from another site, or under another name\n", 403)
        if request.state.user or request.url.path.startswith(OPEN_PATHS):
            return None
        if request.method == "GET" and "text/html" in headers.get("accept", ""):
            return RedirectResponse("/login", 303)
        return PlainTextResponse("log in first\n", 401)
