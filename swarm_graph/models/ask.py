"""One question to a simulated model, as scripts and tests see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

ROLE_SCHEMA_TITLES = ("Clarification", "Judgement", "Checklist")
"""Titles of the JSON schemas of roles; a schema with another title belongs to a task."""


QUESTION_NODE = "your question"
"""The node of a person's question about a session; no task can have this id. Its answer is free text."""


@dataclass(frozen=True)
class Ask:
    """One question to a simulated model.

    Attributes:
        role: The role that asks.
        node: Its place in the graph.
        iteration: The round, from 1.
        attempt: The attempt at this call, from 1.
        prompt: The texts of all messages.
        schema: JSON schema that the answer must fit; None for free text.
        kind: What the session makes.
    """

    role: str
    node: str
    iteration: int
    attempt: int
    prompt: str
    schema: Mapping[str, Any] | None = None
    kind: str = "code"

    @property
    def has_task_schema(self) -> bool:
        """Whether the schema is a task's own, not its role's."""
        return self.schema is not None and self.schema.get("title") not in ROLE_SCHEMA_TITLES

    @property
    def is_question(self) -> bool:
        """Whether a person asks about a session, and so the answer has not the form of its role's."""
        return self.node == QUESTION_NODE
