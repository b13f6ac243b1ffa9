"""The transport to an MCP server at a URL: streamable HTTP, to this server and to no other."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from mcp.client.streamable_http import streamable_http_client

from swarm_graph.models.http_clients import CONNECT_TIMEOUT_S, trusted_certificates
from swarm_graph.tools.mcp_stdio import MAX_MESSAGE_BYTES


class HttpTransport:
    """The connection to a server at a URL.

    Proxies of the environment are ignored. A redirect is followed only to the same scheme, host and port.

    Args:
        url: The address of the server.
        token: Sent as Bearer; None sends none.
        proxy: URL of the configured proxy; None: a direct connection.

    Attributes:
        address: Where it goes.
        problem: Why the connection has ended; empty if we ended it, or it goes on.
    """

    def __init__(self, url: str, token: str | None, proxy: str | None) -> None:
        self.address, self._token, self._proxy = url, token, proxy
        self.problem = ""

    @asynccontextmanager
    async def streams(self) -> AsyncIterator[tuple[Any, Any]]:
        """Yield the streams to and from the server; nothing is sent before the first message."""
        headers = {"accept-encoding": "identity"}
        if self._token:
            headers["authorization"] = f"Bearer {self._token}"
        client = httpx2.AsyncClient(
            headers=headers,
            timeout=httpx2.Timeout(None, connect=CONNECT_TIMEOUT_S),  # each call has a time of its own
            transport=_BoundedTransport(self._proxy),
            trust_env=False,
            follow_redirects=False,
        )
        async with (
            client,
            streamable_http_client(
                self.address, http_client=client, max_sse_event_size=MAX_MESSAGE_BYTES
            ) as streams,
        ):
            yield streams


class _BoundedTransport(httpx2.AsyncBaseTransport):
    """Sends requests, and reads no more of an answer than MAX_MESSAGE_BYTES."""

    def __init__(self, proxy: str | None) -> None:
        self._inner = httpx2.AsyncHTTPTransport(verify=_certificates(), trust_env=False, proxy=proxy)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        try:
            response = await self._inner.handle_async_request(request)
        except httpx2.TransportError as error:
            raise type(error)(_unreachable(error), request=request) from error
        if problem := _problem(request, response):
            await response.aclose()
            raise httpx2.RemoteProtocolError(problem, request=request)
        if not response.headers.get("content-type", "").lower().startswith("text/event-stream"):
            assert isinstance(response.stream, httpx2.AsyncByteStream)
            response.stream = _BoundedStream(response.stream)
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


def _certificates() -> ssl.SSLContext:
    found = trusted_certificates()
    return found if isinstance(found, ssl.SSLContext) else ssl.create_default_context()


def _unreachable(error: httpx2.TransportError) -> str:
    """Why there is no answer, with its cure."""
    reason = str(error) or type(error).__name__
    if "CERTIFICATE_VERIFY_FAILED" in reason:
        cure = "SSL_CERT_FILE names a file with the certificates of your own authority"
    elif "SSL" in reason:
        cure = "does it speak TLS? else its `url` begins with http:"
    else:
        cure = "start it there, or correct its `url` or `proxy`"
    return f"no answer: {reason.rstrip('.')} ({cure})"


def _problem(request: httpx2.Request, response: httpx2.Response) -> str:
    """Why an answer cannot be used."""
    status, kind = response.status_code, response.headers.get("content-type", "").lower()
    if status in (401, 403):
        return f"it answered HTTP {status}: it wants another token; `token_env` names its variable"
    is_first = request.method == "POST" and "mcp-session-id" not in request.headers
    if is_first and (status >= 400 or kind.startswith("text/html")) and "json" not in kind:
        return f"it answered HTTP {status} without a message of MCP (correct its `url`)"
    if response.headers.get("content-encoding", "identity").lower() not in ("", "identity"):
        return "it compresses its answers, although it was asked not to"
    return ""


class _TooLong(httpx2.StreamError):
    """An answer is longer than MAX_MESSAGE_BYTES."""


class _BoundedStream(httpx2.AsyncByteStream):
    def __init__(self, inner: httpx2.AsyncByteStream) -> None:
        self._inner = inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for part in self._inner:
            size += len(part)
            if size > MAX_MESSAGE_BYTES:
                raise _TooLong(f"its answer has more than {MAX_MESSAGE_BYTES / 1e6:.0f} MB")
            yield part

    async def aclose(self) -> None:
        await self._inner.aclose()
