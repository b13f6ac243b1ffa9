"""The debugger finds the cause of the open findings before the coder revises the code."""

from __future__ import annotations

from swarm_graph.roles.role import Role
from swarm_graph.state import AgentRole

debugger = Role(
    AgentRole.DEBUGGER,
    task_type="debugging",
    verb="debug",
    reads=("request", "requirements", "code", "findings", "test_run", "tests"),
    optional=("request", "requirements"),
    writes="diagnosis",
    works_from="findings",
    answer=str,
    notes_title="Diagnosis of the last revise round",
)
