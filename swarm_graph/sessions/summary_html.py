"""A session and its figures as HTML, for reports and notebooks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swarm_graph.html import table, text
from swarm_graph.text import money

SIMULATED = '<p class="simulated">Simulated: no model was asked, every answer is invented.</p>'


SHOWN_FINDINGS = 20


def roles_table(agents: Mapping[str, Mapping[str, Any]]) -> str:
    """The figures of each role (`metrics.summary`)."""
    rows = [
        (
            role, one["total_calls"], f"{one['success_rate']:.0%}", one["p50_seconds"], one["p95_seconds"],
            one["first_token_seconds"], one["queued_seconds"], one["tokens_per_second"],
            money(one["cost"]),
        )
        for role, one in agents.items()
    ]  # fmt: skip
    heads = (
        "role", "calls", "answered", "p50 s", "p95 s", "first token s", "queued s", "tokens/s", "cost",
    )  # fmt: skip
    return table(heads, rows)


def session_html(document: Mapping[str, Any], folder: str) -> str:
    """A session's state JSON for a notebook: where it stands, its files, open findings, figures."""
    verdict = {True: ", approved", False: ", not approved", None: ""}[document["approved"]]
    about = f"Session {document['workflow_id']} ({document['workflow']}): {document['phase']}{verdict}"
    findings = [
        (one["severity"], one["location"], one["problem"]) for one in document["findings"][:SHOWN_FINDINGS]
    ]
    tasks = [(task["task_id"], task["status"], task["error"] or "") for task in document["completed_tasks"]]
    parts = [
        f"<p><b>{text(about)}</b></p>",
        SIMULATED if document["simulated"] else "",
        f"<p>Files in {text(folder)}</p>{table(('file',), [(name,) for name in document['files']])}",
        table(("open finding", "where", "problem"), findings) if findings else "",
        table(("task", "status", ""), tasks),
        roles_table(document["metrics"]),
    ]
    return "".join(parts)
