"""What clients are told of sessions: one session's status, and the list of all."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

from langgraph.checkpoint.base import CheckpointTuple

from swarm_graph.checkpoints.records import Session
from swarm_graph.checkpoints.saver import open_checkpointer
from swarm_graph.checkpoints.swarm_saver import SwarmSaver
from swarm_graph.config_source import closest_match
from swarm_graph.database_place import is_there, place_of
from swarm_graph.errors import InputError
from swarm_graph.mcp_server.settings import ServerSettings
from swarm_graph.reports.listing import session_rows
from swarm_graph.reports.terminal import session_command
from swarm_graph.sessions.background import Progress
from swarm_graph.state import QUEUED, SwarmState, TaskStatus
from swarm_graph.text import cut, local_time, printable, shortened
from swarm_graph.workflows.pauses import Pause, waiting_pauses

MAX_REQUEST_CHARACTERS = 300
MAX_ASKED_CHARACTERS = 8000
"""Of what a pause shows; the rest is in the session's files."""
MAX_ERROR_CHARACTERS = 1000


class Stored(NamedTuple):
    """A session as the database has it.

    Attributes:
        saver: The open database.
        session: The session.
        saved: Its latest checkpoint; None before the first one.
    """

    saver: SwarmSaver
    session: Session
    saved: CheckpointTuple | None

    @property
    def state(self) -> SwarmState:
        """Its latest state."""
        return cast("SwarmState", self.saved.checkpoint["channel_values"] if self.saved else {})

    @property
    def row(self) -> dict[str, Any]:
        """The session as a row of `sessions list --json`."""
        return session_rows(self.saver.catalogue, [self.session])[0]


@contextmanager
def open_sessions(data_dir: Path) -> Iterator[SwarmSaver | None]:
    """Open the database; None if no session ever ran."""
    place = place_of(data_dir)
    if not is_there(place):
        yield None
        return
    with open_checkpointer(place, data_dir=data_dir) as saver:
        yield saver


@contextmanager
def stored_session(data_dir: Path, session_id: str) -> Iterator[Stored]:
    """Open the database at a session.

    Raises:
        InputError: There is no such session.
    """
    with open_sessions(data_dir) as saver:
        session = saver.catalogue.get(session_id) if saver else None
        if saver is None or session is None:
            known = [one.session for one in saver.catalogue.sessions()] if saver else []
            meant = closest_match(session_id, known)
            cure = f"did you mean '{meant}'?" if meant else "`sessions` lists all"
            raise InputError(f"there is no session {cut(session_id, 80)!r}; {cure}")
        yield Stored(saver, session, saver.get_tuple({"configurable": {"thread_id": session_id}}))


def session_status(
    settings: ServerSettings, session_id: str, progress: Progress | None, error: str = ""
) -> dict[str, Any]:
    """The status of a session.

    Args:
        settings: The server's settings.
        session_id: The session.
        progress: How far it is; None if it does not run in this process.
        error: The error that ended its last run here.

    Raises:
        InputError: There is no such session.
    """
    with stored_session(settings.data_dir, session_id) as stored:
        session, state, row = stored.session, stored.state, stored.row
        calls = stored.saver.catalogue.calls(session_id)
        error = error or next((run.error for run in stored.saver.catalogue.runs(session_id)[-1:]), "")
        pauses = [] if progress else waiting_pauses(stored.saved)
    phase = "running" if progress else row["phase"]
    rounds = progress.rounds if progress else _max_iterations(session)
    return {
        "id": session_id,
        "phase": phase,
        "workflow": session.workflow,
        "kind": session.kind,
        "request": shortened(session.request, MAX_REQUEST_CHARACTERS),
        "round": max(state.get("iteration", 0), progress.round if progress else 0),
        **({"rounds": rounds} if rounds else {}),
        **_work(session, state, progress),
        "verdict": row["verdict"],
        "open_findings": len(state.get("findings", [])),
        "calls": len(calls),
        "input_tokens": sum(call["input_tokens"] or 0 for call in calls),
        "output_tokens": sum(call["output_tokens"] or 0 for call in calls),
        "simulated": session.simulated,
        **_pauses(pauses, settings, session_id),
        **({"error": _error(error, settings)} if error and phase != "running" else {}),
        "next": _next_step(phase, bool(pauses), settings),
    }


