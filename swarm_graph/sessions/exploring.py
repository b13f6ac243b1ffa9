"""Tasks of a batch that explore: some of them ask a model that is drawn, and not the one that is chosen."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path

from swarm_graph.checkpoints.model_evidence import NO_EVIDENCE, Evidence, read_evidence
from swarm_graph.config import SwarmConfig
from swarm_graph.database_place import is_there, place_of
from swarm_graph.errors import InputError
from swarm_graph.models.model_choice import known_models, undecided_roles
from swarm_graph.models.selection import explore
from swarm_graph.sessions.ids import open_catalogue
from swarm_graph.tasks.spec import TaskSpec
from swarm_graph.workflows.session_models import NEEDS_CHOICE


def evidence_of(data_dir: Path, database: str | Path = "") -> Evidence:
    """What the database of a data folder knows of models; nothing if there is none yet."""
    if not is_there(place_of(data_dir, database)):
        return NO_EVIDENCE
    with open_catalogue(data_dir, database) as catalogue:
        return read_evidence(catalogue)


def drawn_tasks(
    specs: Mapping[str, TaskSpec], config: SwarmConfig, evidence: Evidence, number: int, session_id: str
) -> dict[str, str]:
    """The tasks that explore, each with the entry of multi_model that was drawn for it.

    Both are drawn at once, before any task runs, by the id of the session: a repeat draws the same.

    Args:
        specs: The tasks by id.
        config: The configuration.
        evidence: What is known of the models.
        number: How many tasks explore.
        session_id: The session.

    Raises:
        InputError: There are not so many tasks whose role may have several models.
    """
    open_roles = undecided_roles(config, config.choices)
    free = [name for name, spec in specs.items() if spec.assigned_role in open_roles and not spec.model]
    if number > len(free):
        raise InputError(
            f"{number} tasks are to explore, and of {len(specs)} tasks {len(free)} have a role that may have "
            f"several models and name none; {NEEDS_CHOICE}"
        )
    chosen = {*random.Random(session_id).sample(free, number)}
    roles = {str(spec.assigned_role) for spec in specs.values()}
    known = {
        role: known_models(config, role, roles, evidence)
        for role in dict.fromkeys(str(specs[name].assigned_role) for name in free)
    }
    return {
        name: explore(known[str(specs[name].assigned_role)], f"{session_id} {name}").entry
        for name in free
        if name in chosen
    }
