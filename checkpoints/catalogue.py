"""The catalogue of a database: its sessions, with their runs, tasks, model calls, files and test runs."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import Any, Literal

from sqlite_utils.db import Database as Tables

from swarm_graph.checkpoints.database import MEMORY, Database
from swarm_graph.checkpoints.places import UNMOVED, Places, common_folder
from swarm_graph.checkpoints.records import (
    CALL_COLUMNS,
    TASK_COLUMNS,
    TEST_RUN_COLUMNS,
    TOOL_FIGURES,
    RequestUsage,
    Run,
    Session,
    Source,
    checked_call,
    checked_tool_figures,
    json_object,
    outcome_columns,
    run_from_row,
    session_from_row,
    session_to_row,
    signatures_from_text,
    source_from_row,
    tool_call_from_row,
    with_texts,
)
from swarm_graph.checkpoints.sqlite_transcript import TRANSCRIPT_TABLES, SqliteTranscript
from swarm_graph.checkpoints.steps import RECALLED, ToolRecord
from swarm_graph.checkpoints.transcript import Transcript
from swarm_graph.state import ENDED_PHASES, Evidence, SwarmState, TaskRecord, has_ended

TABLES = (
    "sessions", "runs", "tasks", "calls", "artifacts", "test_runs", "sources", "tool_calls", "steps",
    *TRANSCRIPT_TABLES,
)  # fmt: skip
PLACES = ("place", "inputs")
"""The kinds of sources that are places; they stay when a request is begun again."""
MIN_SESSIONS_FOR_MEDIAN, MAX_SESSIONS_FOR_MEDIAN = 3, 20

_PUT_TASK = f"""
INSERT INTO tasks ({", ".join(TASK_COLUMNS)}) VALUES (:{", :".join(TASK_COLUMNS)})
ON CONFLICT (session, task_id) DO UPDATE
SET ({", ".join(TASK_COLUMNS)}) = (excluded.{", excluded.".join(TASK_COLUMNS)})
WHERE excluded.iteration >= tasks.iteration
"""

_PUT_SOURCE = (
    f"INSERT OR REPLACE INTO sources (session, {', '.join(Source._fields)}) "
    f"VALUES (?{', ?' * len(Source._fields)})"
)

# A run that was killed, or has not ended yet, counts until its latest call.
RUN_END = """max(started_at, coalesce(
    ended_at, (SELECT max(time) FROM calls WHERE calls.session = runs.session), started_at
))"""
_WORKING_SECONDS = f"total({RUN_END} - started_at)"


class Catalogue:
    """The tables of TABLES in a database. Every method raises StorageError for an error of the database.

    Attributes:
        database: The file.
        transcript: What was asked and answered in its sessions.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self.transcript: Transcript = SqliteTranscript(database)

    @property
    def _tables(self) -> Tables:
        return self.database.tables

    # --- sessions and runs -----------------------------------------------------------------------

    def begin_run(
        self,
        session: Session,
        kind: str,
        input: Mapping[str, Any] | None = None,
        checkpoint: str = "",
        sources: Sequence[Source] | None = None,
    ) -> int:
        """Record that this process starts to work on a session, and return the run's number.

        An existing session keeps its configuration, its time of creation and its parent. A run of it that
        has no end was killed, and is closed as `interrupted`. Any other run than a resume asks its questions
        anew, so the answers in the journal are deleted.

        Args:
            session: The session as it is from now on.
            kind: begin, follow_up, resume or replay.
            input: The input of the graph; None for a resume, unless it begins the request again.
            checkpoint: The id of the checkpoint that the run starts from; empty if there is none.
            sources: What the request is made from; None leaves what is recorded.
        """
        with self.database.transaction() as cursor:
            known = self.get(session.session)
            if kind == "begin":  # of a thread with this id that was deleted
                self.forget_approvals(session.session)
            if kind in ("begin", "follow_up"):
                self._forget_inputs_folder(session.session)
                sources = sources or ()
            self._put_place(session.session)
            if sources is not None:
                self.put_sources(session.session, sources)
            _put(cursor, "sessions", self._row_of_run(session, known), key="session")
            cursor.execute(
                f"UPDATE runs SET phase = 'interrupted', ended_at = {RUN_END} "
                "WHERE session = ? AND ended_at IS NULL",
                (session.session,),
            )
            if kind != "resume":
                self.forget_answers(session.session)
            if kind == "follow_up" or (kind == "resume" and input is not None):  # all tasks begin anew
                for table in ("tasks", "test_runs"):
                    cursor.execute(f"DELETE FROM {table} WHERE session = ?", (session.session,))
            changed = known is not None and known.config != session.config
            run = {
                "session": session.session,
                "kind": kind,
                "input": None if input is None else json.dumps(dict(input)),
                "base": checkpoint,
                "config": json.dumps(session.config) if changed else None,
                "pid": os.getpid(),
                "host": platform.node(),
                "phase": session.phase,
                "error": "",
                "started_at": session.updated_at,
                "ended_at": None,
            }
            _put(cursor, "runs", run)
            return int(cursor.lastrowid or 0)

    def end_run(
        self, session_id: str, run: int, phase: str, error: str = "", state: SwarmState | None = None
    ) -> None:
        """Record the end of a run and the outcome of its session.

        Args:
            session_id: The session.
            run: The number that `begin_run` returned.
            phase: The phase that the session ends in; the answers of an ended session are deleted.
            error: Why the run failed; empty if it did not.
            state: The state at the end.
        """
        now = time.time()
        outcome = outcome_columns(state) if state else {}
        ended = {"session": session_id, "phase": phase, "updated_at": now, **outcome}
        with self.database.transaction() as cursor:
            _update(cursor, "sessions", ended, key="session")
            _update(cursor, "runs", {"id": run, "phase": phase, "error": error, "ended_at": now}, key="id")
            if has_ended(phase):
                self.forget_answers(session_id)

    def request_stop(self, session_id: str) -> bool:
        """Ask the process that works on a session to stop, as `SwarmCoordinator.stop` does there.

        It looks for that whenever a call begins or ends: calls in flight may finish, and no new one begins.

        Returns:
            Whether the session has a run without an end. It may have been killed: see `locks.is_running`.
        """
        with self.database.transaction() as cursor:
            cursor.execute(
                "UPDATE runs SET stop_requested = 1 WHERE session = ? AND ended_at IS NULL", (session_id,)
            )
            return cursor.rowcount > 0

    def stop_requested(self, run: int) -> bool:
        """Whether a process has asked the one of this run to stop."""
        with self.database.view() as cursor:
            query = "SELECT 1 FROM runs WHERE id = ? AND stop_requested"
            return cursor.execute(query, (run,)).fetchone() is not None

    def _row_of_run(self, session: Session, known: Session | None) -> dict[str, Any]:
        """What a run changes in the row of its session; all of it for a new session."""
        if known is None:
            return session_to_row(self.as_recorded(session))
        row = session_to_row(self.as_recorded(replace(session, output=session.output or known.output)))
        names = ("session", "request", "workflow", "output", "phase", "updated_at")
        return {name: row[name] for name in names}

    def add(self, session: Session) -> None:
        """Record a session that has no run yet, such as a fork."""
        with self.database.transaction():
            self._tables.table("sessions").insert(session_to_row(self.as_recorded(session)))

    def as_recorded(self, session: Session) -> Session:
        """A session with its paths as they are recorded, which is where they lay when it began."""
        return _with_paths(session, self.places(session.session).recorded) if _has_paths(session) else session

    def signatures(self, session_id: str) -> dict[str, list[str]]:
        """The signatures of a session, by the names of keys; empty if it is not signed."""
        with self.database.view() as cursor:
            query = "SELECT signatures FROM sessions WHERE session = ?"
            (text,) = cursor.execute(query, (session_id,)).fetchone() or (None,)
        return signatures_from_text(text)

    def signed_rows(self, session_ids: Sequence[str]) -> list[tuple[Any, ...]]:
        """What is signed of each session, as recorded, and last its signatures; unchecked.

        Args:
            session_ids: The sessions; an id that does not exist has no row.
        """
        with self.database.view() as cursor:
            return cursor.execute(
                "SELECT session, config, config_file, output, simulated, (SELECT name FROM sources "
                "WHERE sources.session = sessions.session AND kind = ? ORDER BY rowid DESC LIMIT 1), "
                "signatures FROM sessions WHERE session IN (SELECT value FROM json_each(?))",
                (PLACES[0], json.dumps([*session_ids])),
            ).fetchall()

    def put_signatures(self, session_id: str, key: str, signatures: list[str]) -> None:
        """Record the signatures of a session with one key, by its name; those with other keys stay."""
        with self.database.transaction() as cursor:
            text = json.dumps({**self.signatures(session_id), key: signatures})
            _update(cursor, "sessions", {"session": session_id, "signatures": text}, key="session")

    def forget_config_file(self, session_id: str) -> None:
        """Forget the file that a session's configuration came from; what is recorded of it stays."""
        with self.database.transaction():
            self._tables.table("sessions").update(session_id, {"config_file": ""})

    def get(self, session_id: str) -> Session | None:
        """The session of an id; None if there is none."""
        rows = self._sessions("session = ?", [session_id])
        return rows[0] if rows else None

    def sessions(self, experiment: str | None = None) -> list[Session]:
        """The sessions, most recently updated first.

        Args:
            experiment: Only the trials of this experiment; empty: only sessions that are none; None: all.
        """
        return (
            self._sessions("1", []) if experiment is None else self._sessions("experiment = ?", [experiment])
        )

    def unfinished(self) -> list[Session]:
        """The sessions that have not ended, without trials of experiments, most recently updated first."""
        marks = ", ".join("?" * len(ENDED_PHASES))
        return self._sessions(f"experiment = '' AND phase NOT IN ({marks})", list(ENDED_PHASES))

    def runs(self, session_id: str) -> list[Run]:
        """The runs of a session, oldest first."""
        return [run_from_row(row) for row in self._rows("runs", session_id, "id")]

    def latest_config(self, session: Session) -> dict[str, Any]:
        """The configuration of a session's latest run, in the file's shape."""
        with self.database.view() as cursor:
            query = "SELECT config FROM runs WHERE session = ? ORDER BY id DESC LIMIT 1"
            (text,) = cursor.execute(query, (session.session,)).fetchone() or (None,)
        return session.config if text is None else json_object(text)

    def pending_input(self, session_id: str, checkpoint: str) -> dict[str, Any] | None:
        """The input of a run that was killed before its first checkpoint; None if there is no such run.

        Args:
            session_id: The session.
            checkpoint: The id of its latest checkpoint; empty if there is none.
        """
        with self.database.view() as cursor:
            row = cursor.execute(
                "SELECT input, base FROM runs WHERE session = ? AND input IS NOT NULL "
                "ORDER BY id DESC LIMIT 1",
                (session_id,),
            ).fetchone()
        return json_object(row[0]) if row and row[1] == checkpoint else None

    def base_of_request(self, session_id: str) -> str:
        """The id of the checkpoint at which the latest request began; empty if it is the first one."""
        with self.database.view() as cursor:
            row = cursor.execute(
                "SELECT base FROM runs WHERE session = ? AND kind IN ('begin', 'follow_up') "
                "ORDER BY id DESC LIMIT 1",
                (session_id,),
            ).fetchone()
        return str(row[0]) if row else ""

    def request(self, session_id: str) -> dict[str, Any] | None:
        """The input of the latest request; None if it is not recorded, as in a fork."""
        with self.database.view() as cursor:
            row = cursor.execute(
                "SELECT input FROM runs WHERE session = ? AND input IS NOT NULL ORDER BY id DESC LIMIT 1",
                (session_id,),
            ).fetchone()
        return json_object(row[0]) if row else None

    def delete(self, session_id: str) -> None:
        """Delete a session from all tables; `SwarmSaver.delete_thread` deletes its checkpoints."""
        with self.database.transaction():
            for table in TABLES:
                self._tables.table(table).delete_where("session = ?", [session_id])

    def _sessions(self, where: str, values: list[str]) -> list[Session]:
        with self.database.view():
            rows = self._tables.table("sessions").rows_where(
                where, values, order_by="updated_at desc, rowid desc"
            )
            return [self._as_present(session_from_row(row)) for row in rows]

    def _as_present(self, session: Session) -> Session:
        """A recorded session with its paths as they are now."""
        return _with_paths(session, self.places(session.session).present) if _has_paths(session) else session

    # --- sources and places ----------------------------------------------------------------------

    def sources(self, session_id: str) -> list[Source]:
        """What a session was made from, in the order in which it was recorded."""
        names = ", ".join(Source._fields)
        with self.database.view() as cursor:
            query = f"SELECT {names} FROM sources WHERE session = ? ORDER BY rowid"
            return [source_from_row(row) for row in cursor.execute(query, [session_id])]

    def put_sources(self, session_id: str, sources: Iterable[Source]) -> None:
        """Record what a session's request is made from, in place of what was recorded."""
        with self.database.transaction() as cursor:
            cursor.execute(
                f"DELETE FROM sources WHERE session = ? AND kind NOT IN ({', '.join('?' * len(PLACES))})",
                (session_id, *PLACES),
            )
            cursor.executemany(_PUT_SOURCE, [(session_id, *source) for source in sources])

    def copy_sources(self, session_id: str, copy: str) -> None:
        """Record that a session was made from the same as another one, its places included."""
        with self.database.transaction() as cursor:
            cursor.execute(
                "INSERT INTO sources SELECT ?, kind, name, sha256, text FROM sources WHERE session = ?",
                (copy, session_id),
            )

    def put_inputs_folder(self, session_id: str, folder: str) -> None:
        """Record the folder that now holds the input files of a session; empty: the one of its beginning."""
        source = Source("inputs", folder and self.places(session_id).recorded(folder))
        with self.database.transaction() as cursor:
            self._forget_inputs_folder(session_id)
            cursor.execute(_PUT_SOURCE, (session_id, *source))

    def _forget_inputs_folder(self, session_id: str) -> None:
        with self.database.transaction() as cursor:
            cursor.execute("DELETE FROM sources WHERE session = ? AND kind = 'inputs'", (session_id,))

    def places(self, session_id: str) -> Places:
        """Where the files of a session are now."""
        if str(self.database.path) == MEMORY:
            return UNMOVED
        names = dict.fromkeys(PLACES, "")
        with self.database.view() as cursor:
            rows = cursor.execute(
                "SELECT kind, name FROM sources WHERE session = ? AND kind IN (?, ?)", (session_id, *PLACES)
            )
            names.update(source_from_row(row)[:2] for row in rows.fetchall())
            files = cursor.execute(
                "SELECT name FROM sources WHERE session = ? AND kind = 'input'", [session_id]
            )
            then = common_folder([name for (name,) in files]) if names["inputs"] else ""
        return Places(names["place"], self._folder, names["inputs"], then)

    @property
    def _folder(self) -> str:
        return str(self.database.file.parent)

    def _put_place(self, session_id: str) -> None:
        """Record where the database lies, unless an earlier run of the session has done it."""
        if str(self.database.path) != MEMORY and not self.places(session_id).then:
            with self.database.transaction() as cursor:
                cursor.execute(_PUT_SOURCE, (session_id, *Source("place", self._folder)))

    # --- time and tokens -------------------------------------------------------------------------

    def usage_of_request(self, session_id: str) -> RequestUsage:
        """What a session's latest request has used so far, all its runs together."""
        with self.database.view() as cursor:
            (began,) = cursor.execute(
                "SELECT max(started_at) FROM runs WHERE session = ? AND kind != 'resume'", (session_id,)
            ).fetchone()
            since = (session_id, began or 0.0)
            calls, tokens = cursor.execute(
                "SELECT count(*), total(input_tokens + output_tokens + cut_tokens) FROM calls "
                "WHERE session = ? AND time >= ?",
                since,
            ).fetchone()
            (seconds,) = cursor.execute(
                f"SELECT {_WORKING_SECONDS} FROM runs WHERE session = ? AND started_at >= ?", since
            ).fetchone()
        return RequestUsage(calls, int(tokens), seconds)

    def working_seconds(self, session_id: str | None = None) -> dict[str, float]:
        """Seconds of all runs together, by session; None for all sessions."""
        with self.database.view() as cursor:
            rows = cursor.execute(
                f"SELECT session, {_WORKING_SECONDS} FROM runs "
                "WHERE session = ? OR ? IS NULL GROUP BY session",
                (session_id, session_id),
            )
            return dict(rows.fetchall())

    def usual_seconds(self, workflow: str, config: Mapping[str, Any]) -> float | None:
        """The median time of the latest complete sessions of a workflow with the same models.

        Trials of experiments do not count: they are many, and their requests short.

        Args:
            workflow: Its name.
            config: In the file's shape; only `model_config` counts, without what roles with several models
                have chosen.

        Returns:
            Seconds; None if there are fewer than MIN_SESSIONS_FOR_MEDIAN sessions.
        """
        chosen = _paths_of_choices(config)
        models = f"json_extract(json_remove(%s{', ?' * len(chosen)}), '$.model_config')"
        with self.database.view() as cursor:
            rows = cursor.execute(
                f"SELECT (SELECT {_WORKING_SECONDS} FROM runs WHERE runs.session = past.session) "
                "FROM sessions AS past WHERE workflow = ? AND phase = 'complete' AND experiment = '' "
                f"AND CASE WHEN json_valid(config) THEN {models % 'config'} IS {models % '?'} END "
                "ORDER BY updated_at DESC LIMIT ?",
                (workflow, *chosen, json.dumps(config), *chosen, MAX_SESSIONS_FOR_MEDIAN),
            ).fetchall()
        return median(seconds for (seconds,) in rows) if len(rows) >= MIN_SESSIONS_FOR_MEDIAN else None

    # --- tasks and calls -------------------------------------------------------------------------

    def put_tasks(self, session_id: str, tasks: Iterable[TaskRecord], error: str = "") -> None:
        """Record the status of tasks; a task of a later round is not overwritten.

        Args:
            session_id: The session.
            tasks: As the state keeps them.
            error: Why they failed; empty if they did not.
        """
        rows = [{"note": "", "error": error, **task, "session": session_id} for task in tasks]
        with self.database.transaction() as cursor:
            cursor.executemany(_PUT_TASK, rows)

    def tasks(self, session_id: str) -> list[dict[str, Any]]:
        """The finished and failed tasks of a session, by id."""
        return self._rows("tasks", session_id, "task_id")

    def calls(self, session_id: str) -> list[dict[str, Any]]:
        """The model calls of a session, one row an attempt, in the order they ended; without answers."""
        rows = self._rows("calls", session_id, "rowid")
        return [
            checked_call({name: row[name] for name in row if name not in ("key", "answer", "call", "tools")})
            for row in rows
        ]

    def all_calls(self) -> list[dict[str, Any]]:
        """The model calls of all sessions, one row an attempt, in the order they ended; without answers."""
        with self.database.view():
            rows = self._tables.query(f"SELECT session, {', '.join(CALL_COLUMNS)} FROM calls ORDER BY rowid")
            return [checked_call(row) for row in rows]

    def forget_answers(self, session_id: str) -> None:
        """Delete what only a resume needs: answers, results of tools, steps; the figures of calls stay.

        What a person has approved for the session stays, and what turns have recalled from memory: forks need
        it. The calls of tools get keys that no other call can have.
        """
        with self.database.transaction() as cursor:
            cursor.execute(
                "UPDATE calls SET answer = NULL, tools = NULL WHERE session = ? AND answer IS NOT NULL",
                (session_id,),
            )
            cursor.execute(
                "UPDATE tool_calls SET arguments = NULL, text = NULL, "
                "key = key || '.' || lower(hex(randomblob(8))) "
                "WHERE session = ? AND arguments IS NOT NULL",
                (session_id,),
            )
            cursor.execute(
                "DELETE FROM steps WHERE session = ? AND iteration != 0 AND substr(name, 1, ?) != ?",
                (session_id, len(RECALLED), RECALLED),
            )

    def copy_recalled(self, session_id: str, fork: str) -> None:
        """Record for a fork what the turns of its session have recalled from memory."""
        with self.database.transaction() as cursor:
            cursor.execute(
                "INSERT OR REPLACE INTO steps SELECT ?, task, iteration, name, value FROM steps "
                "WHERE session = ? AND substr(name, 1, ?) = ?",
                (fork, session_id, len(RECALLED), RECALLED),
            )

    def forget_recalled(self, session_id: str) -> None:
        """Delete what turns have recalled from memory: a session without its past has no forks."""
        with self.database.transaction() as cursor:
            cursor.execute(
                "DELETE FROM steps WHERE session = ? AND substr(name, 1, ?) = ?",
                (session_id, len(RECALLED), RECALLED),
            )

    def forget_approvals(self, session_id: str) -> None:
        """Delete a person's recorded decisions on calls of tools, and what else turns have kept."""
        with self.database.transaction() as cursor:
            cursor.execute("DELETE FROM steps WHERE session = ?", (session_id,))

    # --- tools -----------------------------------------------------------------------------------

    def tool_figures(self, session_id: str | None = None) -> list[dict[str, Any]]:
        """The figures of the calls of tools of a session, or of all, in the order in which they began."""
        names = ", ".join(TOOL_FIGURES)
        query = f"SELECT {names} FROM tool_calls WHERE session = ? OR ? IS NULL ORDER BY started_at, rowid"
        with self.database.view():
            return [checked_tool_figures(row) for row in self._tables.query(query, [session_id, session_id])]

    def tool_calls(self, session_id: str | None = None) -> list[ToolRecord]:
        """The calls of tools of a session, or of all, in the order in which they began.

        Arguments and results that an ended session no longer keeps come from the transcript, if it has them.
        """
        query = "SELECT * FROM tool_calls WHERE session = ? OR ? IS NULL ORDER BY started_at, rowid"
        with self.database.view():
            rows = list(self._tables.query(query, [session_id, session_id]))
        records = [tool_call_from_row(row) for row in rows]
        forgotten = {record.session for record in records if record.missing}
        said = {session: self.transcript.tool_texts(session) for session in forgotten}
        return [with_texts(record, said.get(record.session, {})) for record in records]

    # --- test runs and files ---------------------------------------------------------------------

    def put_test_run(
        self,
        session_id: str,
        kind: Literal["run", "verify"],
        iteration: int,
        attempt: int,
        evidence: Evidence,
    ) -> None:
        """Record a test run: of a round of the session, or of `verify`."""
        columns = {name: evidence[name] for name in TEST_RUN_COLUMNS}  # type: ignore[literal-required]
        row = {"session": session_id, "kind": kind, "iteration": iteration, **columns, "attempt": attempt}
        with self.database.transaction():
            self._tables.table("test_runs").upsert(
                {**row, "time": time.time()}, pk=("session", "kind", "iteration", "attempt")
            )

    def add_verification(self, session_id: str, iteration: int, evidence: Evidence) -> None:
        """Record one more test run of `verify`."""
        with self.database.transaction():
            earlier = [run for run in self.test_runs(session_id) if run["kind"] == "verify"]
            attempt = 1 + sum(run["iteration"] == iteration for run in earlier)
            self.put_test_run(session_id, "verify", iteration, attempt, evidence)

    def test_runs(self, session_id: str) -> list[dict[str, Any]]:
        """The test runs of a session, oldest first."""
        return self._rows("test_runs", session_id, "time")

    def has_value(self, session_id: str, key: str) -> bool:
        """Whether a checkpoint of a session holds a list, object or long text under a key of the state."""
        query = "SELECT 1 FROM channel_values WHERE thread_id = ? AND channel = ? LIMIT 1"
        with self.database.view() as cursor:
            return cursor.execute(query, (session_id, key)).fetchone() is not None

    def test_outcomes(self) -> dict[str, str]:
        """The outcome of the latest test run of each session that has one; verifications do not count."""
        with self.database.view() as cursor:
            rows = cursor.execute("SELECT session, outcome FROM test_runs WHERE kind = 'run' ORDER BY time")
            return dict(rows.fetchall())

    def artifacts(self, session_id: str, folder: str) -> set[str]:
        """The paths in a folder that a session has written, or was about to write when it was killed."""
        with self.database.view() as cursor:
            rows = cursor.execute(
                "SELECT path FROM artifacts WHERE session = ? AND folder = ?",
                (session_id, self.places(session_id).recorded(folder)),
            )
            return {path for (path,) in rows}

    def wrote_into(self, folder: str) -> bool:
        """Whether any session has written into a folder."""
        with self.database.view() as cursor:
            rows = cursor.execute("SELECT DISTINCT session, folder FROM artifacts").fetchall()
        return any(self.places(session).present(recorded) == folder for session, recorded in rows)

    def put_artifacts(self, session_id: str, folder: str, files: Mapping[str, str | bytes]) -> None:
        """Record files (path to content) right before they are written."""
        folder = self.places(session_id).recorded(folder)
        rows = [
            {
                "session": session_id,
                "folder": folder,
                "path": path,
                "bytes": len(data := text if isinstance(text, bytes) else text.encode(errors="replace")),
                "sha256": sha256(data).hexdigest(),
                "written_at": time.time(),
            }
            for path, text in files.items()
        ]
        with self.database.transaction() as cursor:
            for row in rows:
                _put(cursor, "artifacts", row, key="session, folder, path")

    def remove_artifacts(self, session_id: str, folder: str, paths: Iterable[str]) -> None:
        """Delete the rows of files that were removed."""
        folder = self.places(session_id).recorded(folder)
        with self.database.transaction() as cursor:
            cursor.executemany(
                "DELETE FROM artifacts WHERE session = ? AND folder = ? AND path = ?",
                [(session_id, folder, path) for path in paths],
            )

    def _rows(self, table: str, session_id: str, order: str) -> list[dict[str, Any]]:
        with self.database.view():
            return list(self._tables.table(table).rows_where("session = ?", [session_id], order_by=order))


