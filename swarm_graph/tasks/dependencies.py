"""Which tasks wait for which, and the checks of a whole graph before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from graphlib import CycleError, TopologicalSorter
from typing import Any

from swarm_graph.errors import InputError
from swarm_graph.roles.registry import Roles
from swarm_graph.state import TaskRecord
from swarm_graph.tasks.conditions import Condition
from swarm_graph.tasks.spec import TaskSpec

MAX_NAMES_OF_CYCLE = 12
REVIEW_VALUES = ("approved", "verdict", "findings")
"""The values of a review, besides its text `result`."""
CLOSED_SCHEMA_KEYS = {
    "type", "properties", "required", "additionalProperties", "title", "description", "$schema", "$defs",
}  # fmt: skip
"""In a schema with only these keywords, `properties` lists every value that an answer is meant to have."""


def checked_graph(specs: Iterable[TaskSpec], roles: Roles | None = None) -> dict[str, TaskSpec]:
    """The tasks by id, in their order, checked as a graph.

    Args:
        specs: The tasks.
        roles: The roles of the configuration; default the nine.

    Raises:
        InputError: There is no task, an id is used twice, a dependency does not exist, the dependencies form
            a cycle, or a condition reads a value that a task cannot have.
    """
    graph: dict[str, TaskSpec] = {}
    for spec in specs:
        if spec.task_id in graph:
            raise InputError(f"two tasks have the id '{spec.task_id}'; every task needs its own")
        graph[spec.task_id] = spec
    if not graph:
        raise InputError("there are no tasks; add some with add_task, --tasks FILE or batch")
    for spec in graph.values():
        _check_dependencies(spec, graph)
    try:
        TopologicalSorter({name: waits_for(spec) for name, spec in graph.items()}).prepare()
    except CycleError as error:
        cycle = [str(name) for name in error.args[1]]
        if len(cycle) > MAX_NAMES_OF_CYCLE + 1:
            cycle = [*cycle[:MAX_NAMES_OF_CYCLE], "…", cycle[-1]]
        raise InputError(f"the dependencies of tasks form a cycle: {' → '.join(cycle)}") from error
    for spec in graph.values():
        _check_condition(spec, graph, roles or Roles())
    return graph


def _check_dependencies(spec: TaskSpec, graph: Mapping[str, Any]) -> None:
    for name in waits_for(spec):
        if name == spec.task_id:
            raise InputError(f"task '{name}' depends on itself")
        if name not in graph:
            meant = get_close_matches(name, graph, n=1)
            hint = f"; did you mean '{meant[0]}'?" if meant else ""
            raise InputError(f"task '{spec.task_id}' depends on '{name}', which does not exist{hint}")


def _check_condition(spec: TaskSpec, graph: Mapping[str, TaskSpec], roles: Roles) -> None:
    for name, value in Condition(spec.when).values if spec.when else ():
        available = _condition_names(graph[name], roles)
        if available is not None and value not in available:
            raise InputError(
                f"task '{spec.task_id}': the condition {spec.when!r} reads '{value}', but "
                f"'{name}' has only {', '.join(available)}"
            )


def _condition_names(spec: TaskSpec, roles: Roles) -> list[str] | None:
    """The values of a task that a condition can read; None if any name is possible."""
    role = None if spec.prompt or spec.expands else roles.find(spec.assigned_role)
    schema = spec.answer or (role.schema if role and role.form == "data" else None)
    if schema is not None:
        is_closed = "properties" in schema and schema.keys() <= CLOSED_SCHEMA_KEYS
        return ["result", *schema["properties"]] if is_closed else None
    is_review = role is not None and role.form == "reviews"
    return ["result", *(REVIEW_VALUES if is_review else ())]


def waits_for(spec: TaskSpec) -> list[str]:
    """The ids of the tasks that must finish first: the dependencies, and the tasks in the condition."""
    if spec.when is None:
        return list(dict.fromkeys(spec.dependencies))
    return list(dict.fromkeys([*spec.dependencies, *Condition(spec.when).names]))


def all_dependencies(
    spec: TaskSpec, added: Mapping[str, Sequence[str]], rank_of: Callable[[str], Sequence[int]]
) -> list[str]:
    """The ids of the tasks that must finish first, and of the tasks that those added.

    Args:
        spec: The task.
        added: The ids of the tasks that a task has added, by its id (`added_ids`).
        rank_of: A task's place in the order in which tasks were added, by its id. The rank of an added task
            begins with the rank of its parent.
    """
    rank = rank_of(spec.task_id)
    dependencies = dict.fromkeys(waits_for(spec))
    unseen = list(dependencies)
    while unseen:
        name = unseen.pop()
        parent_rank = list(rank_of(name)) if name in added else []
        if parent_rank == list(rank[: len(parent_rank)]):
            continue  # the dependency added this task: siblings must not wait for each other
        for child in added.get(name, ()):
            if child not in dependencies:
                dependencies[child] = None
                unseen.append(child)
    return list(dependencies)


def added_ids(records: Mapping[str, TaskRecord]) -> dict[str, list[str]]:
    """The ids of the tasks that each task has added, by its id."""
    return {
        name: [str(task["task_id"]) for task in record["added"]]
        for name, record in records.items()
        if "added" in record
    }
