"""A session: its id, its entry in the catalogue, and what one run of it works with."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from langchain_core.runnables import RunnableConfig

from swarm_graph.checkpoints.catalogue import Catalogue, Session
from swarm_graph.config import SwarmConfig
from swarm_graph.errors import InputError
from swarm_graph.graph import SwarmGraph
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


def find_session(data_dir: Path, session_id: str | None) -> Session:
    """A session by its id, or the newest that has not ended. InputError when there is none."""
    if not (data_dir / DATABASE).is_file():
        raise InputError(f"no sessions in '{data_dir}'; run one first, or name its folder with --data-dir")
    with closing(Catalogue(data_dir / DATABASE)) as catalogue:
        found = catalogue.get(session_id) if session_id else catalogue.newest_unfinished()
    if found is None:
        what = f"no session '{session_id}'" if session_id else "no unfinished session"
        raise InputError(f"{what} in '{data_dir}'")
    return found


def known_session(data_dir: Path, session: str) -> Session | None:
    """A session by its id; None when the database or the session does not exist."""
    if not (data_dir / DATABASE).is_file():
        return None
    with closing(Catalogue(data_dir / DATABASE)) as catalogue:
        return catalogue.get(session)


@dataclass(frozen=True)
class Desk:
    """What one run works with: the graph and, with checkpointing, the catalogue."""

    graph: SwarmGraph
    config: SwarmConfig
    catalogue: Catalogue | None

    def stream(
        self, given: Any, session: str, context: SwarmContext | None
    ) -> AsyncIterator[tuple[str, Any]]:
        return self.graph.astream(
            given, _thread(session), context=context, stream_mode=["values", "updates", "custom"]
        )

    async def saved(self, session: str) -> SwarmState:
        """The state that earlier runs of a session left; empty for a new one."""
        if self.catalogue is None:
            return {}
        return cast("SwarmState", (await self.graph.aget_state(_thread(session))).values)

    async def calls(self, session: str) -> list[dict[str, Any]]:
        return await asyncio.to_thread(self.catalogue.calls, session) if self.catalogue else []

    async def begin(
        self, session: str, workflow: str, request: str, folder: Path, known: Session | None
    ) -> None:
        """Records a session before its first call; a follow-up keeps when it first began."""
        if self.catalogue is None:
            return
        now = time.time()
        row = Session(
            session=session,
            workflow=workflow,
            request=request,
            config=self.config.model_dump(mode="json", by_alias=True, exclude_unset=True),
            output=str(folder),
            simulated=self.config.is_simulated,
            phase="running",
            created_at=known.created_at if known else now,
            updated_at=now,
        )
        await asyncio.to_thread(self.catalogue.put, row)

    async def add_call(self, call: Mapping[str, Any]) -> None:
        if self.catalogue is not None:
            await asyncio.to_thread(self.catalogue.add_call, call)

    def end(self, session: str, phase: str) -> None:
        if self.catalogue is not None:
            self.catalogue.set_phase(session, phase, time.time())


def _thread(session: str) -> RunnableConfig:
    return {"configurable": {"thread_id": session}}
