"""A session's tasks and its state JSON, made from its state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from swarm_graph.events import Event
from swarm_graph.sessions.artifacts import result_of
from swarm_graph.state import AgentRole, SwarmState, Task, TaskRecord, TaskStatus, merge, reviewed
from swarm_graph.tasks.results import is_custom
from swarm_graph.tasks.spec import SPEC_FIELDS, TaskSpec


def folded(state: SwarmState, updates: Mapping[str, Any]) -> SwarmState:
    """A state with the updates of nodes that have ended while their siblings still work."""
    result: dict[str, Any] = dict(state)
    for update in updates.values():
        for key, value in (update or {}).items() if isinstance(update, Mapping) else ():
            if key == "reviews":
                value = reviewed(result.get("reviews", []), value)
            elif key == "tasks":
                value = merge(result.get("tasks", {}), value)
            result[key] = value
    return cast("SwarmState", result)


def finished_task(task_id: str, state: SwarmState) -> Task:
    """A task of the state with its result as text."""
    record = state["tasks"][task_id]
    if is_custom(record):
        return _custom_task(record)
    return Task(
        task_id=task_id,
        task_type=record["task_type"],
        description=f"{record['node']}: {state.get('request', '').strip()[:80]}",
        assigned_role=AgentRole(record["role"]),
        status=TaskStatus(record["status"]),
        metadata={"node": record["node"], "iteration": record["iteration"]},
        result=result_of(record, state),
        created_at=record["created_at"],
        completed_at=record["completed_at"],
    )


def _custom_task(record: TaskRecord) -> Task:
    spec = TaskSpec.model_validate(record["spec"])
    return Task(
        **{name: getattr(spec, name) for name in SPEC_FIELDS},
        status=TaskStatus(record["status"]),
        result=record.get("result"),
        error=record.get("error") or (record.get("note") if "result" not in record else None),
        created_at=record["created_at"],
        completed_at=record["completed_at"],
    )


def failed_task(happened: Event) -> Task:
    """The task of a `task_failed` event."""
    return Task(
        task_id=happened.task,
        task_type=happened.data["task_type"],
        description=happened.node,
        assigned_role=AgentRole(happened.role),
        status=TaskStatus.FAILED,
        metadata={"node": happened.node, "iteration": happened.iteration},
        error=happened.data["error"],
        completed_at=happened.time,
    )


def task_row(task: Task, record: TaskRecord | None) -> dict[str, Any]:
    """A task as the state JSON has it; `record`: the state's own, which a failed task of a round lacks."""
    return {
        "task_id": task.task_id,
        "task_type": task.task_type,
        "role": str(task.assigned_role),
        "node": record["node"] if record else task.metadata["node"],
        "status": str(task.status),
        "iteration": record["iteration"] if record else task.metadata["iteration"],
        "result": task.result,
        "error": task.error,
        "created_at": task.created_at,
        "completed_at": task.completed_at,
    }
