"""Sessions side by side for people: figures and which is better, settings, findings, changes of files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from pydantic import ValidationError

from swarm_graph.checkpoints.records import Session
from swarm_graph.checkpoints.swarm_saver import SwarmSaver
from swarm_graph.config import SwarmConfig, changed_settings, saved_values
from swarm_graph.errors import InputError
from swarm_graph.memory.mistakes import may_be_same
from swarm_graph.reports.analysis import FIGURES, Analysis, analysis
from swarm_graph.reports.comparison import figure_cell, files_of
from swarm_graph.reports.config_comparison import ConfigComparison, compare_configs
from swarm_graph.reports.file_diffs import Change, change_between
from swarm_graph.reports.listing import session_rows
from swarm_graph.reports.rounds import readable_reviews
from swarm_graph.reports.significance import IS_BETTER
from swarm_graph.roles.findings import SEVERITIES, comparable, judge
from swarm_graph.state import Finding, Review, has_ended
from swarm_graph.text import cost_cell

MAX_FINDINGS = 100
"""Findings of a session that are compared with those of the others, the gravest first."""
MAX_VALUE = 200
"""Characters of a setting's value that are shown."""


class Cell(NamedTuple):
    """A figure of a session.

    Attributes:
        text: The figure; empty if it means nothing there.
        is_better: Whether no other session has a better one, and some have a worse one.
    """

    text: str
    is_better: bool = False


class FigureRow(NamedTuple):
    """A figure of all sessions.

    Attributes:
        name: Its name.
        cells: One for each session.
        proof: Whether the difference is beyond chance; empty if there is none to judge.
    """

    name: str
    cells: list[Cell]
    proof: str


class SettingRow(NamedTuple):
    """A setting in which configurations differ: its dotted path, and its value in each session."""

    path: str
    values: list[str]


class OwnFindings(NamedTuple):
    """What only one session has found.

    Attributes:
        session: Its id.
        findings: Each with whether it was still open after the last round.
        more: How many further findings were not compared.
    """

    session: str
    findings: list[tuple[Finding, bool]]
    more: int


class CodeChange(NamedTuple):
    """How the files of a session differ from those of the first."""

    session: str
    change: Change


@dataclass(frozen=True)
class ComparisonView:
    """Two or more sessions side by side.

    Attributes:
        sessions: The row of each session in the list of sessions.
        figures: The figures.
        settings: The settings that are not the same in all configurations.
        contests: The first session's configuration against each of the others.
        no_samples: Sessions that are no sample of their configuration, and why.
        findings: What only one session has found.
        changes: For each session but the first: how its files differ from the first session's.
    """

    sessions: list[dict[str, Any]]
    figures: list[FigureRow]
    settings: list[SettingRow]
    contests: list[ConfigComparison]
    no_samples: list[tuple[str, str]]
    findings: list[OwnFindings]
    changes: list[CodeChange]


def comparison_view(saver: SwarmSaver, sessions: Sequence[Session]) -> ComparisonView:
    """Compare the first session with each of the others. A session that is named twice counts once.

    Raises:
        InputError: There are fewer than two different sessions.
    """
    sessions = list({session.session: session for session in sessions}.values())
    if len(sessions) < 2:
        raise InputError("a comparison needs two sessions or more")
    analyses = [analysis(saver.catalogue, session) for session in sessions]
    configs = [session.config for session in sessions]
    contests = compare_configs(list(zip(analyses, configs, strict=True)))
    first, *others = [files_of(saver, session) for session in sessions]
    return ComparisonView(
        sessions=session_rows(saver.catalogue, sessions),
        figures=[*_figure_rows(analyses, contests), *_severity_rows(analyses)],
        settings=_setting_rows(configs),
        contests=contests,
        no_samples=[(one.session, one.no_sample) for one in analyses if one.no_sample],
        findings=_own_findings({session.session: _reviews(saver, session) for session in sessions}),
        changes=[
            CodeChange(session.session, change_between(first, files))
            for session, files in zip(sessions[1:], others, strict=True)
        ],
    )


# --- figures -------------------------------------------------------------------------------------


def _figure_rows(analyses: Sequence[Analysis], contests: Sequence[ConfigComparison]) -> list[FigureRow]:
    rows = []
    columns = [one.figures_to_show() for one in analyses]
    figures = [one.figures() for one in analyses]
    for figure in FIGURES:
        name = figure.replace("_", " ")
        texts = [_text(figure, column.get(name)) for column in columns]
        if any(texts):
            better = _better(figure, [one[figure] for one in figures], analyses)
            cells = [Cell(text, one) for text, one in zip(texts, better, strict=True)]
            rows.append(FigureRow(name, cells, _proof(figure, contests) if any(better) else ""))
    return rows


