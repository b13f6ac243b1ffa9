"""Sessions by their ids: naming, finding, and what one run of a session works with."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from langchain_core.runnables import RunnableConfig

from swarm_graph.checkpoints.catalogue import Catalogue, Session
from swarm_graph.checkpoints.database import Database
from swarm_graph.checkpoints.locks import is_at_work
from swarm_graph.checkpoints.saver import SwarmSaver
from swarm_graph.errors import InputError
from swarm_graph.graph import SwarmGraph
from swarm_graph.pauses import Pause, waiting
from swarm_graph.run import RUN, Run
from swarm_graph.state import SwarmContext, SwarmState

DATABASE = "swarm.db"
SESSION_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def checked_session_id(session: str) -> str:
    """A session id that may name files. InputError for others."""
    if not SESSION_ID.fullmatch(session):
        raise InputError(
            f"session id {session[:80]!r} is not allowed; expected up to 64 of A-Z a-z 0-9 . _ -, "
            "the first a letter or digit"
        )
    return session


def new_session_id() -> str:
    """The local time and four random characters, as in 20231205_143022_4f2a."""
    return f"{time.strftime('%Y%m%d_%H%M%S')}_{secrets.token_hex(2)}"


def database_in(data_dir: Path) -> Path:
    """The database of a data folder. InputError when nothing was ever run there."""
    path = data_dir / DATABASE
    if not path.is_file():
        raise InputError(f"no sessions in '{data_dir}'; run one first, or name its folder with --data-dir")
    return path


@contextmanager
def open_catalogue(data_dir: Path) -> Iterator[Catalogue]:
    """The catalogue of a data folder. InputError when nothing was ever run there."""
    with Database(database_in(data_dir)) as database:
        yield Catalogue(database)


def find_session(data_dir: Path, session_id: str | None) -> Session:
    """A session by its id, or the newest that waits to be resumed. InputError when there is none."""
    with open_catalogue(data_dir) as catalogue:
        if session_id:
            found = catalogue.get(session_id)
        else:
            idle = (known for known in catalogue.unfinished() if not is_at_work(catalogue, known.session))
            found = next(idle, None)
    if found is None:
        what = f"no session '{session_id}'" if session_id else "no unfinished session"
        raise InputError(f"{what} in '{data_dir}'; `swarm-graph sessions list` shows all")
    return found


def known_session(data_dir: Path, session: str) -> Session | None:
    """A session by its id; None when the database or the session does not exist."""
    if not (data_dir / DATABASE).is_file():
        return None
    with open_catalogue(data_dir) as catalogue:
        return catalogue.get(session)


@dataclass(frozen=True)
class Desk:
    """What one run of a session works with: the graph and, with checkpointing, its saver."""

    session: str
    graph: SwarmGraph
    run: Run
    saver: SwarmSaver | None

    @property
    def thread(self) -> RunnableConfig:
        return {"configurable": {"thread_id": self.session, RUN: self.run}}

    def stream(self, given: Any, context: SwarmContext | None) -> AsyncGenerator[tuple[str, Any]]:
        modes = ["values", "updates", "custom"]
        parts = self.graph.astream(given, self.thread, context=context, stream_mode=modes)
        return cast("AsyncGenerator[tuple[str, Any]]", parts)

    async def saved(self) -> SwarmState:
        """The state that earlier runs of the session left; empty for a new one."""
        if self.saver is None:
            return {}
        saved = await self.saver.aget_tuple(self.thread)
        return cast("SwarmState", saved.checkpoint["channel_values"] if saved else {})

    async def calls(self) -> list[dict[str, Any]]:
        """The calls that earlier runs of the session made."""
        if self.saver is None:
            return []
        return await self.saver.database.run(self.saver.catalogue.calls, self.session)

    async def test_runs(self) -> list[dict[str, Any]]:
        """The runs of its tests in earlier runs of the session."""
        if self.saver is None:
            return []
        return await self.saver.database.run(self.saver.catalogue.test_runs, self.session)

    async def pauses(self) -> list[Pause]:
        """Where the session waits for a person."""
        return waiting(await self.saver.aget_tuple(self.thread)) if self.saver else []
