"""The figures of one session."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from swarm_graph.checkpoints.catalogue import Catalogue
from swarm_graph.checkpoints.records import Session
from swarm_graph.config import changed_settings, settings_in_words
from swarm_graph.reports.listing import current_phase
from swarm_graph.reports.role_figures import RoleRow, role_rows
from swarm_graph.sessions.metrics import measured_rates, summary, swaps, test_summary, total_evaluated
from swarm_graph.state import DOCUMENT, Kind

FIGURES = (
    "workflow", "simulated", "phase", "approved", "rounds", "seconds", "calls", "failed_calls",
    "input_tokens", "prompt_tokens_evaluated", "output_tokens", "first_token_seconds", "tokens_per_second",
    "cost", "tool_calls", "failed_tool_calls", "tool_seconds", "open_findings", "test_runs", "model_swaps",
)  # fmt: skip
"""The rows of a comparison, in this order; `Analysis.figures` has a value for each."""

_OF_TOOLS = ("tool_calls", "failed_tool_calls", "tool_seconds")
_SUMMED_OVER_ROLES = (
    "total_calls", "successful_calls", "cancelled_calls", "input_tokens", "output_tokens", "cost",
    *_OF_TOOLS,
)  # fmt: skip


@dataclass(frozen=True)
class Analysis:
    """The figures of one session.

    Attributes:
        session: The session's id.
        approved: None for a task graph, and while nothing has ended.
        rounds: None while nothing has ended.
        created_at: Seconds since the epoch.
        seconds: Working time, summed over all runs.
        findings: The number of open findings by severity.
        tasks: The number of tasks by status.
        tests: The test runs, or the checks of a document: their number, seconds, and counts by outcome.
        agents: The figures of each role (`metrics.summary`).
        no_sample: Why the session is no sample of its configuration; empty when it is one.
        error: Why its last run failed or stopped; empty otherwise.
    """

    session: str
    workflow: str
    kind: Kind
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

    def _repr_html_(self) -> str:
        from swarm_graph.reports.templates import notebook_html

        return notebook_html("analysis.html", analyzed=self)

    @property
    def role_rows(self) -> list[RoleRow]:
        """The figures of each role, for a table with bars."""
        return role_rows(self.agents, self.rates)

    @property
    def rates(self) -> dict[str, float]:
        """Tokens per second by role; empty for a simulated session, where they mean nothing."""
        return {} if self.simulated else measured_rates(self.agents)

    def figures_to_show(self) -> dict[str, Any]:
        """The figures for people: no rate of simulated models, no cost without prices, nothing unknown."""
        figures = self.figures()
        meaningless = {
            "tokens_per_second": self.simulated,
            "first_token_seconds": self.simulated,
            "prompt_tokens_evaluated": figures["prompt_tokens_evaluated"] is None,
            "cost": not figures["cost"],
            **dict.fromkeys(_OF_TOOLS, not figures["tool_calls"]),
        }
        names = {"test_runs": "document checks"} if self.kind == DOCUMENT else {}
        return {
            names.get(name, name.replace("_", " ")): value
            for name, value in figures.items()
            if not meaningless.get(name)
        }

    def figures(self) -> dict[str, Any]:
        """One value for each of FIGURES."""
        agents = list(self.agents.values())
        total = {name: sum(agent[name] for agent in agents) for name in _SUMMED_OVER_ROLES}
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
            "input_tokens": total["input_tokens"],
            "prompt_tokens_evaluated": total_evaluated(agents),
            "output_tokens": total["output_tokens"],
            "first_token_seconds": self._first_token_seconds(),
            "tokens_per_second": total["output_tokens"] / model_seconds if model_seconds else 0.0,
            "cost": total["cost"],
            **{name: total[name] for name in _OF_TOOLS},
            "open_findings": sum(self.findings.values()),
            "test_runs": ", ".join(f"{count} {outcome}" for outcome, count in self.tests["outcomes"].items()),
            "model_swaps": self.model_swaps,
        }

    def _first_token_seconds(self) -> float:
        """The mean time to the first token over all roles."""
        weights = {role: figures["successful_calls"] for role, figures in self.agents.items()}
        total = sum(weights.values())
        seconds = sum(self.agents[role]["first_token_seconds"] * count for role, count in weights.items())
        return seconds / total if total else 0.0


def analysis(
    catalogue: Catalogue, session: Session, calls: Sequence[Mapping[str, Any]] | None = None
) -> Analysis:
    """The figures of a session, from the catalogue alone: its checkpoints are not read.

    Args:
        catalogue: The catalogue.
        session: The session.
        calls: The rows of its calls, if they are read already.
    """
    name = session.session
    calls = catalogue.calls(name) if calls is None else calls
    statuses = [task["status"] for task in catalogue.tasks(name)]
    return Analysis(
        session=name,
        workflow=session.workflow,
        kind=session.kind,
        phase=current_phase(catalogue, session),
        approved=session.approved,
        rounds=session.iteration,
        request=session.request,
        created_at=session.created_at,
        simulated=session.simulated,
        seconds=catalogue.working_seconds(name).get(name, 0.0),
        findings=session.findings or {},
        tasks={status.lower(): statuses.count(status) for status in dict.fromkeys(statuses)},
        tests=test_summary(run for run in catalogue.test_runs(name) if run["kind"] == "run"),
        agents=summary(calls, catalogue.tool_figures(name)),
        model_swaps=swaps(calls),
        no_sample=_no_sample(catalogue, session),
        error=next((run.error for run in reversed(catalogue.runs(name))), ""),
    )


def _no_sample(catalogue: Catalogue, session: Session) -> str:
    """Why a session is no sample of its configuration; empty when it is one.

    A resume with other limits or seeds does not matter: neither changes how well a configuration does.
    """
    if session.parent:
        return f"it was forked from {session.parent}, which did a part of the work"
    configs = [run.config for run in catalogue.runs(session.session) if run.config]
    changed = {name for config in configs for name in changed_settings(session.config, config)}
    relevant = sorted(
        name for name in changed if not name.endswith(".seed") and not name.startswith("limits.")
    )
    return f"it was resumed with other settings: {settings_in_words(relevant)}" if relevant else ""


def export_rows(catalogue: Catalogue, sessions: Iterable[Session]) -> list[dict[str, Any]]:
    """One row for each session and role: the session's outcome, then the role's figures."""
    rows = []
    for session in sessions:
        analyzed = analysis(catalogue, session)
        outcome = {
            "session": analyzed.session,
            "workflow": analyzed.workflow,
            "phase": analyzed.phase,
            "approved": analyzed.approved,
            "rounds": analyzed.rounds,
            "simulated": analyzed.simulated,
            "experiment": session.experiment,
            "created_at": analyzed.created_at,
            "session_seconds": analyzed.seconds,
            "open_findings": sum(analyzed.findings.values()),
        }
        rows += [{**outcome, "role": role, **figures} for role, figures in analyzed.agents.items()]
    return rows
