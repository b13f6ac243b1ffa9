"""The clarifier turns the request into requirements, assumptions and open questions."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from pydantic import BaseModel, Field

from swarm_graph.roles.chat_markup import final_message
from swarm_graph.roles.findings import comparable
from swarm_graph.roles.role import Answered, Role
from swarm_graph.state import AgentRole, ChangeState, Reply

Statement = Annotated[str, Field(json_schema_extra={"maxLength": 400})]


# The docstring is part of the JSON schema that goes to the server, and of the journal's key; see reviewer.py.
class Clarification(BaseModel):
    """What the clarifier answers. The bounds are for the server's grammar, not for us."""

    requirements: list[Statement] = Field(min_length=1, json_schema_extra={"maxItems": 20})
    assumptions: list[Statement] = Field([], json_schema_extra={"maxItems": 10})
    open_questions: list[Statement] = Field([], json_schema_extra={"maxItems": 6})


def update(answered: Answered[Clarification]) -> dict[str, Any]:
    answer = answered.answer
    sections = {
        "Requirements": answer.requirements,
        "Assumptions": answer.assumptions,
        "Open questions": answer.open_questions,
    }
    parts = [
        "\n".join([f"## {title}", *(f"- {item}" for item in _distinct(items))])
        for title, items in sections.items()
        if items
    ]
    return {"requirements": "\n\n".join(parts)}


def _distinct(items: list[str]) -> list[str]:
    """The items without repetitions, which weak models write."""
    found: dict[str, str] = {}
    for item in items:
        found.setdefault(comparable(item), item)
    return list(found.values())


def substitute(reply: Reply) -> Clarification | None:
    """Prose instead of JSON still says what is required; an answer that was cut off does not."""
    text = final_message(reply.text).text.strip()
    return Clarification(requirements=[text]) if text and not reply.truncated else None


_program = Role(
    AgentRole.CLARIFIER,
    task_type="clarification",
    verb="clarify",
    reads=("request", "requirements"),
    writes="requirements",
    works_from="request",
    answer=Clarification,
    update=update,
    substitute=substitute,
    notes_title="Requirements",
)
clarifier = replace(
    _program,
    change=replace(
        _program, reads=("request", "requirements", "conventions", "repository_map"), state=ChangeState
    ),
)
