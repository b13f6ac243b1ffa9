"""Configurations side by side: which figures of their sessions differ beyond chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from swarm_graph.config import changed_settings
from swarm_graph.reports.analysis import Analysis
from swarm_graph.reports.significance import Difference, differences
from swarm_graph.state import has_ended

GAVE_UP = ("failed", "over_budget")
"""The phases of sessions that came to no end by themselves; others were stopped, or wait."""


ENOUGH = 6
"""Sessions of each configuration with which a difference can be beyond chance."""


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
    if has_ended(told.phase):
        figures = told.figures()
        return {**figures, "tokens": figures["input_tokens"] + figures["output_tokens"], "ended": True}
    return {"ended": False} if told.phase in GAVE_UP else {}


def _counted(sessions: list[str]) -> str:
    more = len(sessions) - 1
    return f"{sessions[0]} (and {more} more)" if more else sessions[0]
