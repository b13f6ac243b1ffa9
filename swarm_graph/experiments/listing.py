"""The list of the experiments in a database."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from swarm_graph.checkpoints.experiments import Experiment, Experiments, TrialRow
from swarm_graph.checkpoints.open_database import open_database
from swarm_graph.sessions.ids import existing_place
from swarm_graph.text import local_time, text_table


def experiment_rows(data_dir: Path) -> list[dict[str, Any]]:
    """The experiments, the newest first, as the rows of `eval --list --json`.

    Raises:
        InputError: There is no database.
    """
    with open_database(existing_place(data_dir), data_dir) as database:
        experiments = Experiments(database)
        return [_row(one, experiments.trials(one.experiment)) for one in experiments.all()]


def _row(experiment: Experiment, trials: Sequence[TrialRow]) -> dict[str, Any]:
    return {
        "experiment": experiment.experiment,
        "kind": experiment.kind,
        "suites": list(dict.fromkeys(trial.suite for trial in trials)),
        "arms": list(dict.fromkeys(trial.arm for trial in trials)),
        "trials": len(trials),
        "judged": sum(trial.judged_at is not None for trial in trials),
        "ending": experiment.ending,
        "created_at": experiment.created_at,
        "ended_at": experiment.ended_at,
    }


def experiment_table(rows: Sequence[dict[str, Any]]) -> str:
    """The experiments as a table; one line if there are none."""
    if not rows:
        return "no experiments yet; `swarm-graph eval smoke` begins one\n"
    header = ("experiment", "begun", "suites", "arms", "judged", "ending")
    cells = [
        (
            row["experiment"],
            local_time(row["created_at"]),
            ", ".join(row["suites"]),
            str(len(row["arms"])),
            f"{row['judged']}/{row['trials']}",
            row["ending"] or "not ended",
        )
        for row in rows
    ]
    return text_table(header, cells)
