"""The tasks of a session, and its state JSON in the old coordinator's structure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from swarm_graph.events import Event
from swarm_graph.roles.answered_document import DOCUMENT_FILE
from swarm_graph.roles.registry import Roles
from swarm_graph.sessions.artifacts import document_text, result_of
from swarm_graph.state import CHANGE, DOCUMENT, AgentRole, SwarmState, Task, TaskRecord, TaskStatus
from swarm_graph.tasks.results import is_custom_task
from swarm_graph.tasks.spec import SPEC_FIELDS, TaskSpec


def role_name(name: str) -> str:
    """The name of a role; one of the nine as a member of AgentRole."""
    return AgentRole(name) if name in list(AgentRole) else name


def finished_task(task_id: str, state: SwarmState, roles: Roles) -> Task:
    """A task of the state, with its result as text."""
    record = state["tasks"][task_id]
    if is_custom_task(record):
        return _custom_task(record)
    return Task(
        task_id=task_id,
        task_type=record["task_type"],
        description=f"{record['node']}: {state.get('request', '').strip()[:80]}",
        assigned_role=role_name(record["role"]),
        status=TaskStatus(record["status"]),
        metadata={"node": record["node"], "iteration": record["iteration"]},
        result=result_of(record, state, roles),
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


def failed_task(event: Event) -> Task:
    """The task of a `task_failed` event."""
    return Task(
        task_id=event.task,
        task_type=event.data["task_type"],
        description=event.node,
        assigned_role=role_name(event.role),
        status=TaskStatus.FAILED,
        metadata={"node": event.node, "iteration": event.iteration},
        error=event.data["error"],
        completed_at=event.time,
    )


def state_document(state: SwarmState, tasks: Sequence[Task], roles: Roles, **session: Any) -> dict[str, Any]:
    """The state JSON of a session.

    Args:
        state: Its state.
        tasks: Its finished tasks.
        roles: Its roles.
        session: What the state does not hold: `workflow_id`, `workflow`, `simulated`, `pauses`, `metrics`,
            `test_metrics`, `files`.
    """
    records = state.get("tasks", {})
    document = {
        "workflow_id": session["workflow_id"],
        "workflow": session["workflow"],
        "simulated": session["simulated"],
        "phase": state.get("phase", "running"),
        "approved": state.get("approved", False),
        "iteration": state.get("iteration", 0),
        "request": state.get("request", ""),
        **({"kind": DOCUMENT, "document": DOCUMENT_FILE} if document_text(state, roles) else {}),
        **_change(state),
        "findings": state.get("findings", []),
        "context": _context(tasks, records),
        **{key: value for key, value in cast("Mapping[str, Any]", state).items() if key == "recalled"},
        "pauses": session["pauses"],
        "completed_tasks": [_task_row(task, records.get(task.task_id)) for task in tasks],
        "evidence": [
            {"iteration": review["iteration"], **review["evidence"]}
            for review in state.get("reviews", [])
            if "evidence" in review
        ],
    }
    return {**document, **{key: session[key] for key in ("metrics", "test_metrics", "files")}}


def _change(state: Mapping[str, Any]) -> dict[str, Any]:
    """The repository, the commits and the deleted files of a change; nothing for other sessions."""
    if not state.get("repo"):
        return {}
    shown = ("path", "start", "base", "branch", "compared_with", "not_shown")
    repository = {name: state["repo"][name] for name in shown if name in state["repo"]}
    return {
        "kind": CHANGE,
        "repository": repository,
        "commits": list(state.get("commits") or []),
        "deleted": list(state.get("deleted") or []),
    }


def _context(tasks: Sequence[Task], records: Mapping[str, TaskRecord]) -> dict[str, Any]:
    """The results of completed tasks under the old coordinator's keys, such as `coding_coder`."""
    return {
        f"{task.task_type}_{records[task.task_id]['node']}": {
            "task_id": task.task_id,
            "result": task.result,
            "completed_at": task.completed_at,
        }
        for task in tasks
        if task.status == TaskStatus.COMPLETED
    }


def _task_row(task: Task, record: TaskRecord | None) -> dict[str, Any]:
    """A task in the state JSON. There is no `record` for a task that failed in its first round."""
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
