"""The tasks of a custom graph as users write them, and the checks of a whole graph before anything runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from swarm_graph.config_source import closest_match
from swarm_graph.errors import InputError
from swarm_graph.prompts.template import is_path
from swarm_graph.settings import AgentParameters, Integer
from swarm_graph.state import AgentRole, Task, TaskRecord, TaskStatus
from swarm_graph.tasks.conditions import Condition
from swarm_graph.text import check_json_like

TaskId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]


class TaskSpec(BaseModel):
    """One task of a custom graph."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    task_id: TaskId = Field(description="Names the task, its result's file, and it in conditions.")
    task_type: str = Field(
        "task", min_length=1, description="A word of your own for what kind of work it is."
    )
    description: str = Field("", description="What is wanted.")
    assigned_role: AgentRole = Field(description="Which of the nine roles does it.")
    priority: Integer = Field(5, description="Among ready tasks the highest begins first.")
    dependencies: list[str] = Field([], description="The tasks whose results it needs.")
    metadata: dict[str, Any] = Field({}, description="Data of your own; the prompt shows it.")
    prompt: str | None = Field(
        None, description="A prompt's name or file instead of the role's own; the answer is plain text then."
    )
    parameters: dict[str, Any] = Field({}, description="As in agent_parameters, over those of the role.")
    model: str | None = Field(
        None, description="An entry of model_config.multi_model instead of the role's own."
    )
    files: list[str] = Field([], description="Text files that the prompt shows; read when the task begins.")
    answer: dict[str, Any] | None = Field(None, description="The JSON schema of a typed answer.")
    when: str | None = Field(
        None, description="Begin it only if this holds, as in \"T002.verdict == 'revise'\"."
    )
    expands: bool = Field(
        False,
        description="Its answer is a list of tasks to add; what depends on it waits for them, too.",
    )

    @model_validator(mode="before")
    @classmethod
    def _can_be_kept(cls, given: Any) -> Any:
        check_json_like(given)
        return given

    @field_validator("parameters")
    @classmethod
    def _known_parameters(cls, given: dict[str, Any]) -> dict[str, Any]:
        if unknown := [name for name in given if name not in AgentParameters.model_fields]:
            raise ValueError(f"unknown parameter {unknown[0]!r}")
        AgentParameters.model_validate(given)
        return given

    @field_validator("answer")
    @classmethod
    def _a_schema(cls, schema: dict[str, Any] | None) -> dict[str, Any] | None:
        if schema is not None:
            from jsonschema import Draft202012Validator, SchemaError

            try:
                Draft202012Validator.check_schema(schema)
            except SchemaError as error:
                raise ValueError(f"is no JSON schema: {error.message}") from error
            if schema.get("type") != "object":
                raise ValueError('expected a JSON schema of an object: {"type": "object", ...}')
            _check_references(schema)
            try:
                Draft202012Validator(schema).is_valid({})
            except RecursionError as error:
                raise ValueError("its references lead in a circle") from error
        return schema

    @field_validator("when")
    @classmethod
    def _a_condition(cls, text: str | None) -> str | None:
        if text is not None:
            Condition(text)
        return text

    @model_validator(mode="after")
    def _one_answer(self) -> TaskSpec:
        if self.expands and (self.answer or self.prompt):
            raise ValueError("a task that expands has its own prompt and answer; leave out prompt and answer")
        return self

    def plain(self) -> dict[str, Any]:
        """What is given, as plain data."""
        return self.model_dump(mode="json", exclude_defaults=True)


def task_specs(given: Any) -> list[TaskSpec]:
    """Tasks given as TaskSpecs, `Task`s, dicts, or a dict of those by id; InputError for the first wrong one.

    A `Task`'s status must be PENDING.
    """
    if isinstance(given, Mapping):
        given = [
            {"task_id": name, **task} if isinstance(task, Mapping) else task for name, task in given.items()
        ]
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise InputError("the tasks are no list; expected one of Tasks, or of objects with their fields")
    return [_spec(task, number) for number, task in enumerate(given, 1)]


def _spec(task: Any, number: int) -> TaskSpec:
    if isinstance(task, TaskSpec):
        return task
    if isinstance(task, Task):
        if task.status not in (TaskStatus.PENDING, TaskStatus.READY):
            raise InputError(f"task '{task.task_id}' is {task.status}; a task is added as PENDING")
        task = {name: getattr(task, name) for name in SPEC_FIELDS}
    if not isinstance(task, Mapping):
        raise InputError(f"task {number} is no object; expected task_id, assigned_role, description, …")
    try:
        return TaskSpec.model_validate(task)
    except ValidationError as error:
        raise InputError(f"task '{task.get('task_id', number)}': {_problem(error, task)}") from error


SPEC_FIELDS = [field.name for field in fields(Task) if field.name in TaskSpec.model_fields]


def _problem(error: ValidationError, task: Mapping[str, Any]) -> str:
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    if first["type"] == "extra_forbidden":
        meant = closest_match(where, list(TaskSpec.model_fields))
        known = f"did you mean '{meant}'?" if meant else f"known: {', '.join(TaskSpec.model_fields)}"
        return f"unknown key '{where}'; {known}"
    if first["loc"] == ("assigned_role",) and "assigned_role" in task:
        return f"unknown role {task['assigned_role']!r}; known roles: {', '.join(AgentRole)}"
    message = str(first.get("ctx", {}).get("error", first["msg"]))
    return f"{where}: {message[:1].lower()}{message[1:]}" if where else message


def _check_references(schema: Mapping[str, Any]) -> None:
    """ValueError for a reference out of the schema, which would have to be fetched, or to nowhere."""
    from referencing import Registry
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012

    resolver = Registry().with_resource("", DRAFT202012.create_resource(schema)).resolver("")
    for reference in _references(schema):
        if not reference.startswith("#"):
            raise ValueError(f"a JSON schema stands alone, and this one refers to {reference!r}")
        try:
            resolver.lookup(reference)
        except Unresolvable as error:
            raise ValueError(f"its reference {reference!r} leads nowhere") from error


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if key in ("$ref", "$dynamicRef") and isinstance(inner, str):
                yield inner
            yield from _references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)


def absolute(spec: TaskSpec, folder: Path) -> TaskSpec:
    """The same with the paths in it, relative to a folder, made absolute: a resume may begin elsewhere."""
    files = [str((folder / name).absolute()) for name in spec.files]
    prompt = spec.prompt
    if prompt and is_path(prompt):
        prompt = str((folder / prompt).absolute())
    return spec.model_copy(update={"files": files, "prompt": prompt})


def pending(spec: TaskSpec, rank: Sequence[int], added_at: float = 0.0) -> TaskRecord:
    """A task that nobody has begun, as the state keeps it."""
    return TaskRecord(
        task_id=spec.task_id,
        task_type=spec.task_type,
        node=spec.task_id,
        role=str(spec.assigned_role),
        status=str(TaskStatus.PENDING),
        iteration=1,
        created_at=added_at,
        completed_at=0.0,
        spec=spec.plain(),
        rank=list(rank),
    )


def tasks_schema() -> dict[str, Any]:
    """The JSON Schema of a task file, for editors."""
    one = TaskSpec.model_json_schema()
    definitions = one.pop("$defs", {})
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "swarm_graph tasks",
        "type": "object",
        "properties": {
            "tasks": {"type": "array", "items": one, "minItems": 1},
            "request": {"type": "string"},
        },
        "required": ["tasks"],
        "$defs": definitions,
    }
