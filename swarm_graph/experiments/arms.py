"""Arms from the command line's texts, and how each of them runs a case."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swarm_graph.config import SwarmConfig, load_config
from swarm_graph.config_source import unknown_name
from swarm_graph.errors import ConfigError, InputError
from swarm_graph.experiments.arm import Arm
from swarm_graph.settings import WorkflowSettings
from swarm_graph.state import DOCUMENT, Kind
from swarm_graph.suites.case import Case
from swarm_graph.workflows.builtin import CODE_FOCUSES, DOCUMENT_FOCUSES

DEFAULT_ARMS = ("single", "standard", "full")
ReplaceModel = Callable[[SwarmConfig, str], SwarmConfig]
"""Returns a configuration in which all roles ask the model of a name."""
_SETTING = re.compile(r":(?=[a-z_]+=)")
FORM = "expected WORKFLOW[@CONFIG.json][:KEY=VALUE…], as in single:candidates=4, or CONFIG.json"


def split_arms(text: str) -> list[str]:
    """The arms in a text with commas between them; commas inside of brackets and quotes are their own."""
    arms, depth, quoted = [""], 0, False
    for character in text:
        quoted ^= character == '"'
        depth += 0 if quoted else (character in "[{") - (character in "]}")
        if character == "," and not depth and not quoted:
            arms.append("")
        else:
            arms[-1] += character
    return [arm.strip() for arm in arms if arm.strip()]


def all_roles_ask(config: SwarmConfig, model: str) -> SwarmConfig:
    """The configuration in which all roles ask one model: an entry of multi_model, or one on its server."""
    return load_config(config, overrides={"model": model})


def parse_arms(
    texts: Sequence[str],
    config: SwarmConfig,
    models: Sequence[str] = (),
    *,
    replace_model: ReplaceModel = all_roles_ask,
    change: Callable[[SwarmConfig], SwarmConfig] = lambda config: config,
) -> list[Arm]:
    """The arms that texts describe, each once per model.

    Args:
        texts: An arm each: `WORKFLOW[@CONFIG.json][:KEY=VALUE…]`, where KEY is a setting of `workflow`, or
            `CONFIG.json` alone, which runs `standard`.
        config: The configuration of the arms that name no other.
        models: Models for all roles; none leaves the configured ones.
        replace_model: Puts one of `models` into a configuration.
        change: Changes every configuration that an arm names, as `--simulate` does.

    Raises:
        InputError: A text is no arm, or two arms are the same.
        ConfigError: A configuration cannot be used.
    """
    arms = []
    for text in texts:
        named = _named(text, config, change)
        if not models:
            arms.append(named)
        for model in models:
            chosen = replace_model(named.config, model)
            arms.append(Arm(f"{named.name} · {model}", named.workflow, chosen, model))
    if twice := {arm.name for arm in arms if [one.name for one in arms].count(arm.name) > 1}:
        raise InputError(
            f"two arms have the name '{min(twice)}'; leave one out, or give configuration files other names"
        )
    if not arms:
        raise InputError(f"no arm is given; {FORM}")
    return arms


def _named(text: str, config: SwarmConfig, change: Callable[[SwarmConfig], SwarmConfig]) -> Arm:
    """The arm of one text, with the configured models."""
    head, *settings = _SETTING.split(text)
    workflow, at, file = head.partition("@")
    if not at and config_file_of(text):
        workflow, file = "standard", head
    if not workflow or (at and not file):
        raise InputError(f"the arm {text!r}: {FORM}")
    chosen = change(load_config(file)) if file else config
    overrides = dict(_setting(text, setting) for setting in settings)
    try:
        chosen = load_config(chosen, overrides={"workflow": overrides}) if overrides else chosen
    except ConfigError as error:
        raise ConfigError(f"the arm {text!r}: {str(error).removeprefix('the command line: ')}") from error
    if workflow == "custom" or workflow not in chosen.workflow_names:
        known = [name for name in chosen.workflow_names if name != "custom"]
        raise InputError(f"the arm {text!r}: {unknown_name('workflow', workflow, known)}")
    head = f"{workflow}@{Path(file).name}" if file else workflow
    return Arm(":".join([head, *settings]), workflow, chosen)


def _setting(text: str, setting: str) -> tuple[str, Any]:
    key, _, value = setting.partition("=")
    if key not in WorkflowSettings.model_fields:
        raise InputError(
            f"the arm {text!r}: {unknown_name('setting', key, [*WorkflowSettings.model_fields])}"
        )
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def config_file_of(text: str) -> str:
    """The configuration file that the text of an arm names; empty if it names none."""
    head = _SETTING.split(text)[0]
    workflow, at, file = head.partition("@")
    return file if at else workflow if workflow.endswith(".json") else ""


def with_absolute_file(text: str) -> str:
    """The text of an arm with its file's path absolute: a resume may start in another folder."""
    file = config_file_of(text)
    return text.replace(file, str(Path(file).absolute()), 1) if file else text


