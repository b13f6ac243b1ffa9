"""The architect decides files, interfaces, data flow and what is left out; of a document, its outline."""

from __future__ import annotations

from dataclasses import replace

from swarm_graph.roles.role import Role
from swarm_graph.state import AgentRole

_program = Role(
    AgentRole.ARCHITECT,
    task_type="architecture",
    verb="design",
    reads=("request", "requirements", "design", "packages"),
    writes="design",
    works_from="requirements",
    answer=str,
    notes_title="Design",
)
architect = replace(_program, document=replace(_program, reads=("request", "requirements", "design")))
