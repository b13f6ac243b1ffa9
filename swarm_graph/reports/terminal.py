"""The summary of a session that the terminal prints when a run ends, and the text of a pause."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING, Any, cast

from swarm_graph.config import config_path
from swarm_graph.database_place import database_variable
from swarm_graph.reports.chosen_models import chosen_lines, drawn_line, models_of
from swarm_graph.reports.recalled_lines import recalled_in_short
from swarm_graph.roles.answered_document import DOCUMENT_FILE
from swarm_graph.roles.approval import TOOL
from swarm_graph.roles.file_blocks import fenced
from swarm_graph.roles.findings import finding_line
from swarm_graph.roles.registry import Roles
from swarm_graph.sandbox.evidence import CHECK_DOCUMENT, evidence_line, latest_evidence
from swarm_graph.sessions.artifacts import not_shown
from swarm_graph.sessions.candidates import candidates_line
from swarm_graph.sessions.change_summary import PATCH_FILE, SHORT_ID, change_summary
from swarm_graph.sessions.ids import open_catalogue
from swarm_graph.sessions.metrics import total_evaluated
from swarm_graph.state import DATA_DIR, DOCUMENT, Task, TaskStatus
from swarm_graph.tasks.results import RESULTS_DIR
from swarm_graph.text import (
    MAX_NAMES,
    first_names,
    format_cost,
    format_count,
    printable,
    shortened,
    to_json,
    visible,
    without_loops,
)
from swarm_graph.workflows.pauses import Pause

if TYPE_CHECKING:
    from swarm_graph.sessions.coordinator import SwarmCoordinator
    from swarm_graph.sessions.output import Output
    from swarm_graph.state import SwarmState

SIMULATED_TEXT = "SIMULATED: no model was asked; every answer in this session is scripted or invented."
"""`sessions/summary_html.py` has the same notice as HTML."""
MAX_FINDINGS, MAX_FINDING_CHARACTERS = 20, 400
"""Findings that are listed, and the length of a finding's problem and suggestion."""
MAX_REASON_CHARACTERS = 400
"""Of the reason of a failure."""
MAX_FILES = 20
"""Files that are listed; more are counted."""
STATUS_ORDER = ("completed", "failed", "skipped", "running", "pending")


def session_text(coordinator: SwarmCoordinator, program: str) -> str:
    """The summary: document, outcome, tests, pauses, findings, what was recalled, files, figures, next step.

    Args:
        coordinator: It has begun or resumed a session.
        program: The name of the command, for the next step.
    """
    lines = _simulation_notice(coordinator)
    roles, is_document = coordinator.roles, coordinator.state.get("kind") == DOCUMENT
    questions = [_question(pause, roles, is_document) for pause in coordinator.pauses]
    pauses = [line for question in questions for line in ("", question, "")]
    lines += [
        *_document_line(coordinator),
        outcome_line(coordinator),
        *[f"Model of {line}" for line in chosen_lines(models_of(coordinator.session_config))],
        *filter(None, [drawn_line(coordinator.drawn_models)]),
        *filter(None, [candidates_line(coordinator.state)]),
        *_test_lines(coordinator),
        *pauses,
        *_unfinished_task_lines(coordinator),
        *_finding_lines(coordinator),
        *_not_shown_lines(coordinator),
        *_change_lines(coordinator, program),
        *recalled_in_short(coordinator.state),
        *_unreadable_lines(coordinator, program),
        *_file_lines(coordinator),
        _figures_line(coordinator),
        *_next_step(coordinator, program),
    ]
    return printable("\n".join(lines) + "\n")


def _simulation_notice(coordinator: SwarmCoordinator) -> list[str]:
    config = coordinator.session_config
    if config.is_simulated:
        return [SIMULATED_TEXT, ""]
    # A model from SwarmContext answers in place of the configured ones.
    roles = [] if coordinator.context else coordinator.get_metrics_summary()["agents"]
    simulated = [role for role in roles if config.model_for(role).api_type == "simulated"]
    if not simulated:
        return []
    return [f"PARTLY SIMULATED: the answers of {', '.join(simulated)} are scripted or invented.", ""]


