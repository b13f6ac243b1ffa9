"""The optimizer proposes improvements; the approved code is not changed."""

from __future__ import annotations

from swarm_graph.roles.role import Role
from swarm_graph.state import AgentRole

optimizer = Role(
    AgentRole.OPTIMIZER,
    task_type="optimization",
    verb="optimize",
    reads=("request", "requirements", "code"),
    optional=("request",),
    writes="optimization",
    answer=str,
    notes_title="Proposed optimizations (not applied)",
)
