"""What sessions came to, side by side: outcome, time, tokens, findings, tests, configuration, code."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from swarm_graph.artifacts import project_files
from swarm_graph.checkpoints.catalogue import Catalogue, Session
from swarm_graph.checkpoints.saver import SwarmSaver
from swarm_graph.config import changed_settings
from swarm_graph.findings import SEVERITIES
from swarm_graph.metrics import summary, swaps, test_summary
from swarm_graph.past import aligned, phase_now
from swarm_graph.state import SwarmState

COMPARED = (
    "workflow", "phase", "approved", "rounds", "seconds", "calls", "failed_calls", "input_tokens",
    "output_tokens", "tokens_per_second", "cost", "open_findings", "tests", "model_swaps",
)  # fmt: skip
SHOWN_DIFF = 400


@dataclass(frozen=True)
class Analysis:
    """A session in figures. `seconds`: at work, all its runs together; `findings`: the open ones by severity.

    `agents`: the figures of each role, as `metrics.summary` has them.
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

    def figures(self) -> dict[str, Any]:
        """One value for each of COMPARED."""
        agents = list(self.agents.values())
        total = {
            name: sum(agent[name] for agent in agents) for name in ("total_calls", "successful_calls", "cost")
        }
        tokens = {name: sum(agent[name] for agent in agents) for name in ("input_tokens", "output_tokens")}
        model_seconds = sum(agent["model_seconds"] for agent in agents)
        return {
            "workflow": self.workflow,
            "phase": self.phase,
            "approved": self.approved,
            "rounds": self.rounds,
            "seconds": self.seconds,
            "calls": total["total_calls"],
            "failed_calls": total["total_calls"] - total["successful_calls"],
            **tokens,
            "tokens_per_second": tokens["output_tokens"] / model_seconds if model_seconds else 0.0,
            "cost": total["cost"],
            "open_findings": sum(self.findings.values()),
            "tests": ", ".join(f"{count} {outcome}" for outcome, count in self.tests["outcomes"].items()),
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
        seconds=sum(
            (run.ended_at or run.started_at) - run.started_at for run in catalogue.runs(known.session)
        ),
        findings=known.findings or {},
        tasks={status.lower(): statuses.count(status) for status in dict.fromkeys(statuses)},
        tests=test_summary(catalogue.test_runs(known.session)),
        agents=summary(calls),
        model_swaps=swaps(calls),
    )


@dataclass(frozen=True)
class Comparison:
    """Sessions side by side. `settings`: for each but the first, the settings that differ from the first's.

    `code`: for each but the first, a unified diff of the files from the first's to its own.
    """

    sessions: list[Analysis]
    settings: dict[str, list[str]]
    code: dict[str, str]

    def plain(self) -> dict[str, Any]:
        sessions = [{**vars(one), "figures": one.figures()} for one in self.sessions]
        return {"sessions": sessions, "settings": self.settings, "code": self.code}

    def text(self) -> str:
        """For people: a table with a column for each session, then what differs."""
        figures = [one.figures() for one in self.sessions]
        cells = [(name.replace("_", " "), *(_cell(row[name]) for row in figures)) for name in COMPARED]
        cells += [
            (f"{severity} findings", *(str(one.findings.get(severity, 0)) for one in self.sessions))
            for severity in SEVERITIES
        ]
        parts = [aligned(("", *(one.session for one in self.sessions)), cells)]
        first = self.sessions[0].session
        for session, names in self.settings.items():
            told = ", ".join(names) or "none"
            parts.append(f"\nSettings of {session} that differ from {first}'s: {told}\n")
        for session, diff in self.code.items():
            parts.append(f"\nFiles from {first} to {session}:\n{_shortened(diff) or '  the same'}\n")
        return "".join(parts)


def compare(saver: SwarmSaver, sessions: Sequence[Session]) -> Comparison:
    """Two sessions or more, each with the first."""
    first, *others = sessions
    files = {known.session: _files(saver, known) for known in sessions}
    return Comparison(
        sessions=[analysis(saver.catalogue, known) for known in sessions],
        settings={known.session: changed_settings(first.config, known.config) for known in others},
        code={known.session: diff(files[first.session], files[known.session]) for known in others},
    )


def _files(saver: SwarmSaver, known: Session) -> dict[str, str]:
    saved = saver.get_tuple({"configurable": {"thread_id": known.session}})
    return project_files(cast("SwarmState", saved.checkpoint["channel_values"])) if saved else {}


def diff(old: Mapping[str, str], new: Mapping[str, str]) -> str:
    """A unified diff of two trees of files; empty when they are the same."""
    lines: list[str] = []
    for path in sorted({*old, *new}):
        before, after = (tree.get(path, "").splitlines() for tree in (old, new))
        lines += difflib.unified_diff(before, after, f"a/{path}", f"b/{path}", lineterm="")
    return "\n".join(lines)


def _shortened(text: str) -> str:
    lines = text.splitlines()
    more = [f"… and {len(lines) - SHOWN_DIFF} more lines"] if len(lines) > SHOWN_DIFF else []
    return "\n".join([*lines[:SHOWN_DIFF], *more])


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


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
