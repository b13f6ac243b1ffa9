"""What all pages share: settings, the database, the sessions that run in this process."""

from __future__ import annotations

import asyncio
import os
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Concatenate, ParamSpec, TypeVar, cast

from starlette.requests import Request

from swarm_graph.checkpoints.records import Session
from swarm_graph.checkpoints.swarm_saver import SwarmSaver
from swarm_graph.errors import InputError
from swarm_graph.sessions.background import BackgroundSessions
from swarm_graph.text import cut
from swarm_graph.web.checkups import Checkups
from swarm_graph.web.database_pool import DatabasePool
from swarm_graph.web.follower import Follower
from swarm_graph.web.login import Login
from swarm_graph.web.notes import Remarks
from swarm_graph.web.open_streams import Streams
from swarm_graph.web.part_cache import PartCache
from swarm_graph.web.settings import PageSettings

P = ParamSpec("P")
R = TypeVar("R")
Say = Callable[[str], None]
"""Prints a line for the operator."""


class NotFound(InputError):
    """Nothing is at this address."""


class Site:
    """What all pages share.

    Attributes:
        settings: What the operator allows.
        login: Tokens, cookies and CSRF tokens.
        background: The sessions that run in this process.
        say: Prints a line for the operator.
        checkups: The last results of the doctor's checks.
        follower: Reads the events of all sessions for the streams.
        streams: The streams that are open.
        parts: Parts of pages as they were rendered last.
        remarks: What was assumed or left out when sessions began.
    """

    def __init__(
        self, settings: PageSettings, login: Login, background: BackgroundSessions, say: Say = lambda _: None
    ) -> None:
        self.settings, self.login, self.background, self.say = settings, login, background, say
        self.checkups = Checkups()
        self._databases = DatabasePool(settings.place, settings.data_dir)
        self.follower = Follower(settings.place, settings.data_dir)
        self.streams, self.parts, self.remarks = Streams(), PartCache(), Remarks()

    def report(self, error: Exception) -> None:
        """Tell the operator of an error in our code; SWARM_DEBUG shows where it is."""
        self.say(f"unexpected {type(error).__name__}: {error}; SWARM_DEBUG=1 shows where")
        if os.environ.get("SWARM_DEBUG"):
            traceback.print_exception(error)

    async def read(
        self, look: Callable[Concatenate[SwarmSaver | None, P], R], *args: P.args, **options: P.kwargs
    ) -> R:
        """Call a function with the open database, in a thread; with None if no session ever ran."""

        def looked() -> R:
            with self.open() as saver:
                return look(saver, *args, **options)

        return await asyncio.to_thread(looked)

    def open(self) -> AbstractContextManager[SwarmSaver | None]:
        """Lend the open database; None if no session ever ran."""
        return self._databases.lent()


def site_of(request: Request) -> Site:
    """The site that serves a request."""
    return cast("Site", request.app.state.site)


def found_session(saver: SwarmSaver | None, session_id: str) -> tuple[SwarmSaver, Session]:
    """The open database, and a session of it.

    Raises:
        NotFound: There is no such session.
    """
    session = saver.catalogue.get(session_id) if saver else None
    if saver is None or session is None:
        raise NotFound(f"there is no session {cut(session_id, 80)!r}; the list shows all")
    return saver, session
