"""What a database knows of its sessions besides their checkpoints: runs, tasks, model calls, files."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterable, Mapping
from hashlib import sha256
from statistics import median
from typing import Any, Literal

from swarm_graph.checkpoints.database import Database
from swarm_graph.checkpoints.records import Session, WorkingRun, outcome_columns, session_of, session_row
from swarm_graph.state import ENDED_PHASES, Evidence, SwarmState, TaskRecord, has_ended

TASK_COLUMNS = (
    "session", "task_id", "task_type", "node", "role", "status", "iteration", "created_at", "completed_at",
    "note", "error",
)  # fmt: skip
CALL_COLUMNS = (
    "time", "node", "role", "task", "iteration", "attempt", "model", "server", "outcome", "finish_reason",
    "queued_s", "first_token_s", "seconds", "input_tokens", "output_tokens", "reasoning_tokens", "cut_tokens",
    "estimated", "cost", "error",
)  # fmt: skip
PUT_TASK = (
    f"INSERT INTO tasks ({', '.join(TASK_COLUMNS)}) VALUES (:{', :'.join(TASK_COLUMNS)}) "
    f"ON CONFLICT (session, task_id) DO UPDATE SET ({', '.join(TASK_COLUMNS)}) = "
    f"(excluded.{', excluded.'.join(TASK_COLUMNS)}) WHERE excluded.iteration >= tasks.iteration"
)


TEST_RUN_COLUMNS = (
    "outcome", "reason", "exit_code", "passed", "failed", "errored", "skipped", "sandbox", "seconds",
)  # fmt: skip

UNTIL = """max(started_at, coalesce(
    ended_at, (SELECT max(time) FROM calls WHERE calls.session = runs.session), started_at
))"""
"""When a run ended; one that was killed, or is at work now, with its latest call."""
AT_WORK = f"total({UNTIL} - started_at)"
"""Seconds of runs together."""


class Catalogue:
    """The tables `sessions`, `runs`, `tasks`, `calls`, `artifacts` and `test_runs` of a database."""

    def __init__(self, database: Database) -> None:
        self.database, self._tables = database, database.tables

    # --- sessions and runs -----------------------------------------------------------------------

    def begin(
        self, session: Session, kind: str, given: Mapping[str, Any] | None = None, base: str = ""
    ) -> int:
        """Records that this process begins to work on a session; returns the run's number.

        A session that is known keeps its beginning: configuration, time, and where it was forked from. A
        run of it that nobody ended was killed: it counts until its latest call. A request asked anew
        (`begin`, `follow_up`, `replay`) is never answered from the journal.
        """
        with self.database.transaction() as cursor:
            known = self.get(session.session)
            row = session_row(session)
            if known is not None:
                row = {
                    "session": session.session,
                    "request": session.request,
                    "workflow": session.workflow,
                    "output": session.output or known.output,
                    "phase": session.phase,
                    "updated_at": session.updated_at,
                }
            self._tables.table("sessions").upsert(row, pk="session")
            cursor.execute(
                f"UPDATE runs SET phase = 'interrupted', ended_at = {UNTIL} "
                "WHERE session = ? AND ended_at IS NULL",
                (session.session,),
            )
            if kind != "resume":
                self.forget_answers(session.session)
            if kind == "follow_up":
                for table in ("tasks", "test_runs"):
                    self._tables.table(table).delete_where("session = ?", [session.session])
            changed = known is not None and known.config != session.config
            run = {
                "session": session.session,
                "kind": kind,
                "input": None if given is None else json.dumps(dict(given)),
                "base": base,
                "config": json.dumps(session.config) if changed else None,
                "pid": os.getpid(),
                "host": platform.node(),
                "phase": session.phase,
                "error": "",
                "started_at": session.updated_at,
                "ended_at": None,
            }
            return int(self._tables.table("runs").insert(run).last_pk or 0)

    def end(
        self, session: str, run: int, phase: str, error: str = "", state: SwarmState | None = None
    ) -> None:
        """Records how a run ended and what it came to; the answers of an ended session go."""
        now = time.time()
        came_to = outcome_columns(state) if state else {}
        with self.database.transaction():
            self._tables.table("sessions").update(session, {"phase": phase, "updated_at": now, **came_to})
            self._tables.table("runs").update(run, {"phase": phase, "error": error, "ended_at": now})
            if has_ended(phase):
                self.forget_answers(session)

    def spent(self, session: str) -> tuple[int, int, float]:
        """What the latest request of a session has used: calls, tokens, and seconds at work."""
        with self.database.view() as cursor:
            (began,) = cursor.execute(
                "SELECT max(started_at) FROM runs WHERE session = ? AND kind != 'resume'", (session,)
            ).fetchone()
            since = (session, began or 0.0)
            calls, tokens = cursor.execute(
                "SELECT count(*), total(input_tokens + output_tokens + cut_tokens) FROM calls "
                "WHERE session = ? AND time >= ?",
                since,
            ).fetchone()
            (seconds,) = cursor.execute(
                f"SELECT {AT_WORK} FROM runs WHERE session = ? AND started_at >= ?", since
            ).fetchone()
        return calls, int(tokens), seconds

    def add(self, session: Session) -> None:
        """Records a session that no run has worked on yet, such as a fork."""
        with self.database.transaction():
            self._tables.table("sessions").insert(session_row(session))

    def get(self, session: str) -> Session | None:
        rows = self._sessions("session = ?", [session])
        return rows[0] if rows else None

    def sessions(self) -> list[Session]:
        """All sessions, the one that was worked on last first."""
        return self._sessions("1", [])

    def unfinished(self) -> list[Session]:
        """Those that have not ended, the one that was worked on last first."""
        return self._sessions(f"phase not in ({', '.join('?' * len(ENDED_PHASES))})", list(ENDED_PHASES))

    def runs(self, session: str) -> list[WorkingRun]:
        """Every run of a session, the first one first."""
        with self.database.view():
            rows = list(self._tables.table("runs").rows_where("session = ?", [session], order_by="id"))
        return [
            WorkingRun(**{**row, **{key: row[key] and json.loads(row[key]) for key in ("input", "config")}})
            for row in rows
        ]

    def pending_input(self, session: str, checkpoint: str) -> dict[str, Any] | None:
        """What a session was given and has not taken in: it was killed before its first checkpoint.

        `checkpoint`: its latest one, empty when there is none.
        """
        with self.database.view() as cursor:
            row = cursor.execute(
                "SELECT input, base FROM runs WHERE session = ? AND input IS NOT NULL "
                "ORDER BY id DESC LIMIT 1",
                (session,),
            ).fetchone()
        return dict(json.loads(row[0])) if row and row[1] == checkpoint else None

    def delete(self, session: str) -> None:
        """Forgets a session; its checkpoints are the saver's to delete."""
        with self.database.transaction():
            for table in ("sessions", "runs", "tasks", "calls", "artifacts", "test_runs"):
                self._tables.table(table).delete_where("session = ?", [session])

    def _sessions(self, where: str, values: list[str]) -> list[Session]:
        with self.database.view():
            rows = list(
                self._tables.table("sessions").rows_where(
                    where, values, order_by="updated_at desc, rowid desc"
                )
            )
        return [session_of(row) for row in rows]

    # --- tasks, calls, files ---------------------------------------------------------------------

    def put_tasks(self, session: str, tasks: Iterable[TaskRecord], error: str = "") -> None:
        """Records how tasks stand, unless a later round is known. `error`: why they failed."""
        rows = [{"note": "", "error": error, **task, "session": session} for task in tasks]
        with self.database.transaction() as cursor:
            cursor.executemany(PUT_TASK, rows)

    def tasks(self, session: str) -> list[dict[str, Any]]:
        """The tasks of a session that ended or failed, by id."""
        return self._rows("tasks", session, "task_id")

    def calls(self, session: str) -> list[dict[str, Any]]:
        """All attempts of a session, in the order in which they ended; without answers."""
        rows = self._rows("calls", session, "rowid")
        return [{name: row[name] for name in row if name not in ("key", "answer")} for row in rows]

    def all_calls(self) -> list[dict[str, Any]]:
        """All attempts of all sessions, in the order in which they ended; without answers."""
        with self.database.view():
            rows = self._tables.query(f"SELECT session, {', '.join(CALL_COLUMNS)} FROM calls ORDER BY rowid")
            return list(rows)

    def seconds_at_work(self, session: str | None = None) -> dict[str, float]:
        """How long each session, or one, was worked on, all its runs together."""
        with self.database.view() as cursor:
            rows = cursor.execute(
                f"SELECT session, {AT_WORK} FROM runs WHERE session = ? OR ? IS NULL GROUP BY session",
                (session, session),
            )
            return dict(rows.fetchall())

    def usual_seconds(self, workflow: str, config: Mapping[str, Any]) -> float | None:
        """How long the latest complete sessions of a workflow with the same models took (median).

        `config`: in the file's shape. None for less than three.
        """
        with self.database.view() as cursor:
            rows = cursor.execute(
                f"SELECT (SELECT {AT_WORK} FROM runs WHERE runs.session = known.session) "
                "FROM sessions AS known WHERE workflow = ? AND phase = 'complete' "
                "AND json_extract(config, '$.model_config') IS json_extract(?, '$.model_config') "
                "ORDER BY updated_at DESC LIMIT 20",
                (workflow, json.dumps(config)),
            ).fetchall()
        return median(seconds for (seconds,) in rows) if len(rows) >= 3 else None

    def put_test_run(
        self, session: str, kind: Literal["run", "verify"], iteration: int, attempt: int, shown: Evidence
    ) -> None:
        """Records what a run of the tests showed: in a round of the session, or in `verify`."""
        known = {name: shown[name] for name in TEST_RUN_COLUMNS}  # type: ignore[literal-required]
        row = {"session": session, "kind": kind, "iteration": iteration, **known, "attempt": attempt}
        with self.database.transaction():
            self._tables.table("test_runs").upsert(
                {**row, "time": time.time()}, pk=("session", "kind", "iteration", "attempt")
            )

    def add_verification(self, session: str, iteration: int, shown: Evidence) -> None:
        """Records one more run of a session's tests by `verify`."""
        with self.database.transaction():
            earlier = [run for run in self.test_runs(session) if run["kind"] == "verify"]
            number = 1 + sum(run["iteration"] == iteration for run in earlier)
            self.put_test_run(session, "verify", iteration, number, shown)

    def test_runs(self, session: str) -> list[dict[str, Any]]:
        """All runs of a session's tests, in the order of their time."""
        return self._rows("test_runs", session, "time")

    def forget_answers(self, session: str) -> None:
        """Empties a session's journal; the records of its calls stay."""
        with self.database.transaction() as cursor:
            cursor.execute(
                "UPDATE calls SET answer = NULL WHERE session = ? AND answer IS NOT NULL", (session,)
            )

    def artifacts(self, session: str, folder: str) -> set[str]:
        """The paths in a folder that were, or were about to be, written for a session."""
        with self.database.view() as cursor:
            rows = cursor.execute(
                "SELECT path FROM artifacts WHERE session = ? AND folder = ?", (session, folder)
            )
            return {path for (path,) in rows}

    def wrote_into(self, folder: str) -> bool:
        """Whether any session has written into a folder."""
        with self.database.view() as cursor:
            rows = cursor.execute("SELECT 1 FROM artifacts WHERE folder = ? LIMIT 1", [folder])
            return rows.fetchone() is not None

    def put_artifacts(self, session: str, folder: str, files: Mapping[str, str]) -> None:
        """Records files that are about to be written."""
        rows = [
            {
                "session": session,
                "folder": folder,
                "path": path,
                "bytes": len(data := text.encode(errors="replace")),
                "sha256": sha256(data).hexdigest(),
                "written_at": time.time(),
            }
            for path, text in files.items()
        ]
        with self.database.transaction():
            self._tables.table("artifacts").upsert_all(rows, pk=("session", "folder", "path"))

    def remove_artifacts(self, session: str, folder: str, paths: Iterable[str]) -> None:
        """Forgets files that were removed."""
        with self.database.transaction() as cursor:
            cursor.executemany(
                "DELETE FROM artifacts WHERE session = ? AND folder = ? AND path = ?",
                [(session, folder, path) for path in paths],
            )

    def _rows(self, table: str, session: str, order: str) -> list[dict[str, Any]]:
        with self.database.view():
            return list(self._tables.table(table).rows_where("session = ?", [session], order_by=order))