def outcome_line(coordinator: SwarmCoordinator) -> str:
    """One line: session, workflow, and how it ended."""
    state = cast("SwarmState", coordinator.state)
    if coordinator.workflow == "custom":
        return f"Session {coordinator.session_id} (custom): {_task_outcome(coordinator)}"
    rounds = f"round {max(state.get('iteration', 0), 1)} of {coordinator.last_round}"
    evidence = latest_evidence(state)
    untested = " by the reviewers alone" if evidence and evidence["outcome"] == "not_run" else ""
    no_reviews = "no role has reviewed it" if evidence else "it has no reviews"
    approved, refused = f"approved in {rounds}{untested}", f"complete, NOT approved after {rounds}"
    verdict = approved if state.get("approved") else refused
    outcome = {
        "complete": f"complete; {no_reviews}" if state.get("approved") is None else verdict,
        "not_converged": f"NOT approved, in circles: {state.get('circling', '')}; {_saved_attempt(state)}",
        "failed": f"failed in {rounds}; finished work is kept",
        "over_budget": f"over its budget in {rounds}; finished work is kept",
        "paused": f"waiting for a person {', '.join(pause.place for pause in coordinator.pauses)}, {rounds}",
    }.get(state["phase"], state["phase"])
    return f"Session {coordinator.session_id} ({coordinator.workflow}): {outcome}"


def _saved_attempt(state: SwarmState) -> str:
    best = state.get("best")
    return f"the best attempt, round {best['iteration']}, is kept" if best else "the last attempt is kept"


def _task_outcome(coordinator: SwarmCoordinator) -> str:
    """The phase of a task graph, and its tasks counted by status."""
    tasks = coordinator.state.get("tasks", {}).values()
    counts = Counter(task["status"].lower() for task in tasks)
    by_status = ", ".join(f"{counts[status]} {status}" for status in STATUS_ORDER if counts[status])
    kept = "; finished work is kept" if coordinator.state["phase"] != "complete" else ""
    return f"{coordinator.state['phase']}: {format_count(len(tasks), 'task')}, {by_status}{kept}"


def _document_line(coordinator: SwarmCoordinator) -> list[str]:
    """Where the document lies; nothing if the session makes code, or has written none."""
    if coordinator.files is None or DOCUMENT_FILE not in coordinator.files.files():
        return []
    return [f"The document: {_shown_folder(coordinator.files) / DOCUMENT_FILE}"]


def _test_lines(coordinator: SwarmCoordinator) -> list[str]:
    """The test run of each round, or the checks of its document: an approval rests on them."""
    lines = []
    for review in coordinator.state.get("reviews", []):
        if "evidence" in review:
            is_document = review["node"] == CHECK_DOCUMENT
            name = "Checks" if is_document else "Tests"
            lines.append(f"{name} in round {review['iteration']}: {evidence_line(review['evidence'])}")
            lines += [f"  {review['evidence']['output']}"] if is_document else []
    return lines


def _unfinished_task_lines(coordinator: SwarmCoordinator) -> list[str]:
    """The failed and skipped tasks of a task graph, grouped by reason; empty for other workflows."""
    if coordinator.workflow != "custom":
        return []
    reasons: dict[str, list[str]] = {}
    for task in coordinator.completed_tasks:
        if task.status != TaskStatus.COMPLETED:
            reason = _reason(task.error or "", task.task_id)
            reasons.setdefault(f"{task.status.lower()}: {reason}", []).append(task.task_id)
    lines = [f"  {first_names(names)} {reason}" for reason, names in list(reasons.items())[:MAX_FINDINGS]]
    more = [f"  … and {len(reasons) - len(lines)} more"] if len(reasons) > len(lines) else []
    return [*lines, *more]


