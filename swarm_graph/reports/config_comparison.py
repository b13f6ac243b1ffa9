"""Configurations side by side: the figures of their sessions that differ beyond chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, cast

from swarm_graph.config import changed_settings
from swarm_graph.reports.analysis import Analysis
from swarm_graph.reports.significance import Difference, differences
from swarm_graph.state import has_ended

FAILED_PHASES = ("failed", "over_budget")
"""Sessions in these phases count as not ended. Paused and cancelled sessions do not count at all."""

MIN_SESSIONS = 6
"""Sessions of each configuration that can show a difference when all eight figures vary.

With five each, no p is below 2/252 = 0.0079; Holm's correction asks for 0.05/8 = 0.0063.
"""


@dataclass(frozen=True)
class ConfigComparison:
    """Sessions of one configuration against sessions of another.

    Sessions whose configurations differ only in seeds belong to the same configuration.

    Attributes:
        first: The ids of the first configuration's sessions.
        other: The ids of the other configuration's sessions.
        differences: The figures that differ beyond chance.
        requests_differ: The two groups had different requests, so figures may differ for that reason.
    """

    first: list[str]
    other: list[str]
    differences: list[Difference]
    requests_differ: bool

    @property
    def better(self) -> Literal["first", "other", None]:
        """The configuration that is better in at least one figure and worse in none; None if neither is."""
        sides = {"first" if one.first_is_better else "other" for one in self.differences}
        return cast("Any", sides.pop()) if len(sides) == 1 else None

    def to_dict(self) -> dict[str, Any]:
        """The comparison as `sessions compare --json` prints it."""
        return {**vars(self), "better": self.better, "differences": [vars(one) for one in self.differences]}

    def text(self) -> str:
        """The comparison as one line of text."""
        figures = ", ".join(
            f"{one.figure.replace('_', ' ')} {one.first:.4g} and {one.other:.4g} (p = {one.p:.3f})"
            for one in self.differences
        )
        if self.better:
            better = self.first[0] if self.better == "first" else self.other[0]
            verdict = f"{better}'s is better: {figures}"
        elif figures:
            verdict = f"each is better in something: {figures}"
        else:
            few = min(len(self.first), len(self.other)) < MIN_SESSIONS
            hint = "; six sessions or more of each can show one" if few else ""
            verdict = f"no difference beyond chance{hint}"
        warning = "; their requests differ" if self.requests_differ else ""
        return f"Configurations of {_names(self.first)} and {_names(self.other)}: {verdict}{warning}\n"


def _names(sessions: list[str]) -> str:
    more = len(sessions) - 1
    return f"{sessions[0]} (and {more} more)" if more else sessions[0]


class _Group(NamedTuple):
    config: Mapping[str, Any]
    analyses: list[Analysis]


def compare_configs(sessions: Sequence[tuple[Analysis, Mapping[str, Any]]]) -> list[ConfigComparison]:
    """Group sessions by configuration, and compare the first session's group with each of the others.

    Args:
        sessions: Each session's figures and its saved configuration. Sessions that are no sample of their
            configuration (`Analysis.no_sample`) are left out.
    """
    groups: list[_Group] = []
    for analyzed, config in sessions:
        if analyzed.no_sample:
            continue
        group = next((group for group in groups if equal_except_seeds(group.config, config)), None)
        if group is None:
            groups.append(_Group(config, [analyzed]))
        else:
            group.analyses.append(analyzed)
    if not groups:
        return []
    first, *others = (group.analyses for group in groups)
    return [_compare(first, other) for other in others]


def _compare(first: list[Analysis], other: list[Analysis]) -> ConfigComparison:
    return ConfigComparison(
        first=[one.session for one in first],
        other=[one.session for one in other],
        differences=differences([_sample(one) for one in first], [_sample(one) for one in other]),
        requests_differ={one.request for one in first} != {one.request for one in other},
    )


def equal_except_seeds(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether two saved configurations differ in seeds at most."""
    return all(name.endswith(".seed") for name in changed_settings(old, new))


def _sample(analyzed: Analysis) -> dict[str, float | None]:
    """The figures for which a session is a sample of its configuration.

    A session that failed is a sample of `ended` alone: with its other figures, a configuration that gives up
    early would look quick and cheap.
    """
    if has_ended(analyzed.phase):
        figures = analyzed.figures()
        if analyzed.simulated:
            figures["tokens_per_second"] = None
        return {**figures, "tokens": figures["input_tokens"] + figures["output_tokens"], "ended": True}
    return {"ended": False} if analyzed.phase in FAILED_PHASES else {}
