"""Experiments in a database whose trials nobody ran: what the pages show of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from swarm_graph.checkpoints.experiments import Experiment, ExperimentKind, Experiments, TrialRow
from swarm_graph.experiments.stopping import StoppingRule


def record(
    experiments: Experiments,
    name: str,
    kind: ExperimentKind,
    *,
    arms: Sequence[str],
    cases: Sequence[str],
    judged: int,
    reason: str = "",
    plan: Mapping[str, Any] | None = None,
) -> None:
    """Record an experiment whose first trials are judged; every other one of these is solved.

    Args:
        experiments: The tables.
        name: The id of the experiment.
        kind: Its kind.
        arms: The names of its arms.
        cases: The names of its cases.
        judged: How many trials are judged.
        reason: Why a trial is not solved.
        plan: Its plan.
    """
    trials = [
        TrialRow(name, number, arm, "smoke", case, f"{name}-{number:04}")
        for number, (case, arm) in enumerate(((case, arm) for case in cases for arm in arms), 1)
    ]
    experiments.begin(Experiment(name, kind, dict(plan or {}), 1.0), trials)
    for trial in trials[:judged]:
        solved = trial.number % 2 == 0
        score = {"solved": solved, "reason": "" if solved else reason}
        values = {"solved": solved, "score": score, "phase": "complete", "seconds": 2.5, "judged_at": 2.0}
        experiments.judge(TrialRow(**{**vars(trial), "input_tokens": 1234, **values}))


def ab_plan(
    arms: Sequence[str], cases: int, *, differs: str = "gpt", source: str = "bundled"
) -> dict[str, Any]:
    """The plan of an A/B test with three looks.

    Args:
        arms: The names of both sides.
        cases: The number of requests.
        differs: The model of B.
        source: Where the requests are from.
    """
    setting = {"setting": "model_config.single_model.model", "a": "llama", "b": differs}
    return {
        "a": {"name": arms[0]},
        "b": {"name": arms[1]},
        "suites": [{"name": "smoke", "source": source}],
        "measure": "solved",
        "rule": StoppingRule.sequential(cases, 3).to_dict(),
        "difference": {"settings": [setting], "files": ["prompt coder"], "workflows": ["single", "full"]},
        "simulated": False,
    }
