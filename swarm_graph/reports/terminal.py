"""The end of a session as a person reads it in the terminal."""

from __future__ import annotations

import shlex
from collections import Counter
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING

from swarm_graph.config import config_path
from swarm_graph.roles.file_blocks import fenced
from swarm_graph.roles.findings import finding_line
from swarm_graph.sandbox import evidence
from swarm_graph.state import AgentRole, TaskStatus
from swarm_graph.tasks.results import FOLDER
from swarm_graph.text import counted, money, plain_text, to_json
from swarm_graph.workflows.pauses import FILES, Pause

if TYPE_CHECKING:
    from swarm_graph.sessions.coordinator import SwarmCoordinator
    from swarm_graph.state import SwarmState

SIMULATED = "SIMULATED: no model was asked; every answer in this session is scripted or invented."
SHOWN_FINDINGS = 20
SHOWN_FILES = 30
SHOWN_NAMES = 3
TOLD = ("completed", "failed", "skipped", "running", "pending")


def session_text(coordinator: SwarmCoordinator, program: str) -> str:
    """What came out, where the files are, what is still open, what to type next."""
    lines = _simulated(coordinator)
    pauses = [line for pause in coordinator.pauses for line in ("", pause_text(pause), "")]
    lines += [
        outcome(coordinator),
        *_tests(coordinator),
        *pauses,
        *_not_done(coordinator),
        *_findings(coordinator),
        *_files(coordinator),
        *_figures(coordinator),
    ]
    lines += _next(coordinator, program)
    return plain_text("\n".join(lines) + "\n")


def _simulated(coordinator: SwarmCoordinator) -> list[str]:
    """Says that answers were invented, and whose where not all were."""
    if coordinator.config.is_simulated:
        return [SIMULATED, ""]
    roles = [] if coordinator.context else map(AgentRole, coordinator.get_metrics_summary()["agents"])
    invented = [role for role in roles if coordinator.config.model_for(role).api_type == "simulated"]
    if not invented:
        return []
    return [f"PARTLY SIMULATED: what {', '.join(invented)} answered is scripted or invented.", ""]


def outcome(coordinator: SwarmCoordinator) -> str:
    """One line: session, workflow, how it ended."""
    state = coordinator.state
    if coordinator.workflow == "custom":
        return f"Session {coordinator.session_id} (custom): {_custom_outcome(coordinator)}"
    rounds = f"round {max(state.get('iteration', 0), 1)} of {coordinator.last_round}"
    tested = evidence.latest(state)
    alone = " by the reviewers alone" if tested and tested["outcome"] == "not_run" else ""
    how = {
        "complete": f"approved in {rounds}{alone}"
        if state.get("approved")
        else f"complete, NOT approved after {rounds}",
        "not_converged": f"NOT approved, in circles: {state.get('circling', '')}; {_kept_attempt(state)}",
        "failed": f"failed in {rounds}; finished work is kept",
        "over_budget": f"over its budget in {rounds}; finished work is kept",
        "paused": f"waiting for a person {', '.join(pause.place for pause in coordinator.pauses)}, {rounds}",
    }.get(state["phase"], state["phase"])
    return f"Session {coordinator.session_id} ({coordinator.workflow}): {how}"


def _kept_attempt(state: SwarmState) -> str:
    """Which attempt of a session that went in circles is kept, in words."""
    best = state.get("best")
    return f"the best attempt is kept, that of round {best['iteration']}" if best else "the last one is kept"


def _custom_outcome(coordinator: SwarmCoordinator) -> str:
    """How many tasks came to what, in words."""
    tasks = coordinator.state.get("tasks", {}).values()
    counts = Counter(task["status"].lower() for task in tasks)
    told = ", ".join(f"{counts[status]} {status}" for status in TOLD if counts[status])
    kept = "; finished work is kept" if coordinator.state["phase"] != "complete" else ""
    return f"{coordinator.state['phase']}: {counted(len(tasks), 'task')}, {told}{kept}"


def _not_done(coordinator: SwarmCoordinator) -> list[str]:
    """The tasks of a custom graph that failed or were skipped, and why; nothing for other workflows."""
    if coordinator.workflow != "custom":
        return []
    reasons: dict[str, list[str]] = {}
    for task in coordinator.completed_tasks:
        if task.status != TaskStatus.COMPLETED:
            reason = (task.error or "").removeprefix(f"{task.task_id}: ")
            reasons.setdefault(f"{task.status.lower()}: {reason}", []).append(task.task_id)
    shown = [f"  {some(names)} {reason}" for reason, names in list(reasons.items())[:SHOWN_FINDINGS]]
    return [*shown, *([f"  … and {len(reasons) - len(shown)} more"] if len(reasons) > len(shown) else [])]


