"""What an evaluation has shown: figures of arms and pairs, what each trial came to, and how it stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from swarm_graph.checkpoints.experiments import Experiment, TrialRow
from swarm_graph.experiments.eval_figures import (
    ArmFigures,
    CaseId,
    PairFigures,
    arm_figures,
    case_id,
    pair_figures,
    review_cases,
)
from swarm_graph.experiments.eval_words import pair_text
from swarm_graph.text import first_names, format_count

MAX_TOLD = 10
"""With more pairs of arms, only those with a shown difference are told in sentences."""
RESULTS = ("solved", "not solved", "failed", "not judged")
"""What a trial can come to. A failed session did not come to its end."""


@dataclass(frozen=True)
class EvalResults:
    """What an experiment has shown so far.

    Its figures are computed when they are first read, from the trials that are judged by then.

    Attributes:
        experiment: The experiment, with its plan.
        trials: All its trials, in its order.
    """

    experiment: Experiment
    trials: tuple[TrialRow, ...]

    # --- figures -----------------------------------------------------------------------------

    @cached_property
    def arms(self) -> list[ArmFigures]:
        """The figures of each arm, in the order of the plan."""
        reviewed = review_cases(self.trials)
        return [arm_figures(name, trials, reviewed) for name, trials in self._trials_of_arms.items()]

    @cached_property
    def pairs(self) -> list[PairFigures]:
        """Every pair of arms on the cases that both have tried."""
        return pair_figures(self._trials_of_arms)

    @cached_property
    def results(self) -> dict[CaseId, dict[str, TrialRow]]:
        """For each case the trial of each arm."""
        results: dict[CaseId, dict[str, TrialRow]] = {}
        for trial in self.trials:
            results.setdefault(case_id(trial), {})[trial.arm] = trial
        return dict(sorted(results.items()))

    @cached_property
    def _trials_of_arms(self) -> dict[str, list[TrialRow]]:
        names = [*(arm["name"] for arm in self._planned_arms), *(trial.arm for trial in self.trials)]
        by_arm: dict[str, list[TrialRow]] = {name: [] for name in names}
        for trial in self.trials:
            by_arm[trial.arm].append(trial)
        return by_arm

    @property
    def _planned_arms(self) -> list[dict[str, Any]]:
        return list(self.experiment.plan.get("arms", ()))

    def plan_of(self, arm: str) -> dict[str, Any]:
        """What the plan says of an arm: its workflow, model and configuration; empty if nothing."""
        return next((planned for planned in self._planned_arms if planned["name"] == arm), {})

    # --- how it stands -----------------------------------------------------------------------

    @property
    def judged(self) -> int:
        """The number of judged trials."""
        return sum(trial.judged_at is not None for trial in self.trials)

    @property
    def missing(self) -> int:
        """The number of trials that are not judged yet."""
        return len(self.trials) - self.judged

    @property
    def simulated(self) -> list[str]:
        """The arms whose models are all simulated."""
        return [arm["name"] for arm in self._planned_arms if _is_simulated(arm.get("config", {}))]

    @property
    def notes(self) -> list[str]:
        """What a reader must know before the figures: simulated models, missing trials, a reached limit."""
        simulated = self.simulated
        notes = []
        if simulated and len(simulated) == len(self._planned_arms):
            notes.append("Simulated: no model was asked, every answer is invented.")
        elif simulated:
            notes.append(f"Simulated, no model was asked: {first_names(simulated)}.")
        if self.missing:
            trials = format_count(len(self.trials), "trial")
            notes.append(
                f"Unfinished: {self.missing} of {trials} missing{self._limit}. The figures will change. "
                f"Go on with swarm-graph {self.experiment.kind} --resume {self.experiment.experiment}"
            )
            if self._cases_differ:
                notes.append("The arms have tried different cases: compare their pairs, not their shares.")
        return notes

    @property
    def _cases_differ(self) -> bool:
        """Whether one arm has a judged trial of a case, and another has none."""
        judged = [
            {case_id(trial) for trial in trials if trial.judged_at is not None}
            for trials in self._trials_of_arms.values()
        ]
        return any(cases != judged[0] for cases in judged)

    @property
    def _limit(self) -> str:
        """The limit of the plan that is used up, in words; empty if none is."""
        limits: Mapping[str, float | None] = self.experiment.plan.get("limits", {})
        used = {
            "calls": sum(trial.calls for trial in self.trials),
            "tokens": sum(trial.tokens for trial in self.trials),
        }
        reached = [
            f"{used[name]:,} {name} are used, the limit is {limit:,.0f}"
            for name, limit in limits.items()
            if name in used and limit is not None and used[name] >= limit
        ]
        return f" ({'; '.join(reached)})" if reached else ""

    @property
    def told_pairs(self) -> list[PairFigures]:
        """The pairs of arms to tell in sentences: of many only those with a shown difference."""
        return [pair for pair in self.pairs if pair.is_shown or len(self.pairs) <= MAX_TOLD]

    @property
    def untold(self) -> str:
        """What the other pairs have shown, in a sentence; empty if there are none."""
        others = len(self.pairs) - len(self.told_pairs)
        pairs = format_count(others, "other pair" if self.told_pairs else "pair")
        return f"No difference shown between the arms of {pairs}." if others else ""

    @property
    def verdict(self) -> str:
        """What the pairs of arms have shown, a line for each of `told_pairs`; empty with a single arm."""
        return "\n".join(filter(None, [*map(pair_text, self.told_pairs), self.untold]))

    @property
    def source(self) -> str:
        """The suites, with how many of their cases are used."""
        suites = [
            f"{suite['name']} ({suite['chosen']} of {suite['cases']} cases)"
            for suite in self.experiment.plan.get("suites", ())
        ]
        return ", ".join(suites) or ", ".join(dict.fromkeys(trial.suite for trial in self.trials))


def result_of(trial: TrialRow) -> str:
    """What a trial has come to: one of RESULTS."""
    if trial.judged_at is None:
        return "not judged"
    return "solved" if trial.solved else "failed" if trial.error else "not solved"


def reason_of(trial: TrialRow) -> str:
    """Why a trial is not solved; empty if it is, or not judged."""
    return trial.error or str((trial.score or {}).get("reason", ""))


def _is_simulated(config: Mapping[str, Any]) -> bool:
    """Whether every model in a recorded configuration is simulated."""
    models = config.get("model_config", {})
    entries = [models.get("single_model"), *models.get("multi_model", {}).values()]
    kinds = [entry.get("api_type") for entry in entries if entry and "any_of" not in entry]
    return bool(kinds) and all(kind == "simulated" for kind in kinds)
