"""Compare two configurations on the same requests, in pairs, under a stopping rule that is fixed before."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from swarm_graph import aio
from swarm_graph.checkpoints.experiments import Experiment, Experiments, TrialRow
from swarm_graph.checkpoints.open_database import open_database, place_of
from swarm_graph.checkpoints.saver import open_checkpointer
from swarm_graph.checkpoints.swarm_saver import SwarmSaver
from swarm_graph.errors import InputError, StorageError
from swarm_graph.experiments.ab_plan import (
    WITHOUT_VERDICT,
    AbFacts,
    AbPlan,
    Source,
    new_plan,
    recorded_plan,
)
from swarm_graph.experiments.ab_report import AbResult
from swarm_graph.experiments.arm import Arm
from swarm_graph.experiments.arms import check_arms
from swarm_graph.experiments.looks import Look, Outcome, Pair, take_look
from swarm_graph.experiments.plan import is_own_experiment, make_plan, new_experiment, planned_trials, record
from swarm_graph.experiments.simulated_arms import with_answers
from swarm_graph.experiments.trials import TrialRunner
from swarm_graph.sessions.ids import existing_place
from swarm_graph.settings import SessionLimits
from swarm_graph.state import DATA_DIR, OUTPUT_DIR
from swarm_graph.text import first_names

OnProgress = Callable[[int, int], None]
"""Called with the number of answers that are judged, and of all. It says nothing of their outcome."""


def compare_configs(
    a: Source | None = None,
    b: Source | None = None,
    requests: str | Path | None = None,
    *,
    workflow: str = "standard",
    measure: str | None = None,
    cases: int | None = None,
    sequential: bool = False,
    looks: int | None = None,
    seed: int = 0,
    simulate: bool = False,
    allow_equal: bool = False,
    data_dir: str | Path = DATA_DIR,
    output_dir: str | Path = OUTPUT_DIR,
    max_sessions: int = 4,
    limits: SessionLimits | Mapping[str, Any] | None = None,
    resume: str | None = None,
    on_progress: OnProgress | None = None,
) -> AbResult:
    """Let two configurations answer the same requests, and say which one is better beyond chance.

    The plan is recorded before the first request: order, measure, stopping rule. Results are computed at the
    planned looks and at no other time. A stopped or killed test is resumed by its id, and asks nothing twice.

    Args:
        a: The first configuration: a file, `WORKFLOW@FILE`, a dict in the file's shape, or a SwarmConfig.
        b: The other one.
        requests: A suite, a folder of cases with hidden tests, or a text file with one request a line.
        workflow: What sessions of a side run that names no workflow of its own.
        measure: What decides: `solved` (hidden tests), `approved` (each configuration's own verdict, which is
            weak), `tokens`, `seconds` or `cost`. Default: `solved` if all requests have hidden tests.
        cases: How many of the requests: a random sample by `seed`; None: all.
        sequential: Look several times, and end at the first look that shows a difference.
        looks: The number of looks; default 3.
        seed: Draws the order of the requests, and who is asked first.
        simulate: Replace all models by simulated ones.
        allow_equal: Also compare configurations that do not differ: what chance alone does.
        data_dir: The folder of the session database.
        output_dir: The folder for the files of the sessions.
        max_sessions: How many sessions run at once.
        limits: Of the whole test: `calls`, `tokens`, `seconds`. When one is reached, it stops, and can be
            resumed.
        resume: The id of a test to go on with; empty for the newest one that has not ended. Its plan is read
            from the database; `a` and `b` are needed again only if they were no files.
        on_progress: Called with the number of judged answers and of all; no outcome is told before a look.

    Returns:
        The result; also of a test that has ended before. If a limit stopped it before a planned look, it has
        no verdict.

    Raises:
        InputError: The requests, the measure or the looks cannot be used, nothing differs, or there is no
            such experiment.
        ConfigError: A configuration cannot be used.
        SandboxError: Hidden tests cannot be run.
        StorageError: The database or the output folder cannot be used.
    """
    return aio.run(
        acompare_configs(
            a, b, requests,
            workflow=workflow, measure=measure, cases=cases, sequential=sequential, looks=looks, seed=seed,
            simulate=simulate, allow_equal=allow_equal, data_dir=data_dir, output_dir=output_dir,
            max_sessions=max_sessions, limits=limits, resume=resume,
            on_progress=on_progress,
        )
    )  # fmt: skip


async def acompare_configs(
    a: Source | None = None,
    b: Source | None = None,
    requests: str | Path | None = None,
    *,
    workflow: str = "standard",
    measure: str | None = None,
    cases: int | None = None,
    sequential: bool = False,
    looks: int | None = None,
    seed: int = 0,
    simulate: bool = False,
    allow_equal: bool = False,
    data_dir: str | Path = DATA_DIR,
    output_dir: str | Path = OUTPUT_DIR,
    max_sessions: int = 4,
    limits: SessionLimits | Mapping[str, Any] | None = None,
    resume: str | None = None,
    on_progress: OnProgress | None = None,
) -> AbResult:
    """`compare_configs` for asynchronous callers."""
    folder, whole = Path(data_dir), SessionLimits.model_validate(limits or {})
    if resume is not None:
        experiment, is_own = recorded_test(folder, resume)
        if experiment.ended_at is not None:
            return await asyncio.to_thread(recorded_result, folder, experiment)
        plan = recorded_plan(experiment, a, b, requests, is_own=is_own)
    else:
        if a is None or b is None or requests is None:
            raise InputError("an A/B test needs two configurations and requests, or the id of one to resume")
        plan = new_plan(
            a, b, requests,
            workflow=workflow, measure=measure, cases=cases, sequential=sequential, looks=looks, seed=seed,
            simulate=simulate, allow_equal=allow_equal,
        )  # fmt: skip
        experiment = await asyncio.to_thread(record_test, plan, folder, whole)
    return await run_test(
        experiment,
        plan,
        data_dir=folder,
        output_dir=Path(output_dir),
        max_sessions=max_sessions,
        limits=whole,
        on_progress=on_progress,
    )


async def run_test(
    experiment: Experiment,
    plan: AbPlan,
    *,
    data_dir: Path,
    output_dir: Path,
    max_sessions: int,
    limits: SessionLimits | None = None,
    on_progress: OnProgress | None = None,
) -> AbResult:
    """Run a recorded test from look to look, until one ends it or something stops it."""
    runner = TrialRunner(
        experiment.experiment,
        await asyncio.to_thread(_arms, plan, data_dir),
        plan.cases,
        execution=plan.a.arm.config.execution,
        data_dir=data_dir,
        output_dir=output_dir,
        max_sessions=max_sessions,
        limits=limits,
        on_trial=(lambda _trial, done, total: on_progress(done, total)) if on_progress else None,
    )
    for pairs in plan.rule.looks:
        end = await runner.run(range(1, 2 * pairs + 1))
        if end.open:
            return await asyncio.to_thread(_stopped, data_dir, experiment, end.reason)
        result = await asyncio.to_thread(recorded_result, data_dir, experiment)
        if result.winner:
            break
    await asyncio.to_thread(_record_end, data_dir, result)
    return result


def record_test(plan: AbPlan, data_dir: Path, limits: SessionLimits | None = None) -> Experiment:
    """Check that both sides can run, and record a new test with all its trials, before any of them runs.

    Raises:
        ConfigError: A role has no usable model.
        StorageError: The database cannot be used.
    """
    check_arms(_arms(plan, data_dir), plan.cases)
    recorded = make_plan(
        {plan.given: plan.suite},
        plan.arms,
        plan.cases,
        seed=plan.seed,
        limits=(limits or SessionLimits()).model_dump(),
    )
    experiment = new_experiment("ab", recorded, plan.to_dict())
    trials = planned_trials(experiment.experiment, plan.cases, plan.arms)
    with open_database(place_of(data_dir), data_dir) as database:
        return record(database, experiment, trials)


def _arms(plan: AbPlan, data_dir: Path) -> list[Arm]:
    """The arms; simulated models with a skill know the answers to the cases."""
    return with_answers(plan.arms, [plan.suite], data_dir)


def _record_end(data_dir: Path, result: AbResult) -> None:
    with open_database(place_of(data_dir), data_dir) as database:
        Experiments(database).end(result.experiment, result.ending)


def recorded_test(data_dir: Path, name: str = "") -> tuple[Experiment, bool]:
    """An A/B test in the database, and whether this user has begun it here.

    Args:
        data_dir: The folder of the database.
        name: Its id; empty for the newest one that has not ended.

    Raises:
        InputError: There is none.
    """
    with open_database(existing_place(data_dir), data_dir) as database:
        tests = [one for one in Experiments(database).all() if one.kind == "ab"]
        for one in tests:
            if one.experiment == name or (not name and one.ended_at is None):
                return one, is_own_experiment(database, one)
    known = first_names([one.experiment for one in tests]) or "none"
    raise InputError(
        f"no A/B test '{name}' in '{data_dir}'; there: {known}"
        if name
        else f"no A/B test in '{data_dir}' is left to resume; there: {known}"
    )


def recorded_result(data_dir: Path, experiment: Experiment) -> AbResult:
    """The result of a test in the database of a folder; see `result_of_test`. Raises StorageError like it."""
    with open_checkpointer(place_of(data_dir), data_dir=data_dir) as saver:
        return result_of_test(saver, experiment)


def result_of_test(saver: SwarmSaver, experiment: Experiment) -> AbResult:
    """The result of a test, as far as its planned looks go; nothing is computed of later pairs.

    Args:
        saver: The open database.
        experiment: The test; all answers up to a planned look are judged.

    Raises:
        StorageError: The recorded plan cannot be read, or the trials are not those that it plans.
    """
    facts = AbFacts.of(experiment)
    trials = Experiments(saver.database).trials(experiment.experiment)
    judged = next((at for at, one in enumerate(trials) if one.judged_at is None), len(trials)) // 2
    at_look = max((look for look in facts.rule.looks if look <= judged), default=0)
    pairs = _pairs(saver, facts, trials[: 2 * at_look])
    looks: list[Look] = []
    for count in facts.rule.looks:
        if count <= at_look and not (looks and looks[-1].winner):
            looks.append(take_look(facts.rule, facts.measure, list(pairs.values())[:count]))
    if experiment.ended_at is not None and not looks:
        raise _not_as_planned(experiment.experiment)
    shown = dict(islice(pairs.items(), looks[-1].pairs if looks else 0))
    return AbResult(experiment.experiment, facts, tuple(looks), shown, judged=2 * judged)


def _stopped(data_dir: Path, experiment: Experiment, reason: str) -> AbResult:
    """A test that something has stopped before its next look: no result is computed of its pairs."""
    with open_database(place_of(data_dir), data_dir) as database:
        trials = Experiments(database).trials(experiment.experiment)
    judged = sum(trial.judged_at is not None for trial in trials)
    at_last_look = recorded_result(data_dir, experiment)
    return replace(at_last_look, pairs={}, judged=judged, stopped_by=reason)


def _pairs(saver: SwarmSaver, facts: AbFacts, trials: Sequence[TrialRow]) -> dict[str, Pair]:
    """What A and B did with each request, in the order of the requests."""
    outcomes: dict[str, dict[str, Outcome]] = {}
    for trial in trials:
        outcomes.setdefault(f"{trial.suite}/{trial.case}", {})[trial.arm] = _outcome(saver, trial)
    try:
        return {request: (found[facts.a], found[facts.b]) for request, found in outcomes.items()}
    except KeyError as error:
        raise _not_as_planned(trials[0].experiment) from error


def _not_as_planned(experiment: str) -> StorageError:
    return StorageError(f"the recorded trials of '{experiment}' are not those that its plan names")


def _outcome(saver: SwarmSaver, trial: TrialRow) -> Outcome:
    session = saver.catalogue.get(trial.session)
    has_verdict = session is not None and session.workflow not in WITHOUT_VERDICT
    approved = bool(session and session.approved) if has_verdict else None
    return Outcome(trial.solved, approved, trial.tokens, trial.seconds, trial.cost)
