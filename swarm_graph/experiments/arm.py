"""An arm of an experiment: a workflow with a configuration, as all cases run through it."""

from __future__ import annotations

from dataclasses import dataclass

from swarm_graph.config import SwarmConfig


@dataclass(frozen=True)
class Arm:
    """One of the configurations that an experiment compares.

    Attributes:
        name: Unique in the experiment, for people and for session ids: `single`, `single:candidates=4`,
            `full@strong.json`, with several models `single · qwen3-8b`.
        workflow: The workflow that its sessions run.
        config: Their configuration.
        model: The label of the one model that all its roles ask; empty if its roles have their own.
    """

    name: str
    workflow: str
    config: SwarmConfig
    model: str = ""
