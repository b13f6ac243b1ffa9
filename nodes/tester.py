"""The tester writes tests for the code of this round."""

from __future__ import annotations

from typing import Any

from swarm_graph.roles.answered_files import doubts
from swarm_graph.roles.file_blocks import Files
from swarm_graph.roles.role import Answered, Role
from swarm_graph.state import AgentRole, SwarmState


def update(answered: Answered[Files]) -> dict[str, Any]:
    return {"tests": answered.answer.written}


def complaint(answer: Files, _state: SwarmState) -> str | None:
    return None if answer.written else "the answer holds no file"


def doubt(answer: Files, _state: SwarmState) -> str:
    return doubts(answer, {})  # the tests of a round replace the earlier ones


tester = Role(
    AgentRole.TESTER,
    task_type="testing",
    verb="test",
    reads=("request", "requirements", "code", "broken_tests", "packages"),
    writes="tests",
    answer=Files,
    update=update,
    complaint=complaint,
    doubt=doubt,
    text_file="generated_tests.txt",
)
