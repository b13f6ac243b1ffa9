"""The question that a task asks: its prompt, the form of its answer, and the outcome of that answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage

from swarm_graph.checkpoints.places import UNMOVED, Places
from swarm_graph.config import SwarmConfig
from swarm_graph.errors import ConfigError, InputError
from swarm_graph.inputs.parts import place_of
from swarm_graph.models.keys import check_model
from swarm_graph.prompts import template
from swarm_graph.roles.answers import Reading, read, read_typed
from swarm_graph.roles.bindings import Bindings
from swarm_graph.roles.chat_markup import FinalMessage
from swarm_graph.roles.file_blocks import Files, fenced
from swarm_graph.roles.findings import review_text
from swarm_graph.roles.question import NONE, Question
from swarm_graph.roles.registry import role_source
from swarm_graph.roles.role import Answered, Role
from swarm_graph.state import Reply, Review, TaskRecord
from swarm_graph.tasks.expansion import Expansion, TaskLimit, added_tasks, expansion_form
from swarm_graph.tasks.file_texts import NO_FILES, TaskFiles, read_task_files, refuse_files_outside
from swarm_graph.tasks.spec import TaskSpec

if TYPE_CHECKING:
    from swarm_graph.roles.recollection import Recollection

FOCUS = "general"
"""The focus of a reviewer of a custom task."""
HOLES = (
    "role", "request", "description", "metadata", "results", "files", "source_file", "packages", "memory"
)  # fmt: skip
"""The holes of a task's own prompt, besides the keys of its metadata, which win over these."""


@dataclass(frozen=True)
class Outcome:
    """A task's answer as its record keeps it.

    Attributes:
        result: The answer as text.
        value: The answer as JSON-like data if it is typed or a review.
        adds: The tasks that it adds.
    """

    result: str
    value: Any = None
    adds: list[TaskSpec] = field(default_factory=list)


