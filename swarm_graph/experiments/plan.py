"""What is decided before an experiment begins, and recorded: suites, cases, arms, order, limits.

A plan holds requests by their names only, and nothing of hidden tests but a fingerprint.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

from swarm_graph.checkpoints.catalogue import Catalogue
from swarm_graph.checkpoints.experiments import SIGNATURES, Experiment, ExperimentKind, Experiments, TrialRow
from swarm_graph.checkpoints.records import new_session_id
from swarm_graph.checkpoints.signatures import is_own_plan, sign_plan
from swarm_graph.checkpoints.storage import Storage
from swarm_graph.errors import StorageError
from swarm_graph.experiments.arm import Arm
from swarm_graph.settings import PROMPT_PACKS
from swarm_graph.suites.case import Case, Suite


@dataclass(frozen=True)
class PlannedSuite:
    """A suite of a plan.

    Attributes:
        given: The text that names it, as `load_suite` takes it.
        name: Its name.
        source: Where it comes from, for people.
        digest: The fingerprint of all its cases.
        cases: How many cases it has.
        chosen: How many of them the experiment uses.
    """

    given: str
    name: str
    source: str
    digest: str
    cases: int
    chosen: int


@dataclass(frozen=True)
class PlannedArm:
    """An arm of a plan.

    Attributes:
        name: Its name.
        workflow: The workflow that its sessions run.
        model: The one model that all its roles ask; empty if its roles have their own.
        config: Its settings in the file's shape, without secrets.
        prompts: A fingerprint of its folder of prompts; empty without one.
    """

    name: str
    workflow: str
    model: str
    config: dict[str, Any]
    prompts: str = ""

    @classmethod
    def of(cls, arm: Arm) -> PlannedArm:
        """The arm as it is recorded."""
        folder = arm.config.prompts_dir
        prompts = "" if folder in (None, *PROMPT_PACKS) else _fingerprint(Path(folder))
        return cls(arm.name, arm.workflow, arm.model, arm.config.redacted(), prompts)


def _fingerprint(folder: Path) -> str:
    """A fingerprint of the names and texts of the prompts in a folder."""
    found = sha256()
    for path in sorted(folder.glob("*.md")):
        text = path.read_bytes()
        found.update(f"{path.name} {len(text)} ".encode() + text)
    return found.hexdigest()


@dataclass(frozen=True)
class Plan:
    """The plan of an experiment.

    Attributes:
        suites: The suites.
        arms: The arms.
        cases: The ids of the chosen cases, in the order in which they are tried.
        seed: Draws the sample of cases and their order.
        arm_texts: The texts of the arms.
        models: The models that multiply the arms.
        limits: Of the whole experiment: `calls`, `tokens`, `seconds`; None for none.
    """

    suites: tuple[PlannedSuite, ...]
    arms: tuple[PlannedArm, ...]
    cases: tuple[str, ...]
    seed: int = 0
    arm_texts: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    limits: dict[str, float | None] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as the database keeps it."""
        return asdict(self)

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Plan:
        """The plan that `to_dict` has written; what else an experiment records beside it is left out.

        Raises:
            StorageError: It is no plan.
        """
        try:
            return cls(
                suites=tuple(PlannedSuite(**suite) for suite in data["suites"]),
                arms=tuple(PlannedArm(**arm) for arm in data["arms"]),
                cases=tuple(map(str, data["cases"])),
                seed=int(data["seed"]),
                arm_texts=tuple(map(str, data["arm_texts"])),
                models=tuple(map(str, data["models"])),
                limits=dict(data["limits"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise StorageError(f"the recorded plan of an experiment cannot be read ({error})") from error


def choose_cases(suites: Sequence[Suite], count: int | None, seed: int) -> list[Case]:
    """The cases to try, in their order.

    Each suite is shuffled by the seed, and its first cases are taken: a random sample, to which a greater
    `count` only adds. Then all of them are shuffled together, so that the cases that are tried before a
    limit stops the experiment are a random sample, too.

    Args:
        suites: The suites.
        count: How many cases of each suite; None for all.
        seed: The same seed gives the same cases and order.
    """
    chosen: list[Case] = []
    for suite in suites:
        cases = list(suite.cases)
        Random(f"{seed} {suite.name}").shuffle(cases)
        chosen += cases[:count]
    Random(f"{seed}").shuffle(chosen)
    return chosen


def planned_trials(experiment: str, cases: Sequence[Case], arms: Sequence[Arm]) -> list[TrialRow]:
    """The trials in their order: all arms of a case, then the next case; the first arm changes with each."""
    trials: list[TrialRow] = []
    for index, case in enumerate(cases):
        turn = index % len(arms)
        for arm in [*arms[turn:], *arms[:turn]]:
            number = len(trials) + 1
            session = f"{experiment}-{number:04}"
            trials.append(TrialRow(experiment, number, arm.name, case.suite, case.name, session))
    return trials


def new_experiment(kind: ExperimentKind, plan: Plan, more: Mapping[str, Any] | None = None) -> Experiment:
    """An experiment that begins now.

    Args:
        kind: `eval` or `ab`.
        plan: Its plan.
        more: What else is decided before it begins, as plain data.
    """
    return Experiment(f"{kind}-{new_session_id()}", kind, {**plan.to_dict(), **(more or {})}, time.time())


def record(database: Storage, experiment: Experiment, trials: Sequence[TrialRow]) -> Experiment:
    """Record an experiment with all its trials, signed as the user's; returns it with the signatures.

    Raises:
        StorageError: The database cannot be used.
    """
    signatures = sign_plan(Catalogue(database), experiment.experiment, experiment.plan)
    signed = replace(experiment, plan={**experiment.plan, SIGNATURES: signatures})
    Experiments(database).begin(signed, trials)
    return signed


def is_own_experiment(database: Storage, experiment: Experiment) -> bool:
    """Whether this user has begun an experiment in this database, and its plan is still the same."""
    plan = {key: value for key, value in experiment.plan.items() if key != SIGNATURES}
    signatures = experiment.plan.get(SIGNATURES)
    return isinstance(signatures, dict) and is_own_plan(
        Catalogue(database), experiment.experiment, plan, signatures
    )


def make_plan(
    suites: Mapping[str, Suite],
    arms: Sequence[Arm],
    cases: Sequence[Case],
    *,
    seed: int,
    arm_texts: Iterable[str] = (),
    models: Iterable[str] = (),
    limits: Mapping[str, float | None] | None = None,
) -> Plan:
    """The plan of an experiment; `suites` maps the texts that name the suites to the suites."""
    chosen = [case.suite for case in cases]
    return Plan(
        suites=tuple(
            PlannedSuite(
                given, suite.name, suite.source, suite.digest, len(suite.cases), chosen.count(suite.name)
            )
            for given, suite in suites.items()
        ),
        arms=tuple(map(PlannedArm.of, arms)),
        cases=tuple(case.id for case in cases),
        seed=seed,
        arm_texts=tuple(arm_texts),
        models=tuple(models),
        limits=dict(limits or {}),
    )
