"""The head of a session's report: how it stands, its figures, its budget, and where its time went."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from swarm_graph.checkpoints.catalogue import Catalogue
from swarm_graph.checkpoints.records import Run, Session
from swarm_graph.reports.analysis import Analysis
from swarm_graph.reports.chosen_models import chosen_lines, chosen_models
from swarm_graph.reports.listing import session_rows
from swarm_graph.reports.terminal import session_command
from swarm_graph.reports.time_split import (
    call_spans,
    queue_spans,
    run_spans,
    split_time,
    test_spans,
    tool_spans,
    waits_for_person,
)
from swarm_graph.roles.findings import SEVERITIES
from swarm_graph.sessions.metrics import real_calls, summary
from swarm_graph.state import CHANGE, DOCUMENT, has_ended
from swarm_graph.text import duration, format_cost

LONG_REQUEST, LONG_REQUEST_LINES = 500, 8
"""Characters and lines; a longer request is folded."""
KIND_WORDS: Mapping[str, str] = {CHANGE: "changes a repository", DOCUMENT: "makes a document"}
TIME_WORDS: Mapping[str, str] = {
    "models": "models",
    "tests": "tests",
    "tools": "tools",
    "queues": "waiting in queues",
    "other": "other work",
    "person": "waiting for a person",
}


class Limit(NamedTuple):
    """A limit of a session, and what of it is used.

    Attributes:
        name: Such as `calls`.
        used: What its latest request has used.
        limit: The limit.
        share: What is used of it; above 1 if the last call went beyond it.
    """

    name: str
    used: str
    limit: str
    share: float

    @property
    def percent(self) -> float:
        """What is used, from 0 to 100."""
        return min(self.share, 1.0) * 100


class TimeShare(NamedTuple):
    """A part of a session's time; `begin` and `percent` are its place in a bar, from 0 to 100."""

    purpose: str
    words: str
    seconds: float
    begin: float
    percent: float


class Header(NamedTuple):
    """What stands above everything else of a session.

    Attributes:
        phase: Its phase; `interrupted` if no process works on it any more.
        verdict: Its verdict; empty if it has none yet.
        figures: Names and values.
        limits: Its budget; empty without limits.
        times: Where its time went.
        error: Why its last run failed or stopped; empty otherwise.
        command: The command that goes on; empty for a session that has ended or runs.
        origin: The session that it was forked from; empty if it was not forked.
        kind: What it makes, in words; empty for code.
        models: The models that it has chosen for roles that may have several, a line each.
        folds_request: Whether the request is too long to stand unfolded.
    """

    phase: str
    verdict: str
    figures: list[tuple[str, str]]
    limits: list[Limit]
    times: list[TimeShare]
    error: str
    command: str
    origin: str
    kind: str
    models: list[str]
    folds_request: bool


def header(
    catalogue: Catalogue, session: Session, analyzed: Analysis, calls: Sequence[Mapping[str, Any]]
) -> Header:
    """The head of a session's report, from the catalogue alone.

    Args:
        catalogue: The catalogue.
        session: The session.
        analyzed: Its figures.
        calls: The rows of its calls.
    """
    (row,) = session_rows(catalogue, [session])
    runs = catalogue.runs(session.session)
    phase = row["phase"]
    goes_on = not has_ended(phase) and phase != "running"
    database = catalogue.database
    place = Path(database.path).parent if database.is_file else database.folder
    return Header(
        phase=phase,
        verdict=row["verdict"],
        figures=_figures(analyzed, calls),
        limits=_limits(catalogue, session, runs),
        times=_times(catalogue, session, runs, phase, calls),
        error=analyzed.error,
        command=session_command("swarm-graph", "resume", session.session, data_dir=place) if goes_on else "",
        origin=session.parent,
        kind=_kind_words(session),
        models=chosen_lines(chosen_models(catalogue, session)),
        folds_request=_is_long(session.request),
    )


