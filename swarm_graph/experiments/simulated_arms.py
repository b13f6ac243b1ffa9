"""Simulated models with a skill in arms: they know answers to the cases, right ones and wrong ones."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from swarm_graph.config import SwarmConfig
from swarm_graph.experiments.arm import Arm
from swarm_graph.settings import ModelEntry, Simulation
from swarm_graph.suites.case import Suite
from swarm_graph.suites.known_answers import write_answers

SKILL = 0.5
"""Of the models that `eval --simulate` invents."""


def with_skill(config: SwarmConfig) -> SwarmConfig:
    """The configuration with a skill for each simulated model that has none."""
    return _with_simulations(
        config, lambda one: one if one.skill is not None else one.model_copy(update={"skill": SKILL})
    )


def with_answers(arms: Sequence[Arm], suites: Collection[Suite], data_dir: Path) -> list[Arm]:
    """The arms, with a file of answers to the cases for their simulated models with a skill.

    The file lies in the data folder, where only the user can read it. Models that name their own keep it.

    Args:
        arms: The arms.
        suites: The suites.
        data_dir: The data folder.

    Raises:
        InputError: The file cannot be made.
        StorageError: The file cannot be written.
    """
    written: list[str] = []

    def answered(simulation: Simulation) -> Simulation:
        if simulation.skill is None or simulation.answers:
            return simulation
        if not written:
            digest = sha256("\n".join(suite.digest for suite in suites).encode()).hexdigest()[:16]
            written.append(str(write_answers(suites, data_dir / f"answers-{digest}")))
        return simulation.model_copy(update={"answers": written[0]})

    return [replace(arm, config=_with_simulations(arm.config, answered)) for arm in arms]


def _with_simulations(config: SwarmConfig, change: Callable[[Simulation], Simulation]) -> SwarmConfig:
    """The configuration with a change of what its simulated models do."""

    def changed(entry: ModelEntry) -> ModelEntry:
        if entry.api_type != "simulated":
            return entry
        return entry.model_copy(update={"simulation": change(entry.simulation)})

    models = config.models
    update = {
        "single_model": models.single_model and changed(models.single_model),
        "multi_model": {**models.multi_model, **{name: changed(one) for name, one in models.named.items()}},
    }
    if update == {"single_model": models.single_model, "multi_model": models.multi_model}:
        return config
    return config.model_copy(update={"models": models.model_copy(update=update)})
