"""Sessions side by side: figures, findings, settings, files, and what their configurations differ in."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from swarm_graph.checkpoints.experiments import Experiments
from swarm_graph.checkpoints.records import Session
from swarm_graph.checkpoints.signatures import is_own
from swarm_graph.checkpoints.swarm_saver import SwarmSaver
from swarm_graph.config import changed_settings, settings_in_words
from swarm_graph.errors import InputError
from swarm_graph.reports.analysis import FIGURES, Analysis, analysis
from swarm_graph.reports.config_comparison import ConfigComparison, compare_configs
from swarm_graph.roles.findings import SEVERITIES
from swarm_graph.sessions.artifacts import project_files
from swarm_graph.sessions.resume import roles_to_read
from swarm_graph.state import SwarmState
from swarm_graph.text import cost_cell, first_names, text_table

if TYPE_CHECKING:
    from swarm_graph.reports.file_diffs import Change


@dataclass(frozen=True)
class Comparison:
    """Two or more sessions side by side.

    Attributes:
        sessions: The figures of each session.
        settings: For each session but the first: the dotted paths of the settings that differ from the
            first session's.
        code: For each session but the first: a unified diff from the first session's files to its own.
        changes: For each session but the first: the files that differ from the first session's, with the
            number of lines added and removed.
        contests: The first session's configuration against each of the others.
        diffs: For each session but the first: the same changes of files, for a page.
    """

    sessions: list[Analysis]
    settings: dict[str, list[str]]
    code: dict[str, str]
    changes: dict[str, dict[str, tuple[int, int]]]
    contests: list[ConfigComparison]
    diffs: dict[str, Change] = field(default_factory=dict, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """The comparison as `sessions compare --json` prints it."""
        return {
            "sessions": [{**vars(one), "figures": one.figures()} for one in self.sessions],
            "settings": self.settings,
            "code": self.code,
            "contests": [contest.to_dict() for contest in self.contests],
        }

    def _repr_html_(self) -> str:
        from swarm_graph.reports.templates import notebook_html

        return notebook_html("parts/comparison.html", comparison=self)

    @property
    def figures(self) -> list[tuple[str, list[str]]]:
        """For each figure and each severity its name, and its value for each session."""
        columns = [one.figures_to_show() for one in self.sessions]
        columns = [{**column, "cost": cost_cell(column.get("cost", 0.0))} for column in columns]
        names = [name.replace("_", " ") for name in FIGURES]
        shown = [name for name in names if any(column.get(name, "") != "" for column in columns)]
        rows = [(name, [figure_cell(column.get(name)) for column in columns]) for name in shown]
        return rows + [
            (f"{severity} findings", [str(one.findings.get(severity, 0)) for one in self.sessions])
            for severity in SEVERITIES
        ]

    @property
    def setting_words(self) -> dict[str, str]:
        """For each session but the first: the settings that differ from the first session's, in words."""
        return {session: settings_in_words(names) or "none" for session, names in self.settings.items()}

    def text(self, *, diff: bool = False) -> str:
        """The comparison as text: a table with a column for each session, then the differences.

        Args:
            diff: Whether to show how the files differ; otherwise they are only named.
        """
        heads = ("", *(one.session for one in self.sessions))
        parts = [text_table(heads, [(name, *values) for name, values in self.figures])]
        first = self.sessions[0].session
        for session, differing in self.setting_words.items():
            parts.append(f"\nSettings of {session} that differ from {first}'s: {differing}\n")
        parts += [
            f"\n{one.session} is no sample of its configuration: {one.no_sample}\n"
            for one in self.sessions
            if one.no_sample
        ]
        for session, changes in self.changes.items():
            parts.append(f"\nFiles from {first} to {session}: {_changes_text(changes)}\n")
            parts += [f"{self.code[session]}\n"] if diff and changes else []
        parts += [f"\n{contest.text()}" for contest in self.contests]
        return "".join(parts)


def _changes_text(changes: Mapping[str, tuple[int, int]]) -> str:
    """As in "2 changed: src/a.py (+3 -1), tests/test_a.py (+9 -0)"."""
    files = [f"{path} (+{added} -{removed})" for path, (added, removed) in changes.items()]
    return f"{len(files)} changed: {first_names(files)}" if files else "the same"


def compare(saver: SwarmSaver, sessions: Sequence[Session]) -> Comparison:
    """Compare the first session with each of the others. A session that is named twice counts once.

    Raises:
        InputError: There are fewer than two different sessions, or they are trials of an A/B test that has
            not ended.
    """
    from swarm_graph.reports.file_diffs import change_between  # it loads Pygments

    sessions = list({session.session: session for session in sessions}.values())
    if len(sessions) < 2:
        raise InputError("a comparison needs two sessions or more")
    open_tests = Experiments(saver.database).open_tests()
    if test := next((one.experiment for one in sessions if one.experiment in open_tests), ""):
        raise InputError(
            f"'{test}' is an A/B test that has not ended, so its trials are not compared; "
            f"`swarm-graph ab --resume {test}` goes on with it"
        )
    first, *others = sessions
    files = {session.session: files_of(saver, session) for session in sessions}
    analyses = [analysis(saver.catalogue, session) for session in sessions]
    configs = [session.config for session in sessions]
    return Comparison(
        sessions=analyses,
        settings={other.session: changed_settings(first.config, other.config) for other in others},
        code={other.session: unified_diff(files[first.session], files[other.session]) for other in others},
        changes={
            other.session: changed_files(files[first.session], files[other.session]) for other in others
        },
        contests=compare_configs(list(zip(analyses, configs, strict=True))),
        diffs={other.session: change_between(files[first.session], files[other.session]) for other in others},
    )


def files_of(saver: SwarmSaver, session: Session) -> dict[str, str]:
    """The files of a session's result, path to text."""
    saved = saver.get_tuple({"configurable": {"thread_id": session.session}})
    if saved is None:
        return {}
    roles = roles_to_read(session, trusted=is_own(saver.catalogue, session))
    return project_files(cast("SwarmState", saved.checkpoint["channel_values"]), roles)


def unified_diff(old: Mapping[str, str], new: Mapping[str, str]) -> str:
    """A unified diff of two sets of files, path to text; empty when they are equal."""
    return "\n".join(line for lines in _diffs(old, new).values() for line in lines)


def changed_files(old: Mapping[str, str], new: Mapping[str, str]) -> dict[str, tuple[int, int]]:
    """The files that differ, by path: how many lines the new one has more, and how many it has lost."""
    changes = {}
    for path, lines in _diffs(old, new).items():
        signs = [line[:1] for line in lines[2:]]  # the first two name the files
        changes[path] = (signs.count("+"), signs.count("-"))
    return changes


def _diffs(old: Mapping[str, str], new: Mapping[str, str]) -> dict[str, list[str]]:
    """The lines of a unified diff of each file that differs."""
    diffs = {}
    for path in sorted({*old, *new}):
        before, after = (files.get(path, "").splitlines() for files in (old, new))
        diffs[path] = [*difflib.unified_diff(before, after, f"a/{path}", f"b/{path}", lineterm="")]
    return {path: lines for path, lines in diffs.items() if lines}


def figure_cell(value: Any) -> str:
    """A figure in a table."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.2f}" if isinstance(value, float) else str(value)
