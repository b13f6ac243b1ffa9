"""The documenter writes the README of what was built; of a document, a cover note.

In a repository it keeps the documentation that is there in step with the change.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from swarm_graph.roles.answered_change import OptionalFiles, doubt_of, elsewhere, is_documentation
from swarm_graph.roles.file_blocks import Files
from swarm_graph.roles.role import SHARED_OF_CHANGE, Answered, Role
from swarm_graph.state import AgentRole, ChangeState, SwarmState


def update(answered: Answered[str]) -> dict[str, Any]:
    return {"documentation": {"README.md": answered.answer + "\n"}}


def change_complaint(answer: Files, state: SwarmState) -> str | None:
    return elsewhere(answer, state, is_documentation, "documentation file, such as README.md")


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
documenter = replace(
    _program,
    document=replace(_program, text_file=""),
    change=Role(
        AgentRole.DOCUMENTER,
        task_type="documentation",
        verb="document",
        reads=(*SHARED_OF_CHANGE, "project_documents"),
        optional=("files", "repository_map"),
        writes="documentation",
        answer=OptionalFiles,
        complaint=change_complaint,
        doubt=doubt_of,
        state=ChangeState,
        text_file="generated_docs.txt",
    ),
)
