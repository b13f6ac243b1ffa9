"""What `build_graph` binds into the nodes of a graph."""

from __future__ import annotations

from dataclasses import dataclass, field

from swarm_graph.config import SwarmConfig
from swarm_graph.models.pool import ModelPool


@dataclass(frozen=True)
class Bindings:
    """The configuration of a graph, and the models that its nodes call."""

    config: SwarmConfig
    models: ModelPool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "models", ModelPool(self.config))
