"""The rows of the catalogue: sessions, the runs that worked on them, and the columns of the other tables."""

from __future__ import annotations

import json
import secrets
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal, NamedTuple, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from swarm_graph.checkpoints.steps import ToolRecord
from swarm_graph.checkpoints.transcript import ToolKey, ToolTexts
from swarm_graph.errors import StorageError
from swarm_graph.state import KINDS, Kind, SwarmState, ToolResult
from swarm_graph.text import local_time, without_lone_surrogates

R = TypeVar("R")

TASK_COLUMNS = (
    "session", "task_id", "task_type", "node", "role", "status", "iteration", "created_at", "completed_at",
    "note", "error",
)  # fmt: skip
CALL_COLUMNS = (
    "time", "node", "role", "task", "iteration", "attempt", "model", "server", "outcome", "finish_reason",
    "queued_s", "first_token_s", "seconds", "input_tokens", "output_tokens", "reasoning_tokens", "cut_tokens",
    "estimated", "cost", "error", "repair", "prompt_tokens_evaluated",
)  # fmt: skip
TOOL_CALL_COLUMNS = (
    "session", "node", "role", "task", "iteration", "number", "key", "tool", "server", "arguments",
    "decision", "remark", "started_at", "outcome", "text", "characters", "seconds",
)  # fmt: skip
TOOL_FIGURES = tuple(
    name for name in TOOL_CALL_COLUMNS if name not in ("session", "key", "arguments", "remark", "text")
)
"""The columns without what was said."""
FORGOTTEN = "arguments and results are kept until a session ends; features.keep_prompts keeps them longer"
TEST_RUN_COLUMNS = (
    "outcome", "reason", "exit_code", "passed", "failed", "errored", "skipped", "sandbox", "seconds",
)  # fmt: skip


@dataclass(frozen=True)
class Session:
    """A session in the catalogue. It holds no secret, only the names of environment variables.

    Attributes:
        session: Its id.
        workflow: The name of its workflow.
        request: The latest request.
        config: The configuration that it began with, in the file's shape.
        phase: As in the state; `interrupted` is never stored, it follows from a missing lock.
        created_at: Seconds since the epoch.
        updated_at: Seconds since the epoch.
        output: The folder of its files; empty if the graph was called directly.
        simulated: Whether every model was simulated.
        config_file: The file that the configuration came from; empty if there was none.
        parent: The session that it was forked from; empty if it was not forked.
        parent_checkpoint: The checkpoint of the parent that it was forked from.
        approved: The outcome of the last run; None for a task graph, and before the first run has ended.
        iteration: The last round of the last run.
        findings: The number of open findings of the last run, by severity.
        experiment: The id of the experiment that it is a trial of; empty if it is none.
    """

    session: str
    workflow: str
    request: str
    config: dict[str, Any]
    phase: str
    created_at: float
    updated_at: float
    output: str = ""
    simulated: bool = False
    config_file: str = ""
    parent: str = ""
    parent_checkpoint: str = ""
    approved: bool | None = None
    iteration: int | None = None
    findings: dict[str, int] | None = None
    experiment: str = ""

    @property
    def kind(self) -> Kind:
        """What it makes. A value that no session of ours records counts as code."""
        workflow = self.config.get("workflow")
        kind = workflow.get("kind") if isinstance(workflow, Mapping) else None
        return cast("Kind", kind) if kind in KINDS else "code"


@dataclass(frozen=True)
class Run:
    """One process working on a session, from start to end.

    Attributes:
        id: Its number in the database.
        session: The session's id.
        kind: begin, follow_up, resume or replay.
        input: The input of the graph; None for a resume.
        base: The checkpoint that it started from; empty if there was none.
        config: The configuration in the file's shape; None if it was the session's own.
        pid: The process.
        host: The machine.
        phase: How it ended; the phase at its start while it has not.
        error: Why it failed; empty if it did not.
        started_at: Seconds since the epoch.
        ended_at: Seconds since the epoch; None while it has not ended. The next run closes a killed one.
        stop_requested: Whether a process has asked this one to stop.
    """

    id: int
    session: str
    kind: str
    input: dict[str, Any] | None
    base: str
    config: dict[str, Any] | None
    pid: int
    host: str
    phase: str
    error: str
    started_at: float
    ended_at: float | None
    stop_requested: bool = False

    @property
    def owner(self) -> str:
        """The process, for people."""
        return f"process {self.pid} on {self.host}, since {local_time(self.started_at)}"


TaskFileKind = Literal["tasks", "rows"]
"""A file that tasks come from: a task file, or a table of a batch with a task per row."""


class Source(NamedTuple):
    """Something that a session was made from, as it was when the session began.

    Attributes:
        kind: `prompt`, `input` (the file of a task), `tasks` (a task file), `rows` (a table of a batch), or a
            place: `place` (the folder of the database) or `inputs` (the folder of the input files).
        name: A prompt's name, or a path.
        sha256: The hash of its content; empty for a place.
        text: Its content, which only prompts keep.
    """

    kind: str
    name: str
    sha256: str = ""
    text: str = ""


class RequestUsage(NamedTuple):
    """What the runs of one request have used together."""

    calls: int
    tokens: int
    seconds: float


def new_session_id() -> str:
    """The local time and four random characters, as in 20231205_143022_4f2a."""
    return f"{time.strftime('%Y%m%d_%H%M%S')}_{secrets.token_hex(2)}"