def _question(pause: Pause, roles: Roles, is_document: bool) -> str:
    """The question of a pause for a person who answers with a command."""
    alone = f"\n(--only {pause.short_call} answers this call alone)" if pause.call else ""
    return f"{pause_text(pause, roles, is_document)}{alone}"


def pause_text(pause: Pause, roles: Roles, is_document: bool = False) -> str:
    """The question of a pause, with the artifact that a person may edit.

    Args:
        pause: The pause.
        roles: The roles of the session.
        is_document: Whether the session makes a document.
    """
    if pause.when == TOOL:
        return call_text(pause)
    if not pause.edits:
        return f"Waiting {pause.place}: approve it, or reject it with a remark."
    value = pause.value
    text = fenced(value) if pause.edits in roles.keys_of("files") and value else value
    artifact = text if isinstance(text, str) else to_json(text).rstrip()
    what = "document" if is_document and pause.edits == "code" else pause.edits
    return f"Waiting {pause.place}; its {what}:\n{indent(artifact or '(none)', '  ')}"


def call_text(pause: Pause) -> str:
    """The question of a pause about the call of a tool: its arguments, and what its server says of it."""
    value = pause.value
    lines = [f"Waiting {pause.place}; its arguments:"]
    lines += [
        line for name, argument in value["arguments"].items() for line in _argument_lines(name, argument)
    ]
    lines += [] if value["arguments"] else ["  (none)"]
    if value["server"]:
        mark = "marks it as read-only" if value["read_only"] else "does not mark it as read-only"
        lines.append(f"The MCP server {value['server']} {mark}. It says of it:")
    else:
        lines.append("The tool says of itself:")
    said = value["description"].strip() or "(nothing)"
    return "\n".join([*lines, *(f"  | {visible(line)}" for line in said.splitlines())])


def _argument_lines(name: str, argument: Any) -> list[str]:
    """An argument as JSON; text of several lines as a block, so that a person can read it."""
    shown = visible(json.dumps(name, ensure_ascii=False)[1:-1])
    if isinstance(argument, str) and "\n" in argument:
        return [f"  {shown}:", *(f"    | {visible(line)}" for line in argument.split("\n"))]
    first, *others = to_json(argument).rstrip().split("\n")
    return [f"  {shown}: {visible(first)}", *(f"  {visible(line)}" for line in others)]


def _reason(error: str, name: str) -> str:
    """The error of a node or task without its name, loops of a model, and what makes it too long to read."""
    return shortened(without_loops(error.removeprefix(f"{name}: ")), MAX_REASON_CHARACTERS)


def failures_text(coordinator: SwarmCoordinator) -> str:
    """The reasons why nodes or tasks failed, on one line; those with the same reason are named together."""
    nodes: dict[str, list[str]] = {}
    for task in _failed_tasks(coordinator):
        name = _node_of(task, coordinator)
        nodes.setdefault(_reason(task.error or "", name), []).append(name)
    reasons = [f"{first_names(names)}: {reason}" for reason, names in list(nodes.items())[:MAX_NAMES]]
    return "; ".join([*reasons, *(["…"] if len(nodes) > len(reasons) else [])])


def _failed_tasks(coordinator: SwarmCoordinator) -> list[Task]:
    return [task for task in coordinator.completed_tasks if task.error and task.status == TaskStatus.FAILED]


def _node_of(task: Task, coordinator: SwarmCoordinator) -> str:
    return task.task_id if coordinator.workflow == "custom" else str(task.metadata["node"])


def _finding_lines(coordinator: SwarmCoordinator) -> list[str]:
    findings = coordinator.state.get("findings", [])
    if not findings:
        return []
    lines = [
        f"  {number}. {finding_line(finding, MAX_FINDING_CHARACTERS)}"
        for number, finding in enumerate(findings[:MAX_FINDINGS], 1)
    ]
    more = len(findings) - len(lines)
    rest = [f"  … and {more} more in review_results.txt"] if more else []
    return [f"Open findings ({len(findings)}):", *lines, *rest]