def _put(cursor: sqlite3.Cursor, table: str, row: Mapping[str, Any], key: str = "") -> None:
    """Insert a row; with a key, change these columns of the row that has it, if there is one."""
    names = ", ".join(row)
    insert = f"INSERT INTO {table} ({names}) VALUES (:{', :'.join(row)})"
    changed = ", ".join(f"{name} = excluded.{name}" for name in row)
    cursor.execute(f"{insert} ON CONFLICT ({key}) DO UPDATE SET {changed}" if key else insert, row)


def _update(cursor: sqlite3.Cursor, table: str, row: Mapping[str, Any], key: str) -> None:
    """Change these columns of the row that has the key."""
    changed = ", ".join(f"{name} = :{name}" for name in row)
    cursor.execute(f"UPDATE {table} SET {changed} WHERE {key} = :{key}", row)


def _paths_of_choices(config: Mapping[str, Any]) -> list[str]:
    """The paths in JSON of what the roles of a configuration have chosen of several models, and why."""
    models = config.get("model_config")
    entries = models.get("multi_model") if isinstance(models, Mapping) else None
    return [
        f'$.model_config.multi_model."{role}".{name}'
        for role, entry in (entries or {}).items()
        if "any_of" in entry
        for name in ("chosen", "reason")
    ]


def _has_paths(session: Session) -> bool:
    return bool(session.output or session.config_file or session.config.get("prompts_dir"))


def _with_paths(session: Session, place: Callable[[str], str]) -> Session:
    """A session whose paths are those of another place.

    Args:
        session: The session.
        place: Returns the path at the other place.
    """
    config, folder = session.config, session.config.get("prompts_dir")
    if isinstance(folder, str) and Path(folder).is_absolute():  # a pack has a name
        config = {**config, "prompts_dir": place(folder)}
    output, config_file = (path and place(path) for path in (session.output, session.config_file))
    return replace(session, config=config, output=output, config_file=config_file)
