"""The documenter writes the README of what was built; of a document, a cover note."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from swarm_graph.roles.role import Answered, Role
from swarm_graph.state import AgentRole


def update(answered: Answered[str]) -> dict[str, Any]:
    return {"documentation": {"README.md": answered.answer + "\n"}}


_program = Role(
    AgentRole.DOCUMENTER,
    task_type="documentation",
    verb="document",
    reads=("request", "requirements", "code"),
    writes="documentation",
    answer=str,
    update=update,
    text_file="generated_docs.txt",
)
documenter = replace(_program, document=replace(_program, text_file=""))
