"""The optimizer proposes improvements; the approved code is not changed."""

from __future__ import annotations

from dataclasses import replace

from swarm_graph.roles.role import SHARED_OF_CHANGE, Role
from swarm_graph.state import AgentRole, ChangeState

_program = Role(
    AgentRole.OPTIMIZER,
    task_type="optimization",
    verb="optimize",
    reads=("request", "requirements", "code"),
    optional=("request",),
    writes="optimization",
    answer=str,
    notes_title="Proposed optimizations (not applied)",
)
optimizer = replace(
    _program,
    change=replace(
        _program,
        reads=SHARED_OF_CHANGE,
        optional=("request", "conventions", "repository_map"),
        state=ChangeState,
    ),
)