@dataclass(frozen=True)
class SessionSetup:
    """How an arm runs a case.

    Attributes:
        workflow: The workflow of its session.
        config: The configuration of its session.
        kind: What its session makes.
    """

    workflow: str
    config: SwarmConfig
    kind: Kind


def session_setup(arm: Arm, case: Case) -> SessionSetup:
    """How an arm runs a case: without memory, without pauses, without a repository.

    A review runs `review_only` with the reviewers of the arm's workflow. Candidates are for code that is
    written; a review, and a document, run without.

    Raises:
        InputError: The arm only reviews, and the case asks for files.
    """
    config = arm.config.without_memory().without_repo()
    given: dict[str, Any] = {"kind": case.kind, "pause_before": [], "pause_after": []}
    workflow = arm.workflow
    if case.assignment == "review":
        workflow, focuses = "review_only", _review_focuses(arm, case.kind)
        given |= {"reviewers": {"review_only": focuses}} if focuses else {}
    elif workflow == "review_only":
        raise InputError(f"the arm '{arm.name}' only reviews, and the case '{case.id}' asks for files")
    if case.assignment == "review" or case.kind == DOCUMENT:
        given["candidates"] = 1
    changed = {
        "workflow": config.workflow.model_copy(update=given),
        "features": config.features.model_copy(update={"enable_checkpointing": True}),
    }
    return SessionSetup(workflow, config.model_copy(update=changed), case.kind)


def _review_focuses(arm: Arm, kind: Kind) -> list[str] | None:
    """What the reviewers of an arm look at; None: as `review_only` has it."""
    configured = arm.config.workflow.focuses(arm.workflow)
    match arm.workflow:
        case "single":
            return ["correctness"]
        case "standard":
            return configured or [*(DOCUMENT_FOCUSES if kind == DOCUMENT else CODE_FOCUSES)]
        case "full":
            return [*(configured or ["general"]), "security"]
    return configured


def check_arms(arms: Sequence[Arm], cases: Sequence[Case]) -> None:
    """Check, before anything runs, that every arm can run every kind of case. No server is asked.

    Raises:
        ConfigError: A role has no usable model, or a workflow cannot be built.
        InputError: An arm only reviews, and a case asks for files, or it leaves the model of a role open.
    """
    from swarm_graph.sessions.coordinator import SwarmCoordinator  # LangGraph's import costs seconds

    for arm in arms:
        for role, choice in arm.config.choices.items():
            if choice.chosen is None:
                names = ",".join(choice.any_of)
                raise InputError(
                    f"the arm '{arm.name}' leaves the model of '{role}' open, so it would change while the "
                    f'experiment runs; --models {names} measures each, and "chosen" beside any_of fixes one'
                )
        for setup in _setups(arm, cases):
            try:
                SwarmCoordinator(setup.config).check(setup.workflow)
            except ConfigError as error:
                raise ConfigError(f"the arm '{arm.name}': {error}") from error


def _setups(arm: Arm, cases: Sequence[Case]) -> Iterator[SessionSetup]:
    """How an arm runs each combination of what cases ask for."""
    first = {(case.assignment, case.kind): case for case in reversed(cases)}
    return (session_setup(arm, case) for case in first.values())
