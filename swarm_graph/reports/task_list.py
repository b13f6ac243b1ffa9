"""The tasks of a task graph as rows: all that the session knows, those that wait included."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from swarm_graph.reports.node_states import AFTER_STATUS
from swarm_graph.state import TaskRecord
from swarm_graph.workflows.drawing import NodeState

MAX_ROWS = 200
"""Of a report that is a file."""
FIRST: Sequence[NodeState] = ("failed", "running", "paused")
"""The states of the tasks that a report shows first, where it cannot show all."""


class TaskRow(NamedTuple):
    """A task.

    Attributes:
        task: Its id.
        state: Its state.
        role: The role that works on it.
        note: What was unusual about its answer; empty if nothing was.
        error: Why it failed, or was skipped; empty otherwise.
        seconds: From its start to its end; None while it has not ended.
    """

    task: str
    state: NodeState
    role: str
    note: str
    error: str
    seconds: float | None


def task_rows(
    records: Iterable[TaskRecord], ended: Iterable[Mapping[str, Any]], states: Mapping[str, NodeState]
) -> list[TaskRow]:
    """The tasks of a session, in the order in which they were added.

    Args:
        records: The tasks of the state.
        ended: Rows of the catalogue's tasks, which know an end before the state does.
        states: The state of each task.
    """
    rows: dict[str, Mapping[str, Any]] = {record["task_id"]: record for record in records}
    rows |= {row["task_id"]: {**rows.get(row["task_id"], {}), **row} for row in ended}
    return [_row(row, states.get(name)) for name, row in rows.items()]


def _row(row: Mapping[str, Any], state: NodeState | None) -> TaskRow:
    begun, ended = row.get("created_at") or 0.0, row.get("completed_at") or 0.0
    return TaskRow(
        task=row["task_id"],
        state=state or AFTER_STATUS.get(row["status"], "waiting"),
        role=row.get("role") or "",
        note=row.get("note") or "",
        error=row.get("error") or "",
        seconds=ended - begun if ended > begun > 0 else None,
    )


def first_rows(rows: Sequence[TaskRow]) -> list[TaskRow]:
    """The rows that a file shows: if there are too many, those that a person looks for before the others."""
    if len(rows) <= MAX_ROWS:
        return [*rows]
    return sorted(rows, key=lambda row: FIRST.index(row.state) if row.state in FIRST else len(FIRST))[
        :MAX_ROWS
    ]


def matching(rows: Sequence[TaskRow], *, state: str = "", words: str = "") -> list[TaskRow]:
    """The rows in a state that hold some words.

    Args:
        rows: The rows.
        state: The state; empty for every state.
        words: What the id, the role, the note or the error holds, in any case; empty for all.
    """
    wanted = words.casefold()
    return [
        row
        for row in rows
        if state in ("", row.state)
        and (
            not wanted or any(wanted in text.casefold() for text in (row.task, row.role, row.note, row.error))
        )
    ]