def session_from_row(row: Mapping[str, Any]) -> Session:
    """The session of a row of the table `sessions`. Raises StorageError if we would not write such a row."""
    decoded: dict[str, Any] = {"config": json_object(row["config"]), "simulated": bool(row["simulated"])}
    if row["approved"] is not None:
        decoded["approved"] = bool(row["approved"])
    if row["findings"] is not None:
        decoded["findings"] = json_object(row["findings"])
    columns = {name: row[name] for name in row if name != "signatures"}
    return checked(Session, {**columns, **decoded})


def source_from_row(row: Sequence[Any]) -> Source:
    """The source of a row of the table `sources`. Raises StorageError if we would not write such a row."""
    return checked(Source, row)


def json_object(text: object) -> dict[str, Any]:
    """The object that a column holds as JSON. Raises StorageError if it holds none."""
    try:
        found = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise _foreign("a text that is no JSON object")
    return found


def object_or_empty(text: object) -> dict[str, Any]:
    """The object that a column holds as JSON; an empty one if it holds none."""
    try:
        return json_object(text)
    except StorageError:
        return {}


def checked(kind: type[R], values: Any) -> R:
    """A record with values of its types: a database is a file that anybody may have changed.

    Raises:
        StorageError: The values have other types.
    """
    try:
        checked: R = _adapter(cast("Any", kind)).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        column = first["loc"][0] if first["loc"] else ""
        raise _foreign(f"a wrong value in the column '{column}' of a {kind.__name__.lower()}") from error
    return checked


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _foreign(what: str) -> StorageError:
    return StorageError(
        f"the database holds {what}, which swarm_graph does not write: somebody changed the file, or it is "
        "damaged; restore a copy of it, or name another file"
    )


def checked_call(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the table `calls`. Raises StorageError if a text stands in the place of a number."""
    for name in _NUMBERS:
        if not isinstance(row.get(name), (int, float, type(None))):
            raise _foreign(f"a wrong value in the column '{name}' of a call")
    return row


def checked_tool_figures(row: dict[str, Any]) -> dict[str, Any]:
    """The columns TOOL_FIGURES of a call of a tool. Raises StorageError for values that we do not write."""
    numbers = ("iteration", "number", "started_at", "characters", "seconds")
    for name, value in row.items():
        if not isinstance(value, (*((int, float) if name in numbers else (str,)), type(None))):
            raise _foreign(f"a wrong value in the column '{name}' of a call of a tool")
    return row


_NUMBERS = (
    "time", "queued_s", "first_token_s", "seconds", "iteration", "attempt", "input_tokens", "output_tokens",
    "reasoning_tokens", "cut_tokens", "cost", "prompt_tokens_evaluated",
)  # fmt: skip


def tool_call_to_row(record: ToolRecord) -> dict[str, Any]:
    """The row of the table `tool_calls` for a call of a tool."""
    row = {name: value for name, value in vars(record).items() if name not in ("result", "missing")}
    result: dict[str, Any] = record.result._asdict() if record.result else dict.fromkeys(ToolResult._fields)
    if record.result:
        result["text"] = without_lone_surrogates(record.result.text)
    return {**row, "arguments": json.dumps(dict(record.arguments), default=str), **result}


def tool_call_from_row(row: Mapping[str, Any]) -> ToolRecord:
    """The call of a row of the table `tool_calls`. Raises StorageError if we would not write such a row."""
    values = {name: row[name] for name in TOOL_CALL_COLUMNS if name not in ToolResult._fields}
    values["arguments"] = {} if row["arguments"] is None else json_object(row["arguments"])
    values["missing"] = FORGOTTEN if row["arguments"] is None else ""
    if row["outcome"] is not None:
        values["result"] = {**{name: row[name] for name in ToolResult._fields}, "text": row["text"] or ""}
    return checked(ToolRecord, values)


def with_texts(record: ToolRecord, said: Mapping[ToolKey, ToolTexts]) -> ToolRecord:
    """A call of a tool with what the transcript has of it, if its own row no longer has that."""
    texts = said.get(ToolKey(record.key.partition(".")[0], record.started_at))
    if not record.missing or texts is None:
        return record
    if not texts.arguments:
        return replace(record, missing=texts.missing or record.missing)
    result = record.result and record.result._replace(text=texts.result)
    return replace(record, arguments=json_object(texts.arguments), result=result, missing="")


def session_to_row(session: Session) -> dict[str, Any]:
    """The row of the table `sessions` for a session."""
    findings = None if session.findings is None else json.dumps(session.findings)
    encoded = {"config": json.dumps(session.config), "findings": findings}
    return {**vars(session), **encoded, "simulated": int(session.simulated)}


def signatures_from_text(text: object) -> dict[str, list[str]]:
    """The signatures in the column of that name; what has another form counts as none."""
    try:
        found = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return {}
    entries = found.items() if isinstance(found, dict) else ()
    return {key: [str(one) for one in signed] for key, signed in entries if isinstance(signed, list)}


def run_from_row(row: Mapping[str, Any]) -> Run:
    """The run of a row of the table `runs`. Raises StorageError if we would not write such a row."""
    decoded = {name: row[name] and json_object(row[name]) for name in ("input", "config")}
    return checked(Run, {**row, **decoded})


def outcome_columns(state: SwarmState) -> dict[str, Any]:
    """The columns of the table `sessions` that say how a state ended."""
    findings = Counter(finding["severity"] for finding in state.get("findings", []))
    return {
        "approved": state.get("approved", False),
        "iteration": state.get("iteration", 0),
        "findings": json.dumps(dict(findings)),
    }
