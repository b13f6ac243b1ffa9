"""What `build_graph` binds into the nodes of a graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from swarm_graph.config import SwarmConfig
from swarm_graph.models.pool import ModelPool
from swarm_graph.roles.registry import Roles

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool


@dataclass(frozen=True)
class Bindings:
    """The configuration of a graph, and the models that its nodes call.

    Attributes:
        config: The configuration.
        texts: Texts of prompts, by name or path, in place of those of `config.prompts_dir`.
        tools: LangChain tools of the user's own, by role.
        models: The models.
        roles: The roles: the nine, and those of the configuration.
    """

    config: SwarmConfig
    texts: Mapping[str, str] = field(default_factory=dict)
    tools: Mapping[str, Sequence[BaseTool]] = field(default_factory=dict)
    models: ModelPool = field(init=False)
    roles: Roles = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "models", ModelPool(self.config))
        object.__setattr__(self, "roles", Roles(self.config, self.texts))

    def recalled_by(self, role: str) -> int:
        """How many passages from memory the prompts of a role show."""
        memory = self.config.memory
        return memory.recall.get(role, 0) if memory else 0

    def has_tools(self, role: str) -> bool:
        """Whether a role may call tools."""
        return bool(self.config.tools.get(role) or self.tools.get(role))
