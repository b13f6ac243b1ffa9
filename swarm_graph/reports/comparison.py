"""What sessions came to, side by side: outcome, time, tokens, findings, tests, configuration, code."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from swarm_graph.checkpoints.records import Session
from swarm_graph.checkpoints.saver import SwarmSaver
from swarm_graph.config import changed_settings
from swarm_graph.errors import InputError
from swarm_graph.html import table, text
from swarm_graph.reports.analysis import COMPARED, Analysis, analysis
from swarm_graph.reports.contest import Contest, contests
from swarm_graph.roles.findings import SEVERITIES
from swarm_graph.sessions.artifacts import project_files
from swarm_graph.state import SwarmState
from swarm_graph.text import aligned, money

SHOWN_DIFF = 400


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
