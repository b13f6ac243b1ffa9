"""The report of an evaluation: as text, table, JSON document and page."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from swarm_graph.checkpoints.experiments import TrialRow
from swarm_graph.experiments.eval_figures import ArmFigures
from swarm_graph.experiments.eval_results import EvalResults, reason_of, result_of
from swarm_graph.tasks.results import csv_table
from swarm_graph.text import to_json


class Evaluation(EvalResults):
    """What an experiment has shown so far, for people and programs.

    Attributes:
        experiment: The experiment, with its plan.
        trials: All its trials, in its order.
    """

    def __str__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        from swarm_graph.reports.templates import notebook_html

        return notebook_html("parts/evaluation.html", **self._page())

    def text(self) -> str:
        """The report as text of at most 80 columns, unless names are longer."""
        from swarm_graph.experiments.eval_text import evaluation_text

        return evaluation_text(self)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data: `experiment`, `arms`, `pairs` and `trials`.

        An interval is an object with `estimate`, `low` and `high`, all shares of 1; `high` is null where the
        data allow any figure above `low`. What cannot be said, such as tokens per solved case where none is
        solved, is null.
        """
        experiment = self.experiment
        return {
            "experiment": {
                "id": experiment.experiment,
                "kind": experiment.kind,
                "created_at": experiment.created_at,
                "ended_at": experiment.ended_at,
                "ending": experiment.ending,
                "trials": len(self.trials),
                "judged": self.judged,
                "simulated": self.simulated,
                "notes": self.notes,
                "suites": experiment.plan.get("suites", []),
            },
            "arms": [self._arm(arm) for arm in self.arms],
            "pairs": [_plain(pair) for pair in self.pairs],
            "trials": [self._trial(trial) for trial in self.trials],
        }

    def _arm(self, arm: ArmFigures) -> dict[str, Any]:
        plan = self.plan_of(arm.name)
        return {**_plain(arm), "workflow": plan.get("workflow", ""), "model": plan.get("model", "")}

    def _trial(self, trial: TrialRow) -> dict[str, Any]:
        return {**asdict(trial), "result": result_of(trial), "reason": reason_of(trial)}

    def to_json(self) -> str:
        """The report as a JSON document; see `to_dict`."""
        return to_json(self.to_dict())

    def to_csv(self) -> str:
        """The trials as CSV, one per row; no cell is a formula."""
        return csv_table([self._row(trial) for trial in self.trials])

    def _row(self, trial: TrialRow) -> dict[str, Any]:
        plan, score = self.plan_of(trial.arm), trial.score or {}
        return {
            "experiment": trial.experiment,
            "number": trial.number,
            "arm": trial.arm,
            "workflow": plan.get("workflow", ""),
            "model": plan.get("model", ""),
            "simulated": int(trial.arm in self.simulated),
            "suite": trial.suite,
            "case": trial.case,
            "session": trial.session,
            "outcome": result_of(trial),
            "solved": None if trial.solved is None else int(trial.solved),
            "tests_passed": score.get("passed"),
            "tests_failed": score.get("failed"),
            "found": None if score.get("found") is None else int(score["found"]),
            "alarms": score.get("alarms"),
            "calls": trial.calls,
            "input_tokens": trial.input_tokens,
            "output_tokens": trial.output_tokens,
            "cost": trial.cost,
            "seconds": round(trial.seconds, 3),
            "phase": trial.phase,
            "reason": reason_of(trial),
        }

    def to_html(self) -> str:
        """The report as a page that is one file."""
        from swarm_graph.reports.templates import file_html

        return file_html("evaluation.html", **self._page())

    def _page(self) -> dict[str, Any]:
        from swarm_graph.experiments.eval_page import page_values

        values: dict[str, Any] = page_values(self)
        return values


def _plain(figures: Any) -> Any:
    """Figures as plain data: dataclasses and named tuples as objects."""
    if hasattr(figures, "__dataclass_fields__"):
        return {name: _plain(getattr(figures, name)) for name in figures.__dataclass_fields__}
    if hasattr(figures, "_asdict"):
        return _plain(figures._asdict())
    return {name: _plain(value) for name, value in figures.items()} if isinstance(figures, dict) else figures
