"""What sessions came to, side by side: outcome, time, tokens, findings, tests, configuration, code."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from swarm_graph.checkpoints.catalogue import ENDED, Catalogue, Session
from swarm_graph.checkpoints.saver import SwarmSaver
from swarm_graph.config import changed_settings
from swarm_graph.errors import InputError
from swarm_graph.html import table, text
from swarm_graph.reports.listing import phase_now
from swarm_graph.reports.significance import Difference, differences
from swarm_graph.roles.findings import SEVERITIES
from swarm_graph.sessions.metrics import summary, swaps, test_summary
from swarm_graph.sessions.output import project_files
from swarm_graph.sessions.summary_html import SIMULATED, roles_table
from swarm_graph.state import SwarmState
from swarm_graph.text import aligned, money

COMPARED = (
    "workflow", "simulated", "phase", "approved", "rounds", "seconds", "calls", "failed_calls",
    "input_tokens", "output_tokens", "tokens_per_second", "cost", "open_findings", "test_runs", "model_swaps",
)  # fmt: skip
SUMMED = (
    "total_calls", "successful_calls", "cancelled_calls", "input_tokens", "output_tokens", "cost"
)  # fmt: skip
SHOWN_DIFF = 400
GAVE_UP = ("failed", "over_budget")
"""The phases of sessions that came to no end by themselves; others were stopped, or wait."""
ENOUGH = 6
"""Sessions of each configuration with which a difference can be beyond chance."""


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


@dataclass(frozen=True)
class Contest:
    """Sessions of one configuration beside those of another: what differs beyond chance.

    Configurations that differ in seeds only are one. `requests_differ`: they were not asked the same.
    """

    first: list[str]
    other: list[str]
    differences: list[Difference]
    requests_differ: bool

    @property
    def better(self) -> Literal["first", "other", None]:
        """The configuration that is better in some figure and worse in none."""
        sides = {"first" if one.first_is_better else "other" for one in self.differences}
        return cast("Any", sides.pop()) if len(sides) == 1 else None

    def plain(self) -> dict[str, Any]:
        return {**vars(self), "better": self.better, "differences": [vars(one) for one in self.differences]}

    def text(self) -> str:
        """One paragraph for people."""
        names = {"first": self.first[0], "other": self.other[0]}
        told = [
            f"{one.figure.replace('_', ' ')} {one.first:.4g} and {one.other:.4g} (p = {one.p:.3f})"
            for one in self.differences
        ]
        if self.better:
            verdict = f"that of {names[self.better]} is better: {', '.join(told)}"
        elif told:
            verdict = f"each is better in something: {', '.join(told)}"
        else:
            verdict = (
                "no difference beyond chance; six sessions or more of each can show one"
                if min(len(self.first), len(self.other)) < ENOUGH
                else "no difference beyond chance"
            )
        warning = "; they were asked different requests" if self.requests_differ else ""
        counts = f"{_counted(self.first)} beside that of {_counted(self.other)}"
        return f"The configuration of {counts}: {verdict}{warning}\n"


@dataclass(frozen=True)
class Comparison:
    """Sessions side by side. `settings`: for each but the first, the settings that differ from the first's.

    `code`: for each but the first, a unified diff of the files from the first's to its own. `contests`:
    the first configuration beside each of the others.
    """

    sessions: list[Analysis]
    settings: dict[str, list[str]]
    code: dict[str, str]
    contests: list[Contest]

    def plain(self) -> dict[str, Any]:
        sessions = [{**vars(one), "figures": one.figures()} for one in self.sessions]
        contests = [contest.plain() for contest in self.contests]
        return {"sessions": sessions, "settings": self.settings, "code": self.code, "contests": contests}

    def _repr_html_(self) -> str:
        contests = "".join(f"<p>{text(contest.text())}</p>" for contest in self.contests)
        return table(self._heads(), self._rows()) + contests

    def _heads(self) -> tuple[str, ...]:
        return ("", *(one.session for one in self.sessions))

    def _rows(self) -> list[tuple[str, ...]]:
        """A row for each figure and severity, a column for each session."""
        figures = [one.figures() for one in self.sessions]
        shown = [{**row, "cost": money(row["cost"])} for row in figures]
        rows = [(name.replace("_", " "), *(_cell(row[name]) for row in shown)) for name in COMPARED]
        return rows + [
            (f"{severity} findings", *(str(one.findings.get(severity, 0)) for one in self.sessions))
            for severity in SEVERITIES
        ]

    def text(self) -> str:
        """For people: a table with a column for each session, then what differs."""
        parts = [aligned(self._heads(), self._rows())]
        first = self.sessions[0].session
        for session, names in self.settings.items():
            told = ", ".join(names) or "none"
            parts.append(f"\nSettings of {session} that differ from {first}'s: {told}\n")
        parts += [
            f"\n{one.session} is no sample of its configuration: {one.no_sample}\n"
            for one in self.sessions
            if one.no_sample
        ]
        for session, diff in self.code.items():
            parts.append(f"\nFiles from {first} to {session}:\n{_shortened(diff) or '  the same'}\n")
        parts += [f"\n{contest.text()}" for contest in self.contests]
        return "".join(parts)


def compare(saver: SwarmSaver, sessions: Sequence[Session]) -> Comparison:
    """Two sessions or more, each with the first. InputError for less; one that is named twice counts once."""
    sessions = list({known.session: known for known in sessions}.values())
    if len(sessions) < 2:
        raise InputError("a comparison needs two sessions or more")
    first, *others = sessions
    files = {known.session: _files(saver, known) for known in sessions}
    told = [analysis(saver.catalogue, known) for known in sessions]
    return Comparison(
        sessions=told,
        settings={known.session: changed_settings(first.config, known.config) for known in others},
        code={known.session: diff(files[first.session], files[known.session]) for known in others},
        contests=contests(list(zip(told, (known.config for known in sessions), strict=True))),
    )


def contests(sessions: Sequence[tuple[Analysis, Mapping[str, Any]]]) -> list[Contest]:
    """The sessions by configuration, the first one's beside each of the others."""
    groups: list[tuple[Mapping[str, Any], list[Analysis]]] = []
    for told, config in sessions:
        if told.no_sample:
            continue
        known = next((group for kept, group in groups if same_but_seeds(kept, config)), None)
        if known is None:
            groups.append((config, [told]))
        else:
            known.append(told)
    if not groups:
        return []
    (_, first), *others = groups
    return [
        Contest(
            first=[one.session for one in first],
            other=[one.session for one in other],
            differences=differences([_judged(one) for one in first], [_judged(one) for one in other]),
            requests_differ={one.request for one in first} != {one.request for one in other},
        )
        for _, other in others
    ]


def same_but_seeds(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether two kept configurations differ in seeds at the most."""
    return all(name.endswith(".seed") for name in changed_settings(old, new))


def _judged(told: Analysis) -> dict[str, float | None]:
    """What a session is a sample of: of how far it came, and only of that when it came to no end."""
    if told.phase in ENDED:
        figures = told.figures()
        return {**figures, "tokens": figures["input_tokens"] + figures["output_tokens"], "ended": True}
    return {"ended": False} if told.phase in GAVE_UP else {}


def _counted(sessions: list[str]) -> str:
    more = len(sessions) - 1
    return f"{sessions[0]} (and {more} more)" if more else sessions[0]


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
