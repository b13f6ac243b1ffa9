"""The security role audits the code; it answers like a reviewer."""

from __future__ import annotations

from swarm_graph.nodes.reviewer import Judgement, substitute, update
from swarm_graph.roles.role import Role
from swarm_graph.state import AgentRole

security = Role(
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
