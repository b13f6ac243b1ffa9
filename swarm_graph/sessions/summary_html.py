"""A session and its figures as HTML, for reports and notebooks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swarm_graph.html import escaped, html_table
from swarm_graph.sessions.metrics import measured_rates
from swarm_graph.state import verdict_word
from swarm_graph.text import cost_cell, count_cell, format_count, without_empty_columns, without_loops

SIMULATED_HTML = '<p class="simulated">Simulated: no model was asked, every answer is invented.</p>'
NO_SESSION_HTML = (
    "<p>No session yet: <code>run_workflow(request)</code> begins one, <code>resume()</code> goes on with "
    "the newest that has not ended.</p>"
)
MAX_FINDINGS = 20


def roles_table(agents: Mapping[str, Mapping[str, Any]], rates: Mapping[str, float]) -> str:
    """The figures of each role (`metrics.summary`) as a table. Without prices it has no column for the cost.

    Args:
        agents: The figures, by role.
        rates: Tokens per second by role; a role whose model is simulated has none.
    """
    rows = [
        (
            role, figures["total_calls"], f"{figures['success_rate']:.0%}", figures["p50_seconds"],
            figures["p95_seconds"], figures["first_token_seconds"], figures["queued_seconds"],
            count_cell(figures["prompt_tokens_evaluated"]), rates.get(role, ""), cost_cell(figures["cost"]),
            figures["tool_calls"] or "", figures["failed_tool_calls"] or "",
        )
        for role, figures in agents.items()
    ]  # fmt: skip
    heads = (
        "role", "calls", "answered", "p50 s", "p95 s", "first token s", "queued s",
        "prompt tokens evaluated", "tokens/s", "cost", "tool calls", "tools failed",
    )  # fmt: skip
    return html_table(*without_empty_columns(heads, rows))


def session_html(document: Mapping[str, Any], folder: str) -> str:
    """A session as HTML for a notebook: phase, files, open findings, tasks and figures.

    Args:
        document: Its state JSON (`state_json.state_document`).
        folder: Its output folder.
    """
    approved = None if document["workflow"] == "custom" else document["approved"]
    outcome = ", ".join(filter(None, [document["phase"], verdict_word(approved, document["phase"])]))
    places = ", ".join(f"{pause['when']} {pause['node']}" for pause in document["pauses"])
    waits = f", waits for a person {places}" if places else ""
    title = f"Session {document['workflow_id']} ({document['workflow']}): {outcome}{waits}"
    rates = {} if document["simulated"] else measured_rates(document["metrics"])
    findings = [
        (finding["severity"], finding["location"], without_loops(finding["problem"]))
        for finding in document["findings"][:MAX_FINDINGS]
    ]
    tasks = [(task["task_id"], task["status"], task["error"] or "") for task in document["completed_tasks"]]
    parts = [
        f"<p><b>{escaped(title)}</b></p>",
        SIMULATED_HTML if document["simulated"] else "",
        f"<p>The document: <b>{escaped(document['document'])}</b></p>" if "document" in document else "",
        _change_html(document),
        f"<p>Files in {escaped(folder)}</p>{html_table(('file',), [(name,) for name in document['files']])}",
        html_table(("open finding", "where", "problem"), findings) if findings else "",
        html_table(("task", "status", ""), tasks),
        roles_table(document["metrics"], rates),
    ]
    return "".join(parts)


def _change_html(document: Mapping[str, Any]) -> str:
    """The branch of a session that changes a repository; empty for any other."""
    if not document.get("commits"):
        return ""
    repository, commits = document["repository"], format_count(len(document["commits"]), "commit")
    place = f"{commits} in {repository['path']}"
    return f"<p>The branch: <b>{escaped(repository['branch'])}</b>, {escaped(place)}</p>"