class TaskPrompts:
    """Builds the questions of all tasks of one graph. Prompts are read once."""

    def __init__(
        self,
        bindings: Bindings,
        request: str,
        limit: TaskLimit,
        places: Places = UNMOVED,
        only_below: Path | None = None,
        config: SwarmConfig | None = None,
    ) -> None:
        """Read the prompts that all tasks share.

        Args:
            bindings: The configuration of the graph.
            request: The purpose of the whole work.
            limit: How many tasks may be added.
            places: Where the files of the session lie now.
            only_below: The folder outside of which no file that a task names is read; None: all are.
            config: The configuration with the models that the session has chosen; default: the graph's.

        Raises:
            ConfigError: A prompt cannot be used.
        """
        self.config, self.request, self.limit = config or bindings.config, request, limit
        self.roles = bindings.roles
        self._texts, self._places, self._only_below = bindings.texts, places, only_below
        self._prompts: dict[tuple[str, tuple[str, ...]], template.Prompt] = {}
        self.repair = self.prompt(template.REPAIR, "problem")
        self._focus = self.roles.prompt_text(template.FOCUS + FOCUS).strip()

    def prompt(self, name: str, *holes: str) -> template.Prompt:
        """A prompt by its name or file.

        Raises:
            ConfigError: It is missing, or has a hole that is not among `holes`.
        """
        key = (name, holes)
        if key not in self._prompts:
            is_file = template.is_path(name) and name not in self._texts
            path = self._places.present(name) if is_file else name
            self._prompts[key] = self.roles.prompt(path, *holes)
        return self._prompts[key]

    def read_files(self, spec: TaskSpec) -> TaskFiles:
        """The files of a task; takes seconds for a long document.

        Raises:
            InputError: One of them cannot or must not be read.
        """
        if self._only_below:
            refuse_files_outside(spec, self._only_below, self._places)
        return read_task_files(spec, self._places, self.config.documents)

    def question(
        self,
        spec: TaskSpec,
        results: Mapping[str, TaskRecord],
        files: TaskFiles,
        more: str = "",
        recollection: Recollection | None = None,
    ) -> Question[Outcome]:
        """The question of a task.

        Args:
            spec: The task.
            results: The completed tasks that it depends on, by id.
            files: Its files.
            more: Instructions besides those of the task.
            recollection: What the task has recalled from memory; None if it recalls nothing.

        Raises:
            InputError: It may not add any task.
        """
        role = self.roles.named(spec.assigned_role)
        if spec.expands:
            self.limit.check(spec.task_id)
        schema = spec.answer or (self._expansion.model_json_schema() if spec.expands else None)
        role_form = not (spec.prompt or schema)
        question = Question(
            messages=self.messages(spec, results, files, more),
            entry=lambda: self.config.model_for(spec.assigned_role, spec.model),
            parameters=self.roles.parameters(spec.assigned_role, spec.parameters),
            read=self._reader(spec, role),
            repair=self.repair,
            schema=role.schema if role_form else schema,
            substitute=_substitute(spec, role) if role_form else None,
            cure=_cure(spec),
        )
        if recollection is None:
            return question
        prompt = partial(self.messages, spec, results, files, more)
        return recollection.shown_in(question, prompt)

    def messages(
        self,
        spec: TaskSpec,
        results: Mapping[str, TaskRecord],
        files: TaskFiles = NO_FILES,
        more: str = "",
        memory: str = "",
    ) -> list[BaseMessage]:
        """The prompt of a task; see `question`.

        Tasks of one role share its instructions and differ in their data, so the instructions come first.
        """
        values = {
            "role": str(spec.assigned_role),
            "request": self.request or NONE,
            "description": spec.description or NONE,
            "metadata": json.dumps(spec.metadata, indent=2, ensure_ascii=False) if spec.metadata else NONE,
            "results": "\n\n".join(_result_block(record) for record in results.values()) or NONE,
            "files": fenced(files.texts) or NONE,
            "source_file": spec.source_file or NONE,
            "packages": self.config.execution.packages_text,
            "room": str(self.limit.left_for_prompts),
        }
        task = self.prompt(template.TASK, *HOLES)
        if spec.prompt:
            data = {key: _text(value) for key, value in spec.metadata.items()}
            prompt = self.prompt(spec.prompt, *holes_of(spec))
            own = _filled(prompt, {**values, **data}, memory if prompt.data.template else "", data)
            system, user = own.instructions, own.data_part or _filled(task, values, memory).data_part
        else:
            shared = _filled(task, values, memory)
            system, user = f"{self._role_system(spec, values)}\n\n{shared.instructions}", shared.data_part
        if schema := spec.answer or self._schema_of_role(spec):
            typed = self.prompt(template.TYPED, "schema").instructions
            system += "\n\n" + typed.substitute(schema=json.dumps(schema, ensure_ascii=False))
        told = self.prompt(template.RECALL).instructions.substitute() if memory else ""
        system = "\n\n".join(filter(None, [system, self._how_to_cite(files), more, told]))
        return [SystemMessage(system), HumanMessage(user)]

    def _how_to_cite(self, files: TaskFiles) -> str:
        """How an answer cites pages, slides or sheets; empty for files without any."""
        if not files.marks:
            return ""
        kind, names = next(iter(files.marks.items()))
        values = {"mark": f"[{kind} {names[0]}]", "place": place_of(kind, names[:1])}
        return self.prompt(template.CITE, "mark", "place").instructions.substitute(values)

    def part_instructions(self, number: int, count: int, place: str) -> str:
        """What a part of a task's files is asked besides the task."""
        values = {"number": number, "count": count, "place": place}
        return self.prompt(template.PART, *values).instructions.substitute(values)

    def join_instructions(self) -> str:
        """What is asked besides the task to join the answers for the parts of its files."""
        return self.prompt(template.JOIN).instructions.substitute()

    def _schema_of_role(self, spec: TaskSpec) -> dict[str, Any] | None:
        """The JSON schema that the prompt shows because the task's role, one of the user's own, has it."""
        if spec.prompt or spec.expands:
            return None
        return self.roles.shown_schema(self.roles.named(spec.assigned_role))

    @property
    def _expansion(self) -> type[Expansion]:
        return expansion_form(tuple(self.config.roles))

    def _role_system(self, spec: TaskSpec, values: Mapping[str, str]) -> str:
        """The system message of the task's role."""
        if spec.expands:
            expand = self.prompt(template.EXPAND, "role", "room").instructions.substitute(values)
            more = ", ".join(self.config.roles)
            return f"{expand}\n\nMore roles of this team: {more}." if more else expand
        role = self.roles.named(spec.assigned_role)
        if spec.answer:
            return f"You are the {role.role} of a team with nine roles."
        elsewhere = dict.fromkeys(role.reads, NONE)
        elsewhere.setdefault(template.MEMORY_HOLE, NONE)
        own = self.prompt(role.role, *elsewhere, "focus").instructions
        return own.substitute({**elsewhere, **values, "focus": self._focus})

    def _reader(self, spec: TaskSpec, role: Role[Any]) -> Callable[[FinalMessage], Reading[Outcome]]:
        """A function that parses the answer in the form that the task expects."""
        if spec.expands:
            return lambda message: Reading(self._expand(spec, read(message, self._expansion)))
        if spec.answer is not None:
            schema = spec.answer
            return lambda message: Reading(_typed_outcome(read_typed(message, schema)))
        if spec.prompt:
            return lambda message: Reading(Outcome(read(message, str)))

        def read_in_role(message: FinalMessage) -> Reading[Outcome]:
            reading = role.read(message, {})
            return Reading(outcome_of(spec, role, reading.answer), reading.note, reading.doubt)

        return read_in_role

    def _expand(self, spec: TaskSpec, answer: Expansion) -> Outcome:
        tasks = added_tasks(spec, answer, self.limit, self.roles)
        return Outcome(answer.plan or "\n".join(task.description for task in tasks), adds=tasks)


