"""The architect decides files, interfaces, data flow and what is left out."""

from __future__ import annotations

from swarm_graph.roles.role import Role
from swarm_graph.state import AgentRole

architect = Role(
    AgentRole.ARCHITECT,
    task_type="architecture",
    verb="design",
    reads=("request", "requirements", "design", "packages"),
    writes="design",
    works_from="requirements",
    answer=str,
    notes_title="Design",
)
