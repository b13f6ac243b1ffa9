"""All sessions of a database on one page: `swarm_report.txt`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from swarm_graph.checkpoints.catalogue import Catalogue
from swarm_graph.checkpoints.records import Session
from swarm_graph.html import text
from swarm_graph.reports.listing import phase_now, rows, table
from swarm_graph.roles.findings import SEVERITIES
from swarm_graph.sessions.metrics import summary
from swarm_graph.state import has_ended
from swarm_graph.text import aligned, local_time, money

LATEST = 20
WORKFLOW_HEADS = ("workflow", "sessions", "approved", "phases", "rounds (mean)", "seconds (mean)")
ROLE_HEADS = ("role", "calls", "answered", "tokens in", "out", "p50 s", "p95 s", "tokens/s", "cost")


@dataclass(frozen=True)
class WorkflowFigures:
    """The sessions of one workflow. `rounds` and `seconds`: means of those that ended, None without any.

    `approved`: how many were, None where there is no verdict.
    """

    sessions: int
    phases: dict[str, int]
    approved: int | None
    rounds: float | None
    seconds: float | None


@dataclass(frozen=True)
class Overview:
    """Figures of all sessions: by workflow, by role, the open findings by severity, and the latest ones."""

    database: str
    made_at: float
    workflows: dict[str, WorkflowFigures]
    roles: dict[str, dict[str, Any]]
    findings: dict[str, int]
    latest: list[dict[str, Any]]

    def _repr_html_(self) -> str:
        return f"<pre>{text(self.text())}</pre>"

    def text(self) -> str:
        """For people."""
        count = sum(figures.sessions for figures in self.workflows.values())
        parts = [f"Swarm report, {local_time(self.made_at)}: {count} sessions in {self.database}\n"]
        workflows = [
            (
                name,
                str(one.sessions),
                "-" if one.approved is None else str(one.approved),
                ", ".join(f"{number} {phase}" for phase, number in one.phases.items()),
                _short(one.rounds),
                _short(one.seconds),
            )
            for name, one in self.workflows.items()
        ]
        parts.append(aligned(WORKFLOW_HEADS, workflows))
        roles = [
            (
                role,
                str(one["total_calls"]),
                f"{one['success_rate']:.0%}",
                str(one["input_tokens"]),
                str(one["output_tokens"]),
                f"{one['p50_seconds']:.1f}",
                f"{one['p95_seconds']:.1f}",
                f"{one['tokens_per_second']:.1f}",
                money(one["cost"]),
            )
            for role, one in self.roles.items()
        ]
        parts.append(aligned(ROLE_HEADS, roles))
        told = ", ".join(f"{self.findings.get(severity, 0)} {severity}" for severity in SEVERITIES)
        parts.append(f"Open findings: {told}\n")
        parts.append(f"The latest {len(self.latest)} sessions:\n{table(self.latest)}")
        return "\n".join(parts)


def overview(catalogue: Catalogue) -> Overview:
    """The figures of a database's sessions."""
    sessions = catalogue.sessions()
    seconds = catalogue.seconds_at_work()
    by_workflow: dict[str, list[Session]] = {}
    findings: Counter[str] = Counter()
    for known in sessions:
        by_workflow.setdefault(known.workflow, []).append(known)
        findings.update(known.findings or {})
    return Overview(
        database=str(catalogue.database.path),
        made_at=time.time(),
        workflows={name: _figures(catalogue, found, seconds) for name, found in sorted(by_workflow.items())},
        roles=summary(catalogue.all_calls()),
        findings=dict(findings),
        latest=rows(catalogue, sessions[:LATEST]),
    )


def _figures(catalogue: Catalogue, sessions: Sequence[Session], seconds: dict[str, float]) -> WorkflowFigures:
    ended = [known for known in sessions if has_ended(known.phase)]
    judged = [known.approved for known in sessions if known.approved is not None]
    return WorkflowFigures(
        sessions=len(sessions),
        phases=dict(Counter(phase_now(catalogue, known) for known in sessions).most_common()),
        approved=sum(judged) if judged else None,
        rounds=_mean([known.iteration or 0 for known in ended]),
        seconds=_mean([seconds.get(known.session, 0.0) for known in ended]),
    )


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
