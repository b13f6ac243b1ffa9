"""The coder writes complete files; from the second round on it fixes the open findings."""

from __future__ import annotations

from typing import Any

from swarm_graph.roles.file_blocks import Files
from swarm_graph.roles.role import Answered, Role
from swarm_graph.state import AgentRole, SwarmState


def update(answered: Answered[Files]) -> dict[str, Any]:
    old = answered.state.get("code", {})
    code = answered.answer.over(old)
    return {"code": code, "changed": [path for path, text in code.items() if old.get(path) != text]}


def complaint(answer: Files, state: SwarmState) -> str | None:
    emptied = not answer.over(state.get("code", {}))
    return "the answer holds no file and deletes the last one" if emptied else None


coder = Role(
    AgentRole.CODER,
    task_type="coding",
    verb="code",
    reads=("request", "requirements", "design", "code", "findings", "diagnosis", "test_run", "packages"),
    writes="code",
    works_from="design",
    answer=Files,
    update=update,
    complaint=complaint,
    opens_round=True,
    text_file="generated_code.txt",
)
