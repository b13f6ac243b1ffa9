"""The security role audits the code; it answers like a reviewer."""

from __future__ import annotations

from dataclasses import replace

from swarm_graph.nodes.reviewer import Judgement, substitute, update
from swarm_graph.roles.role import SHARED_OF_CHANGE, Role
from swarm_graph.state import AgentRole, ChangeState

_program = Role(
    AgentRole.SECURITY,
    task_type="security",
    verb="audit",
    reads=("request", "requirements", "code"),
    optional=("requirements",),
    writes="reviews",
    answer=Judgement,
    update=update,
    substitute=substitute,
    text_file="review_results.txt",
)
security = replace(
    _program,
    change=replace(
        _program,
        reads=SHARED_OF_CHANGE,
        optional=("requirements", "conventions", "repository_map"),
        state=ChangeState,
    ),
)
