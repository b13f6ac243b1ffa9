"""A session and its figures as HTML, for reports and notebooks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swarm_graph.html import escaped, html_table
from swarm_graph.text import format_cost

SIMULATED_HTML = '<p class="simulated">Simulated: no model was asked, every answer is invented.</p>'


SHOWN_FINDINGS = 20


def roles_table(agents: Mapping[str, Mapping[str, Any]]) -> str:
    """The figures of each role (`metrics.summary`)."""
    rows = [
        (
            role, one["total_calls"], f"{one['success_rate']:.0%}", one["p50_seconds"], one["p95_seconds"],
            one["first_token_seconds"], one["queued_seconds"], one["tokens_per_second"],
            format_cost(one["cost"]),
        )
        for role, one in agents.items()
    ]  # fmt: skip
    heads = (
        "role", "calls", "answered", "p50 s", "p95 s", "first token s", "queued s", "tokens/s", "cost",
    )  # fmt: skip
    return html_table(heads, rows)


def session_html(document: Mapping[str, Any], folder: str) -> str:
    """A session's state JSON for a notebook: where it stands, its files, open findings, figures."""
    verdict = {True: ", approved", False: ", not approved", None: ""}[document["approved"]]
    about = f"Session {document['workflow_id']} ({document['workflow']}): {document['phase']}{verdict}"
    findings = [
        (one["severity"], one["location"], one["problem"]) for one in document["findings"][:SHOWN_FINDINGS]
    ]
    tasks = [(task["task_id"], task["status"], task["error"] or "") for task in document["completed_tasks"]]
    parts = [
        f"<p><b>{escaped(about)}</b></p>",
        SIMULATED_HTML if document["simulated"] else "",
        f"<p>Files in {escaped(folder)}</p>{html_table(('file',), [(name,) for name in document['files']])}",
        html_table(("open finding", "where", "problem"), findings) if findings else "",
        html_table(("task", "status", ""), tasks),
        roles_table(document["metrics"]),
    ]
    return "".join(parts)
