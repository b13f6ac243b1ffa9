"""A session's tasks and its state JSON, made from its state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from swarm_graph.artifacts import result_of
from swarm_graph.events import Event
from swarm_graph.state import AgentRole, SwarmState, Task, TaskStatus, merge, reviewed


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


def task_row(task: Task) -> dict[str, Any]:
    return {
        "task_id": task.task_id,
        "task_type": task.task_type,
        "role": str(task.assigned_role),
        "node": task.metadata["node"],
        "status": str(task.status),
        "iteration": task.metadata["iteration"],
        "result": task.result,
        "error": task.error,
        "created_at": task.created_at,
        "completed_at": task.completed_at,
    }