def _error(error: str, settings: ServerSettings) -> str:
    return shortened(settings.shown(error), MAX_ERROR_CHARACTERS)


def _max_iterations(session: Session) -> int | None:
    """The greatest number of rounds, if the session recorded one."""
    workflow = session.config.get("workflow")
    rounds = workflow.get("max_iterations") if isinstance(workflow, Mapping) else None
    return rounds if isinstance(rounds, int) else None


def _work(session: Session, state: SwarmState, progress: Progress | None) -> dict[str, Any]:
    """What is done and what runs: the nodes, or of a task graph the number of tasks by status."""
    records = state.get("tasks", {})
    if session.workflow == "custom":
        return {"tasks": dict(Counter(record["status"].lower() for record in records.values()))}
    if progress:
        return {"done": [*progress.done], "running": [*progress.running], "step": progress.step}
    done = [record["node"] for record in records.values() if record["status"] == TaskStatus.COMPLETED]
    return {"done": [*dict.fromkeys(done)], "running": []}


def _next_step(phase: str, waits: bool, settings: ServerSettings) -> str:
    """What the client can do now, in a sentence."""
    if phase == QUEUED:
        return "it waits for a worker; call `wait` to be told when it needs you or ends"
    if phase == "running":
        return "call `wait` to be told when it needs you or ends"
    if waits:
        return "a person must decide; see `to_answer`"
    if phase in ("complete", "not_converged"):
        return "call `result` for its outcome and files"
    return "" if settings.read_only else "call `resume` to go on; finished work is not repeated"


# --- pauses --------------------------------------------------------------------------------------


def _pauses(pauses: list[Pause], settings: ServerSettings, session_id: str) -> dict[str, Any]:
    """The open pauses, and how they are answered."""
    if not pauses:
        return {}
    return {"pauses": [_pause_row(pause) for pause in pauses], "to_answer": _to_answer(settings, session_id)}


def _pause_row(pause: Pause) -> dict[str, Any]:
    value = pause.value if isinstance(pause.value, str) else json.dumps(pause.value, ensure_ascii=False)
    return {
        "pause": pause.id,
        "where": pause.place,
        "role": pause.role,
        "round": pause.iteration,
        "edits": pause.edits,
        "editable": pause.editable,
        "shows": shortened(printable(value), MAX_ASKED_CHARACTERS) if pause.value is not None else "",
    }


def hides_arguments(pause: Pause) -> bool:
    """Whether a call has more arguments than a client is shown of it."""
    if not pause.call:
        return False
    before_schema = {key: value for key, value in pause.value.items() if key != "schema"}
    return len(json.dumps(before_schema, ensure_ascii=False)) > MAX_ASKED_CHARACTERS


def _to_answer(settings: ServerSettings, session_id: str) -> str:
    """How the pauses of a session are answered."""
    command = session_command("swarm-graph", "resume", session_id, data_dir=settings.data_dir)
    by_hand = f"`{command} --approve` (or --edit FILE, --reject TEXT) in a terminal"
    if settings.allow_answers and not settings.read_only:
        return f"ask a person, then call `answer` with the decision; or a person runs {by_hand}"
    return f"a person runs {by_hand}; this server does not take answers"


# --- the list ------------------------------------------------------------------------------------


def session_list(data_dir: Path, limit: int, phase: str | None) -> dict[str, Any]:
    """The sessions, the most recently used first.

    Args:
        data_dir: The folder of the database.
        limit: How many, at most.
        phase: Only sessions in this phase.
    """
    with open_sessions(data_dir) as saver:
        sessions = saver.catalogue.sessions(experiment="") if saver else []
        rows = session_rows(saver.catalogue, sessions) if saver else []
    matching = [row for row in rows if phase in (None, row["phase"])]
    listed = [
        {
            "id": row["session"],
            "phase": row["phase"],
            "workflow": row["workflow"],
            "kind": row["kind"],
            "verdict": row["verdict"],
            "worked_on": local_time(row["updated_at"]),
            "simulated": row["simulated"],
            "request": shortened(row["request"], MAX_REQUEST_CHARACTERS),
        }
        for row in matching[:limit]
    ]
    more = len(matching) - len(listed)
    return {"sessions": listed, **({"not_listed": more} if more else {})}