def _filled(
    prompt: template.Prompt, values: Mapping[str, str], memory: str, taken: Collection[str] = ()
) -> template.Filled:
    """A prompt with values in its holes and with passages from memory, if there are any.

    Args:
        prompt: The prompt.
        values: The values.
        memory: The passages as text.
        taken: The holes that have another meaning.
    """
    prompt, values = prompt.with_passages(values, memory, NONE, taken)
    return prompt.render(values)


def holes_of(spec: TaskSpec) -> tuple[str, ...]:
    """The holes of a task's own prompt: HOLES, and the keys of its metadata."""
    return tuple(dict.fromkeys([*HOLES, *filter(str.isidentifier, spec.metadata)]))


def outcome_of(spec: TaskSpec, role: Role[Any], answer: Any) -> Outcome:
    """The outcome of an answer in the role's own form."""
    if isinstance(answer, str):
        return Outcome(answer)
    if isinstance(answer, Files):
        return Outcome(fenced(answer.written))
    update = role.changes(Answered(answer, spec.task_id, 1, {}))
    if role.form == "files":
        return Outcome(fenced(update[role.writes]))
    if role.form == "data":
        return _typed_outcome(update[role.writes])
    if role.form != "reviews":
        return Outcome(str(update[role.writes]))
    review: Review = update[role.writes][0]
    value = {
        "approved": review["approved"],
        "verdict": "approve" if review["approved"] else "revise",
        "findings": list(review["findings"]),
    }
    return Outcome(review_text(review), value)


def _substitute(spec: TaskSpec, role: Role[Any]) -> Callable[[Reply], Outcome | None] | None:
    """The substitute for an answer that is unreadable twice; None if the role has no substitute."""
    make = role.substitute
    if make is None:
        return None

    def substitute(reply: Reply) -> Outcome | None:
        answer = make(reply)
        return None if answer is None else outcome_of(spec, role, answer)

    return substitute


def _typed_outcome(value: dict[str, Any]) -> Outcome:
    return Outcome(json.dumps(value, indent=2, ensure_ascii=False), value)


def _result_block(record: TaskRecord) -> str:
    """A task's result in the prompts of its dependents."""
    attributes = f'task="{record["task_id"]}" role="{record["role"]}"'
    return f"<result {attributes}>\n{record.get('result', NONE)}\n</result>"


def _text(value: Any) -> str:
    """A value in a hole; null fills it with nothing."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _cure(spec: TaskSpec) -> str:
    """What helps when a task's prompt does not fit."""
    if not spec.files:
        return "ask for less"
    if spec.split is None:
        return "split the files: --split (in a task file split: auto)"
    return "split the files into smaller parts: --split TOKENS (in a task file split: TOKENS)"


def _has_documents(files: list[str]) -> bool:
    if not files:
        return False
    from swarm_graph.inputs.read_document import is_document_file

    return any(map(is_document_file, files))


def prompt_names(spec: TaskSpec, *, recalls: bool = True) -> list[str]:
    """The names of the prompts that a task uses.

    Args:
        spec: The task.
        recalls: Whether its role recalls from memory.
    """
    names = [template.TASK, template.REPAIR, *([template.RECALL] if recalls else [])]
    if spec.expands or spec.prompt:
        names.append(spec.prompt or template.EXPAND)
    elif not spec.answer:
        names += [
            str(spec.assigned_role),
            role_source(spec.assigned_role),
            *([template.FOCUS + FOCUS] if spec.assigned_role == "reviewer" else []),
        ]
    names += [template.CITE] if _has_documents(spec.files) else []
    names += [template.PART, template.JOIN] if spec.split else []
    return [*names, template.TYPED] if spec.answer else names


def check_tasks(specs: Mapping[str, TaskSpec], bindings: Bindings, *, supplied: bool) -> None:
    """Check the models, prompts and files that tasks name, before anything runs.

    Args:
        specs: The tasks by id.
        bindings: Their configuration.
        supplied: Whether the caller supplies the models, so that the configured ones are not needed.

    Raises:
        ConfigError: A task has no usable model or prompt.
        InputError: A file is missing.
    """
    prompts = TaskPrompts(bindings, "", TaskLimit(bindings.config.workflow.max_tasks, set()))
    checked: set[tuple[Any, ...]] = set()
    for spec in specs.values():
        try:
            if not supplied and (key := (spec.assigned_role, spec.model)) not in checked:
                checked.add(key)
                check_model(bindings.config.model_for(*key))
            if spec.prompt:
                prompts.prompt(spec.prompt, *holes_of(spec))
        except ConfigError as error:
            raise ConfigError(f"task '{spec.task_id}': {error}") from error
        _check_files(spec)


def _check_files(spec: TaskSpec) -> None:
    try:
        missing = [path for path in spec.files if not Path(path).is_file()]
    except OSError as error:
        raise InputError(
            f"task '{spec.task_id}': cannot read {error.filename!r}: {error.strerror}"
        ) from error
    if missing:
        raise InputError(f"task '{spec.task_id}': there is no file {missing[0]!r}")
