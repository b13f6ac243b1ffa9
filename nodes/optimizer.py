"""The optimizer proposes; the code stays what was approved."""

from __future__ import annotations

from swarm_graph.roles.role import Role
from swarm_graph.state import AgentRole

optimizer = Role(
    AgentRole.OPTIMIZER,
    task_type="optimization",
    verb="optimize",
    reads=("requirements", "code"),
    writes="optimization",
    answer=str,
    notes_title="Proposed optimizations (not applied)",
)
