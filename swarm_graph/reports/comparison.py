"""Sessions side by side: figures, findings, settings, files, and what their configurations differ in."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from swarm_graph.checkpoints.records import Session
from swarm_graph.checkpoints.saver import SwarmSaver
from swarm_graph.config import changed_settings
from swarm_graph.errors import InputError
from swarm_graph.html import escaped, html_table
from swarm_graph.reports.analysis import FIGURES, Analysis, analysis
from swarm_graph.reports.config_comparison import ConfigComparison, compare_configs
from swarm_graph.roles.findings import SEVERITIES
from swarm_graph.sessions.artifacts import project_files
from swarm_graph.state import SwarmState
from swarm_graph.text import format_cost, text_table

MAX_DIFF_LINES = 400


@dataclass(frozen=True)
class Comparison:
    """Two or more sessions side by side.

    Attributes:
        sessions: The figures of each session.
        settings: For each session but the first: the dotted paths of the settings that differ from the
            first session's.
        code: For each session but the first: a unified diff from the first session's files to its own.
        contests: The first session's configuration against each of the others.
    """

    sessions: list[Analysis]
    settings: dict[str, list[str]]
    code: dict[str, str]
    contests: list[ConfigComparison]

    def to_dict(self) -> dict[str, Any]:
        """The comparison as `sessions compare --json` prints it."""
        return {
            "sessions": [{**vars(one), "figures": one.figures()} for one in self.sessions],
            "settings": self.settings,
            "code": self.code,
            "contests": [contest.to_dict() for contest in self.contests],
        }

    def _repr_html_(self) -> str:
        contests = "".join(f"<p>{escaped(contest.text())}</p>" for contest in self.contests)
        return html_table(self._heads(), self._rows()) + contests

    def _heads(self) -> tuple[str, ...]:
        return ("", *(one.session for one in self.sessions))

    def _rows(self) -> list[tuple[str, ...]]:
        """A row for each figure and for each severity, a column for each session."""
        columns = [
            {**figures, "cost": format_cost(figures["cost"])}
            for figures in (one.figures() for one in self.sessions)
        ]
        rows = [(name.replace("_", " "), *(_cell(column[name]) for column in columns)) for name in FIGURES]
        return rows + [
            (f"{severity} findings", *(str(one.findings.get(severity, 0)) for one in self.sessions))
            for severity in SEVERITIES
        ]

    def text(self) -> str:
        """The comparison as text: a table with a column for each session, then the differences."""
        parts = [text_table(self._heads(), self._rows())]
        first = self.sessions[0].session
        for session, names in self.settings.items():
            differing = ", ".join(names) or "none"
            parts.append(f"\nSettings of {session} that differ from {first}'s: {differing}\n")
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
    """Compare the first session with each of the others. A session that is named twice counts once.

    Raises:
        InputError: There are fewer than two different sessions.
    """
    sessions = list({session.session: session for session in sessions}.values())
    if len(sessions) < 2:
        raise InputError("a comparison needs two sessions or more")
    first, *others = sessions
    files = {session.session: _files(saver, session) for session in sessions}
    analyses = [analysis(saver.catalogue, session) for session in sessions]
    configs = [session.config for session in sessions]
    return Comparison(
        sessions=analyses,
        settings={other.session: changed_settings(first.config, other.config) for other in others},
        code={other.session: unified_diff(files[first.session], files[other.session]) for other in others},
        contests=compare_configs(list(zip(analyses, configs, strict=True))),
    )


def _files(saver: SwarmSaver, session: Session) -> dict[str, str]:
    saved = saver.get_tuple({"configurable": {"thread_id": session.session}})
    return project_files(cast("SwarmState", saved.checkpoint["channel_values"])) if saved else {}


def unified_diff(old: Mapping[str, str], new: Mapping[str, str]) -> str:
    """A unified diff of two sets of files, path to text; empty when they are equal."""
    lines: list[str] = []
    for path in sorted({*old, *new}):
        before, after = (files.get(path, "").splitlines() for files in (old, new))
        lines += difflib.unified_diff(before, after, f"a/{path}", f"b/{path}", lineterm="")
    return "\n".join(lines)


def _shortened(diff: str) -> str:
    lines = diff.splitlines()
    more = [f"… and {len(lines) - MAX_DIFF_LINES} more lines"] if len(lines) > MAX_DIFF_LINES else []
    return "\n".join([*lines[:MAX_DIFF_LINES], *more])


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.2f}" if isinstance(value, float) else str(value)
