"""The optimizer proposes; the code stays what was approved."""

from __future__ import annotations

from typing import Any

from swarm_graph.roles.role import Answered, Role
from swarm_graph.state import AgentRole


def update(answered: Answered[str]) -> dict[str, Any]:
    return {"optimization": answered.answer}


optimizer = Role(
    AgentRole.OPTIMIZER,
    task_type="optimization",
    verb="optimize",
    reads=("requirements", "code"),
    writes="optimization",
    answer=str,
    update=update,
    notes_title="Proposed optimizations (not applied)",
)
