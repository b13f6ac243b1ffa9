"""A dry run of a task graph, without a model call: order, critical path, calls, tokens, and a drawing."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import NamedTuple

from langchain_core.messages import BaseMessage

from swarm_graph.config import SwarmConfig
from swarm_graph.errors import ConfigError, InputError
from swarm_graph.models.pool import PromptSize
from swarm_graph.roles.bindings import Bindings
from swarm_graph.roles.question import Question
from swarm_graph.settings import EMBEDDED
from swarm_graph.tasks.affinity import Job
from swarm_graph.tasks.dependencies import waits_for
from swarm_graph.tasks.expansion import TaskLimit
from swarm_graph.tasks.file_texts import NO_FILES
from swarm_graph.tasks.part_questions import PartQuestions
from swarm_graph.tasks.prompting import Outcome, TaskPrompts
from swarm_graph.tasks.scheduler import Scheduler
from swarm_graph.tasks.spec import TaskSpec
from swarm_graph.text import first_names, format_count

MAX_LISTED_TASKS = 30
MAX_DRAWN_TASKS = 60
CHARACTERS_PER_TOKEN = 4
"""A usual figure for English text and code; no tokenizer of the model is at hand."""
DOCUMENTS_AT_ONCE = 4
"""Documents that are read at once, each by a process of its own."""


@dataclass(frozen=True)
class DryRun:
    """What a task graph would do. The names are keys of `--dry-run --json`.

    Attributes:
        order: The task ids in the order of their starts if one task runs at a time.
        critical_path: The ids of the longest chain of dependencies.
        calls: The number of calls by model.
        parts: The number of parts by task, for tasks whose files are split.
        input_tokens: Estimated for all prompts; the results of other tasks come on top.
        output_tokens: The upper limit; None where a task's model has none.
        expanding: How many tasks add tasks.
        failing: What is wrong with the tasks that would fail at once, such as a broken document.
        notes: What was assumed or left out when their files were read, such as an encoding, and what the
            numbers leave out.
    """

    order: list[str]
    critical_path: list[str]
    calls: dict[str, int]
    parts: dict[str, int]
    input_tokens: int
    output_tokens: int | None
    expanding: int
    failing: list[str]
    notes: list[str]


def dry_run(graph: Mapping[str, TaskSpec], config: SwarmConfig, request: str = "") -> DryRun:
    """The dry run of a checked graph.

    Args:
        graph: The tasks by id, as `checked_graph` returns them.
        config: The configuration.
        request: What all tasks are for.

    Raises:
        ConfigError: A prompt cannot be used.
    """
    prompts = asyncio.run(_prompts(graph, Bindings(config), request))
    undecided = [name for name, asked in prompts.items() if asked.undecided]
    parts = {name: len(asked.parts) for name, asked in prompts.items() if asked.parts}
    calls: Counter[str] = Counter()
    for name, spec in graph.items():
        calls[_server_and_model(spec, config)[1] or "(no model)"] += parts.get(name, 0) + 1
    limits = [
        config.parameters_for(spec.assigned_role, spec.parameters).max_tokens
        for name, spec in graph.items()
        for _ in range(parts.get(name, 0) + 1)
    ]
    return DryRun(
        order=_order(graph, config),
        critical_path=critical_path(graph),
        calls=dict(calls),
        parts=parts,
        input_tokens=sum(asked.characters for asked in prompts.values()) // CHARACTERS_PER_TOKEN,
        output_tokens=None if None in limits else sum(limit for limit in limits if limit),
        expanding=sum(spec.expands for spec in graph.values()),
        failing=[asked.failure for asked in prompts.values() if asked.failure],
        notes=[
            *_undecided_note(undecided),
            *_tools_note(graph, config),
            *(note for asked in prompts.values() for note in asked.notes),
        ],
    )


class _Prompts(NamedTuple):
    """What the prompts of a task come to."""

    characters: int = 0
    parts: Sequence[str] = ()
    """The places of the parts of its files, if they are split."""
    failure: str = ""
    notes: Sequence[str] = ()
    undecided: bool = False
    """Whether its files are split is known only when its model has been asked."""


def _undecided_note(names: Sequence[str]) -> list[str]:
    if not names:
        return []
    return [
        f"{format_count(len(names), 'task')} may be split (split: auto); into how many parts is not known "
        f"before the model's server says its context: {first_names(names)}"
    ]


def _tools_note(graph: Mapping[str, TaskSpec], config: SwarmConfig) -> list[str]:
    names = [name for name, spec in graph.items() if config.tools.get(spec.assigned_role)]
    if not names:
        return []
    return [
        f"{format_count(len(names), 'task')} may call tools ({config.tool_limits.calls} calls each at most); "
        f"the model is asked again after each, which is not counted here: {first_names(names)}"
    ]


async def _prompts(graph: Mapping[str, TaskSpec], bindings: Bindings, request: str) -> dict[str, _Prompts]:
    """The prompts of all tasks; documents are read several at a time."""
    prompts = TaskPrompts(bindings, request, TaskLimit(bindings.config.workflow.max_tasks, set(graph)))
    at_once = asyncio.Semaphore(DOCUMENTS_AT_ONCE)

    async def of_task(spec: TaskSpec) -> _Prompts:
        try:
            async with at_once:
                return await _prompts_of(spec, prompts, bindings)
        except InputError as error:
            return _Prompts(failure=str(error))

    found = await asyncio.gather(*map(of_task, graph.values()))
    return dict(zip(graph, found, strict=True))


async def _prompts_of(spec: TaskSpec, prompts: TaskPrompts, bindings: Bindings) -> _Prompts:
    files = await asyncio.to_thread(prompts.read_files, spec) if spec.files else NO_FILES

    async def size_of(question: Question[Outcome]) -> PromptSize | None:
        try:
            entry = question.entry()
        except ConfigError:
            return None
        if entry.api_type == EMBEDDED:  # its server would have to be started
            return None
        return await bindings.models.prompt_size(entry, question.messages, question.parameters)

    notes = [f"{spec.task_id}: {note}" for note in files.notes]
    questions = PartQuestions(prompts, spec, {}, files)
    if (limit := await questions.limit(size_of)) is None:
        undecided = await questions.is_undecided(size_of)
        return _Prompts(_characters(prompts.messages(spec, {}, files)), notes=notes, undecided=undecided)
    parts = questions.parts(limit)
    characters = sum(_characters(part.question.messages) for part in parts)
    return _Prompts(characters, [part.place for part in parts], notes=notes)


def _characters(messages: Iterable[BaseMessage]) -> int:
    return sum(len(message.text) for message in messages)


def critical_path(graph: Mapping[str, TaskSpec]) -> list[str]:
    """The ids of the longest chain of tasks that wait for each other."""
    lengths: dict[str, int] = {}
    previous: dict[str, str] = {}
    for name in TopologicalSorter({name: waits_for(spec) for name, spec in graph.items()}).static_order():
        needs = waits_for(graph[name])
        lengths[name] = 1 + max((lengths[need] for need in needs), default=0)
        if needs:
            previous[name] = max(needs, key=lengths.__getitem__)
    path = [max(graph, key=lengths.__getitem__)]
    while path[-1] in previous:
        path.append(previous[path[-1]])
    return path[::-1]


def _order(graph: Mapping[str, TaskSpec], config: SwarmConfig) -> list[str]:
    """The order in which the real scheduler starts the tasks, one at a time."""
    order: list[str] = []

    async def start(name: str) -> Iterable[Job]:
        order.append(name)
        return []

    jobs = [
        Job(name, (number,), spec.priority, tuple(waits_for(spec)), *_server_and_model(spec, config))
        for number, (name, spec) in enumerate(graph.items())
    ]
    asyncio.run(Scheduler(1, lambda _server: 1, start, lambda _task: True).run(jobs))
    return order


def _server_and_model(spec: TaskSpec, config: SwarmConfig) -> tuple[str, str]:
    try:
        entry = config.model_for(spec.assigned_role, spec.model)
    except ConfigError:
        return "", ""
    return entry.server, entry.model


def dry_run_text(result: DryRun, graph: Mapping[str, TaskSpec], cap: int) -> str:
    """A dry run as text for people.

    Args:
        result: The dry run.
        graph: Its tasks by id.
        cap: How many tasks run at once (`workflow.parallel`).
    """
    tasks = format_count(len(graph), "task")
    lines = [f"{tasks}, at most {cap} at once. No model was asked.", "", "Order:"]
    lines += [
        _order_line(number, graph[name], result.parts.get(name, 0))
        for number, name in enumerate(result.order[:MAX_LISTED_TASKS], 1)
    ]
    if len(graph) > MAX_LISTED_TASKS:
        lines.append(f"  … and {len(graph) - MAX_LISTED_TASKS} more")
    path = result.critical_path
    if len(path) > MAX_LISTED_TASKS + 1:
        path = [*path[:MAX_LISTED_TASKS], "…", path[-1]]
    models = ", ".join(f"{model} {count}" for model, count in result.calls.items())
    output = "no limit" if result.output_tokens is None else f"at most {result.output_tokens}"
    lines += [
        "",
        f"Critical path ({len(result.critical_path)} tasks): {' → '.join(path)}",
        f"Calls: {sum(result.calls.values())} ({models}), and one more for each answer that cannot be parsed",
        f"Tokens: about {result.input_tokens} in, plus the results of other tasks; out: {output}",
    ]
    if result.parts:
        split = format_count(len(result.parts), "task")
        number = format_count(sum(result.parts.values()), "part")
        lines.append(f"{split} with {number}, and at most a call each to join their answers")
    if result.expanding:
        lines.append(f"{result.expanding} of the tasks add tasks, which are not counted here")
    if result.failing:
        lines.append(f"{format_count(len(result.failing), 'task')} would fail: {first_names(result.failing)}")
    lines += [f"note: {note}" for note in result.notes[:MAX_LISTED_TASKS]]
    if (more := len(result.notes) - MAX_LISTED_TASKS) > 0:
        lines.append(f"note: … and {more} more notes")
    return "\n".join(lines) + "\n"


def _order_line(number: int, spec: TaskSpec, parts: int) -> str:
    after = f" after {', '.join(needs)}" if (needs := waits_for(spec)) else ""
    when = f" when {spec.when}" if spec.when else ""
    adds = ", adds tasks" if spec.expands else ""
    split = f", {format_count(parts, 'part')}" if parts else ""
    about = f"{spec.assigned_role}, priority {spec.priority}{adds}{split}"
    return f"  {number}. {spec.task_id} ({about}){after}{when}"


def task_mermaid(graph: Mapping[str, TaskSpec]) -> str:
    """A task graph as a Mermaid flowchart."""
    ids = {name: f"t{number}" for number, name in enumerate(graph)}  # task ids may hold dots and be keywords
    lines = ["graph TD;"]
    lines += [f'\t{ids[name]}["{name}<br/>{spec.assigned_role}"];' for name, spec in graph.items()]
    for name, spec in graph.items():
        label = f'|"{spec.when.replace(chr(34), chr(39))}"|' if spec.when else ""
        lines += [f"\t{ids[need]} -->{label} {ids[name]};" for need in waits_for(spec)]
    return "\n".join(lines) + "\n"
