"""The debugger finds the cause of the open findings before the coder revises the code."""

from __future__ import annotations

from dataclasses import replace

from swarm_graph.roles.role import SHARED_OF_CHANGE, Role
from swarm_graph.state import AgentRole, ChangeState

_program = Role(
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
debugger = replace(
    _program,
    change=replace(
        _program,
        reads=(*SHARED_OF_CHANGE, "findings", "test_run"),
        optional=("request", "requirements", "conventions", "repository_map"),
        state=ChangeState,
    ),
)
