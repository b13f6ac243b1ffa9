"""The plan of an A/B test: sides, requests, measure and stopping rule, fixed before the first request."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from swarm_graph.checkpoints.experiments import Experiment
from swarm_graph.config import SwarmConfig, changed_settings, load_config
from swarm_graph.config_source import unknown_name
from swarm_graph.errors import InputError, StorageError
from swarm_graph.experiments.ab_requests import is_file, is_path, read_requests
from swarm_graph.experiments.arm import Arm
from swarm_graph.experiments.config_difference import ConfigDifference, difference, file_hashes
from swarm_graph.experiments.evaluate import MAY_DIFFER
from swarm_graph.experiments.looks import MEASURES, SIDES, Measure, SideName
from swarm_graph.experiments.plan import choose_cases
from swarm_graph.experiments.simulated_arms import with_skill
from swarm_graph.experiments.stopping import DEFAULT_LOOKS, StoppingRule
from swarm_graph.prompts.template import declared_kind
from swarm_graph.state import CHANGE, Kind
from swarm_graph.suites.case import Case, Suite

Source = SwarmConfig | str | Path | Mapping[str, Any]
"""A configuration: a file, a dict in its shape, or an object."""
WITHOUT_VERDICT = ("single",)
"""Workflows whose sessions approve nothing."""


@dataclass(frozen=True)
class Side:
    """One of the two configurations.

    Attributes:
        arm: It as an arm of the experiment.
        file: The absolute path of its file; empty if a program gave it.
    """

    arm: Arm
    file: str

    @property
    def name(self) -> str:
        """Its name for people."""
        return self.arm.name

    def to_dict(self) -> dict[str, Any]:
        """Plain data without secrets."""
        return {
            "name": self.name,
            "workflow": self.arm.workflow,
            "file": self.file,
            "config": self.arm.config.redacted(),
            "files": file_hashes(self.arm.config),
        }


@dataclass(frozen=True)
class AbPlan:
    """All that is decided before an A/B test begins.

    Attributes:
        a: The first configuration.
        b: The other one.
        given: What names the requests: a path, absolute, or the name of a suite.
        suite: The requests.
        cases: The requests in the order in which they are asked.
        measure: What decides.
        rule: When it looks, and when it stops.
        difference: What the configurations differ in.
        seed: Draws the order of the requests, and who is asked first.
        simulate: Whether every model is simulated.
    """

    a: Side
    b: Side
    given: str
    suite: Suite
    cases: tuple[Case, ...]
    measure: Measure
    rule: StoppingRule
    difference: ConfigDifference
    seed: int
    simulate: bool

    @property
    def arms(self) -> list[Arm]:
        """The arms; the first one is asked first about the first request, then they take turns."""
        arms = [self.a.arm, self.b.arm]
        return arms[::-1] if self.seed % 2 else arms

    def to_dict(self) -> dict[str, Any]:
        """What the experiment records of it, besides what every plan has."""
        return {
            "a": self.a.to_dict(),
            "b": self.b.to_dict(),
            "requests": self.given,
            "measure": self.measure,
            "rule": self.rule.to_dict(),
            "difference": self.difference.to_dict(),
            "simulate": self.simulate,
            "simulated": all(side.arm.config.is_simulated for side in (self.a, self.b)),
        }


def new_plan(
    a: Source,
    b: Source,
    requests: str | Path,
    *,
    workflow: str = "standard",
    measure: str | None = None,
    cases: int | None = None,
    sequential: bool = False,
    looks: int | None = None,
    seed: int = 0,
    simulate: bool = False,
    allow_equal: bool = False,
) -> AbPlan:
    """The plan of a new A/B test; see `compare_configs`.

    Raises:
        InputError: The requests, the measure or the looks cannot be used, or nothing differs.
        ConfigError: A configuration cannot be used.
    """
    if looks is not None and not sequential:
        raise InputError(f"--looks {looks} needs --sequential; without it there is one look, at the end")
    one, other = _sides(a, b, workflow, simulate)
    if one.file and Path(one.file).samefile(other.file or "/") and one.arm.workflow == other.arm.workflow:
        raise InputError(f"both configurations are '{one.file}'; name two files, or a workflow for each")
    found = difference(one.arm.config, other.arm.config, (one.arm.workflow, other.arm.workflow))
    if found.is_empty and not allow_equal:
        raise InputError(
            f"the two configurations are equal (but for seeds): nothing differs between {one.name} and "
            f"{other.name}; --allow-equal measures what chance alone does"
        )
    suite = _suite(str(requests), one, other)
    chosen = tuple(choose_cases([suite], cases, seed))
    rule = _rule(len(chosen), sequential, looks)
    given = str(Path(requests).absolute()) if is_path(str(requests)) else str(requests)
    return AbPlan(
        one, other, given, suite, chosen, _measure(measure, chosen, (one, other)), rule, found, seed, simulate
    )


def recorded_plan(
    experiment: Experiment,
    a: Source | None = None,
    b: Source | None = None,
    requests: str | Path | None = None,
    *,
    is_own: bool,
) -> AbPlan:
    """The plan of an experiment that goes on, with its configurations and requests read again.

    Args:
        experiment: The experiment.
        a: The first configuration; None: the recorded file.
        b: The other one.
        requests: The requests; None: the recorded ones.
        is_own: Whether this user has begun it here. The files that somebody else's plan names are not read.

    Raises:
        InputError: A configuration or the requests have changed since it began, or must be given again.
        StorageError: The recorded plan cannot be read.
    """
    facts, recorded = AbFacts.of(experiment), experiment.plan
    sides = [
        side_again(experiment, key, given, is_own=is_own) for key, given in zip(SIDES, (a, b), strict=True)
    ]
    if requests is None and not is_own:
        raise _foreign(experiment)
    given = recorded["requests"] if requests is None else str(requests)
    suite = _suite(given, *sides)
    try:
        digest, seed = recorded["suites"][0]["digest"], int(recorded["seed"])
        chosen = int(recorded["suites"][0]["chosen"])
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise _unreadable(experiment, error) from error
    if suite.digest != digest:
        raise InputError(_changed(experiment, given))
    cases = tuple(choose_cases([suite], chosen, seed))
    simulate = bool(recorded.get("simulate"))
    return AbPlan(
        sides[0], sides[1], given, suite, cases, facts.measure, facts.rule, facts.difference, seed, simulate
    )


def side_again(experiment: Experiment, key: SideName, given: Source | None, *, is_own: bool) -> Side:
    """A side of an experiment as it was recorded, from its file, or from what is given again.

    Raises:
        InputError: It has changed since the experiment began, or must be given again.
        StorageError: The recorded plan cannot be read.
    """
    try:
        recorded = experiment.plan[key]
        file, name, workflow = str(recorded["file"]), str(recorded["name"]), str(recorded["workflow"])
        settings, files = dict(recorded["config"]), dict(recorded["files"])
    except (KeyError, TypeError, ValueError) as error:
        raise _unreadable(experiment, error) from error
    if given is None and not is_own:
        raise _foreign(experiment)
    if given is None and not file:
        raise InputError(
            f"a program gave the configuration '{name}', so a program resumes: "
            "compare_configs(a, b, resume=ID)"
        )
    side = _named(
        _side(file if given is None else given, workflow, bool(experiment.plan.get("simulate"))), name
    )
    changed = [
        path
        for path in changed_settings(settings, side.arm.config.redacted())
        if not any(fnmatchcase(path, pattern) for pattern in MAY_DIFFER)
    ]
    if changed or side.arm.workflow != workflow or file_hashes(side.arm.config) != files:
        raise InputError(_changed(experiment, side.file or name))
    return side


def _changed(experiment: Experiment, what: str) -> str:
    return (
        f"'{what}' has changed since '{experiment.experiment}' began, and its pairs must be alike; "
        "undo the change, or begin a new A/B test"
    )


def _foreign(experiment: Experiment) -> InputError:
    return InputError(
        f"'{experiment.experiment}' was begun by somebody else, or elsewhere, and its plan names files; "
        "name both configurations and --requests again, and yours are used"
    )


def _unreadable(experiment: Experiment, error: Exception) -> StorageError:
    return StorageError(
        f"the recorded plan of '{experiment.experiment}' cannot be read ({type(error).__name__}: {error})"
    )


class AbFacts(NamedTuple):
    """What a recorded plan says to a reader of the result; no file is read for it.

    Attributes:
        a: The name of the first configuration.
        b: The name of the other one.
        requests: What the requests are from.
        measure: What decides.
        rule: The stopping rule.
        difference: What the configurations differ in.
        simulated: Whether every model is simulated.
    """

    a: str
    b: str
    requests: str
    measure: Measure
    rule: StoppingRule
    difference: ConfigDifference
    simulated: bool = False

    @classmethod
    def of(cls, experiment: Experiment) -> AbFacts:
        """The facts of an experiment. Raises StorageError if they cannot be read."""
        plan = experiment.plan
        try:
            if plan["measure"] not in MEASURES:
                raise ValueError(plan["measure"])
            return cls(
                str(plan["a"]["name"]),
                str(plan["b"]["name"]),
                f"{plan['suites'][0]['name']} ({_short(plan['suites'][0]['source'])})",
                plan["measure"],
                StoppingRule.of(plan["rule"]),
                ConfigDifference.of(plan["difference"]),
                bool(plan["simulated"]),
            )
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise _unreadable(experiment, error) from error


def _short(source: str) -> str:
    """Where requests are from, with the beginning of a hash: enough to tell two apart."""
    return re.sub("(sha256 [0-9a-f]{12})[0-9a-f]+", r"\1…", source)


# --- sides ----------------------------------------------------------------------------------------


def _sides(a: Source, b: Source, workflow: str, simulate: bool) -> tuple[Side, Side]:
    """The two sides, with names that tell them apart."""
    one, other = (_side(source, workflow, simulate) for source in (a, b))
    if one.name and other.name and one.name != other.name:
        return one, other
    names = [str(source) if side.file else label for source, side, label in ((a, one, "A"), (b, other, "B"))]
    return _named(one, names[0]), _named(other, names[1])


def _named(side: Side, name: str) -> Side:
    return replace(side, arm=replace(side.arm, name=name))


def _side(source: Source, workflow: str, simulate: bool) -> Side:
    """A side from a file (`FILE` or `WORKFLOW@FILE`), a dict or an object."""
    file, own_workflow = _parts(str(source)) if isinstance(source, (str, Path)) else ("", "")
    if file and is_path(file) and not is_file(file):
        raise InputError(f"'{file}' is no file; expected a configuration, or WORKFLOW@FILE")
    config = load_config(file or source)
    config = with_skill(config.simulated()) if simulate else config
    workflow = own_workflow or workflow
    if workflow == "custom" or workflow not in config.workflow_names:
        known = [name for name in config.workflow_names if name != "custom"]
        raise InputError(unknown_name("workflow", workflow, known))
    name = "@".join(filter(None, (own_workflow, Path(file).name)))
    return Side(Arm(name, workflow, config), str(Path(file).absolute()) if file else "")


def _parts(text: str) -> tuple[str, str]:
    """The file and the workflow in `FILE` or `WORKFLOW@FILE`."""
    workflow, at, file = text.partition("@")
    return (file, workflow) if at and file and not is_file(text) else (text, "")


def _suite(requests: str, a: Side, b: Side) -> Suite:
    """The requests. Those of a text file ask for what both configurations make."""
    if not is_file(requests):
        return read_requests(requests)
    one, other = (_kind(side.arm.config) for side in (a, b))
    if one != other:
        raise InputError(f"{a.name} makes {one}, and {b.name} makes {other}; there is nothing to compare")
    if one == CHANGE:
        raise InputError("an A/B test changes no repository; leave `repo` out of the configurations")
    return read_requests(requests, one)


def _kind(config: SwarmConfig) -> Kind:
    """What the sessions of a configuration make."""
    declared = declared_kind(config.prompts_dir) if config.prompts_dir else None
    return config.workflow.kind if config.workflow.is_kind_given else declared or config.workflow.kind


# --- measure and rule -----------------------------------------------------------------------------


def _measure(given: str | None, cases: Sequence[Case], sides: Sequence[Side]) -> Measure:
    """The measure that is given, or the best one that the requests allow. Raises InputError."""
    judged = all(case.is_scored for case in cases)
    measure = given or ("solved" if judged else "approved")
    if measure not in MEASURES:
        raise InputError(unknown_name("measure", measure, MEASURES))
    if measure == "solved" and not judged:
        raise InputError(
            "--measure solved needs hidden tests, and these requests have none; give a folder of cases, or "
            "leave --measure out: then the verdicts of the configurations themselves decide"
        )
    if measure == "approved" or not judged:
        for side in sides:
            if side.arm.workflow in WITHOUT_VERDICT:
                raise InputError(
                    f"{side.name} runs the workflow '{side.arm.workflow}', which approves nothing, and the "
                    "requests have no hidden tests; give a folder of cases, or another workflow"
                )
    return measure


def _rule(pairs: int, sequential: bool, looks: int | None) -> StoppingRule:
    if not sequential:
        return StoppingRule.fixed(pairs)
    return StoppingRule.sequential(pairs, DEFAULT_LOOKS if looks is None else looks)
