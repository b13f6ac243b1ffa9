"""What follows from the outcomes of tasks: which tasks are skipped or run again, and why a session fails."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from swarm_graph.errors import ModelError
from swarm_graph.state import TaskRecord, TaskStatus
from swarm_graph.tasks.conditions import Condition
from swarm_graph.tasks.spec import TaskSpec

MAX_NAMED_FAILURES = 5


def without_failure(record: TaskRecord) -> TaskRecord:
    """A record for a new pass: a task that failed, or was skipped for a failure, is pending again."""
    if "error" not in record:
        return record
    kept = {key: value for key, value in record.items() if key not in ("error", "note")}
    return cast("TaskRecord", {**kept, "status": str(TaskStatus.PENDING)})


def skip_reason(spec: TaskSpec, needs: Mapping[str, TaskRecord]) -> dict[str, str] | None:
    """Why a task is skipped; None when it runs.

    Args:
        spec: The task.
        needs: The records of the finished tasks that it waits for.

    Returns:
        `error` where a failure is the reason, so that the task runs again after a resume; `note` otherwise.

    Raises:
        InputError: The condition of the task fails.
    """
    if blocking := next((need for need in needs.values() if "error" in need), None):
        failed = blocking["status"] == TaskStatus.FAILED
        return {"error": f"not started: '{blocking['task_id']}' failed" if failed else blocking["error"]}
    skipped = [name for name, need in needs.items() if need["status"] == TaskStatus.SKIPPED]
    if needs and len(skipped) == len(needs):
        return {"note": "not started: all its dependencies were skipped"}
    if spec.when is None:
        return None
    condition = Condition(spec.when)
    if missing := [name for name in condition.names if name in skipped]:
        return {"note": f"not started: {spec.when} reads '{missing[0]}', which was skipped"}
    if condition.holds({name: condition_values(needs[name]) for name in condition.names}):
        return None
    return {"note": f"not started: {spec.when} does not hold"}


def condition_values(record: TaskRecord) -> dict[str, Any]:
    """The values of a task that a condition may ask for, by name."""
    value = record.get("value")
    return {"result": record.get("result", ""), **(value if isinstance(value, dict) else {})}


def failure_of(records: Mapping[str, TaskRecord]) -> ModelError | None:
    """The error that names the failed tasks and counts their dependents; None if no task failed."""
    failed = [name for name, record in records.items() if record["status"] == TaskStatus.FAILED]
    if not failed:
        return None
    blocked = sum(record["status"] == TaskStatus.SKIPPED and "error" in record for record in records.values())
    named = ", ".join(failed[:MAX_NAMED_FAILURES]) + (", …" if len(failed) > MAX_NAMED_FAILURES else "")
    dependents = f" and {blocked} that depend on them were not started" if blocked else ""
    first = records[failed[0]]["error"]
    return ModelError(
        f"{len(failed)} of {len(records)} tasks failed ({named}){dependents}; the first: {first}; "
        "a resume runs only these",
        node=failed[0],
    )
