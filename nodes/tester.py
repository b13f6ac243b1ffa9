"""The tester writes tests for the code of this round; of a document it fills in a checklist.

In a repository it adds to the tests that are there.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from pydantic import BaseModel, Field, field_validator

from swarm_graph.prompts.template import TESTS_FIRST
from swarm_graph.roles.answered_change import (
    OptionalFiles,
    base_files,
    current_files,
    doubt_of,
    elsewhere,
    is_test,
)
from swarm_graph.roles.answered_files import doubts
from swarm_graph.roles.document_checks import CHECKLIST, Item, checklist_text
from swarm_graph.roles.file_blocks import Files
from swarm_graph.roles.fragments import definitions
from swarm_graph.roles.role import SHARED_OF_CHANGE, Answered, Role
from swarm_graph.roles.views import broken_tests
from swarm_graph.state import AgentRole, ChangeState, Reply, SwarmState

Text = Annotated[str, Field(json_schema_extra={"maxLength": 400})]


def update(answered: Answered[Files]) -> dict[str, Any]:
    return {"tests": answered.answer.written}


def complaint(answer: Files, _state: SwarmState) -> str | None:
    return None if answer.written else "the answer holds no file"


def doubt(answer: Files, _state: SwarmState) -> str:
    return doubts(answer, {})  # the tests of a round replace the earlier ones


def change_complaint(answer: Files, state: SwarmState) -> str | None:
    if not answer.written and broken_tests(state):
        return "the tests of this round are broken: write them again"
    if gone := [path for path in answer.deleted if path in base_files(state)]:
        return f"'{gone[0]}' is an existing test of the repository: add tests, but delete none"
    return elsewhere(answer, state, is_test, "test file, such as tests/test_name.py")


def change_doubt(answer: Files, state: SwarmState) -> str:
    found, base = doubt_of(answer, state), base_files(state)
    now = current_files(state)
    lost = [
        f"'{path}' has lost {', '.join(names[:8])} of the repository: keep every test that is there"
        for path, text in answer.written.items()
        if (before := base.get(path)) and f"'{path}' has lost" not in found
        if (names := _lost(path, before, now.get(path, ""), text))
    ]
    return "; ".join(filter(None, [found, *lost]))


def _lost(path: str, base: str, before: str, after: str) -> list[str]:
    """What a file defines in the base commit and before the answer, and no longer after it."""
    return sorted(definitions(path, base) & definitions(path, before) - definitions(path, after))


# The docstrings and names of these classes are part of the JSON schema of the question; see reviewer.py.


class Point(BaseModel):
    """One requirement, and the words of the document that meet it."""

    requirement: Text = Field(min_length=1)
    place: Text = ""
    quote: Text = ""

    @field_validator("place", "quote", mode="before")
    @classmethod
    def _text(cls, value: Any) -> Any:
        """A null or a number must not make the whole checklist unreadable."""
        return "" if value is None else str(value) if isinstance(value, int | float) else value


class Checklist(BaseModel):
    """What the tester answers about a document."""

    items: list[Point] = Field(min_length=1, json_schema_extra={"maxItems": 40})


def checklist_update(answered: Answered[Checklist]) -> dict[str, Any]:
    items = [Item(point.requirement, point.place, point.quote) for point in answered.answer.items]
    return {"tests": {CHECKLIST: checklist_text(items)}}


def no_checklist(_reply: Reply) -> Checklist:
    """A checklist that could not be read has no items, which is no approval."""
    return Checklist.model_construct(items=[])


_program = Role(
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
tester = replace(
    _program,
    document=Role(
        AgentRole.TESTER,
        task_type="testing",
        verb="test",
        reads=("request", "requirements", "code"),
        writes="tests",
        answer=Checklist,
        update=checklist_update,
        substitute=no_checklist,
    ),
    change=replace(
        _program,
        reads=(*SHARED_OF_CHANGE, "project_tests", "broken_tests"),
        optional=("repository_map",),
        answer=OptionalFiles,
        update=None,
        complaint=change_complaint,
        doubt=change_doubt,
        state=ChangeState,
    ),
)


def no_tests(_reply: Reply) -> Files:
    """Without tests the candidates are still compared: by what they agree on."""
    return Files()


tests_first = replace(
    _program,
    reads=("request", "requirements", "code", "design", "broken_tests", "packages"),
    prompt=TESTS_FIRST,
    substitute=no_tests,
)
"""The tester that writes before there is code, for several candidates."""