def _figures(analyzed: Analysis, calls: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """The figures that mean something: no rate of simulated models, no cost without prices."""
    figures = analyzed.figures()
    failed = f", {figures['failed_calls']:,} failed" if figures["failed_calls"] else ""
    tools_failed = f", {figures['failed_tool_calls']:,} failed" if figures["failed_tool_calls"] else ""
    real = summary(real_calls(calls)).values()
    seconds = sum(role["model_seconds"] for role in real)
    rate = sum(role["output_tokens"] for role in real) / seconds if seconds else 0.0
    evaluated = figures["prompt_tokens_evaluated"]
    tokens = f"{figures['input_tokens']:,} in, {figures['output_tokens']:,} out"
    findings = [f"{count} {name}" for name in SEVERITIES if (count := analyzed.findings.get(name))]
    checks = "document checks" if analyzed.kind == DOCUMENT else "test runs"
    tasks = ", ".join(f"{count:,} {status}" for status, count in analyzed.tasks.items())
    named = {
        "rounds": str(analyzed.rounds or "") if analyzed.workflow != "custom" else "",
        "tasks": tasks if analyzed.workflow == "custom" else "",
        "model calls": f"{figures['calls']:,}{failed}",
        "tokens": tokens,
        "prompt tokens evaluated": "" if evaluated is None or analyzed.simulated else f"{evaluated:,}",
        "speed": f"{rate:,.1f} tokens a second" if rate else "",
        "cost": format_cost(figures["cost"]) if figures["cost"] else "",
        "tool calls": f"{figures['tool_calls']:,}{tools_failed}" if figures["tool_calls"] else "",
        checks: figures["test_runs"].replace("_", " "),
        "open findings": ", ".join(findings),
        "model swaps": str(analyzed.model_swaps or ""),
        "worked": duration(analyzed.seconds),
    }
    return [(name, value) for name, value in named.items() if value]


def _limits(catalogue: Catalogue, session: Session, runs: list[Run]) -> list[Limit]:
    """The limits of the latest request, as its last run had them."""
    config = next((run.config for run in reversed(runs) if run.config), session.config)
    limits = config.get("limits")
    if not isinstance(limits, Mapping):
        return []
    usage = catalogue.usage_of_request(session.session)._asdict()
    return [
        _limit(name, usage[name], limits[name])
        for name in ("calls", "tokens", "seconds")
        if isinstance(limits.get(name), (int, float))
    ]


def _limit(name: str, used: float, limit: float) -> Limit:
    shown = duration if name == "seconds" else "{:,.0f}".format
    words = {"calls": "model calls", "seconds": "working time"}
    return Limit(words.get(name, name), shown(used), shown(limit), used / limit if limit > 0 else 1.0)


def _times(
    catalogue: Catalogue, session: Session, runs: list[Run], phase: str, calls: Sequence[Mapping[str, Any]]
) -> list[TimeShare]:
    name = session.session
    tests = [run for run in catalogue.test_runs(name) if run["kind"] == "run"]
    tools = catalogue.tool_figures(name)
    last = max((call["time"] for call in calls), default=0.0)
    until = time.time() if phase in ("running", "paused") else max(session.updated_at, last)
    spans = {
        "models": call_spans(calls),
        "tests": test_spans(tests),
        "tools": tool_spans(tools),
        "queues": queue_spans(calls),
        "person": waits_for_person(runs, until),
    }
    seconds = split_time(spans, run_spans(runs, until))
    total, begin, shares = sum(seconds.values()) or 1.0, 0.0, []
    for purpose, spent in seconds.items():
        percent = 100 * spent / total
        shares.append(TimeShare(purpose, TIME_WORDS[purpose], spent, begin, percent))
        begin += percent
    return shares


def _kind_words(session: Session) -> str:
    """What a session makes; a review of a repository changes nothing there."""
    if session.kind == CHANGE and session.workflow == "review_only":
        return "reviews a repository"
    return KIND_WORDS.get(session.kind, "")


def _is_long(request: str) -> bool:
    return len(request) > LONG_REQUEST or request.count("\n") >= LONG_REQUEST_LINES
