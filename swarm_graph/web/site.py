"""What all pages share: settings, the database, the sessions that run in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Concatenate, ParamSpec, TypeVar, cast

from starlette.requests import Request

from swarm_graph.checkpoints.records import Session
from swarm_graph.checkpoints.saver import SwarmSaver, open_checkpointer
from swarm_graph.errors import InputError
from swarm_graph.sessions.background import BackgroundSessions
from swarm_graph.state import DATABASE
from swarm_graph.text import cut
from swarm_graph.web.login import Login
from swarm_graph.web.settings import PageSettings

P = ParamSpec("P")
R = TypeVar("R")


class NotFound(InputError):
    """Nothing is at this address."""


class Site:
    """What all pages share.

    Attributes:
        settings: What the operator allows.
        login: Tokens, cookies and CSRF tokens.
        background: The sessions that run in this process.
    """

    def __init__(self, settings: PageSettings, login: Login, background: BackgroundSessions) -> None:
        self.settings, self.login, self.background = settings, login, background

    async def read(
        self, look: Callable[Concatenate[SwarmSaver | None, P], R], *args: P.args, **options: P.kwargs
    ) -> R:
        """Call a function with the open database, in a thread; with None if no session ever ran."""

        def looked() -> R:
            with self.open() as saver:
                return look(saver, *args, **options)

        return await asyncio.to_thread(looked)

    @contextmanager
    def open(self) -> Iterator[SwarmSaver | None]:
        """Open the database; None if no session ever ran."""
        file = self.settings.data_dir / DATABASE
        if not file.is_file():
            yield None
            return
        with open_checkpointer(file) as saver:
            yield saver


def site_of(request: Request) -> Site:
    """The site that serves a request."""
    return cast("Site", request.app.state.site)


def found_session(saver: SwarmSaver | None, session_id: str) -> Session:
    """A session of the database.

    Raises:
        NotFound: There is no such session.
    """
    session = saver.catalogue.get(session_id) if saver else None
    if session is None:
        raise NotFound(f"there is no session {cut(session_id, 80)!r}; the list shows all")
    return session
