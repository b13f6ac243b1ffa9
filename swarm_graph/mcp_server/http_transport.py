"""MCP over streamable HTTP on this machine's loopback interface, for clients that present the token."""

from __future__ import annotations

import secrets
import socket
from typing import Any

from mcp.server import Server as McpServer
from mcp.server.transport_security import TransportSecurityMiddleware, TransportSecuritySettings
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from swarm_graph.mcp_server.settings import MAX_MESSAGE_BYTES
from swarm_graph.serving.listen import authority_of
from swarm_graph.serving.server import Server

PATH = "/mcp"
MAX_CONNECTIONS = 64


class Guard:
    """Refuses requests from web pages, under other names, and without the token, before anything reads them.

    Args:
        app: What serves the requests that pass.
        token: The token.
        security: The names under which the server may be called; no origin is allowed.
    """

    def __init__(self, app: ASGIApp, token: str, security: TransportSecuritySettings) -> None:
        self._app, self._token = app, token.encode()
        self._names = TransportSecurityMiddleware(security)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            request = Request(scope)
            if refusal := await self._names.validate_request(request) or self._refusal(request):
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refusal(self, request: Request) -> Response | None:
        """The answer to a request without the right token; None if it may pass.

        Wrong tokens lock nobody out: guesses cannot hit a long token, but they would keep its owner out.
        """
        given = request.headers.getlist("authorization")
        scheme, _, token = given[0].partition(" ") if len(given) == 1 else ("", "", "")
        if scheme.lower() == "bearer" and secrets.compare_digest(token.encode(), self._token):
            return None
        return PlainTextResponse("a token is needed\n", 401, {"WWW-Authenticate": "Bearer"})


def url_of(listener: socket.socket) -> str:
    """The URL of the server on a socket."""
    return f"http://{authority_of(listener)}{PATH}"


async def serve_http(server: McpServer[Any], listener: socket.socket, token: str) -> None:
    """Serve clients until this is cancelled.

    Args:
        server: The server.
        listener: Where it listens.
        token: What clients must present.
    """
    port = listener.getsockname()[1]
    hosts = dict.fromkeys((authority_of(listener), f"localhost:{port}"))
    security = TransportSecuritySettings(allowed_hosts=[*hosts], allowed_origins=[])
    app = server.streamable_http_app(
        streamable_http_path=PATH,
        stateless_http=True,
        transport_security=security,
        max_request_body_size=MAX_MESSAGE_BYTES,
    )
    web = Server(Guard(app, token, security), http="h11", lifespan="on", limit_concurrency=MAX_CONNECTIONS)
    await web.serve_on(listener)
