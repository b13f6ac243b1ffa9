"""A question to a model, the versions of its prompt, and the answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from langchain_core.messages import BaseMessage

from swarm_graph.prompts.template import Prompt
from swarm_graph.roles.answers import Reading
from swarm_graph.roles.chat_markup import FinalMessage
from swarm_graph.settings import AgentParameters, ModelEntry
from swarm_graph.state import Reply

A = TypeVar("A")
PromptVersions = Iterable[tuple[list[BaseMessage], str]]
"""Versions of a prompt, the longest first, each with a note that says what it leaves out (empty: nothing)."""

NONE = "(none)"
"""What a prompt shows for an empty value."""
LEFT_OUT = "(left out for lack of context)"
"""What a prompt shows in the place of data that does not fit."""


@dataclass(frozen=True)
class Question(Generic[A]):
    """A question to a model, and how its answer is read.

    Attributes:
        messages: The complete prompt.
        entry: Returns the configured model; called only when no model was supplied.
        parameters: How the model samples.
        read: Reads the final message of an answer; raises UnreadableAnswer.
        repair: The prompt of the repair question.
        schema: The JSON schema of a typed answer, for servers that enforce one.
        substitute: Makes the answer to use when the model's stays unreadable. Without it, or when it returns
            None, the task fails.
        shorter: Returns shorter and shorter prompts for a small context.
        note: What `messages` leaves out, for people; empty if nothing.
        subject: What of its task it is about, for errors, such as `part 2 of 5 (p. 4-8)`; empty for all.
        cure: What helps when the prompt does not fit, besides a larger context.
        on_fit: Called when a version of the prompt fits, before the model is asked.
    """

    messages: list[BaseMessage]
    entry: Callable[[], ModelEntry]
    parameters: AgentParameters
    read: Callable[[FinalMessage], Reading[A]]
    repair: Prompt
    schema: dict[str, Any] | None = None
    substitute: Callable[[Reply], A | None] | None = None
    shorter: Callable[[], PromptVersions] = tuple
    note: str = ""
    subject: str = ""
    cure: str = "ask for less"
    on_fit: Callable[[], None] = lambda: None


class Answer(NamedTuple, Generic[A]):
    """An answer that was read. `note` says for people what was unusual about it; empty if nothing was."""

    value: A
    note: str


class ToolsRefused(Exception):
    """Internal: a server refuses requests with tools; the turn goes on with calls of another form."""
