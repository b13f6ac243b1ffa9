"""Evaluate arms on suites: begin an experiment or resume one, and report what it has shown."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from swarm_graph import aio
from swarm_graph.checkpoints.experiments import Experiment, Experiments, TrialRow
from swarm_graph.checkpoints.open_database import open_database, place_of
from swarm_graph.config import SwarmConfig, changed_settings, load_config, settings_in_words
from swarm_graph.database_place import VARIABLE
from swarm_graph.errors import InputError
from swarm_graph.experiments.arm import Arm
from swarm_graph.experiments.arms import (
    DEFAULT_ARMS,
    ReplaceModel,
    all_roles_ask,
    check_arms,
    config_file_of,
    parse_arms,
    with_absolute_file,
)
from swarm_graph.experiments.eval_report import Evaluation
from swarm_graph.experiments.plan import (
    Plan,
    PlannedArm,
    choose_cases,
    is_own_experiment,
    make_plan,
    new_experiment,
    planned_trials,
    record,
)
from swarm_graph.experiments.simulated_arms import with_answers
from swarm_graph.experiments.trials import OnTrial, TrialRunner, TrialsEnd
from swarm_graph.sessions.ids import existing_place
from swarm_graph.settings import SessionLimits
from swarm_graph.state import DATA_DIR, OUTPUT_DIR
from swarm_graph.suites.case import Case, Suite
from swarm_graph.suites.load_suite import BUNDLED, SHA256, load_suite
from swarm_graph.text import first_names

MAY_DIFFER = (
    "url", "proxy", "*api_key_env", "*.url", "*.api_type", "*.timeout", "*.idle_timeout", "*.retries",
    "*.slots", "*.threads", "*.gpu_layers", "*.slot_per_session", "*.model_name", "*.prices*",
    "*.simulation.answers", "ui*", "memory*", "repo*", "features.langsmith", "features.otlp_endpoint",
    "features.keep_prompts", "features.enable_checkpointing", "workflow.pause_*", "workflow.grace_period",
    "workflow.max_parallel_agents", "workflow.enable_parallel", "workflow.verbose_logging",
    "execution.sandbox", "execution.python", "execution.readable", "execution.image",
)  # fmt: skip
"""The settings that say where and how fast models answer, not what; a resume may have others."""


@dataclass(frozen=True)
class Begun:
    """An experiment that is recorded, with what it takes to run it.

    Attributes:
        experiment: The experiment.
        trials: Its trials.
        arms: Its arms.
        cases: Its cases, in their order.
        config: The configuration that says how hidden tests run.
    """

    experiment: Experiment
    trials: list[TrialRow]
    arms: list[Arm]
    cases: list[Case]
    config: SwarmConfig


class Evaluated(NamedTuple):
    """The report of an experiment, and how its run ended."""

    evaluation: Evaluation
    end: TrialsEnd


OnBegin = Callable[[Begun], None]
"""Called once the experiment is recorded, before a session begins."""


class Request(NamedTuple):
    """What is to be evaluated; see `evaluate`."""

    suites: Sequence[str | Suite]
    arms: Sequence[str | Arm]
    config: SwarmConfig
    models: Sequence[str] = ()
    cases: int | None = None
    seed: int = 0
    replace_model: ReplaceModel = all_roles_ask
    change: Callable[[SwarmConfig], SwarmConfig] = lambda config: config
    """Changes every configuration that an arm names, as `--simulate` does."""

    def loaded_suites(self) -> dict[str, Suite]:
        """The suites by the texts that name them. Raises InputError or ConfigError."""
        loaded = {
            suite.name if isinstance(suite, Suite) else _absolute(suite): (
                suite if isinstance(suite, Suite) else load_suite(suite)
            )
            for suite in self.suites
        }
        names = [suite.name for suite in loaded.values()]
        if twice := {name for name in names if names.count(name) > 1}:
            raise InputError(f"two suites have the name '{min(twice)}'; rename a folder, or leave one out")
        return loaded

    def parsed_arms(self) -> list[Arm]:
        """The arms. Raises InputError or ConfigError."""
        texts = [arm for arm in self.arms if isinstance(arm, str)]
        made = [arm for arm in self.arms if isinstance(arm, Arm)]
        if not texts and made:
            return made
        return made + parse_arms(
            texts, self.config, self.models, replace_model=self.replace_model, change=self.change
        )


def _absolute(suite: str) -> str:
    """The text that names a suite, with its path absolute: a resume may start in another folder."""
    name, hashed, digest = suite.partition(SHA256)
    kind, colon, path = name.rpartition(":")
    if name in BUNDLED or not Path(path).exists():
        return suite
    return f"{kind}{colon}{Path(path).absolute()}{hashed}{digest}"


def begin(request: Request, data_dir: Path, limits: SessionLimits) -> Begun:
    """Check what is to be evaluated, and record it as a new experiment.

    Raises:
        InputError: A suite or an arm cannot be used.
        ConfigError: A configuration cannot be used.
        StorageError: The database cannot be used.
    """
    suites = request.loaded_suites()
    if not suites:
        raise InputError("no suite is given; `swarm-graph eval smoke` takes the one that comes with it")
    arms = with_answers(request.parsed_arms(), suites.values(), data_dir)
    cases = choose_cases([*suites.values()], request.cases, request.seed)
    check_arms(arms, cases)
    plan = make_plan(
        suites,
        arms,
        cases,
        seed=request.seed,
        arm_texts=[with_absolute_file(arm) for arm in request.arms if isinstance(arm, str)],
        models=request.models,
        limits=limits.model_dump(),
    )
    experiment = new_experiment("eval", plan)
    trials = planned_trials(experiment.experiment, cases, arms)
    with open_database(place_of(data_dir), data_dir) as database:
        experiment = record(database, experiment, trials)
    return Begun(experiment, trials, arms, cases, request.config)


def take_up(request: Request, data_dir: Path, experiment_id: str | None) -> Begun:
    """An experiment that has not ended, with what it takes to go on.

    Args:
        request: Its suites and arms, empty for those that are recorded; and the present configuration.
        data_dir: The folder of the database.
        experiment_id: Its id; None for the newest one that has not ended.

    Raises:
        InputError: There is no such experiment, or what decides its results is different now.
        ConfigError: A configuration cannot be used.
    """
    with open_database(existing_place(data_dir), data_dir) as database:
        experiments = Experiments(database)
        experiment = find_experiment(experiments, experiment_id, unfinished=experiment_id is None)
        trials = experiments.trials(experiment.experiment)
        may_read_files = is_own_experiment(database, experiment)
    plan = Plan.of(experiment.plan)
    suites = [] if request.suites else [suite.given for suite in plan.suites]
    arm_texts = () if request.arms else plan.arm_texts
    request = request._replace(
        suites=request.suites or suites,
        arms=request.arms or arm_texts,
        models=request.models or plan.models,
    )
    if not may_read_files and any(map(_names_file, [*suites, *arm_texts])):
        raise InputError(
            f"experiment '{experiment.experiment}' was begun by somebody else, or elsewhere, and its plan "
            "names files; name the suites and --arms again, and it goes on with yours"
        )
    loaded = request.loaded_suites()
    arms = with_answers(request.parsed_arms(), loaded.values(), data_dir)
    by_id = {case.id: case for suite in loaded.values() for case in suite.cases}
    _check_suites(experiment.experiment, plan, loaded)
    _check_arms(experiment.experiment, plan, arms)
    return Begun(experiment, trials, arms, [by_id[case] for case in plan.cases], request.config)


def _names_file(text: str) -> bool:
    return "/" in text or "\\" in text or bool(config_file_of(text))


def find_experiment(
    experiments: Experiments, experiment_id: str | None, *, unfinished: bool = False
) -> Experiment:
    """An experiment by its id, or the newest eval.

    Raises:
        InputError: There is no such experiment, or it is an A/B test: its results count at its planned looks.
    """
    if experiment_id:
        found = experiments.get(experiment_id)
        if found and found.kind == "eval":
            return found
        if found:
            raise InputError(f"'{experiment_id}' is an A/B test; `swarm-graph ab --resume {experiment_id}`")
        raise InputError(f"no experiment '{experiment_id}'; `swarm-graph eval --list` shows all")
    evals = [one for one in experiments.all() if one.kind == "eval"]
    for one in evals:
        if not unfinished or one.ended_at is None:
            return one
    which = "unfinished eval" if unfinished else "eval"
    raise InputError(f"no {which} in '{experiments.database.folder}'; `swarm-graph eval smoke` begins one")


def _check_suites(experiment: str, plan: Plan, suites: Mapping[str, Suite]) -> None:
    """Raises InputError for a suite that is not the same as when the experiment began."""
    present = {suite.name: suite for suite in suites.values()}
    for planned in plan.suites:
        suite = present.get(planned.name)
        if suite is None or suite.digest != planned.digest:
            what = (
                "is missing" if suite is None else f"has changed ({planned.source} then, {suite.source} now)"
            )
            raise InputError(
                f"experiment '{experiment}' cannot go on: the suite '{planned.name}' {what}; "
                "restore it, or begin another experiment"
            )


def _check_arms(experiment: str, plan: Plan, arms: Sequence[Arm]) -> None:
    """Raises InputError for an arm whose answers would not be comparable with those that it has given."""
    present = {arm.name: arm for arm in arms}
    if missing := [arm.name for arm in plan.arms if arm.name not in present]:
        raise InputError(
            f"experiment '{experiment}' cannot go on without the arms {first_names(missing)}; name the arms "
            "of its beginning, or none"
        )
    for arm in plan.arms:
        changed = [
            path
            for path in changed_settings(arm.config, present[arm.name].config.redacted())
            if not any(fnmatchcase(path, pattern) for pattern in MAY_DIFFER)
        ]
        now = PlannedArm.of(present[arm.name])
        if changed or (arm.workflow, arm.prompts) != (now.workflow, now.prompts):
            what = settings_in_words(changed) or (
                "the prompts" if arm.workflow == now.workflow else "the workflow"
            )
            raise InputError(
                f"experiment '{experiment}' cannot go on: the arm '{arm.name}' has other settings than when "
                f"it began: {what}; resume it with those of its beginning, or begin another experiment"
            )


async def run_begun(
    begun: Begun,
    *,
    data_dir: Path,
    output_dir: Path,
    max_sessions: int,
    limits: SessionLimits,
    on_trial: OnTrial | None = None,
) -> Evaluated:
    """Run the trials of a recorded experiment that are not judged yet; returns its report."""
    name = begun.experiment.experiment
    runner = TrialRunner(
        name,
        begun.arms,
        begun.cases,
        execution=begun.config.execution,
        data_dir=data_dir,
        output_dir=output_dir,
        max_sessions=max_sessions,
        limits=limits,
        on_trial=on_trial,
    )
    end = await runner.run()
    if not end.open:
        await asyncio.to_thread(_record_end, data_dir, name)
    return Evaluated(await asyncio.to_thread(recorded_evaluation, data_dir, name), end)


def _record_end(data_dir: Path, experiment: str) -> None:
    with open_database(place_of(data_dir), data_dir) as database:
        Experiments(database).end(experiment, "every trial is judged")


def recorded_evaluation(data_dir: Path, experiment_id: str | None = None) -> Evaluation:
    """The report of an experiment in the database, as far as it is judged; default the newest eval.

    Raises:
        InputError: There is no such experiment.
    """
    with open_database(existing_place(data_dir), data_dir) as database:
        experiments = Experiments(database)
        experiment = find_experiment(experiments, experiment_id)
        return Evaluation(experiment, tuple(experiments.trials(experiment.experiment)))


def evaluate(
    suites: str | Suite | Sequence[str | Suite] = (),
    arms: Sequence[str | Arm] = DEFAULT_ARMS,
    *,
    config: SwarmConfig | str | Path | Mapping[str, Any] | None = None,
    models: Sequence[str] = (),
    cases: int | None = None,
    seed: int = 0,
    data_dir: str | Path = DATA_DIR,
    output_dir: str | Path = OUTPUT_DIR,
    max_sessions: int = 4,
    limits: SessionLimits | Mapping[str, Any] | None = None,
    resume: str | bool = False,
    on_trial: OnTrial | None = None,
) -> Evaluation:
    """Run each case of the suites through each arm, and count what hidden tests pass; returns the report.

    Args:
        suites: A suite or several: `smoke`, `humaneval`, `reviews`, a folder of cases, or a Suite.
        arms: `WORKFLOW[@CONFIG.json][:KEY=VALUE…]` or `CONFIG.json` each, or an Arm.
        config: The configuration of the arms that name no other, as for `load_config`.
        models: Each arm runs once with each of these models for all roles: entries of multi_model, or names
            on the configured server.
        cases: How many cases of each suite: a random sample by `seed`, the same for all arms. None: all.
        seed: Draws the sample and the order of the cases.
        data_dir: The folder of the session database.
        output_dir: The folder in which the experiment gets a folder for the files of its sessions.
        max_sessions: How many sessions run at once.
        limits: Of the whole experiment: `calls`, `tokens`, `seconds`. When one is reached, no other session
            begins.
        resume: The id of an experiment to go on with, or True for the newest one that has not ended. Its
            suites and arms are recorded; those that are Python objects must be given again.
        on_trial: Called with each judged trial, how many are judged, and how many there are.

    Raises:
        InputError: A suite or an arm cannot be used, or an experiment cannot be resumed.
        ConfigError: A configuration cannot be used.
        SandboxError: Hidden tests cannot be run.
        StorageError: The database or the output folder cannot be used.

    Warns:
        UserWarning: Trials are left open: a limit is reached, or no server answers.
    """
    return aio.run(
        aevaluate(
            suites,
            arms,
            config=config,
            models=models,
            cases=cases,
            seed=seed,
            data_dir=data_dir,
            output_dir=output_dir,
            max_sessions=max_sessions,
            limits=limits,
            resume=resume,
            on_trial=on_trial,
        )
    )


async def aevaluate(
    suites: str | Suite | Sequence[str | Suite] = (),
    arms: Sequence[str | Arm] = DEFAULT_ARMS,
    *,
    config: SwarmConfig | str | Path | Mapping[str, Any] | None = None,
    models: Sequence[str] = (),
    cases: int | None = None,
    seed: int = 0,
    data_dir: str | Path = DATA_DIR,
    output_dir: str | Path = OUTPUT_DIR,
    max_sessions: int = 4,
    limits: SessionLimits | Mapping[str, Any] | None = None,
    resume: str | bool = False,
    on_trial: OnTrial | None = None,
) -> Evaluation:
    """`evaluate` for asynchronous callers."""
    named = [suites] if isinstance(suites, str | Suite) else suites
    given_arms = () if resume and arms is DEFAULT_ARMS else arms
    request = Request(named, given_arms, load_config(config), models, cases, seed)
    whole = SessionLimits.model_validate(limits or {})
    folder = Path(data_dir)
    _check_place(request.config, folder)
    if resume:
        begun = await asyncio.to_thread(take_up, request, folder, resume if isinstance(resume, str) else None)
    else:
        begun = await asyncio.to_thread(begin, request, folder, whole)
    evaluated = await run_begun(
        begun,
        data_dir=folder,
        output_dir=Path(output_dir),
        max_sessions=max_sessions,
        limits=whole,
        on_trial=on_trial,
    )
    if evaluated.end.open:
        name = begun.experiment.experiment
        warnings.warn(f"{evaluated.end.text}; resume='{name}' goes on", stacklevel=2)
    return evaluated.evaluation


def _check_place(config: SwarmConfig, data_dir: Path) -> None:
    """Refuse a database that only this configuration names: reports and lists would not find the sessions."""
    if config.database and config.database != place_of(data_dir):
        raise InputError(
            f"an experiment is kept where {VARIABLE} or the default config file says; name its database there"
        )
