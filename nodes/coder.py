"""The coder writes complete files or documents, or changes a repository; later it fixes the open findings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from swarm_graph.roles.answered_change import changed_paths, doubt_of, nothing_changed, update_of
from swarm_graph.roles.answered_document import Documents, lost_text
from swarm_graph.roles.answered_files import doubts
from swarm_graph.roles.file_blocks import Files
from swarm_graph.roles.role import SHARED_OF_CHANGE, Answered, Role
from swarm_graph.state import AgentRole, ChangeState, SwarmState


def update(answered: Answered[Files]) -> dict[str, Any]:
    old = answered.state.get("code", {})
    code = answered.answer.over(old)
    return {"code": code, "changed": [path for path, text in code.items() if old.get(path) != text]}


def complaint(answer: Files, state: SwarmState) -> str | None:
    files = answer.over(state.get("code", {}))
    if not files:
        return "the answer holds no file and deletes the last one"
    return None if any(map(str.strip, files.values())) else "every file of the answer is empty"


def doubt(answer: Files, state: SwarmState) -> str:
    return doubts(answer, state.get("code", {}))


def document_doubt(answer: Files, state: SwarmState) -> str:
    return lost_text(answer.written, state.get("code", {}))


def change_update(answered: Answered[Files]) -> dict[str, Any]:
    changed = changed_paths(answered.answer, answered.state)
    return {**update_of(answered.answer, answered.state, "code"), "changed": changed}


def change_complaint(answer: Files, state: SwarmState) -> str | None:
    return nothing_changed(answer, state, "code")


_program = Role(
    AgentRole.CODER,
    task_type="coding",
    verb="code",
    reads=("request", "requirements", "code", "findings", "test_run", "design", "diagnosis", "packages"),
    writes="code",
    works_from="design",
    answer=Files,
    update=update,
    complaint=complaint,
    doubt=doubt,
    opens_round=True,
    text_file="generated_code.txt",
)
coder = replace(
    _program,
    document=replace(
        _program,
        reads=("request", "requirements", "code", "findings", "test_run", "design", "diagnosis"),
        answer=Documents,
        doubt=document_doubt,
        text_file="",  # the result is generated_document.md
    ),
    change=replace(
        _program,
        reads=(*SHARED_OF_CHANGE, "findings", "test_run", "design", "diagnosis"),
        optional=("changes",),
        update=change_update,
        complaint=change_complaint,
        doubt=doubt_of,
        state=ChangeState,
    ),
)
