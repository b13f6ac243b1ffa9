"""The models of a session whose roles may have several: chosen when it begins, and kept from then on."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from shlex import quote

from swarm_graph.checkpoints.model_evidence import NO_EVIDENCE
from swarm_graph.config import SwarmConfig
from swarm_graph.errors import InputError
from swarm_graph.models.model_choice import chosen_models, undecided_roles
from swarm_graph.settings import AnyOf
from swarm_graph.workflows.opening import RunKind
from swarm_graph.workflows.recording import RunRecorder

NEEDS_CHOICE = (
    "exploring needs a role that may have several models and whose model is open, as in "
    '"multi_model": {"coder": {"any_of": ["a", "b"]}} with mode multi'
)


def session_models(
    config: SwarmConfig,
    roles: Collection[str],
    kind: RunKind,
    session_id: str,
    recorder: RunRecorder | None,
    *,
    explore: bool = False,
) -> SwarmConfig:
    """The configuration with a model for each role that may have several.

    What the configuration has chosen itself comes first, then what the session has recorded, also if more is
    known by now, then what is known. A follow-up keeps the models of its session, unless it explores. Without
    a checkpointer of ours nothing is known, so the first named model is asked.

    Args:
        config: The configuration.
        roles: The roles that will ask models.
        kind: How the run begins.
        session_id: The session; it seeds the draw of exploring.
        recorder: Records the run; None without a checkpointer of ours.
        explore: Whether a new request draws its models.

    Raises:
        InputError: The session has chosen a model that its role may not have any more, or it is to explore
            and no role has models to choose from.
    """
    draws = explore and kind in ("begin", "follow_up")
    if recorder and kind != "begin" and not draws:
        config = _as_recorded(config, recorder.recorded_choices(), session_id)
    if not undecided_roles(config, roles):
        if draws:
            raise InputError(NEEDS_CHOICE)
        return config
    evidence = recorder.evidence() if recorder else NO_EVIDENCE
    return chosen_models(config, roles, evidence, seed=session_id if draws else None)


def _as_recorded(config: SwarmConfig, recorded: Mapping[str, AnyOf], session_id: str) -> SwarmConfig:
    for role in undecided_roles(config, recorded):
        choice, now = recorded[role], config.choices[role]
        if choice.entry not in now.any_of:
            raise InputError(
                f"session '{session_id}' has chosen the model '{choice.entry}' for the role '{role}', and "
                f"model_config.multi_model.{role}.any_of names {', '.join(now.any_of)}; add it there, or "
                f"choose one of these with --choose {quote(f'{role}={now.any_of[0]}')}"
            )
        config = config.with_choices({role: choice.entry}, {role: choice.reason})
    return config
