"""Events as a browser follows them: server-sent events, of one session and of all."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from swarm_graph.checkpoints.swarm_saver import SwarmSaver
from swarm_graph.errors import InputError, StorageError
from swarm_graph.web.login import User
from swarm_graph.web.pages import page, session_id_of
from swarm_graph.web.site import Site, found_session, site_of

RETRY_MS, RETRY_AFTER_S = 1000, 5
MAX_DIGITS = 18
_TYPE = "text/event-stream"
_HEADERS = {"x-accel-buffering": "no"}
"""A proxy must not wait until it has more."""


async def stream_session(request: Request) -> Response:
    """The events of a session."""
    session_id = session_id_of(request)
    await site_of(request).read(_check, session_id)
    return _respond(request, session_id)


async def stream_all(request: Request) -> Response:
    """The events of all sessions, without tokens."""
    return _respond(request, None)


def _check(saver: SwarmSaver | None, session_id: str) -> None:
    found_session(saver, session_id)


def _respond(request: Request, session_id: str | None) -> Response:
    site, user, after = site_of(request), request.state.user, _after(request)
    if site.streams.is_full_for(user.key):
        text = "too many pages are open; close some, or wait\n"
        return PlainTextResponse(text, 503, {"retry-after": str(RETRY_AFTER_S)})
    body = _lines(site, user, after, session_id)
    return StreamingResponse(body, media_type=_TYPE, headers=_HEADERS)


async def _lines(site: Site, user: User, after: int | None, session_id: str | None) -> AsyncGenerator[bytes]:
    with site.streams.counted(user.key), suppress(StorageError):  # the browser comes again, and is told then
        yield f"retry: {RETRY_MS}\n\n".encode()
        async with aclosing(site.follower.follow(after, session_id)) as parts:
            async for messages in parts:
                if not site.login.is_in(user):
                    return
                text = "".join(message.text for message in messages) or ": alive\n\n"
                yield text.encode(errors="replace")


def _after(request: Request) -> int | None:
    """The id of the last event that the browser has; None if it names none."""
    given = request.headers.get("last-event-id") or request.query_params.get("after") or ""
    if not given:
        return None
    if not (given.isascii() and given.isdigit() and len(given) <= MAX_DIGITS):
        raise InputError(f"'after' is the id of an event, a number; it is {given[:40]!r}")
    return int(given)


routes = [page("/events", stream_all), page("/sessions/{id}/events", stream_session)]
