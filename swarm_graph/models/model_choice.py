"""The models of the roles that may have several, chosen together from what the database knows of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from swarm_graph.checkpoints.model_evidence import Evidence, Outcomes
from swarm_graph.config import SwarmConfig
from swarm_graph.errors import ConfigError
from swarm_graph.models.selection import Known, choose, explore
from swarm_graph.settings import ModelEntry

USUAL_TOKENS = 500
"""Tokens of an answer of a role that has given none yet."""


def chosen_models(
    config: SwarmConfig, roles: Collection[str], evidence: Evidence, *, seed: str | None = None
) -> SwarmConfig:
    """A configuration in which every role with several models has one; those that have chosen keep theirs.

    Args:
        config: The configuration.
        roles: The roles that will ask models.
        evidence: What is known of the models.
        seed: Draws the models to explore them; None: nothing explores.
    """
    for role in undecided_roles(config, roles):
        known = known_models(config, role, roles, evidence)
        choice = choose(known) if seed is None else explore(known, f"{seed} {role}")
        config = config.with_choices({role: choice.entry}, {role: choice.reason})
    return config


def undecided_roles(config: SwarmConfig, roles: Collection[str]) -> list[str]:
    """The roles, of these, that may have several models and have chosen none."""
    return [role for role, choice in config.choices.items() if role in roles and choice.chosen is None]


def known_models(config: SwarmConfig, role: str, roles: Iterable[str], evidence: Evidence) -> list[Known]:
    """What is known of each model that a role may have.

    Args:
        config: The configuration; the models that other roles have chosen count.
        role: The role.
        roles: All roles that will ask models: they may make a server load another model for each call.
        evidence: What is known of the models.
    """
    others = [entry for other in roles if other != role for entry in _model_of(config, other)]
    names = config.choices[role].any_of if role in config.choices else [""]
    entries = dict(zip(names, config.models_for(role), strict=True))
    return [_known(name, entry, role, others, evidence) for name, entry in entries.items()]


def _model_of(config: SwarmConfig, role: str) -> list[ModelEntry]:
    """The model of another role; none while it has not chosen one."""
    choice = config.choices.get(role)
    try:
        return [] if choice and choice.chosen is None else [config.model_for(role)]
    except ConfigError:
        return []


def _known(name: str, entry: ModelEntry, role: str, others: list[ModelEntry], evidence: Evidence) -> Known:
    is_simulated = entry.api_type == "simulated"
    outcomes = evidence.outcomes.get((role, entry.label, is_simulated), Outcomes())
    seconds = call_seconds(entry, role, evidence)
    if seconds is not None:
        seconds += _loading_seconds(entry, others, evidence)
    return Known(name, outcomes.solved, outcomes.judged, seconds)


def call_seconds(entry: ModelEntry, role: str, evidence: Evidence) -> float | None:
    """The usual seconds of a call: as past calls took, else as doctor's speed says; None if unknown."""
    taken = [
        seconds
        for (one, model, server), seconds in evidence.seconds.items()
        if (one, model) == (role, entry.label) and (server == entry.server or entry.is_embedded)
    ]
    if taken:
        return min(taken)  # an embedded model has a new address at each start
    speed = evidence.speeds.get((entry.server, entry.label))
    if speed is None:
        return None
    return speed.first_token_s + speed.token_s * evidence.tokens.get(role, USUAL_TOKENS)


def _loading_seconds(entry: ModelEntry, others: list[ModelEntry], evidence: Evidence) -> float:
    """Seconds that loading adds to each call, because other roles use the server for another model."""
    speed = evidence.speeds.get((entry.server, entry.label))
    swaps = any(other.server == entry.server and other.model != entry.model for other in others)
    return (speed.load_s or 0.0) if speed and swaps else 0.0
