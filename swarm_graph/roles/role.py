"""A role: what it reads, the form of its answer, and what it changes in the state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Generic, Literal, TypeVar, cast, get_type_hints

from pydantic import BaseModel

from swarm_graph.errors import UnreadableAnswer
from swarm_graph.roles.answers import Reading, read
from swarm_graph.roles.chat_markup import FinalMessage
from swarm_graph.roles.file_blocks import Files
from swarm_graph.state import DOCUMENT, AgentRole, Kind, Reply, SwarmState

A = TypeVar("A")

Form = Literal["text", "files", "reviews"]
"""What a key of the state holds: Markdown, path to text of files, or reviews."""


@dataclass(frozen=True)
class Answered(Generic[A]):
    """A role's answer, with the node, round and state that it belongs to."""

    answer: A
    node: str
    iteration: int
    state: SwarmState


@dataclass(frozen=True)
class Role(Generic[A]):
    """A role of the swarm.

    Attributes:
        role: Its name; its file in `nodes/` and its prompt in `prompts/` have the same one.
        task_type: The type of its tasks, as the state JSON shows it.
        verb: The end of its task ids, as in `T003_code`.
        reads: The keys of the state, and the views, that its prompt shows.
        writes: The key of the state that holds its result.
        answer: What the model answers: a pydantic model (asked for as JSON), Files, Documents or str
            (Markdown).
        update: Returns the changes of the state; default the answer as it is, under `writes`.
        complaint: Returns what is wrong with an answer that could be read, for the repair question.
        doubt: Returns why an answer is probably not meant as it is, for a question; if the model then answers
            the same, its answer is taken.
        substitute: Makes the answer to use when the model's stays unreadable. Without it, or when it returns
            None, the task fails.
        opens_round: Whether its turn begins the next round.
        works_from: The key that it carries on from, for a role that works alone and not beside others.
        state: The state with the key that it writes, where SwarmState lacks it.
        notes_title: The heading of its result in `notes.md`; empty where the result is not shown there.
        text_file: The text file that lists its results, one of the old coordinator's.
        document: The role in sessions that make a document; None where it is the same.
    """

    role: AgentRole
    task_type: str
    verb: str
    reads: tuple[str, ...]
    writes: str
    answer: type[A]
    update: Callable[[Answered[A]], dict[str, Any]] | None = None
    complaint: Callable[[A, SwarmState], str | None] = lambda _answer, _state: None
    doubt: Callable[[A, SwarmState], str] = lambda _answer, _state: ""
    substitute: Callable[[Reply], A | None] | None = None
    opens_round: bool = False
    works_from: str = ""
    state: type[SwarmState] = SwarmState
    notes_title: str = ""
    text_file: str = ""
    document: Role[Any] | None = None

    def for_kind(self, kind: Kind) -> Role[Any]:
        """The role in sessions that make this."""
        return self.document if kind == DOCUMENT and self.document else self

    @property
    def schema(self) -> dict[str, Any] | None:
        """The JSON schema of a typed answer; None for files and Markdown."""
        return _schema(cast("Any", self.answer))

    @property
    def form(self) -> Form:
        """What the key that it writes holds."""
        return _form(cast("Any", self.state), self.writes)

    def changes(self, answered: Answered[A]) -> dict[str, Any]:
        """What an answer changes in the state."""
        return self.update(answered) if self.update else {self.writes: answered.answer}

    def read(self, message: FinalMessage, state: SwarmState) -> Reading[A]:
        """The answer in a model's final message.

        Raises:
            UnreadableAnswer: It cannot be read or used.
        """
        old = state.get(self.writes) if self.form == "files" else None
        answer = read(message, self.answer, cast("dict[str, str]", old or {}))
        if complaint := self.complaint(answer, state):
            raise UnreadableAnswer(complaint)
        note = "; ".join(answer.notes) if isinstance(answer, Files) else ""
        return Reading(answer, note, self.doubt(answer, state))


@cache
def _schema(answer: Any) -> dict[str, Any] | None:
    return answer.model_json_schema() if issubclass(answer, BaseModel) else None


@cache
def _form(state: type[SwarmState], key: str) -> Form:
    kind = get_type_hints(state)[key]
    if kind is str:
        return "text"
    return "files" if kind == dict[str, str] else "reviews"
