"""Tasks as users write them: the fields of a task, and the checks of each task by itself."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from swarm_graph.config_source import closest_match, unknown_name
from swarm_graph.errors import InputError
from swarm_graph.names import RoleName
from swarm_graph.prompts.template import is_path
from swarm_graph.roles.json_schema import check_schema
from swarm_graph.settings import AgentParameters, Integer
from swarm_graph.state import AgentRole, Task, TaskRecord, TaskStatus
from swarm_graph.tasks.conditions import Condition
from swarm_graph.text import check_json_like

REPOSITORY = "repo:"
"""How the path of a file begins that is read from a repository: `repo:PATH`, or `repo:DIR//PATH`."""
MIN_PART_TOKENS = 100
"""Of `split`; smaller parts say too little by themselves."""
MAX_ID_BYTES = 240
"""Of a task id in UTF-8; with the ending of its result file it must fit into the 255 bytes of a name."""
_ID_FOR_EDITORS = r"^[^\x00-/:-@\[-`{-\x7f][^\x00-,/:-@\[-^`{-\x7f]{0,99}$"
r"""The pattern of ids without `\w`, which is ASCII in JavaScript and leaves out vowel signs in Python."""


def _check_length(task_id: str) -> str:
    if (size := len(task_id.encode())) > MAX_ID_BYTES:
        raise ValueError(f"it has {size} bytes; expected at most {MAX_ID_BYTES}, because it names a file")
    return task_id


TaskId = Annotated[
    str,
    Field(pattern=r"^[^\W_][\w.-]{0,99}$", json_schema_extra={"pattern": _ID_FOR_EDITORS}),
    AfterValidator(_check_length),
]
"""Letters and digits of any script, `.`, `_` and `-`."""


class TaskSpec(BaseModel):
    """One task of a custom graph."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, defer_build=True
    )  # the pattern of ids is slow to build

    task_id: TaskId = Field(description="Names the task and its result file.")
    task_type: str = Field("task", min_length=1, description="A word of your own for the kind of work.")
    description: str = Field("", description="The instructions for the role.")
    assigned_role: RoleName = Field(description="The role that does the task.")
    priority: Integer = Field(5, description="Among ready tasks, the highest starts first.")
    dependencies: list[str] = Field(
        [], description="The ids of the tasks that must finish first; the prompt shows their results."
    )
    metadata: dict[str, Any] = Field({}, description="Data of your own; the prompt shows it.")
    prompt: str | None = Field(
        None, description="A prompt's name or file in place of the role's own; the answer is then plain text."
    )
    parameters: dict[str, Any] = Field({}, description="Overrides of agent_parameters for this task.")
    model: str | None = Field(
        None, description="An entry of model_config.multi_model in place of the role's own."
    )
    files: list[str] = Field(
        [],
        description="Text files and documents that the prompt shows; read when the task starts. `repo:PATH` "
        "is one of a repository.",
    )
    split: Annotated[Integer, Field(ge=MIN_PART_TOKENS)] | Literal["auto"] | None = Field(
        None,
        description="Split files that are too long into parts of this many tokens, or as large as the "
        "model's context allows (auto).",
    )
    source_file: str = Field("", description="The file that the task's row comes from; set by `batch`.")
    answer: dict[str, Any] | None = Field(None, description="The JSON Schema of a typed answer.")
    when: str | None = Field(
        None, description="Run the task only if this condition holds, as in \"T002.verdict == 'revise'\"."
    )
    expands: bool = Field(
        False,
        description="Whether the answer is a list of tasks to add; dependents wait for those, too.",
    )

    @model_validator(mode="before")
    @classmethod
    def _check_json_like(cls, fields: Any) -> Any:
        check_json_like(fields)
        return fields

    @field_validator("parameters")
    @classmethod
    def _check_parameters(cls, parameters: dict[str, Any]) -> dict[str, Any]:
        if unknown := [name for name in parameters if name not in AgentParameters.model_fields]:
            raise ValueError(f"unknown parameter {unknown[0]!r}")
        AgentParameters.model_validate(parameters)
        return parameters

    @field_validator("answer")
    @classmethod
    def _check_answer(cls, schema: dict[str, Any] | None) -> dict[str, Any] | None:
        if schema is not None:
            check_schema(schema)
        return schema

    @field_validator("when")
    @classmethod
    def _check_when(cls, text: str | None) -> str | None:
        if text is not None:
            Condition(text)
        return text

    @model_validator(mode="after")
    def _check_expands(self) -> TaskSpec:
        if self.expands and self.split:
            raise ValueError("a task that expands cannot be split; leave out split")
        if self.expands and (self.answer or self.prompt):
            raise ValueError("a task that expands has its own prompt and answer; leave out prompt and answer")
        return self

    def to_dict(self) -> dict[str, Any]:
        """The fields that differ from their defaults, as JSON-like data."""
        return self.model_dump(mode="json", exclude_defaults=True)


SPEC_FIELDS = [field.name for field in fields(Task) if field.name in TaskSpec.model_fields]
"""The fields of a `Task` that its user sets."""


