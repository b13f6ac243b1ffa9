"""The catalogue of a database: its sessions, with their runs, tasks, model calls, files and test runs."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import Any, Literal

from swarm_graph.checkpoints.database import MEMORY
from swarm_graph.checkpoints.database_transcript import TRANSCRIPT_TABLES, DatabaseTranscript
from swarm_graph.checkpoints.places import UNMOVED, Places, common_folder
from swarm_graph.checkpoints.portable_sql import among, replacement, set_aside, total
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
    object_or_empty,
    outcome_columns,
    run_from_row,
    session_from_row,
    session_to_row,
    signatures_from_text,
    source_from_row,
    tool_call_from_row,
    with_texts,
)
from swarm_graph.checkpoints.steps import RECALLED, ToolRecord
from swarm_graph.checkpoints.storage import Cursor, Storage, dicts, session_lock
from swarm_graph.checkpoints.transcript import Transcript
from swarm_graph.state import ENDED_PHASES, QUEUED, Evidence, SwarmState, TaskRecord, has_ended

SESSION_COLUMNS = ", ".join(field.name for field in fields(Session))
TABLES = (
    "sessions", "runs", "tasks", "calls", "artifacts", "test_runs", "sources", "tool_calls", "steps",
    *TRANSCRIPT_TABLES,
)  # fmt: skip
REPLACE_STEP = replacement(("value",), key=("session", "task", "iteration", "name"))
"""Ends an INSERT into `steps` that may find the step there."""
PLACES = ("place", "inputs")
"""The kinds of sources that are places; they stay when a request is begun again."""
MIN_SESSIONS_FOR_MEDIAN, MAX_SESSIONS_FOR_MEDIAN = 3, 20
_PAGES_FOR_MEDIAN = ((0, 50), (50, 950))
"""The complete sessions that are looked at to find them, the latest first: an offset, and how many."""

_PUT_TASK = f"""
INSERT INTO tasks ({", ".join(TASK_COLUMNS)}) VALUES (:{", :".join(TASK_COLUMNS)})
ON CONFLICT (session, task_id) DO UPDATE
SET ({", ".join(TASK_COLUMNS)}) = (excluded.{", excluded.".join(TASK_COLUMNS)})
WHERE excluded.iteration >= tasks.iteration
"""

_PUT_SOURCE = (
    f"INSERT INTO sources (session, {', '.join(Source._fields)}) VALUES (?{', ?' * len(Source._fields)}) "
    + replacement(Source._fields, key=("session", "kind", "name"))
)

# A run that was killed, or has not ended yet, counts until its latest call.
RUN_END = """coalesce(
    CASE WHEN ended_at < started_at THEN started_at ELSE ended_at END,
    (SELECT max(time) FROM calls WHERE calls.session = runs.session AND time > runs.started_at),
    started_at
)"""
_WORKING_SECONDS = total(f"{RUN_END} - started_at")
_ONE_OR_ALL = "(session = :session OR CAST(:session AS TEXT) IS NULL)"


class Catalogue:
    """The tables of TABLES in a database. Every method raises StorageError for an error of the database.

    Attributes:
        database: The file.
        transcript: What was asked and answered in its sessions.
    """

    def __init__(self, database: Storage) -> None:
        self.database = database
        self.transcript: Transcript = DatabaseTranscript(database)

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
            insert = f"INSERT INTO runs ({', '.join(run)}) VALUES (:{', :'.join(run)}) RETURNING id"
            return int(cursor.execute(insert, run).fetchone()[0])

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
            self.database.check_lock(session_lock(session_id))
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
            query = "SELECT 1 FROM runs WHERE id = ? AND stop_requested != 0"
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
        with self.database.transaction() as cursor:
            _put(cursor, "sessions", session_to_row(self.as_recorded(session)))

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
                f"signatures FROM sessions WHERE {among('session', session_ids)}",
                (PLACES[0], *session_ids),
            ).fetchall()

    def put_signatures(self, session_id: str, key: str, signatures: list[str]) -> None:
        """Record the signatures of a session with one key, by its name; those with other keys stay."""
        with self.database.transaction() as cursor:
            text = json.dumps({**self.signatures(session_id), key: signatures})
            _update(cursor, "sessions", {"session": session_id, "signatures": text}, key="session")

    def forget_config_file(self, session_id: str) -> None:
        """Forget the file that a session's configuration came from; what is recorded of it stays."""
        with self.database.transaction() as cursor:
            _update(cursor, "sessions", {"session": session_id, "config_file": ""}, key="session")

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
            self._sessions("1 = 1", [])
            if experiment is None
            else self._sessions("experiment = ?", [experiment])
        )

    def unfinished(self) -> list[Session]:
        """The sessions that have not ended, without trials of experiments, most recently updated first."""
        marks = ", ".join("?" * len(ENDED_PHASES))
        return self._sessions(f"experiment = '' AND phase NOT IN ({marks})", list(ENDED_PHASES))

    def runs(self, session_id: str) -> list[Run]:
        """The runs of a session, oldest first."""
        return [run_from_row(row) for row in self._rows("runs", session_id, "id")]

    def was_submitted(self, session_id: str) -> bool:
        """Whether a session was left to workers, so that they go on with it after an answer, too."""
        with self.database.view() as cursor:
            query = "SELECT 1 FROM runs WHERE session = ? AND phase = ? LIMIT 1"
            return cursor.execute(query, (session_id, QUEUED)).fetchone() is not None

    def latest_config(self, session: Session) -> dict[str, Any]:
        """The configuration of a session's latest run, in the file's shape."""
        with self.database.view() as cursor:
            query = "SELECT config FROM runs WHERE session = ? ORDER BY id DESC LIMIT 1"
            (text,) = cursor.execute(query, (session.session,)).fetchone() or (None,)
        return session.config if text is None else json_object(text)

    def config_of_run(self, run: int) -> dict[str, Any] | None:
        """The configuration of a run, in the file's shape; None if it is that of its session."""
        with self.database.view() as cursor:
            row = cursor.execute("SELECT config FROM runs WHERE id = ?", (run,)).fetchone()
        return None if row is None or row[0] is None else json_object(row[0])

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
        with self.database.transaction() as cursor:
            for table in (*TABLES, *self.database.own_tables):
                cursor.execute(f"DELETE FROM {table} WHERE session = ?", (session_id,))

    def _sessions(self, where: str, values: list[str]) -> list[Session]:
        query = f"SELECT {SESSION_COLUMNS} FROM sessions WHERE {where} ORDER BY updated_at DESC, rowid DESC"
        with self.database.view() as cursor:
            rows = dicts(cursor.execute(query, values))
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
                "INSERT INTO sources (session, kind, name, sha256, text) "
                "SELECT ?, kind, name, sha256, text FROM sources WHERE session = ?",
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
        if self.database.is_file:
            return Places(names["place"], self._folder, names["inputs"], then)
        return Places(inputs=names["inputs"], inputs_then=then)

    @property
    def _folder(self) -> str:
        return str(self.database.folder)

    def _put_place(self, session_id: str) -> None:
        """Record where the database lies, unless an earlier run of the session has done it."""
        if self.database.is_file and not self.places(session_id).then:
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
                f"SELECT count(*), {total('input_tokens + output_tokens + cut_tokens')} FROM calls "
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
                f"SELECT session, {_WORKING_SECONDS} FROM runs WHERE {_ONE_OR_ALL} GROUP BY session",
                {"session": session_id},
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
        models = _models_of(json.loads(json.dumps(config)))
        found: list[float] = []
        with self.database.view() as cursor:
            for offset, limit in _PAGES_FOR_MEDIAN:
                page = cursor.execute(
                    "SELECT config, session FROM sessions WHERE workflow = ? AND phase = 'complete' "
                    "AND experiment = '' ORDER BY updated_at DESC, rowid DESC LIMIT ? OFFSET ?",
                    (workflow, limit, offset),
                ).fetchall()
                alike = [id for text, id in page if _models_of(object_or_empty(text)) == models]
                found += self._working_seconds_of(cursor, alike[: MAX_SESSIONS_FOR_MEDIAN - len(found)])
                if len(found) == MAX_SESSIONS_FOR_MEDIAN or len(page) < limit:
                    break
        return median(found) if len(found) >= MIN_SESSIONS_FOR_MEDIAN else None

    def _working_seconds_of(self, cursor: Cursor, session_ids: Sequence[str]) -> list[float]:
        if not session_ids:
            return []
        places = ", ".join("?" * len(session_ids))
        query = f"SELECT session, {_WORKING_SECONDS} FROM runs WHERE session IN ({places}) GROUP BY session"
        found = dict(cursor.execute(query, session_ids).fetchall())
        return [found.get(session_id, 0.0) for session_id in session_ids]

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
            self.database.check_lock(session_lock(session_id))
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
        query = f"SELECT session, {', '.join(CALL_COLUMNS)} FROM calls ORDER BY rowid"
        with self.database.view() as cursor:
            return [checked_call(row) for row in dicts(cursor.execute(query))]

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
                "UPDATE tool_calls SET arguments = NULL, text = NULL, key = key || ? "
                "WHERE session = ? AND arguments IS NOT NULL",
                (set_aside(), session_id),
            )
            cursor.execute(
                "DELETE FROM steps WHERE session = ? AND iteration != 0 AND substr(name, 1, ?) != ?",
                (session_id, len(RECALLED), RECALLED),
            )

    def copy_recalled(self, session_id: str, fork: str) -> None:
        """Record for a fork what the turns of its session have recalled from memory."""
        with self.database.transaction() as cursor:
            cursor.execute(
                "INSERT INTO steps (session, task, iteration, name, value) "
                "SELECT ?, task, iteration, name, value FROM steps "
                f"WHERE session = ? AND substr(name, 1, ?) = ? {REPLACE_STEP}",
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
        query = f"SELECT {names} FROM tool_calls WHERE {_ONE_OR_ALL} ORDER BY started_at, rowid"
        with self.database.view() as cursor:
            rows = dicts(cursor.execute(query, {"session": session_id}))
        return [checked_tool_figures(row) for row in rows]

    def tool_calls(self, session_id: str | None = None) -> list[ToolRecord]:
        """The calls of tools of a session, or of all, in the order in which they began.

        Arguments and results that an ended session no longer keeps come from the transcript, if it has them.
        """
        query = f"SELECT * FROM tool_calls WHERE {_ONE_OR_ALL} ORDER BY started_at, rowid"
        with self.database.view() as cursor:
            rows = dicts(cursor.execute(query, {"session": session_id}))
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
        with self.database.transaction() as cursor:
            key = "session, kind, iteration, attempt"
            _put(cursor, "test_runs", {**row, "time": time.time()}, key=key)

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

    def recorded_folder(self, session_id: str, folder: str) -> str:
        """The name under which the files of a session in a folder are recorded."""
        return self.places(session_id).recorded(folder)

    def artifacts(self, session_id: str, folder: str) -> set[str]:
        """The paths in a folder that a session has written, or was about to write when it was killed.

        Args:
            session_id: The session.
            folder: The folder, as `recorded_folder` names it.
        """
        with self.database.view() as cursor:
            query = "SELECT path FROM artifacts WHERE session = ? AND folder = ?"
            return {path for (path,) in cursor.execute(query, (session_id, folder))}

    def wrote_into(self, folder: str) -> bool:
        """Whether any session has written into a folder."""
        with self.database.view() as cursor:
            # Few projects move: the first row with this name tells, however many sessions there are.
            query = "SELECT session, folder FROM artifacts WHERE folder = ? LIMIT 1"
            if self._lie_in(folder, cursor.execute(query, (folder,)).fetchall()):
                return True
            rows = cursor.execute("SELECT DISTINCT session, folder FROM artifacts").fetchall()
            return self._lie_in(folder, rows)

    def _lie_in(self, folder: str, recorded: Iterable[tuple[str, str]]) -> bool:
        """Whether one of the folders that sessions have recorded is a folder now."""
        return any(self.places(session).present(name) == folder for session, name in recorded)

    def put_artifacts(self, session_id: str, folder: str, files: Mapping[str, str | bytes]) -> None:
        """Record files (path to content) right before they are written.

        Args:
            session_id: The session.
            folder: The folder, as `recorded_folder` names it.
            files: The contents by path.
        """
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
        """Delete the rows of files that were removed from a folder, as `recorded_folder` names it."""
        with self.database.transaction() as cursor:
            cursor.executemany(
                "DELETE FROM artifacts WHERE session = ? AND folder = ? AND path = ?",
                [(session_id, folder, path) for path in paths],
            )

    def _rows(self, table: str, session_id: str, order: str) -> list[dict[str, Any]]:
        query = f"SELECT * FROM {table} WHERE session = ? ORDER BY {order}"
        with self.database.view() as cursor:
            rows = dicts(cursor.execute(query, (session_id,)))
        return [{name: row[name] for name in row if name != "rowid"} for row in rows]


def _put(cursor: Cursor, table: str, row: Mapping[str, Any], key: str = "") -> None:
    """Insert a row; with a key, change these columns of the row that has it, if there is one."""
    names = ", ".join(row)
    insert = f"INSERT INTO {table} ({names}) VALUES (:{', :'.join(row)})"
    changed = ", ".join(f"{name} = excluded.{name}" for name in row)
    cursor.execute(f"{insert} ON CONFLICT ({key}) DO UPDATE SET {changed}" if key else insert, row)


def _update(cursor: Cursor, table: str, row: Mapping[str, Any], key: str) -> None:
    """Change these columns of the row that has the key."""
    changed = ", ".join(f"{name} = :{name}" for name in row)
    cursor.execute(f"UPDATE {table} SET {changed} WHERE {key} = :{key}", row)


def _models_of(config: Mapping[str, Any]) -> Any:
    """The `model_config` of a configuration, without what roles with several models have chosen, and why."""
    models = config.get("model_config")
    if not (isinstance(models, Mapping) and isinstance(entries := models.get("multi_model"), Mapping)):
        return models
    plain = {role: _without_choice(entry) for role, entry in entries.items()}
    return {**models, "multi_model": plain}


def _without_choice(entry: Any) -> Any:
    if not (isinstance(entry, Mapping) and "any_of" in entry):
        return entry
    return {name: value for name, value in entry.items() if name not in ("chosen", "reason")}


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
