"""The end of a session as a person reads it in the terminal."""

from __future__ import annotations

import shlex
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING

from swarm_graph import evidence
from swarm_graph.answers import fenced
from swarm_graph.artifacts import plain_text, to_json
from swarm_graph.pauses import FILES, Pause
from swarm_graph.role import finding_line

if TYPE_CHECKING:
    from swarm_graph.coordinator import SwarmCoordinator
    from swarm_graph.state import Task

SIMULATED = "SIMULATED: no model was asked; every answer in this session is scripted or invented."
SHOWN_FINDINGS = 20


def session_text(coordinator: SwarmCoordinator, program: str) -> str:
    """What came out, where the files are, what is still open, what to type next."""
    lines = [SIMULATED, ""] if coordinator.config.is_simulated else []
    pauses = [line for pause in coordinator.pauses for line in ("", pause_text(pause), "")]
    lines += [
        outcome(coordinator),
        *_tests(coordinator),
        *pauses,
        *_findings(coordinator),
        *_files(coordinator),
        *_figures(coordinator),
    ]
    lines += _next(coordinator, program)
    return plain_text("\n".join(lines) + "\n")


def outcome(coordinator: SwarmCoordinator) -> str:
    """One line: session, workflow, how it ended."""
    state = coordinator.state
    last = 1 if coordinator.workflow == "review_only" else coordinator.config.workflow.max_iterations
    rounds = f"round {max(state.get('iteration', 0), 1)} of {last}"
    tested = evidence.latest(state)
    alone = " by the reviewers alone" if tested and tested["outcome"] == "not_run" else ""
    how = {
        "complete": f"approved in {rounds}{alone}"
        if state.get("approved")
        else f"complete, NOT approved after {rounds}",
        "failed": f"failed in {rounds}; finished work is kept",
        "paused": f"waiting for a person {', '.join(pause.place for pause in coordinator.pauses)}, {rounds}",
    }.get(state["phase"], state["phase"])
    return f"Session {coordinator.session_id} ({coordinator.workflow}): {how}"


def pause_text(pause: Pause) -> str:
    """What a person decides about."""
    if not pause.edits:
        return f"Waiting {pause.place}: approve it, or reject it with a remark."
    value = pause.value
    text = fenced(value) if pause.edits in FILES and value else value
    shown = text if isinstance(text, str) else to_json(text).rstrip()
    return f"Waiting {pause.place}; its {pause.edits}:\n{indent(shown or '(none)', '  ')}"


def failures_text(tasks: list[Task]) -> str:
    """Why tasks failed; nodes that failed for the same reason are named together."""
    nodes: dict[str, list[str]] = {}
    for task in tasks:
        if task.error:
            node, _, reason = task.error.partition(": ")
            nodes.setdefault(reason, []).append(node)
    return "; ".join(f"{', '.join(names)}: {reason}" for reason, names in nodes.items())


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
    return [f"Files in {shown}:", *(f"  {path}" for path in coordinator.files.files())]


def _figures(coordinator: SwarmCoordinator) -> list[str]:
    agents = coordinator.get_metrics_summary()["agents"].values()
    calls = sum(agent["total_calls"] for agent in agents)
    sent, received = (sum(agent[key] for agent in agents) for key in ("input_tokens", "output_tokens"))
    estimated = " (estimated)" if coordinator.config.is_simulated else ""
    return [f"{calls} calls, {sent} tokens in, {received} tokens out{estimated}"]


def _next(coordinator: SwarmCoordinator, program: str) -> list[str]:
    if not coordinator.config.is_simulated or coordinator.state["phase"] != "complete":
        return []
    request = shlex.quote(coordinator.state["request"].strip().splitlines()[0])
    return [
        "",
        "Next, on a model server of your own (writes config.json for the servers that it finds):",
        f"  {program} init && {program} run --workflow {coordinator.workflow} {request}",
    ]