def task_specs(tasks: Any, roles: Collection[str] | None = None) -> list[TaskSpec]:
    """Tasks from any of the accepted forms.

    Args:
        tasks: A list of TaskSpecs, `Task`s or dicts, or a dict of those by id. The status of a `Task` must be
            PENDING or READY.
        roles: The names of all roles; None where they were checked before.

    Raises:
        InputError: A task is invalid; the message is about the first of them.
    """
    if isinstance(tasks, Mapping):
        tasks = [
            {"task_id": name, **task} if isinstance(task, Mapping) else task for name, task in tasks.items()
        ]
    if not isinstance(tasks, Sequence) or isinstance(tasks, str):
        raise InputError(
            "the tasks are not a list; expected a list of Tasks, or of objects with their fields"
        )
    specs = [_spec(task, number) for number, task in enumerate(tasks, 1)]
    for spec in specs:
        if roles is not None and spec.assigned_role not in roles:
            raise InputError(f"task '{spec.task_id}': {unknown_name('role', spec.assigned_role, roles)}")
    return specs


def _spec(task: Any, number: int) -> TaskSpec:
    if isinstance(task, TaskSpec):
        return task
    if isinstance(task, Task):
        if task.status not in (TaskStatus.PENDING, TaskStatus.READY):
            raise InputError(f"task '{task.task_id}' is {task.status}; expected status PENDING")
        task = {name: getattr(task, name) for name in SPEC_FIELDS}
    if not isinstance(task, Mapping):
        raise InputError(f"task {number} is not an object; expected task_id, assigned_role, description, …")
    try:
        return TaskSpec.model_validate(task)
    except ValidationError as error:
        raise InputError(f"task '{task.get('task_id', number)}': {_problem(error, task)}") from error


def _problem(error: ValidationError, task: Mapping[str, Any]) -> str:
    first = error.errors()[0]
    path = ".".join(map(str, first["loc"]))
    if first["type"] == "extra_forbidden":
        meant = closest_match(path, list(TaskSpec.model_fields))
        hint = f"did you mean '{meant}'?" if meant else f"known keys: {', '.join(TaskSpec.model_fields)}"
        return f"unknown key '{path}'; {hint}"
    if first["loc"] == ("assigned_role",) and "assigned_role" in task:
        return f"unknown role {task['assigned_role']!r}; known roles: {', '.join(AgentRole)}"
    if first["loc"] == ("task_id",) and first["type"] == "string_type":
        return f"task_id: expected text, got {first['input']!r}; quote it"
    if first["loc"] == ("task_id",) and first["type"] == "string_pattern_mismatch":
        return (
            f"task_id: {first['input']!r} cannot name a file; expected letters, digits, . _ -, as in P-101A"
        )
    message = str(first.get("ctx", {}).get("error", first["msg"]))
    return f"{path}: {message[:1].lower()}{message[1:]}" if path else message


def with_absolute_paths(spec: TaskSpec, folder: Path) -> TaskSpec:
    """A task with absolute paths, because a resume may start in another folder.

    Args:
        spec: The task.
        folder: The folder that its paths are relative to.
    """
    return with_paths(
        spec, lambda name: name if name.startswith(REPOSITORY) else str((folder / name).absolute())
    )


def with_paths(spec: TaskSpec, path: Callable[[str], str]) -> TaskSpec:
    """A task with other paths.

    Args:
        spec: The task.
        path: Returns the new path for a path of its files or its prompt.
    """
    prompt = path(spec.prompt) if spec.prompt and is_path(spec.prompt) else spec.prompt
    return spec.model_copy(update={"files": [path(name) for name in spec.files], "prompt": prompt})


def names_repository(spec: TaskSpec) -> bool:
    """Whether a task reads a file of a repository."""
    return any(name.startswith(REPOSITORY) for name in spec.files)


def pending_record(spec: TaskSpec, rank: Sequence[int], added_at: float = 0.0) -> TaskRecord:
    """The record of a task that has not started.

    Args:
        spec: The task.
        rank: Its place in the order in which tasks were added: the rank of its parent, then its number.
        added_at: Seconds since the epoch; 0 for the tasks that a session begins with.
    """
    return TaskRecord(
        task_id=spec.task_id,
        task_type=spec.task_type,
        node=spec.task_id,
        role=str(spec.assigned_role),
        status=str(TaskStatus.PENDING),
        iteration=1,
        created_at=added_at,
        completed_at=0.0,
        spec=spec.to_dict(),
        rank=list(rank),
    )


def tasks_schema() -> dict[str, Any]:
    """The JSON Schema of a task file, for editors."""
    task = TaskSpec.model_json_schema()
    definitions = task.pop("$defs", {})
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "swarm_graph tasks",
        "type": "object",
        "properties": {
            "tasks": {"type": "array", "items": task, "minItems": 1},
            "request": {"type": "string"},
            "repo": {"type": "string"},
        },
        "required": ["tasks"],
        "$defs": definitions,
    }
