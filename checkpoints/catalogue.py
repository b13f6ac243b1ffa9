"""What a database knows of its sessions besides their checkpoints: who they are, and every model call."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlite_utils

from swarm_graph.checkpoints.saver import BUSY_SECONDS, storage_errors

CALL_COLUMNS = {
    "session": str,
    "time": float,
    "node": str,
    "role": str,
    "task": str,
    "iteration": int,
    "attempt": int,
    "model": str,
    "server": str,
    "outcome": str,
    "finish_reason": str,
    "queued_s": float,
    "first_token_s": float,
    "seconds": float,
    "input_tokens": int,
    "output_tokens": int,
    "error": str,
}


ENDED = ("complete", "not_converged")
"""The phases of sessions that have ended; every other one can be resumed."""


@dataclass(frozen=True)
class Session:
    """A session as the catalogue knows it. `config` holds no secret, only names of variables."""

    session: str
    workflow: str
    request: str
    config: dict[str, Any]
    output: str
    simulated: bool
    phase: str
    created_at: float
    updated_at: float


class Catalogue:
    """The tables `sessions` and `calls` beside LangGraph's own, in one SQLite file."""

    def __init__(self, path: str | Path) -> None:
        self._path, self._lock = path, threading.Lock()
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS, check_same_thread=False)
        self._database = sqlite_utils.Database(connection)
        with self._using():
            sessions = dict.fromkeys(("session", "workflow", "request", "config", "output", "phase"), str)
            times = {"simulated": int, "created_at": float, "updated_at": float}
            self._database.table("sessions").create({**sessions, **times}, pk="session", if_not_exists=True)
            calls = self._database.table("calls")
            if not calls.exists():
                calls.create(CALL_COLUMNS, if_not_exists=True)
                calls.create_index(["session"], if_not_exists=True)

    def close(self) -> None:
        self._database.close()

    def put(self, session: Session) -> None:
        """Records a session, or what changed of it."""
        row = {**vars(session), "config": json.dumps(session.config), "simulated": int(session.simulated)}
        with self._using():
            self._database.table("sessions").upsert(row, pk="session")

    def set_phase(self, session: str, phase: str, now: float) -> None:
        with self._using():
            self._database.table("sessions").update(session, {"phase": phase, "updated_at": now})

    def get(self, session: str) -> Session | None:
        rows = self._rows("session = ?", [session])
        return rows[0] if rows else None

    def newest_unfinished(self) -> Session | None:
        """The session that was worked on last among those that have not ended."""
        rows = self._rows(f"phase not in ({', '.join('?' * len(ENDED))})", list(ENDED))
        return rows[0] if rows else None

    def add_call(self, call: Mapping[str, Any]) -> None:
        """Records one attempt of a model call; keys that are no column are left out."""
        with self._using():
            self._database.table("calls").insert({name: call.get(name) for name in CALL_COLUMNS})

    def calls(self, session: str) -> list[dict[str, Any]]:
        """All attempts of a session, in the order in which they ended."""
        with self._using():
            return list(self._database.table("calls").rows_where("session = ?", [session], order_by="rowid"))

    def _rows(self, where: str, values: list[str]) -> list[Session]:
        with self._using():
            rows = list(
                self._database.table("sessions").rows_where(where, values, order_by="updated_at desc")
            )
        return [
            Session(**{**row, "config": json.loads(row["config"]), "simulated": bool(row["simulated"])})
            for row in rows
        ]

    @contextmanager
    def _using(self) -> Iterator[None]:
        with self._lock, storage_errors(self._path):
            yield
