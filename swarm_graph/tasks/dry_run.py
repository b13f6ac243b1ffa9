"""A dry run of a task graph, without a model call: order, critical path, calls, tokens, and a drawing."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter

from swarm_graph.config import SwarmConfig
from swarm_graph.errors import ConfigError, InputError
from swarm_graph.roles.bindings import Bindings
from swarm_graph.tasks.affinity import Job
from swarm_graph.tasks.dependencies import waits_for
from swarm_graph.tasks.expansion import TaskLimit
from swarm_graph.tasks.prompting import TaskPrompts
from swarm_graph.tasks.scheduler import Scheduler
from swarm_graph.tasks.spec import TaskSpec
from swarm_graph.text import first_names, format_count

MAX_LISTED_TASKS = 30
MAX_DRAWN_TASKS = 60
CHARACTERS_PER_TOKEN = 4
"""A usual figure for English text and code; no tokenizer of the model is at hand."""


@dataclass(frozen=True)
class DryRun:
    """What a task graph would do. The names are keys of `--dry-run --json`.

    Attributes:
        order: The task ids in the order of their starts if one task runs at a time.
        critical_path: The ids of the longest chain of dependencies.
        calls: The number of calls by model.
        input_tokens: Estimated for all prompts; the results of other tasks come on top.
        output_tokens: The upper limit; None where a task's model has none.
        expanding: How many tasks add tasks.
        failing: What is wrong with the tasks that would fail at once, such as a file that is no text.
    """

    order: list[str]
    critical_path: list[str]
    calls: dict[str, int]
    input_tokens: int
    output_tokens: int | None
    expanding: int
    failing: list[str]


def dry_run(graph: Mapping[str, TaskSpec], config: SwarmConfig, request: str = "") -> DryRun:
    """The dry run of a checked graph.

    Args:
        graph: The tasks by id, as `checked_graph` returns them.
        config: The configuration.
        request: What all tasks are for.

    Raises:
        ConfigError: A prompt cannot be used.
    """
    prompting = TaskPrompts(Bindings(config), request, TaskLimit(config.workflow.max_tasks, set(graph)))
    characters, failing = 0, []
    for spec in graph.values():
        try:
            characters += sum(len(message.text) for message in prompting.messages(spec, {}))
        except InputError as error:
            failing.append(str(error))
    limits = [
        config.parameters_for(spec.assigned_role, spec.parameters).max_tokens for spec in graph.values()
    ]
    return DryRun(
        order=_order(graph, config),
        critical_path=critical_path(graph),
        calls=dict(Counter(_server_and_model(spec, config)[1] or "(no model)" for spec in graph.values())),
        input_tokens=characters // CHARACTERS_PER_TOKEN,
        output_tokens=None if None in limits else sum(limit for limit in limits if limit),
        expanding=sum(spec.expands for spec in graph.values()),
        failing=failing,
    )


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
        _order_line(number, graph[name]) for number, name in enumerate(result.order[:MAX_LISTED_TASKS], 1)
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
        f"Calls: {len(graph)} ({models}), and one more for each answer that cannot be parsed",
        f"Tokens: about {result.input_tokens} in, plus the results of other tasks; out: {output}",
    ]
    if result.expanding:
        lines.append(f"{result.expanding} of the tasks add tasks, which are not counted here")
    if result.failing:
        lines.append(f"{format_count(len(result.failing), 'task')} would fail: {first_names(result.failing)}")
    return "\n".join(lines) + "\n"


def _order_line(number: int, spec: TaskSpec) -> str:
    after = f" after {', '.join(needs)}" if (needs := waits_for(spec)) else ""
    when = f" when {spec.when}" if spec.when else ""
    adds = ", adds tasks" if spec.expands else ""
    about = f"{spec.assigned_role}, priority {spec.priority}{adds}"
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