def _text(figure: str, value: Any) -> str:
    if value is None or value == "":
        return ""
    return cost_cell(value) if figure == "cost" else figure_cell(value)


def _better(figure: str, values: Sequence[Any], analyses: Sequence[Analysis]) -> list[bool]:
    """Which sessions have the best value; none if they are equal, or if nobody can say."""
    is_better = IS_BETTER.get(figure)
    known = [value for value, one in zip(values, analyses, strict=True) if has_ended(one.phase)]
    if is_better is None or len(known) < len(values) or None in known:
        return [False] * len(values)
    return [
        any(is_better(value, other) for other in values)
        and not any(is_better(other, value) for other in values)
        for value in values
    ]


def _proof(figure: str, contests: Sequence[ConfigComparison]) -> str:
    """Whether a difference in a figure is beyond chance."""
    found = [
        f"shown: {(contest.first if one.first_is_better else contest.other)[0]} (p = {one.p:.3f})"
        for contest in contests
        for one in contest.differences
        if one.figure == figure
    ]
    return "; ".join(found) or "not shown"


def _severity_rows(analyses: Sequence[Analysis]) -> list[FigureRow]:
    return [
        FigureRow(
            f"{severity} findings, open", [Cell(str(one.findings.get(severity, 0))) for one in analyses], ""
        )
        for severity in SEVERITIES
    ]


# --- settings ------------------------------------------------------------------------------------


def _setting_rows(configs: Sequence[Mapping[str, Any]]) -> list[SettingRow]:
    """The settings that differ, sorted by their paths."""
    paths = {path for config in configs[1:] for path in changed_settings(configs[0], config)}
    columns = [setting_values(config) for config in configs]
    rows = [SettingRow(path, [_value(column, path) for column in columns]) for path in sorted(paths)]
    return [row for row in rows if any(row.values)]


def setting_values(saved: Mapping[str, Any]) -> dict[str, Any]:
    """Every setting by its path, defaults included; those of another version as they were saved."""
    try:
        whole: Any = SwarmConfig.model_validate(saved).model_dump(mode="json", by_alias=True)
    except ValidationError:
        whole = saved
    return dict(saved_values(whole))


def _value(column: Mapping[str, Any], path: str) -> str:
    """The value of a setting; of a group, its settings."""
    if path in column:
        return shown_value(column[path])
    below = {name: value for name, value in column.items() if name.startswith(f"{path}.")}
    return ", ".join(
        f"{name.removeprefix(f'{path}.')} = {shown_value(value)}" for name, value in below.items()
    )


def shown_value(value: Any) -> str:
    """The value of a setting for people, shortened."""
    text = "none" if value is None else str(value)
    return text if len(text) <= MAX_VALUE else f"{text[:MAX_VALUE]}… ({len(text):,} characters in all)"


# --- findings ------------------------------------------------------------------------------------


def _reviews(saver: SwarmSaver, session: Session) -> list[Review]:
    saved = saver.get_tuple({"configurable": {"thread_id": session.session}})
    return readable_reviews(saved.checkpoint["channel_values"] if saved else {})[0]


def _own_findings(reviews: Mapping[str, list[Review]]) -> list[OwnFindings]:
    """The findings of all rounds of each session that no other one has, in these or in similar words."""
    every = {session: judge(found).findings for session, found in reviews.items()}
    compared = {session: findings[:MAX_FINDINGS] for session, findings in every.items()}
    result = []
    for session, findings in compared.items():
        others = [one for name, theirs in compared.items() if name != session for one in theirs]
        own = [one for one in findings if not any(_may_be_same(one, other) for other in others)]
        last = max((review["iteration"] for review in reviews[session]), default=0)
        still_open = judge([one for one in reviews[session] if one["iteration"] == last]).findings
        named = [(one, any(_may_be_same(one, other) for other in still_open)) for one in own]
        result.append(OwnFindings(session, named, len(every[session]) - len(findings)))
    return result


def _may_be_same(one: Finding, other: Finding) -> bool:
    return comparable(one["problem"]) == comparable(other["problem"]) or may_be_same(
        one["problem"], other["problem"]
    )