def _not_shown_lines(coordinator: SwarmCoordinator) -> list[str]:
    """What no reviewer saw of a change: an approval says nothing about it."""
    unseen = not_shown(cast("SwarmState", coordinator.state))
    if not unseen:
        return []
    more = len(unseen) - MAX_FILES
    rest = [f"  … and {more} more in review_results.txt"] if more > 0 else []
    return ["Not shown to the reviewers:", *(f"  {one}" for one in unseen[:MAX_FILES]), *rest]


def _unreadable_lines(coordinator: SwarmCoordinator, program: str) -> list[str]:
    """The nodes with an answer that could not be used, and the command that shows it."""
    nodes = coordinator.unreadable_nodes
    if not nodes or coordinator.state["phase"] == "failed":  # the message of a failure names the command
        return []
    command = log_command(coordinator, nodes[0], program)
    return [f"Not readable: an answer of {first_names(nodes)}; `{command}` shows it"]


def session_command(*words: str, data_dir: str | Path, database: str | Path = "") -> str:
    """A command about a session, ready for a shell.

    Args:
        words: The words of the command.
        data_dir: The folder of the database, which the command names if it is not the default one.
        database: Where the session is kept; empty for the usual place (see `place_of`).
    """
    place = [] if Path(data_dir) == Path(DATA_DIR) else ["--data-dir", str(data_dir)]
    return database_variable(data_dir, database) + shlex.join([*words, *place])


def place_words(coordinator: SwarmCoordinator) -> dict[str, str | Path]:
    """What `session_command` needs to know of the place of a coordinator's sessions."""
    return {"data_dir": coordinator.data_dir, "database": coordinator.database}


def log_command(coordinator: SwarmCoordinator, node: str, program: str) -> str:
    """The command that shows the last call of a node in the latest session."""
    return session_command(
        program, "log", coordinator.session_id, "--node", node, "--last", **place_words(coordinator)
    )


def failed_call_command(coordinator: SwarmCoordinator, program: str) -> str:
    """The command that shows the answer of the first failed node that got one; empty if none is kept."""
    features = coordinator.config.features
    if not (features.keep_prompts and features.enable_checkpointing):
        return ""
    failed = [_node_of(task, coordinator) for task in _failed_tasks(coordinator)]
    node = next((node for node in failed if coordinator.got_answer(node)), None)
    return log_command(coordinator, node, program) if node else ""


def _file_lines(coordinator: SwarmCoordinator) -> list[str]:
    if coordinator.files is None:
        return []
    path = _shown_folder(coordinator.files)
    files = coordinator.files.files()
    results = [file for file in files if file.startswith(f"{RESULTS_DIR}/")]
    if results:
        others = [file for file in files if file not in set(results)]
        folder_of_results = f"{RESULTS_DIR}/ ({format_count(len(results), 'file')})"
        return [f"Files in {path}: {', '.join([*others, folder_of_results])}"]
    more = [f"  … and {len(files) - MAX_FILES} more"] if len(files) > MAX_FILES else []
    return [f"Files in {path}:", *(f"  {file}" for file in files[:MAX_FILES]), *more]


def _change_lines(coordinator: SwarmCoordinator, program: str) -> list[str]:
    """The branch of a session that changes a repository, and the commands to look at it and to take it."""
    change = change_summary(coordinator.state)
    if change is None:
        return []
    base, count = change.base[:SHORT_ID], format_count(len(change.commits), "commit")
    place = [] if Path.cwd().is_relative_to(change.repository) else ["-C", change.repository]
    apply = session_command(program, "apply", coordinator.session_id, **place_words(coordinator))
    lines = [
        f"Branch {change.branch}: {count} after {base}, {change.text}",
        f"  look at it  {shlex.join(['git', *place, 'diff', f'{base}..{change.branch}'])}",
        f"  take it     {apply}",
    ]
    if coordinator.files and PATCH_FILE in coordinator.files.files():
        lines.append(f"  or          {_am_command(coordinator.files, place)}")
    return lines


