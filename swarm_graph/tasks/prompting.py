"""One task of a custom graph at work: its prompt, the form of its answer, and what is recorded of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage
from pydantic import BaseModel, Field

from swarm_graph.errors import ConfigError, InputError, UnreadableAnswer
from swarm_graph.models.keys import check_model
from swarm_graph.nodes.architect import architect
from swarm_graph.nodes.clarifier import clarifier
from swarm_graph.nodes.coder import coder
from swarm_graph.nodes.debugger import debugger
from swarm_graph.nodes.documenter import documenter
from swarm_graph.nodes.optimizer import optimizer
from swarm_graph.nodes.reviewer import reviewer
from swarm_graph.nodes.security import security
from swarm_graph.nodes.tester import tester
from swarm_graph.prompts import template
from swarm_graph.roles.answers import read, read_typed
from swarm_graph.roles.file_blocks import Files, fenced
from swarm_graph.roles.findings import review_text
from swarm_graph.roles.role import Answered, Role
from swarm_graph.roles.turn import NONE, Crew, Question, Turn
from swarm_graph.state import AgentRole, Reply, Review, TaskRecord, TaskStatus
from swarm_graph.tasks.dependencies import checked_graph
from swarm_graph.tasks.spec import TaskSpec, task_specs

ROLES: dict[AgentRole, Role[Any]] = {
    one.role: one
    for one in (
        architect, clarifier, coder, reviewer, tester, optimizer, documenter, debugger, security,
    )
}  # fmt: skip
FOCUS = "general"
HOLES = ("role", "request", "description", "metadata", "results", "files", "packages")
"""What a task's own prompt may show, besides the keys of its metadata, which go before these."""


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


@dataclass(frozen=True)
class Outcome:
    """An answer as a task's record keeps it, and the tasks that it adds."""

    result: str
    value: Any = None
    adds: list[TaskSpec] = field(default_factory=list)


@dataclass(frozen=True)
class Room:
    """How many tasks a session may still grow by; shared by all tasks of a run.

    `given`: how many it began with. Prompts show only what follows from that: how far others have got when
    a task is begun must not change its question, or a killed run's answer would not be found again.
    """

    limit: int
    names: set[str]
    given: int = 0

    @property
    def left(self) -> int:
        return self.limit - len(self.names)


