"""What every request passes: names, origins, sizes, and the login."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from swarm_graph.web.addresses import local_address
from swarm_graph.web.login import Login
from swarm_graph.web.origins import Origins
from swarm_graph.web.pages import environment
from swarm_graph.web.settings import PageSettings

LOGIN, LOGOUT, STATIC = "/login", "/logout", "/static/"
METHODS = ("GET", "HEAD", "POST")
MAX_HEAD_BYTES, MAX_QUERY_BYTES = 16 << 10, 4 << 10
MAX_LOGIN_BYTES, MAX_BODY_BYTES = 4 << 10, 257 << 20
"""Of the forms of the login and the logout, and of any other with its files."""
HEADERS: Mapping[str, str] = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # With no-referrer, browsers send `Origin: null` with forms.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
"""Of every response; a response may have a `cache-control` of its own."""
OTHER_SITE = "this request comes from another site, or under another name; --allowed-host NAME allows a name"


class Guard:
    """The outermost layer of the page.

    Args:
        app: What serves the requests that pass.
        settings: The names under which the page may be called.
        login: Cookies.
    """

    def __init__(self, app: ASGIApp, settings: PageSettings, login: Login) -> None:
        self._app, self._origins, self._login = app, settings.origins, login

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":  # websockets are not served
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        request = Request(scope)
        cookie, host = request.cookies.get(self._login.cookie, ""), request.headers.get("host", "")
        request.state.user = self._login.user(cookie, host)
        refusal = _wrong_form(request) or _stranger(request, self._origins) or _must_log_in(request)
        await (refusal or self._app)(scope, _limited(receive, _limit(request)), guarded)


def _wrong_form(request: Request) -> Response | None:
    """The answer to a request that is too large or none that the page serves; None if it may pass."""
    declared = request.headers.get("content-length", "0")
    if request.method not in METHODS:
        return _refusal(405, "only GET and POST are served", allow=", ".join(METHODS))
    if not request.scope["path"].startswith("/"):
        return _refusal(400, "the address must begin with a slash")
    if request.headers.get("upgrade", "").lower() == "websocket":
        return _refusal(400, "websockets are not served")
    if len(request.scope["query_string"]) > MAX_QUERY_BYTES:
        return _refusal(414, f"the address is too long; at most {MAX_QUERY_BYTES} bytes")
    if sum(len(name) + len(value) for name, value in request.headers.raw) > MAX_HEAD_BYTES:
        return _refusal(431, f"the headers are too long; at most {MAX_HEAD_BYTES} bytes")
    if int(declared) > _limit(request):
        return _refusal(413, _too_large(_limit(request)))
    return None


def _stranger(request: Request, origins: Origins) -> Response | None:
    """The answer to a request of another site, or under another name; None if it is the user's own."""
    headers = request.headers
    hosts, given = headers.getlist("host"), headers.getlist("origin")
    own = origins.of_host(hosts[0], request.scope["server"]) if len(hosts) == 1 else frozenset()
    site = headers.get("sec-fetch-site")
    if not own or len(given) > 1 or (given and given[0] not in own):
        return _refusal(403, OTHER_SITE)
    if not (own & origins.proxied or request.state.is_own):
        return _refusal(403, "this page belongs to another user of this machine")
    if site not in (None, "none", "same-origin"):
        is_link = request.method == "GET" and headers.get("sec-fetch-dest") == "document"
        if not is_link:
            return _refusal(403, OTHER_SITE)
        return None if request.scope["path"] == LOGIN else _link(request)
    if request.method == "POST" and not given and site is None:
        return _refusal(403, "this browser does not say where a form comes from; use a newer one")
    return None


def _link(request: Request) -> Response:
    """A page for a user who followed a link of another site, which must not open anything by itself.

    Browsers send no cookie with it; with the link on this page they do.
    """
    page = environment().get_template("from_elsewhere.html")
    address = local_address(_address(request))
    return HTMLResponse(page.render(csrf="", user=None, path="", note="", address=address), 403)


def _must_log_in(request: Request) -> Response | None:
    """The answer to a user who is not logged in; None if the user is, or need not be."""
    path = request.scope["path"]
    if request.state.user or path == LOGIN or path.startswith(STATIC):
        return None
    if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
        return RedirectResponse(f"{LOGIN}?next={quote(_address(request), safe='/')}", 303)
    return _refusal(401, "log in first")


def _address(request: Request) -> str:
    """The path and the query that were asked for."""
    path = request.scope["raw_path"].decode("latin-1")
    query = request.scope["query_string"].decode("latin-1")
    return f"{path}?{query}" if query else path


def _refusal(status: int, text: str, **headers: str) -> Response:
    return PlainTextResponse(f"{text}\n", status, headers)


def _limit(request: Request) -> int:
    """How many bytes the body of a request may have."""
    return MAX_LOGIN_BYTES if request.scope["path"] in (LOGIN, LOGOUT) else MAX_BODY_BYTES


def _too_large(limit: int) -> str:
    return f"this form is too large; at most {limit >> 10} KiB"


def _limited(receive: Receive, limit: int) -> Receive:
    """The body of a request; it ends with an error if it is too large, whatever its header declared."""
    read = 0

    async def receive_some() -> Message:
        nonlocal read
        message = await receive()
        read += len(message.get("body", b""))
        if read > limit:
            raise HTTPException(413, _too_large(limit))
        return message

    return receive_some