def _am_command(output: Output, place: list[str]) -> str:
    """The command that applies the patch of a session; `place` are git's words for another repository."""
    from swarm_graph.repository.patch import am_command

    patch = (output.folder if place else _shown_folder(output)) / PATCH_FILE
    command = am_command(patch.read_bytes(), shlex.quote(str(patch)))
    return shlex.join(["git", *place]) + command.removeprefix("git")


def _shown_folder(output: Output) -> Path:
    """The output folder, relative to the current one where it lies below that."""
    here = Path.cwd()
    return output.folder.relative_to(here) if output.folder.is_relative_to(here) else output.folder


def _figures_line(coordinator: SwarmCoordinator) -> str:
    metrics = coordinator.get_metrics_summary()
    roles = metrics["agents"].values()
    calls, sent, received, estimated, answered, cost, tools = (
        sum(role[figure] for role in roles)
        for figure in (
            "total_calls", "input_tokens", "output_tokens", "estimated_calls", "successful_calls", "cost",
            "tool_calls",
        )
    )  # fmt: skip
    note = f" ({format_count(estimated, 'call')} estimated)" if estimated else ""
    if coordinator.config.is_simulated or estimated == answered > 0:
        note = " (estimated)"
    cost_text = f", cost {format_cost(cost)}" if cost else ""
    swaps = metrics["model_swaps"]
    swaps_text = f", {format_count(swaps, 'model swap')}" if swaps else ""
    evaluated = total_evaluated(roles)
    cached = "" if evaluated is None else f" ({evaluated} evaluated)"
    tokens = f"{sent} tokens in{cached}, {received} tokens out"
    tools_text = f", {format_count(tools, 'tool call')}" if tools else ""
    return f"{format_count(calls, 'call')}, {tokens}{note}{cost_text}{swaps_text}{tools_text}"


def _next_step(coordinator: SwarmCoordinator, program: str) -> list[str]:
    """After a simulated session: the way to a real model. None after a follow-up."""
    complete = coordinator.state["phase"] == "complete" and coordinator.workflow != "custom"
    if not coordinator.config.is_simulated or not complete or _is_followed_up(coordinator):
        return []
    intro, model = "Next, on a model server of your own:", "--url URL --model NAME"
    if file := coordinator.config_file or config_path(None):
        name = f"run it with {model}, or name the server in {file}"
        return ["", f"{intro} {name}; `{program} doctor` checks it."]
    request = coordinator.state["request"].strip()
    # A request of several lines, or prompts of one's own, make no command line to copy.
    if "\n" in request or coordinator.config.prompts_dir:
        init = f"`{program} init` writes config.json for the servers that it finds"
        return ["", f"{intro} run it with {model} in place of --simulate; or {init}."]
    state = cast("Mapping[str, Any]", coordinator.state)
    kind = " --kind document" if state.get("kind") == DOCUMENT else ""
    if state.get("repo"):
        kind = f" --repo {shlex.quote(state['repo']['path'])}"
        diff = coordinator.config.repo.diff if coordinator.config.repo else ""
        kind += f" --diff {shlex.quote(diff)}" if diff else ""
    command = f"{program} run --workflow {coordinator.workflow}{kind} {shlex.quote(request)}"
    return [
        "",
        intro,
        f"  {command} {model}",
        f"or, with the servers that init finds and writes to config.json: {program} init",
    ]


def _is_followed_up(coordinator: SwarmCoordinator) -> bool:
    if not coordinator.config.features.enable_checkpointing:
        return False
    with open_catalogue(coordinator.data_dir, coordinator.database) as catalogue:
        return any(run.kind == "follow_up" for run in catalogue.runs(coordinator.session_id))
