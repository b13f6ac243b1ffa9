"""Which tasks wait for which, and the checks of a whole graph before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from graphlib import CycleError, TopologicalSorter
from typing import Any

from swarm_graph.errors import InputError
from swarm_graph.nodes.registry import role_named
from swarm_graph.state import TaskRecord
from swarm_graph.tasks.conditions import Condition
from swarm_graph.tasks.spec import TaskSpec

SHOWN_CYCLE = 12


def checked_graph(specs: Iterable[TaskSpec]) -> dict[str, TaskSpec]:
    """Tasks by their ids, in the order given.

    InputError, one line, for no task, an id given twice, a dependency that does not exist, and a circle,
    which is printed.
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
        circle = [str(name) for name in error.args[1]]
        shown = [*circle[:SHOWN_CYCLE], "…", circle[-1]] if len(circle) > SHOWN_CYCLE + 1 else circle
        raise InputError(f"tasks wait for each other in a circle: {' → '.join(shown)}") from error
    for spec in graph.values():
        _check_condition(spec, graph)
    return graph


def _check_dependencies(spec: TaskSpec, graph: Mapping[str, Any]) -> None:
    for name in waits_for(spec):
        if name == spec.task_id:
            raise InputError(f"task '{name}' depends on itself")
        if name not in graph:
            meant = get_close_matches(name, graph, n=1)
            hint = f"; did you mean '{meant[0]}'?" if meant else ""
            raise InputError(f"task '{spec.task_id}' depends on '{name}', which does not exist{hint}")


def _check_condition(spec: TaskSpec, graph: Mapping[str, TaskSpec]) -> None:
    for name, value in Condition(spec.when).values if spec.when else ():
        known = values_of(graph[name])
        if known is not None and value not in known:
            raise InputError(
                f"task '{spec.task_id}': the condition {spec.when!r} asks for '{value}', and "
                f"'{name}' has only {', '.join(known)}"
            )


def values_of(spec: TaskSpec) -> list[str] | None:
    """What a condition can ask of a task; None: whatever its answer holds."""
    if spec.answer is not None:
        declared = "properties" in spec.answer and spec.answer.keys() <= _OF_PLAIN_SCHEMAS
        return ["result", *spec.answer["properties"]] if declared else None
    own_form = not (spec.prompt or spec.expands)
    is_review = own_form and role_named(spec.assigned_role).form == "reviews"
    return ["result", *(VALUES_OF_REVIEWS if is_review else ())]


VALUES_OF_REVIEWS = ("approved", "verdict", "findings")


_OF_PLAIN_SCHEMAS = {
    "type", "properties", "required", "additionalProperties", "title", "description", "$schema", "$defs",
}  # fmt: skip
"""The keywords of a schema that says itself which values an answer has."""


def waits_for(spec: TaskSpec) -> list[str]:
    """The tasks that must end before one begins: its dependencies, and those that its condition names."""
    if spec.when is None:
        return list(dict.fromkeys(spec.dependencies))
    return list(dict.fromkeys([*spec.dependencies, *Condition(spec.when).names]))


def needs_of(
    spec: TaskSpec, added: Mapping[str, Sequence[str]], ranks: Callable[[str], Sequence[int]]
) -> list[str]:
    """What a task waits for: with each task also those that it added, unless this is one of them.

    `added`: what a task has added; `ranks`: its place in the order added.
    """
    rank = ranks(spec.task_id)
    needs = dict.fromkeys(waits_for(spec))
    unseen = list(needs)
    while unseen:
        need = unseen.pop()
        above = ranks(need) if need in added else ()
        for name in added.get(need, ()):
            if list(rank[: len(above)]) != list(above) and name not in needs:
                needs[name] = None
                unseen.append(name)
    return list(needs)


def added_by(tasks: Mapping[str, TaskRecord]) -> dict[str, list[str]]:
    """Which tasks each task has added."""
    return {
        name: [str(task["task_id"]) for task in record["added"]]
        for name, record in tasks.items()
        if "added" in record
    }
