"""The figures of an evaluation: each arm's, and each pair of arms on the cases that both have tried."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from swarm_graph.checkpoints.experiments import TrialRow
from swarm_graph.experiments.statistics import (
    LEVEL,
    Interval,
    holm,
    mcnemar,
    paired_difference,
    per_solved,
    ratio_interval,
    share_interval,
    smallest_difference,
)

CaseId = tuple[str, str]
"""The suite and the name of a case."""


@dataclass(frozen=True)
class Share:
    """A number of cases out of others.

    Attributes:
        count: How many.
        of: Of how many.
        interval: The share; None of no cases.
    """

    count: int
    of: int
    interval: Interval | None


@dataclass(frozen=True)
class ReviewFigures:
    """How well an arm reviews.

    Attributes:
        recall: The planted bugs that it has found. A failed session has found none.
        precision: Of its reviews of code with a grave finding, those that name the planted bug.
        false_alarms: Of its reviews of correct code, those with a grave finding.
        wrong_findings: Grave findings at places without a planted bug, per review of code; None without any.
    """

    recall: Share
    precision: Share
    false_alarms: Share
    wrong_findings: float | None


@dataclass(frozen=True)
class ArmFigures:
    """What an arm has done.

    Attributes:
        name: Its name.
        planned: The number of its trials.
        solved: Solved cases of those that are judged. A failed session has not solved its case.
        failed: Sessions that did not come to their end.
        tokens: Tokens of all its sessions per solved case; None if no case is solved.
        seconds: Working time of all its sessions per solved case; None if no case is solved.
        cost: Cost of all its sessions per solved case; None without prices, and if no case is solved.
        suites: Its solved cases by suite.
        reviews: How well it reviews; None without review cases.
    """

    name: str
    planned: int
    solved: Share
    failed: int
    tokens: Interval | None
    seconds: Interval | None
    cost: Interval | None
    suites: dict[str, Share]
    reviews: ReviewFigures | None


@dataclass(frozen=True)
class PairFigures:
    """Two arms on the cases that both have tried.

    Attributes:
        first: The name of an arm.
        other: The name of an arm that stands before it in the plan.
        cases: The number of those cases.
        won: Cases that only the first has solved.
        lost: Cases that only the other has solved.
        both: Cases that both have solved.
        difference: The share that the first solves minus that of the other.
        p: Of McNemar's exact test, corrected for the number of pairs (Holm).
        smallest: The smallest difference that so many cases would probably show, with as many cases as here
            that only the worse arm solves, or with none if these are too many; None if they can show none.
        tokens: The tokens of the first divided by those of the other; None if that has used none.
        seconds: The same of working time.
        cost: The same of cost; None without prices.
    """

    first: str
    other: str
    cases: int
    won: int
    lost: int
    both: int
    difference: Interval
    p: float
    smallest: float | None
    tokens: Interval | None
    seconds: Interval | None
    cost: Interval | None

    @property
    def tied(self) -> int:
        """Cases that both have solved, or neither."""
        return self.cases - self.won - self.lost

    @property
    def is_shown(self) -> bool:
        """Whether one of the arms is shown to solve more."""
        return self.p <= LEVEL


def share(count: int, of: int) -> Share:
    """A number of cases out of others, with the interval of its share."""
    return Share(count, of, share_interval(count, of) if of else None)


def arm_figures(name: str, trials: Sequence[TrialRow], reviewed: Mapping[CaseId, bool]) -> ArmFigures:
    """The figures of an arm.

    Args:
        name: Its name.
        trials: Its trials.
        reviewed: The review cases, as from `review_cases`.
    """
    judged = [trial for trial in trials if trial.solved is not None]
    suites = dict.fromkeys(trial.suite for trial in trials)
    return ArmFigures(
        name=name,
        planned=len(trials),
        solved=_solved(judged),
        failed=sum(bool(trial.error) for trial in judged),
        tokens=_per_solved(judged, lambda trial: trial.tokens),
        seconds=_per_solved(judged, lambda trial: trial.seconds),
        cost=_per_solved(judged, lambda trial: trial.cost) if any(trial.cost for trial in judged) else None,
        suites={suite: _solved([trial for trial in judged if trial.suite == suite]) for suite in suites},
        reviews=_review_figures([trial for trial in judged if case_id(trial) in reviewed], reviewed),
    )


def case_id(trial: TrialRow) -> CaseId:
    """The case of a trial."""
    return trial.suite, trial.case


def _solved(judged: Sequence[TrialRow]) -> Share:
    return share(sum(bool(trial.solved) for trial in judged), len(judged))


def _per_solved(judged: Sequence[TrialRow], figure: Callable[[TrialRow], float]) -> Interval | None:
    return per_solved([figure(trial) for trial in judged], [bool(trial.solved) for trial in judged])


# --- reviews -------------------------------------------------------------------------------------


def review_cases(trials: Sequence[TrialRow]) -> dict[CaseId, bool]:
    """The review cases among judged trials, and whether a bug is planted in each.

    The score of a session that failed does not say so; that of another arm on the same case does.
    """
    planted = {case_id(trial) for trial in trials if _found(trial) is not None}
    clean = {case_id(trial) for trial in trials if _alarms(trial) is not None} - planted
    return {**dict.fromkeys(planted, True), **dict.fromkeys(clean, False)}


def _review_figures(judged: Sequence[TrialRow], reviewed: Mapping[CaseId, bool]) -> ReviewFigures | None:
    if not judged:
        return None
    planted = [trial for trial in judged if reviewed[case_id(trial)]]
    located = [trial for trial in judged if _alarms(trial) is not None]
    grave = [trial for trial in located if _found(trial) or _alarms(trial)]
    clean = [trial for trial in located if not reviewed[case_id(trial)]]
    return ReviewFigures(
        recall=share(sum(bool(_found(trial)) for trial in planted), len(planted)),
        precision=share(sum(bool(_found(trial)) for trial in grave), len(grave)),
        false_alarms=share(sum(bool(_alarms(trial)) for trial in clean), len(clean)),
        wrong_findings=sum(_alarms(trial) or 0 for trial in located) / len(located) if located else None,
    )


def _found(trial: TrialRow) -> bool | None:
    return (trial.score or {}).get("found")


def _alarms(trial: TrialRow) -> int | None:
    return (trial.score or {}).get("alarms")


# --- pairs ---------------------------------------------------------------------------------------


def pair_figures(arms: Mapping[str, Sequence[TrialRow]]) -> list[PairFigures]:
    """Every pair of arms that have judged trials of the same case; the later arm comes first.

    Args:
        arms: The trials of each arm.
    """
    judged = {
        name: {case_id(trial): trial for trial in trials if trial.solved is not None}
        for name, trials in arms.items()
    }
    common: dict[tuple[str, str], list[tuple[TrialRow, TrialRow]]] = {}
    for other, first in combinations(judged, 2):
        cases = [case for case in judged[first] if case in judged[other]]
        if cases:
            common[first, other] = [(judged[first][case], judged[other][case]) for case in cases]
    solved = {
        names: [(bool(one.solved), bool(two.solved)) for one, two in pairs] for names, pairs in common.items()
    }
    p_values = holm(
        [mcnemar([one for one, _ in pairs], [two for _, two in pairs]) for pairs in solved.values()]
    )
    return [
        _pair(*names, common[names], solved[names], p, LEVEL / len(solved))
        for names, p in zip(solved, p_values, strict=True)
    ]


def _pair(
    first: str,
    other: str,
    trials: Sequence[tuple[TrialRow, TrialRow]],
    solved: Sequence[tuple[bool, bool]],
    p: float,
    level: float,
) -> PairFigures:
    won, lost = solved.count((True, False)), solved.count((False, True))

    def ratio(figure: Callable[[TrialRow], float]) -> Interval | None:
        return ratio_interval([figure(one) for one, _ in trials], [figure(two) for _, two in trials])

    return PairFigures(
        first=first,
        other=other,
        cases=len(solved),
        won=won,
        lost=lost,
        both=solved.count((True, True)),
        difference=paired_difference(solved),
        p=p,
        smallest=smallest_difference(len(solved), against=min(won, lost) / len(solved), level=level)
        or smallest_difference(len(solved), level=level),
        tokens=ratio(lambda trial: trial.tokens),
        seconds=ratio(lambda trial: trial.seconds),
        cost=ratio(lambda trial: trial.cost) if any(one.cost for one, _ in trials) else None,
    )
