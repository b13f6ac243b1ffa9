"""The architect decides files, interfaces, data flow and what is left out; of a document, its outline.

Of a change of a repository it plans what changes where, and names the files that the others need to see.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from swarm_graph.roles.role import SHARED_OF_CHANGE, Answered, Role
from swarm_graph.roles.wanted_files import wanted_files, wrongly_wanted
from swarm_graph.state import AgentRole, ChangeState


def update(answered: Answered[str]) -> dict[str, Any]:
    return {"design": answered.answer, "wanted": wanted_files(answered.answer, answered.state)}


_program = Role(
    AgentRole.ARCHITECT,
    task_type="architecture",
    verb="design",
    reads=("request", "requirements", "design", "packages"),
    writes="design",
    works_from="requirements",
    answer=str,
    notes_title="Design",
)
architect = replace(
    _program,
    document=replace(_program, reads=("request", "requirements", "design")),
    change=replace(
        _program,
        reads=(*SHARED_OF_CHANGE, "design"),
        optional=("changes",),
        update=update,
        doubt=wrongly_wanted,
        state=ChangeState,
    ),
)
