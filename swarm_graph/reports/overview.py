"""The figures of all sessions in a database, and the text report `swarm_report.txt` about them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from swarm_graph.checkpoints.catalogue import Catalogue
from swarm_graph.checkpoints.records import Session
from swarm_graph.reports.listing import current_phase, session_rows, session_table
from swarm_graph.reports.role_figures import RoleRow, role_rows
from swarm_graph.roles.findings import SEVERITIES
from swarm_graph.sessions.metrics import measured_rates, real_calls, summary
from swarm_graph.state import has_ended
from swarm_graph.text import cost_cell, local_time, text_table, without_empty_columns

MAX_LATEST_SESSIONS = 20
WORKFLOW_HEADS = ("workflow", "sessions", "approved", "phases", "rounds (mean)", "seconds (mean)")
ROLE_HEADS = (
    "role",
    "calls",
    "answered",
    "tokens in",
    "out",
    "p50 s",
    "p95 s",
    "tokens/s",
    "cost",
    "tool calls",
)


@dataclass(frozen=True)
class WorkflowFigures:
    """The figures of all sessions of one workflow.

    Attributes:
        sessions: Their number.
        phases: Their number by phase, the most frequent first.
        approved: The number of approved sessions; None when no session has a verdict.
        rounds: The mean over the sessions that have ended; None without any.
        seconds: The mean working time of the sessions that have ended; None without any.
    """

    sessions: int
    phases: dict[str, int]
    approved: int | None
    rounds: float | None
    seconds: float | None

    @property
    def phases_text(self) -> str:
        """The number by phase as text: "3 complete, 1 failed"."""
        return ", ".join(f"{number} {phase}" for phase, number in self.phases.items())


@dataclass(frozen=True)
class Overview:
    """The figures of all sessions in a database.

    Attributes:
        database: The path of the database.
        made_at: Seconds since the epoch.
        workflows: By name.
        roles: The figures of each role over all sessions (`metrics.summary`).
        rates: Tokens per second by role, of calls that were not simulated.
        findings: The number of open findings by severity.
        latest: The sessions worked on last, as `session_rows` has them.
    """

    database: str
    made_at: float
    workflows: dict[str, WorkflowFigures]
    roles: dict[str, dict[str, Any]]
    rates: dict[str, float]
    findings: dict[str, int]
    latest: list[dict[str, Any]]

    def _repr_html_(self) -> str:
        from swarm_graph.reports.templates import notebook_html

        return notebook_html("parts/overview.html", overview=self)

    @property
    def sessions(self) -> int:
        """The number of sessions."""
        return sum(figures.sessions for figures in self.workflows.values())

    @property
    def workflow_heads(self) -> tuple[str, ...]:
        """The heads of the columns of `workflow_rows`."""
        return WORKFLOW_HEADS

    @property
    def role_figures(self) -> list[RoleRow]:
        """The figures of each role, for a table with bars."""
        return role_rows(self.roles, self.rates)

    @property
    def open_findings(self) -> dict[str, int]:
        """The number of open findings of each severity."""
        return {severity: self.findings.get(severity, 0) for severity in SEVERITIES}

    def text(self) -> str:
        """The report as text."""
        findings = ", ".join(f"{number} {severity}" for severity, number in self.open_findings.items())
        parts = [
            f"Swarm report, {local_time(self.made_at)}: {self.sessions} sessions in {self.database}\n",
            text_table(WORKFLOW_HEADS, self.workflow_rows),
            text_table(*without_empty_columns(ROLE_HEADS, self._role_rows())),
            f"Open findings: {findings}\n",
            f"The latest {len(self.latest)} sessions:\n{session_table(self.latest)}",
        ]
        return "\n".join(parts)

    @property
    def workflow_rows(self) -> list[tuple[str, ...]]:
        """A row for each workflow."""
        return [
            (
                name,
                str(figures.sessions),
                "-" if figures.approved is None else str(figures.approved),
                figures.phases_text,
                _decimal(figures.rounds),
                _decimal(figures.seconds),
            )
            for name, figures in self.workflows.items()
        ]

    def _role_rows(self) -> list[tuple[str, ...]]:
        return [
            (
                role,
                str(figures["total_calls"]),
                f"{figures['success_rate']:.0%}",
                str(figures["input_tokens"]),
                str(figures["output_tokens"]),
                f"{figures['p50_seconds']:.1f}",
                f"{figures['p95_seconds']:.1f}",
                f"{self.rates[role]:.1f}" if role in self.rates else "",
                cost_cell(figures["cost"]),
                str(figures["tool_calls"] or ""),
            )
            for role, figures in self.roles.items()
        ]


def overview(catalogue: Catalogue) -> Overview:
    """The figures of all sessions in a catalogue that are no trials of experiments."""
    sessions = catalogue.sessions(experiment="")
    seconds, ids = catalogue.working_seconds(), {session.session for session in sessions}
    calls = [call for call in catalogue.all_calls() if call["session"] in ids]
    by_workflow: dict[str, list[Session]] = {}
    findings: Counter[str] = Counter()
    for session in sessions:
        by_workflow.setdefault(session.workflow, []).append(session)
        findings.update(session.findings or {})
    return Overview(
        database=str(catalogue.database.path),
        made_at=time.time(),
        workflows={
            workflow: _workflow_figures(catalogue, group, seconds)
            for workflow, group in sorted(by_workflow.items())
        },
        roles=summary(calls, catalogue.tool_figures()),
        rates=measured_rates(summary(real_calls(calls))),
        findings=dict(findings),
        latest=session_rows(catalogue, sessions[:MAX_LATEST_SESSIONS]),
    )


def _workflow_figures(
    catalogue: Catalogue, sessions: Sequence[Session], seconds: dict[str, float]
) -> WorkflowFigures:
    ended = [session for session in sessions if has_ended(session.phase)]
    verdicts = [session.approved for session in sessions if session.approved is not None]
    return WorkflowFigures(
        sessions=len(sessions),
        phases=dict(Counter(current_phase(catalogue, session) for session in sessions).most_common()),
        approved=sum(verdicts) if verdicts else None,
        rounds=_mean([session.iteration or 0 for session in ended]),
        seconds=_mean([seconds.get(session.session, 0.0) for session in ended]),
    )


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _decimal(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
