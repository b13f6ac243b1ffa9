"""What a task graph would do, without asking anybody: order, critical path, calls, tokens, and a drawing."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter

from swarm_graph.config import SwarmConfig
from swarm_graph.errors import ConfigError
from swarm_graph.roles.bindings import Bindings
from swarm_graph.tasks.affinity import Job
from swarm_graph.tasks.dependencies import waits_for
from swarm_graph.tasks.expansion import TaskLimit
from swarm_graph.tasks.prompting import TaskPrompts
from swarm_graph.tasks.scheduler import Scheduler
from swarm_graph.tasks.spec import TaskSpec
from swarm_graph.text import format_count

SHOWN = 30
DRAWN = 60
CHARACTERS_PER_TOKEN = 4


@dataclass(frozen=True)
class Plan:
    """`order`: as the tasks would begin one at a time. `critical_path`: the longest row of tasks.

    `input_tokens`: of the prompts as known now, at four characters a token; the results of other tasks come
    on top. `output_tokens`: no more than this; None where a task's model has no limit. `calls` by model.
    """

    order: list[str]
    critical_path: list[str]
    calls: dict[str, int]
    input_tokens: int
    output_tokens: int | None
    expanding: int


def plan(graph: Mapping[str, TaskSpec], config: SwarmConfig, request: str = "") -> Plan:
    """The plan of a checked graph."""
    prompting = TaskPrompts(Bindings(config), request, TaskLimit(config.workflow.max_tasks, set(graph)))
    prompts = (prompting.messages(spec, {}) for spec in graph.values())
    characters = sum(len(message.text) for messages in prompts for message in messages)
    limits = [
        config.parameters_for(spec.assigned_role, spec.parameters).max_tokens for spec in graph.values()
    ]
    return Plan(
        order=_order(graph, config),
        critical_path=critical_path(graph),
        calls=dict(Counter(_model(spec, config)[1] or "(no model)" for spec in graph.values())),
        input_tokens=characters // CHARACTERS_PER_TOKEN,
        output_tokens=None if None in limits else sum(limit for limit in limits if limit),
        expanding=sum(spec.expands for spec in graph.values()),
    )


def critical_path(graph: Mapping[str, TaskSpec]) -> list[str]:
    """The longest row of tasks that wait for each other."""
    longest: dict[str, int] = {}
    before: dict[str, str] = {}
    for name in TopologicalSorter({name: waits_for(spec) for name, spec in graph.items()}).static_order():
        needs = waits_for(graph[name])
        longest[name] = 1 + max((longest[need] for need in needs), default=0)
        if needs:
            before[name] = max(needs, key=longest.__getitem__)
    path = [max(graph, key=longest.__getitem__)]
    while path[-1] in before:
        path.append(before[path[-1]])
    return path[::-1]


def _order(graph: Mapping[str, TaskSpec], config: SwarmConfig) -> list[str]:
    order: list[str] = []

    async def begin(name: str) -> Iterable[Job]:
        order.append(name)
        return []

    jobs = [
        Job(name, (number,), spec.priority, tuple(waits_for(spec)), *_model(spec, config))
        for number, (name, spec) in enumerate(graph.items())
    ]
    asyncio.run(Scheduler(1, lambda _lane: 1, begin, lambda _name: True).run(jobs))
    return order


def _model(spec: TaskSpec, config: SwarmConfig) -> tuple[str, str]:
    try:
        entry = config.model_for(spec.assigned_role, spec.model)
    except ConfigError:
        return "", ""
    return entry.server, entry.model


def plan_text(made: Plan, graph: Mapping[str, TaskSpec], cap: int) -> str:
    """A plan for people."""
    lines = [f"{format_count(len(graph), 'task')}, at most {cap} at once. Nothing was asked.", "", "Order:"]
    for number, name in enumerate(made.order[:SHOWN], 1):
        spec = graph[name]
        after = f" after {', '.join(needs)}" if (needs := waits_for(spec)) else ""
        when = f" when {spec.when}" if spec.when else ""
        adds = ", adds tasks" if spec.expands else ""
        lines.append(
            f"  {number}. {name} ({spec.assigned_role}, priority {spec.priority}{adds}){after}{when}"
        )
    lines += [f"  … and {len(graph) - SHOWN} more"] if len(graph) > SHOWN else []
    path = made.critical_path
    shown = [*path[:SHOWN], "…", path[-1]] if len(path) > SHOWN + 1 else path
    models = ", ".join(f"{model} {count}" for model, count in made.calls.items())
    most = "without a limit" if made.output_tokens is None else f"at most {made.output_tokens}"
    lines += [
        "",
        f"Critical path ({len(path)} tasks): {' → '.join(shown)}",
        f"Calls: {len(graph)} ({models}); an answer that cannot be read costs one more",
        f"Tokens in: about {made.input_tokens}, and the results of the tasks before; tokens out: {most}",
    ]
    if made.expanding:
        lines.append(f"{made.expanding} of the tasks add others, which are not counted here")
    return "\n".join(lines) + "\n"


def mermaid(graph: Mapping[str, TaskSpec]) -> str:
    """A task graph as a Mermaid flowchart."""
    ids = {name: f"t{number}" for number, name in enumerate(graph)}
    lines = ["graph TD;"]
    lines += [f'\t{ids[name]}["{name}<br/>{spec.assigned_role}"];' for name, spec in graph.items()]
    for name, spec in graph.items():
        label = f'|"{spec.when.replace(chr(34), chr(39))}"|' if spec.when else ""
        lines += [f"\t{ids[need]} -->{label} {ids[name]};" for need in waits_for(spec)]
    return "\n".join(lines) + "\n"
