"""The architect decides files, interfaces, data flow and what is left out."""

from __future__ import annotations

from typing import Any

from swarm_graph.roles.role import Answered, Role
from swarm_graph.state import AgentRole


def update(answered: Answered[str]) -> dict[str, Any]:
    return {"design": answered.answer}


architect = Role(
    AgentRole.ARCHITECT,
    task_type="architecture",
    verb="design",
    reads=("request", "requirements", "design", "packages"),
    writes="design",
    works_from="requirements",
    answer=str,
    update=update,
    notes_title="Design",
)