def some(names: list[str]) -> str:
    """The first few names, and how many more there are."""
    return ", ".join(names[:SHOWN_NAMES]) + (
        f" and {more} more" if (more := len(names) - SHOWN_NAMES) > 0 else ""
    )


def pause_text(pause: Pause) -> str:
    """What a person decides about."""
    if not pause.edits:
        return f"Waiting {pause.place}: approve it, or reject it with a remark."
    value = pause.value
    text = fenced(value) if pause.edits in FILES and value else value
    shown = text if isinstance(text, str) else to_json(text).rstrip()
    return f"Waiting {pause.place}; its {pause.edits}:\n{indent(shown or '(none)', '  ')}"


def failures_text(coordinator: SwarmCoordinator) -> str:
    """Why tasks failed; nodes that failed for the same reason are named together."""
    tasks = coordinator.completed_tasks
    nodes: dict[str, list[str]] = {}
    for task in tasks:
        if task.error and task.status == TaskStatus.FAILED:
            name = task.task_id if coordinator.workflow == "custom" else task.metadata["node"]
            nodes.setdefault(task.error.removeprefix(f"{name}: "), []).append(name)
    shown = [f"{some(names)}: {reason}" for reason, names in list(nodes.items())[:SHOWN_NAMES]]
    return "; ".join([*shown, *(["…"] if len(nodes) > len(shown) else [])])


def _tests(coordinator: SwarmCoordinator) -> list[str]:
    """What the tests showed in each round: an approval cites their exit code."""
    return [
        f"Tests in round {review['iteration']}: {evidence.line(review['evidence'])}"
        for review in coordinator.state.get("reviews", [])
        if "evidence" in review
    ]


def _findings(coordinator: SwarmCoordinator) -> list[str]:
    findings = coordinator.state.get("findings", [])
    if not findings:
        return []
    shown = [
        f"  {number}. {finding_line(finding)}" for number, finding in enumerate(findings[:SHOWN_FINDINGS], 1)
    ]
    more = (
        [f"  … and {len(findings) - SHOWN_FINDINGS} more in review_results.txt"]
        if len(findings) > len(shown)
        else []
    )
    return [f"Open findings ({len(findings)}):", *shown, *more]


def _files(coordinator: SwarmCoordinator) -> list[str]:
    if coordinator.files is None:
        return []
    folder = coordinator.files.folder
    shown = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
    files = coordinator.files.files()
    results = [path for path in files if path.startswith(f"{FOLDER}/")]
    if len(results) > SHOWN_FILES:
        files = [path for path in files if path not in set(results)] + [f"{FOLDER}/ ({len(results)} files)"]
    return [f"Files in {shown}:", *(f"  {path}" for path in files)]


def _figures(coordinator: SwarmCoordinator) -> list[str]:
    agents = coordinator.get_metrics_summary()["agents"].values()
    calls = sum(agent["total_calls"] for agent in agents)
    sent, received = (sum(agent[key] for agent in agents) for key in ("input_tokens", "output_tokens"))
    guessed, answered = (
        sum(agent[key] for agent in agents) for key in ("estimated_calls", "successful_calls")
    )
    told = f" ({counted(guessed, 'call')} estimated)" if guessed else ""
    if coordinator.config.is_simulated or guessed == answered > 0:
        told = " (estimated)"
    count = coordinator.get_metrics_summary()["model_swaps"]
    swapped = f", {counted(count, 'model swap')}" if count else ""
    cost = sum(agent["cost"] for agent in agents)
    paid = f", cost {money(cost)}" if cost else ""
    return [f"{counted(calls, 'call')}, {sent} tokens in, {received} tokens out{told}{paid}{swapped}"]


def _next(coordinator: SwarmCoordinator, program: str) -> list[str]:
    done = coordinator.state["phase"] == "complete" and coordinator.workflow != "custom"
    if not coordinator.config.is_simulated or not done:
        return []
    if file := coordinator.config_file or config_path(None):
        return ["", f"Next: name a model server of your own in {file}; `{program} doctor` checks it."]
    request = coordinator.state["request"].strip()
    if "\n" in request or coordinator.config.prompts_dir:
        how = f"`{program} init` writes config.json for the servers that it finds"
        return ["", f"Next, on a model server of your own: {how}; then run it without --simulate."]
    return [
        "",
        "Next, on a model server of your own (writes config.json for the servers that it finds):",
        f"  {program} init && {program} run --workflow {coordinator.workflow} {shlex.quote(request)}",
    ]
