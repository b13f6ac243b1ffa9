"""The coder writes complete files; from the second round on it answers the open findings."""

from __future__ import annotations

from typing import Any

from swarm_graph.answers import Files
from swarm_graph.role import Answered, Role
from swarm_graph.state import AgentRole


def update(answered: Answered[Files]) -> dict[str, Any]:
    return {"code": answered.answer.over(answered.state.get("code", {}))}


coder = Role(
    AgentRole.CODER,
    task_type="coding",
    verb="code",
    reads=("request", "requirements", "design", "code", "findings", "diagnosis"),
    answer=Files,
    update=update,
    opens_round=True,
)