class Workbench:
    """What the tasks of one graph share: prompts that are read once, results of others, room to grow."""

    def __init__(self, crew: Crew, request: str, room: Room) -> None:
        self.crew, self.request, self.room = crew, request, room
        self._folder = crew.config.prompts_dir
        self._prompts: dict[tuple[str, tuple[str, ...]], template.Prompt] = {}
        self.repair = template.load(template.REPAIR, self._folder, holes=("problem",))
        self._focus = template.read(template.FOCUS + FOCUS, self._folder).strip()

    def prompt(self, name: str, *holes: str) -> template.Prompt:
        """A prompt by its name or file. ConfigError when it cannot be used."""
        key = (name, holes)
        if key not in self._prompts:
            self._prompts[key] = template.load(name, self._folder, holes=holes)
        return self._prompts[key]

    def question(self, spec: TaskSpec, results: Mapping[str, TaskRecord]) -> Question[Outcome]:
        """What a task asks. InputError when a file of it cannot be read or it has no room to expand."""
        role, config = ROLES[spec.assigned_role], self.crew.config
        if spec.expands:
            self._check_room(spec)
        schema = spec.answer or (Expansion.model_json_schema() if spec.expands else None)
        own_form = not (spec.prompt or schema)
        unreadable = role.unreadable
        return Question(
            messages=self.messages(spec, results),
            entry=lambda: config.model_for(spec.assigned_role, spec.model),
            parameters=config.parameters_for(spec.assigned_role, spec.parameters),
            read=self._reader(spec, role),
            repair=self.repair,
            schema=role.schema if own_form else schema,
            unreadable=(lambda reply: _mended(unreadable(reply), spec, role))
            if own_form and unreadable
            else None,
        )

    def messages(self, spec: TaskSpec, results: Mapping[str, TaskRecord]) -> list[BaseMessage]:
        """The messages that a task begins with; `results`: the tasks that it depends on."""
        values = {
            "role": str(spec.assigned_role),
            "request": self.request or NONE,
            "description": spec.description or NONE,
            "metadata": json.dumps(spec.metadata, indent=2, ensure_ascii=False) if spec.metadata else NONE,
            "results": "\n\n".join(_result(record) for record in results.values()) or NONE,
            "files": fenced(_files(spec)) or NONE,
            "packages": self.crew.config.execution.packages_text,
            "room": str(max(self.room.limit - self.room.given, 1)),
        }
        task = self.prompt(template.TASK, *HOLES)
        if spec.prompt:
            data = {key: _text(value) for key, value in spec.metadata.items()}
            own = self.prompt(spec.prompt, *own_holes(spec))
            system, user = own.render({**values, **data})
            user = user or task.render(values)[1]
        else:
            own_system, user = task.render(values)
            system = f"{self._role_system(spec, values)}\n\n{own_system}"
        if spec.answer:
            typed = self.prompt(template.TYPED, "schema").system
            system += "\n\n" + typed.substitute(schema=json.dumps(spec.answer, ensure_ascii=False))
        return [SystemMessage(system), HumanMessage(user)]

    def _role_system(self, spec: TaskSpec, values: Mapping[str, str]) -> str:
        if spec.expands:
            return self.prompt(template.EXPAND, "role", "room").system.substitute(values)
        role = ROLES[spec.assigned_role]
        if spec.answer:
            return f"You are the {role.role} of a team with nine roles."
        elsewhere = dict.fromkeys(role.reads, NONE)
        own = self.prompt(role.role, *role.reads, "focus").system
        return own.substitute({**elsewhere, **values, "focus": self._focus})

    def _reader(self, spec: TaskSpec, role: Role[Any]) -> Callable[[Reply], Outcome]:
        if spec.expands:
            return lambda reply: self._expanded(spec, read(reply.text, Expansion))
        if spec.answer is not None:
            return lambda reply: _typed(read_typed(reply.text, spec.answer or {}))
        if spec.prompt:
            return lambda reply: Outcome(read(reply.text, str))
        return lambda reply: in_form(spec, role, role.read(reply, {}))

    def _check_room(self, spec: TaskSpec) -> None:
        if self.room.left < 1:
            raise InputError(
                f"{spec.task_id}: workflow.max_tasks ({self.room.limit}) is reached, it can add no task; "
                "raise it and resume, or ask for less"
            )

    def _expanded(self, spec: TaskSpec, answer: Expansion) -> Outcome:
        """The tasks that an answer adds, named below the one that adds them, which they all depend on."""
        if len(answer.tasks) > self.room.left:
            raise UnreadableAnswer(
                f"the answer adds {len(answer.tasks)} tasks, but only {self.room.left} more are allowed "
                f"(workflow.max_tasks is {self.room.limit})"
            )
        if dotted := [one.task_id for one in answer.tasks if "." in one.task_id]:
            raise UnreadableAnswer(
                f"the answer's task_id '{dotted[0]}' holds a dot; use letters, digits, - and _"
            )
        new = [one.model_dump(mode="json") for one in answer.tasks]
        for task in new:
            task["task_id"] = f"{spec.task_id}.{task['task_id']}"
            task["dependencies"] = [f"{spec.task_id}.{name}" for name in task["dependencies"]]
            task["priority"] = spec.priority
            task["task_type"] = ROLES[task["assigned_role"]].task_type
        if taken := [name for name in (task["task_id"] for task in new) if name in self.room.names]:
            raise UnreadableAnswer(
                f"the answer's task '{taken[0]}' has the id of another task; use another task_id"
            )
        try:
            added = list(checked_graph(task_specs(new)).values())
        except InputError as problem:
            raise UnreadableAnswer(f"the answer's tasks cannot be used: {problem}") from problem
        added = [one.model_copy(update={"dependencies": [spec.task_id, *one.dependencies]}) for one in added]
        self.room.names.update(one.task_id for one in added)
        return Outcome(answer.plan or "\n".join(one.description for one in added), adds=added)


