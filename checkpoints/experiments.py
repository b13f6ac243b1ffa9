"""The tables of experiments: their plans, and their trials with the scores."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from swarm_graph.checkpoints.catalogue import RUN_END
from swarm_graph.checkpoints.portable_sql import replacement
from swarm_graph.checkpoints.records import json_object
from swarm_graph.checkpoints.storage import Storage
from swarm_graph.errors import StorageError
from swarm_graph.state import SESSION_ID

SIGNATURES = "signatures"
"""The key of a recorded plan under which its signatures stand."""
ExperimentKind = Literal["eval", "ab"]


@dataclass(frozen=True)
class Experiment:
    """An experiment in the database.

    Attributes:
        experiment: Its id.
        kind: `eval` or `ab`.
        plan: What was decided before it began, as plain data; it holds no secret and no hidden test.
        created_at: Seconds since the epoch.
        ended_at: Seconds since the epoch; None while trials are missing.
        ending: Why it ended, for people; empty while it has not.
    """

    experiment: str
    kind: ExperimentKind
    plan: dict[str, Any]
    created_at: float
    ended_at: float | None = None
    ending: str = ""


@dataclass(frozen=True)
class TrialRow:
    """One case in one arm.

    Attributes:
        experiment: The id of the experiment.
        number: Its place in the order of the experiment, from 1.
        arm: The name of the arm.
        suite: The name of the case's suite.
        case: The name of the case.
        session: The id of its session.
        solved: Whether the case is solved; None while it is not judged, and if it has no hidden tests.
        score: The whole score as plain data; None like `solved`.
        calls: Model calls of its session, failed ones included.
        input_tokens: Of all its calls.
        output_tokens: Of all its calls.
        cost: Of all its calls, in the currency of `prices`.
        seconds: Working time of its session, summed over its runs.
        phase: The phase in which its session ended.
        error: Why its session has failed; empty if it has not.
        judged_at: Seconds since the epoch; None while it is not judged.
    """

    experiment: str
    number: int
    arm: str
    suite: str
    case: str
    session: str
    solved: bool | None = None
    score: dict[str, Any] | None = None
    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0
    seconds: float = 0.0
    phase: str = ""
    error: str = ""
    judged_at: float | None = None

    @property
    def tokens(self) -> int:
        """Input and output tokens."""
        return self.input_tokens + self.output_tokens


_TRIAL = tuple(TrialRow.__dataclass_fields__)
_COLUMNS = ", ".join(f'"{name}"' for name in _TRIAL)
_PUT_TRIAL = f"INSERT INTO trials ({_COLUMNS}) VALUES ({', '.join('?' * len(_TRIAL))}) " + replacement(
    _TRIAL, key=("experiment", "number")
)


OPEN_TESTS = "SELECT experiment FROM experiments WHERE kind = 'ab' AND ended_at IS NULL"
"""Selects the A/B tests that have not ended. Nothing sums up or lists what their trials have shown."""


class Experiments:
    """The tables `experiments` and `trials`. Every method raises StorageError for a database's error."""

    def __init__(self, database: Storage) -> None:
        self.database = database

    def begin(self, experiment: Experiment, trials: Sequence[TrialRow]) -> None:
        """Record an experiment with all its trials, before any of them runs."""
        with self.database.transaction() as cursor:
            cursor.execute(
                "INSERT INTO experiments (experiment, kind, plan, created_at) VALUES (?, ?, ?, ?)",
                (experiment.experiment, experiment.kind, json.dumps(experiment.plan), experiment.created_at),
            )
            cursor.executemany(_PUT_TRIAL, [_values(trial) for trial in trials])

    def get(self, experiment: str) -> Experiment | None:
        """An experiment by its id; None if there is none."""
        rows = self._experiments("WHERE experiment = ?", (experiment,))
        return rows[0] if rows else None

    def all(self) -> list[Experiment]:
        """All experiments, the newest first."""
        return self._experiments("ORDER BY created_at DESC, experiment DESC", ())

    def open_tests(self) -> set[str]:
        """The A/B tests that have not ended. What their trials have shown is not listed before."""
        with self.database.view() as cursor:
            return {name for (name,) in cursor.execute(OPEN_TESTS)}

    def trials(self, experiment: str) -> list[TrialRow]:
        """The trials of an experiment, in its order."""
        with self.database.view() as cursor:
            rows = cursor.execute(
                f"SELECT {_COLUMNS} FROM trials WHERE experiment = ? ORDER BY number", (experiment,)
            ).fetchall()
        return [_trial(row) for row in rows]

    def seconds(self, experiment: str) -> float:
        """The time in which at least one session of an experiment worked."""
        with self.database.view() as cursor:
            runs = cursor.execute(
                f"SELECT started_at, {RUN_END} FROM runs JOIN sessions USING (session) "
                "WHERE experiment = ? ORDER BY started_at",
                (experiment,),
            ).fetchall()
        total, until = 0.0, 0.0
        for begin, end in runs:
            total += max(0.0, end - max(begin, until))
            until = max(until, end)
        return total

    def judge(self, trial: TrialRow) -> None:
        """Record a judged trial."""
        with self.database.transaction() as cursor:
            cursor.execute(_PUT_TRIAL, _values(trial))

    def end(self, experiment: str, ending: str) -> None:
        """Record that an experiment has ended, and why."""
        with self.database.transaction() as cursor:
            cursor.execute(
                "UPDATE experiments SET ended_at = ?, ending = ? WHERE experiment = ?",
                (time.time(), ending, experiment),
            )

    def _experiments(self, where: str, values: tuple[Any, ...]) -> list[Experiment]:
        with self.database.view() as cursor:
            rows = cursor.execute(
                f"SELECT experiment, kind, plan, created_at, ended_at, ending FROM experiments {where}",
                values,
            ).fetchall()
        return [_experiment(row) for row in rows]


def _experiment(row: Sequence[Any]) -> Experiment:
    """An experiment from its row. Its id names a folder, so it is checked like that of a session."""
    name, plan = str(row[0]), json_object(row[2])
    if not SESSION_ID.fullmatch(name):
        raise StorageError(f"the experiment {name[:80]!r} has an id that no experiment can have")
    return Experiment(name, row[1], plan, *row[3:])


def _values(trial: TrialRow) -> tuple[Any, ...]:
    values = {name: getattr(trial, name) for name in _TRIAL}
    return tuple({**values, "score": json.dumps(trial.score) if trial.score is not None else None}.values())


def _trial(row: Sequence[Any]) -> TrialRow:
    values: Mapping[str, Any] = dict(zip(_TRIAL, row, strict=True))
    solved, score = values["solved"], values["score"]
    return TrialRow(
        **{
            **values,
            "solved": None if solved is None else bool(solved),
            "score": None if score is None else json.loads(score),
        }
    )
