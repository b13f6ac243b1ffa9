"""Tasks that add tasks: the form of the model's answer, and the limit on how far a session may grow."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any

from pydantic import BaseModel, Field, create_model

from swarm_graph.errors import InputError, UnreadableAnswer
from swarm_graph.roles.registry import Roles
from swarm_graph.state import AgentRole
from swarm_graph.tasks.dependencies import checked_graph
from swarm_graph.tasks.spec import TaskSpec, task_specs

# The docstrings and bounds of these two are in the JSON schema of the question, and so in its key in the
# journal: with another wording, a session that was stopped would ask again.


class NewTask(BaseModel):
    """A task that another one adds, as a model writes it."""

    task_id: str = Field(min_length=1, json_schema_extra={"maxLength": 40})
    assigned_role: AgentRole
    description: str = Field(min_length=1, json_schema_extra={"maxLength": 4000})
    dependencies: list[str] = Field([], json_schema_extra={"maxItems": 20})
    expands: bool = False


class Expansion(BaseModel):
    """What a task that expands answers."""

    plan: str = Field("", json_schema_extra={"maxLength": 8000})
    tasks: list[NewTask] = Field(min_length=1, json_schema_extra={"maxItems": 100})


@cache
def expansion_form(own_roles: tuple[str, ...]) -> type[Expansion]:
    """The form of the answer in a configuration with roles of the user's own."""
    if not own_roles:
        return Expansion
    make: Any = StrEnum  # type checkers want literals, but the names are known only now
    names = make("AgentRole", {name.upper(): name for name in (*AgentRole, *own_roles)})
    task: Any = create_model("NewTask", __base__=NewTask, assigned_role=(names, ...))
    tasks = Field(min_length=1, json_schema_extra={"maxItems": 100})
    return create_model("Expansion", __base__=Expansion, tasks=(list[task], tasks))


@dataclass(frozen=True)
class TaskLimit:
    """How many tasks a session may have; shared by all tasks of a run.

    Attributes:
        limit: `workflow.max_tasks`.
        names: The ids of all tasks so far.
        initial: How many tasks the session began with. Prompts show a number computed from this one, not
            `left`: a question must not depend on how many tasks other tasks have added by then, or a resumed
            run would not find its answer in the journal.
        others: How many tasks there are besides those of `names`.
    """

    limit: int
    names: set[str]
    initial: int = 0
    others: int = 0

    @property
    def left(self) -> int:
        """How many more tasks may be added now."""
        return self.limit - len(self.names) - self.others

    @property
    def left_for_prompts(self) -> int:
        """The number that prompts show; the same in every run of the session."""
        return max(self.limit - self.initial, 1)

    def check(self, task_id: str) -> None:
        """Raises InputError when a task may not add even one task."""
        if self.left < 1:
            raise InputError(
                f"{task_id}: workflow.max_tasks ({self.limit}) is reached, it can add no task; "
                "raise it and resume, or ask for less"
            )


def added_tasks(parent: TaskSpec, answer: Expansion, limit: TaskLimit, roles: Roles) -> list[TaskSpec]:
    """The tasks that an answer adds: named below their parent, and dependent on it.

    Raises:
        UnreadableAnswer: They are too many, their ids cannot be used, or they form no valid graph.
    """
    if len(answer.tasks) > limit.left:
        raise UnreadableAnswer(
            f"the answer adds {len(answer.tasks)} tasks, but only {limit.left} more are allowed "
            f"(workflow.max_tasks is {limit.limit})"
        )
    if dotted := [task.task_id for task in answer.tasks if "." in task.task_id]:
        raise UnreadableAnswer(
            f"the answer's task_id '{dotted[0]}' holds a dot; use letters, digits, - and _"
        )
    tasks = [task.model_dump(mode="json") for task in answer.tasks]
    for task in tasks:
        task["task_id"] = f"{parent.task_id}.{task['task_id']}"
        task["dependencies"] = [f"{parent.task_id}.{name}" for name in task["dependencies"]]
        task["priority"] = parent.priority
        task["task_type"] = roles.named(task["assigned_role"]).task_type
    if taken := [task["task_id"] for task in tasks if task["task_id"] in limit.names]:
        raise UnreadableAnswer(
            f"the answer's task '{taken[0]}' has the id of another task; use another task_id"
        )
    try:
        specs = list(checked_graph(task_specs(tasks), roles).values())
    except InputError as problem:
        raise UnreadableAnswer(f"the answer's tasks cannot be used: {problem}") from problem
    limit.names.update(spec.task_id for spec in specs)
    return [spec.model_copy(update={"dependencies": [parent.task_id, *spec.dependencies]}) for spec in specs]