def own_holes(spec: TaskSpec) -> tuple[str, ...]:
    """What a task's own prompt may show: the keys of its metadata, and HOLES."""
    return tuple(dict.fromkeys([*HOLES, *filter(str.isidentifier, spec.metadata)]))


def in_form(spec: TaskSpec, role: Role[Any], answer: Any) -> Outcome:
    """An answer in its role's own form."""
    if isinstance(answer, str):
        return Outcome(answer)
    if isinstance(answer, Files):
        return Outcome(fenced(answer.written))
    update = role.update(Answered(answer, spec.task_id, 1, {}))
    if role.writes != "reviews":
        return Outcome(str(update[role.writes]))
    review: Review = update["reviews"][0]
    approved = review["approved"]
    verdict = "approve" if approved else "revise"
    value = {"approved": approved, "verdict": verdict, "findings": list(review["findings"])}
    return Outcome(review_text(review), value)


def _mended(answer: Any, spec: TaskSpec, role: Role[Any]) -> Outcome | None:
    return None if answer is None else in_form(spec, role, answer)


def _typed(value: dict[str, Any]) -> Outcome:
    return Outcome(json.dumps(value, indent=2, ensure_ascii=False), value)


def _result(record: TaskRecord) -> str:
    """What a task came to, as the prompts of those that depend on it show it."""
    about = f'task="{record["task_id"]}" role="{record["role"]}"'
    return f"<result {about}>\n{record.get('result', NONE)}\n</result>"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _files(spec: TaskSpec) -> dict[str, str]:
    found = {}
    names = [Path(name).name for name in spec.files]
    for name in spec.files:
        shown = Path(name).name if names.count(Path(name).name) == 1 else name
        try:
            found[shown] = Path(name).read_text("utf-8-sig")
        except OSError as error:
            raise InputError(f"{spec.task_id}: cannot read its file '{name}': {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise InputError(f"{spec.task_id}: its file '{name}' is not UTF-8 text") from error
    return found


async def do_task(
    turn: Turn, bench: Workbench, record: TaskRecord, results: Sequence[TaskRecord]
) -> TaskRecord:
    """Asks a task's model; returns its record as it ended. ModelError and InputError when it fails."""
    spec = TaskSpec.model_validate({**record["spec"]})
    started = turn.clock()

    def ended(status: TaskStatus, **more: Any) -> TaskRecord:
        times = {"created_at": started, "completed_at": turn.clock()}
        return cast("TaskRecord", {**record, "status": str(status), **times, **more})

    async with turn.task(spec.task_type, lambda error: ended(TaskStatus.FAILED, error=str(error))):
        turn.run.check()
        question = bench.question(spec, {one["task_id"]: one for one in results})
        outcome, note = await turn.ask(question)
    more: dict[str, Any] = {"result": outcome.result}
    if outcome.value is not None:
        more["value"] = outcome.value
    if outcome.adds:
        more["added"] = [one.plain() for one in outcome.adds]
    return ended(TaskStatus.COMPLETED, **more, **({"note": note} if note else {}))


def check_tasks(specs: Mapping[str, TaskSpec], crew: Crew, *, overridden: bool) -> None:
    """Raises ConfigError or InputError when a task names a model, prompt or file that is not there.

    `overridden`: the run's context brings the models.
    """
    bench = Workbench(crew, "", Room(crew.config.workflow.max_tasks, set()))
    known: set[tuple[Any, ...]] = set()
    for spec in specs.values():
        try:
            if not overridden and (key := (spec.assigned_role, spec.model)) not in known:
                known.add(key)
                check_model(crew.config.model_for(*key))
            if spec.prompt:
                bench.prompt(spec.prompt, *own_holes(spec))
        except ConfigError as error:
            raise ConfigError(f"task '{spec.task_id}': {error}") from error
        try:
            missing = [name for name in spec.files if not Path(name).is_file()]
        except OSError as error:
            raise InputError(
                f"task '{spec.task_id}': cannot read {error.filename!r}: {error.strerror}"
            ) from error
        if missing:
            raise InputError(f"task '{spec.task_id}': there is no file {missing[0]!r}")
