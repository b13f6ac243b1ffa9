"""One session in figures."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from swarm_graph.checkpoints.catalogue import Catalogue
from swarm_graph.checkpoints.records import Session
from swarm_graph.config import changed_settings
from swarm_graph.html import table
from swarm_graph.reports.listing import phase_now
from swarm_graph.sessions.metrics import summary, swaps, test_summary
from swarm_graph.sessions.summary_html import SIMULATED, roles_table

COMPARED = (
    "workflow", "simulated", "phase", "approved", "rounds", "seconds", "calls", "failed_calls",
    "input_tokens", "output_tokens", "tokens_per_second", "cost", "open_findings", "test_runs", "model_swaps",
)  # fmt: skip


SUMMED = (
    "total_calls", "successful_calls", "cancelled_calls", "input_tokens", "output_tokens", "cost"
)  # fmt: skip


@dataclass(frozen=True)
class Analysis:
    """A session in figures. `seconds`: at work, all its runs together; `findings`: the open ones by severity.

    `agents`: the figures of each role, as `metrics.summary` has them. `no_sample`: why its figures say
    nothing about its configuration, if they do not.
    """

    session: str
    workflow: str
    phase: str
    approved: bool | None
    rounds: int | None
    request: str
    created_at: float
    simulated: bool
    seconds: float
    findings: dict[str, int]
    tasks: dict[str, int]
    tests: dict[str, Any]
    agents: dict[str, dict[str, Any]]
    model_swaps: int
    no_sample: str
    error: str
    """Why its last run failed or stopped."""

    def _repr_html_(self) -> str:
        figures = {name.replace("_", " "): value for name, value in self.figures().items()}
        parts = [SIMULATED if self.simulated else "", table(("session", self.session), figures.items())]
        return "".join([*parts, roles_table(self.agents)])

    def figures(self) -> dict[str, Any]:
        """One value for each of COMPARED."""
        agents = list(self.agents.values())
        total = {name: sum(agent[name] for agent in agents) for name in SUMMED}
        tokens = {name: total[name] for name in ("input_tokens", "output_tokens")}
        model_seconds = sum(agent["model_seconds"] for agent in agents)
        return {
            "workflow": self.workflow,
            "simulated": self.simulated,
            "phase": self.phase,
            "approved": self.approved,
            "rounds": self.rounds,
            "seconds": self.seconds,
            "calls": total["total_calls"],
            "failed_calls": total["total_calls"] - total["successful_calls"] - total["cancelled_calls"],
            **tokens,
            "tokens_per_second": tokens["output_tokens"] / model_seconds if model_seconds else 0.0,
            "cost": total["cost"],
            "open_findings": sum(self.findings.values()),
            "test_runs": ", ".join(f"{count} {outcome}" for outcome, count in self.tests["outcomes"].items()),
            "model_swaps": self.model_swaps,
        }


def analysis(catalogue: Catalogue, known: Session) -> Analysis:
    """A session's figures, from the catalogue alone."""
    calls = catalogue.calls(known.session)
    statuses = [task["status"] for task in catalogue.tasks(known.session)]
    return Analysis(
        session=known.session,
        workflow=known.workflow,
        phase=phase_now(catalogue, known),
        approved=known.approved,
        rounds=known.iteration,
        request=known.request,
        created_at=known.created_at,
        simulated=known.simulated,
        seconds=catalogue.seconds_at_work(known.session).get(known.session, 0.0),
        findings=known.findings or {},
        tasks={status.lower(): statuses.count(status) for status in dict.fromkeys(statuses)},
        tests=test_summary(run for run in catalogue.test_runs(known.session) if run["kind"] == "run"),
        agents=summary(calls),
        model_swaps=swaps(calls),
        no_sample=_no_sample(catalogue, known),
        error=next((run.error for run in reversed(catalogue.runs(known.session))), ""),
    )


def _no_sample(catalogue: Catalogue, known: Session) -> str:
    """Why a session is no sample of its configuration; a raised limit and other seeds are no reason."""
    if known.parent:
        return f"it was forked from {known.parent}, which did a part of it"
    configs = [run.config for run in catalogue.runs(known.session) if run.config]
    changed = {name for config in configs for name in changed_settings(known.config, config)}
    other = sorted(name for name in changed if not name.endswith(".seed") and not name.startswith("limits."))
    return f"it was resumed with others of {', '.join(other)}" if other else ""


def export_rows(catalogue: Catalogue, sessions: Iterable[Session]) -> list[dict[str, Any]]:
    """One row for each session and role: what the session came to, and the role's figures."""
    rows = []
    for known in sessions:
        told = analysis(catalogue, known)
        about = {
            "session": told.session,
            "workflow": told.workflow,
            "phase": told.phase,
            "approved": told.approved,
            "rounds": told.rounds,
            "simulated": told.simulated,
            "created_at": told.created_at,
            "session_seconds": told.seconds,
            "open_findings": sum(told.findings.values()),
        }
        rows += [{**about, "role": role, **figures} for role, figures in told.agents.items()]
    return rows
