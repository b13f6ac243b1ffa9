"""The report of an evaluation as a page: its rows, and where each interval stands in its drawing."""

from __future__ import annotations

from typing import Any, NamedTuple

from swarm_graph.experiments.eval_figures import ArmFigures, PairFigures, Share
from swarm_graph.experiments.eval_results import EvalResults, reason_of, result_of
from swarm_graph.experiments.eval_words import (
    Format,
    count_text,
    difference_text,
    estimate_text,
    p_text,
    pair_text,
    share_text,
    spending_text,
    tenths,
    whole,
)
from swarm_graph.experiments.statistics import Interval
from swarm_graph.text import format_cost

LOOKS = {"solved": "good", "not solved": "bad", "failed": "warn", "not judged": ""}
"""The look of the badge of each result."""


class Whisker(NamedTuple):
    """An interval in a drawing.

    Attributes:
        words: The figure with its interval.
        at: The place of the figure, in percent of the width; None if there is none to draw.
        low: The place of the lower end.
        high: The place of the upper end.
        zero: The place of the line at 0, if the drawing has one inside.
    """

    words: str
    at: float | None = None
    low: float = 0.0
    high: float = 0.0
    zero: float | None = None


class Cell(NamedTuple):
    """What an arm did on a case."""

    arm: str
    result: str
    look: str
    session: str
    reason: str


def page_values(evaluation: EvalResults) -> dict[str, Any]:
    """The values of the template `parts/evaluation.html`."""
    arms = evaluation.arms
    return {
        "evaluation": evaluation,
        "arms": [_arm_row(evaluation, arm) for arm in arms],
        "spending": _spending(arms),
        "suites": [
            (suite, arm.name, count_text(share), _share_whisker(share))
            for suite in dict.fromkeys(suite for arm in arms for suite in arm.suites)
            for arm in arms
            if suite in arm.suites
            for share in [arm.suites[suite]]
        ],
        "reviews": [row for arm in arms for row in _review_rows(arm)],
        "pairs": [_pair_row(pair) for pair in evaluation.pairs],
        "sentences": [
            (pair.is_shown, pair_text(pair), spending_text(pair)) for pair in evaluation.told_pairs
        ],
        "cases": [
            ("/".join(case), [_cell(name, trials) for name in (arm.name for arm in arms)])
            for case, trials in evaluation.results.items()
        ],
    }


def _arm_row(evaluation: EvalResults, arm: ArmFigures) -> dict[str, Any]:
    plan = evaluation.plan_of(arm.name)
    model = str(plan.get("model", ""))
    return {
        "arm": arm,
        "workflow": plan.get("workflow", ""),
        "model": "" if model in arm.name else model,
        "solved": count_text(arm.solved),
        "share": _share_whisker(arm.solved),
    }


def _share_whisker(share: Share) -> Whisker:
    return _whisker(share_text(share), share.interval, 1.0)


def _whisker(words: str, interval: Interval | None, most: float) -> Whisker:
    """An interval on a scale from 0 to `most`. One without an upper end reaches the end of the scale."""
    if interval is None or not most:
        return Whisker(words)
    high = most if interval.high is None else min(interval.high, most)
    return Whisker(
        words, *(100 * min(place, most) / most for place in (interval.estimate, interval.low, high))
    )


def _spending(arms: list[ArmFigures]) -> list[tuple[str, list[tuple[str, Whisker]]]]:
    """For each kind of spending the figure of each arm, all on the same scale."""
    kinds: list[tuple[str, list[Interval | None], Format]] = [
        ("tokens per solved case", [arm.tokens for arm in arms], whole),
        ("seconds per solved case", [arm.seconds for arm in arms], tenths),
        ("cost per solved case", [arm.cost for arm in arms], format_cost),
    ]
    return [
        (
            name,
            [
                (arm.name, _whisker(estimate_text(interval, shown), interval, _most(intervals)))
                for arm, interval in zip(arms, intervals, strict=True)
            ],
        )
        for name, intervals, shown in kinds
        if any(intervals) or name.startswith("tokens")
    ]


def _most(intervals: list[Interval | None]) -> float:
    """The end of a scale on which all intervals have room."""
    return 1.05 * max((one.high or 2 * one.estimate for one in intervals if one), default=0.0)


def _review_rows(arm: ArmFigures) -> list[tuple[str, str, str, Whisker]]:
    reviews = arm.reviews
    if reviews is None:
        return []
    shares = {
        "recall": reviews.recall,
        "precision": reviews.precision,
        "false alarms": reviews.false_alarms,
    }
    rows = [(arm.name, name, count_text(share), _share_whisker(share)) for name, share in shares.items()]
    if reviews.wrong_findings is not None:
        count = f"{tenths(reviews.wrong_findings)} per review"
        rows.append((arm.name, "wrong findings", "", Whisker(count)))
    return rows


def _pair_row(pair: PairFigures) -> dict[str, Any]:
    low, high = pair.difference.low, 1.0 if pair.difference.high is None else pair.difference.high
    at, low, high = (50 + 50 * place for place in (pair.difference.estimate, low, high))
    return {
        "pair": pair,
        "p": p_text(pair.p).removeprefix("p = ").removeprefix("p "),
        "difference": Whisker(difference_text(pair.difference), at, low, high, zero=50),
    }


def _cell(arm: str, trials: dict[str, Any]) -> Cell:
    if arm not in trials:
        return Cell(arm, "", "", "", "")
    trial = trials[arm]
    result = result_of(trial)
    return Cell(arm, result, LOOKS[result], trial.session, reason_of(trial))
