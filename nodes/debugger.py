"""The debugger finds the cause of the open findings before the coder goes on."""

from __future__ import annotations

from typing import Any

from swarm_graph.roles.role import Answered, Role
from swarm_graph.state import AgentRole


def update(answered: Answered[str]) -> dict[str, Any]:
    return {"diagnosis": answered.answer}


debugger = Role(
    AgentRole.DEBUGGER,
    task_type="debugging",
    verb="debug",
    reads=("code", "tests", "findings", "test_run"),
    writes="diagnosis",
    works_from="findings",
    answer=str,
    update=update,
    notes_title="Diagnosis of the last revise round",
)
