"""A role: what it reads, the form of its answer, and what it changes in the state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Generic, Literal, cast, get_type_hints

from pydantic import BaseModel
from typing_extensions import TypeVar

from swarm_graph.errors import UnreadableAnswer
from swarm_graph.roles import answered_change
from swarm_graph.roles.answers import Reading, read, read_typed
from swarm_graph.roles.chat_markup import FinalMessage
from swarm_graph.roles.file_blocks import Files
from swarm_graph.state import CHANGE, CHANGE_KEYS, DOCUMENT, Kind, Reply, Review, SwarmState

A = TypeVar("A", default=str)

Form = Literal["text", "files", "reviews", "data"]
"""What a key of the state holds: Markdown, path to text of files, reviews, or a typed answer."""


SHARED = ("request", "requirements", "code")
"""What most roles read, in the order of their prompts, which begin alike: a server evaluates that once."""
SHARED_OF_CHANGE = ("request", "requirements", "conventions", "repository_map", "files", "changes")
"""The same in sessions that change a repository."""


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
        role: Its name; the prompt has the same one, and for the nine the file in `nodes/`.
        task_type: The type of its tasks, as the state JSON shows it; default for an own role its name.
        verb: The end of its task ids, as in `T003_code`; default for an own role its name.
        reads: The keys of the state, and the views, that its prompt shows.
        optional: The keys among `reads` that it can do without: they are left out first where the prompt does
            not fit into the context.
        writes: The key of the state that holds its result; default for an own role its name and `_result`.
        answer: What the model answers: a pydantic model or a JSON schema (asked for as JSON), Files,
            OptionalFiles, Documents or str (Markdown).
        update: Returns the changes of the state; default the answer as plain data, under `writes`.
        complaint: Returns what is wrong with an answer that could be read, for the repair question.
        doubt: Returns why an answer is probably not meant as it is, for a question; if the model then answers
            the same, its answer is taken.
        substitute: Makes the answer to use when the model's stays unreadable. Without it, or when it returns
            None, the task fails.
        opens_round: Whether its turn begins the next round.
        works_from: The key that it carries on from, for a role that works alone and not beside others.
        state: The state with the keys that it writes, where SwarmState lacks them; an own role may leave out
            the key `writes`.
        prompt: For an own role: the text of its prompt, a path that ends in .md, or the name of a prompt in
            `prompts_dir`; for one of the nine: the name of a prompt. Default the role's name.
        temperature: For an own role: the default of this sampling parameter.
        max_tokens: For an own role: the default length of its answers, in tokens.
        notes_title: The heading of its result in `notes.md`; empty where the result is not shown there.
        text_file: The text file that lists its results, one of the old coordinator's.
        document: The role in sessions that make a document; None where it is the same.
        change: The role in sessions that change a repository; None where it is the same.
    """

    role: str
    task_type: str = ""
    verb: str = ""
    reads: tuple[str, ...] = ("request",)
    optional: tuple[str, ...] = ()
    writes: str = ""
    answer: type[A] | Mapping[str, Any] = str  # type: ignore[assignment]
    update: Callable[[Answered[A]], dict[str, Any]] | None = None
    complaint: Callable[[A, SwarmState], str | None] = lambda _answer, _state: None
    doubt: Callable[[A, SwarmState], str] = lambda _answer, _state: ""
    substitute: Callable[[Reply], A | None] | None = None
    opens_round: bool = False
    works_from: str = ""
    state: type[SwarmState] = SwarmState
    prompt: str = ""
    temperature: float | None = None
    max_tokens: int | None = None
    notes_title: str = ""
    text_file: str = ""
    document: Role[Any] | None = None
    change: Role[Any] | None = None

    def for_kind(self, kind: Kind) -> Role[Any]:
        """The role in sessions that make this."""
        return {DOCUMENT: self.document, CHANGE: self.change}.get(kind) or self

    @property
    def schema(self) -> dict[str, Any] | None:
        """The JSON schema of a typed answer; None for files and Markdown."""
        if isinstance(self.answer, Mapping):
            return dict(self.answer)
        return _schema(cast("Any", self.answer))

    @property
    def form(self) -> Form:
        """What the key that it writes holds."""
        return _form(cast("Any", self.state), self.writes)

    def changes(self, answered: Answered[A]) -> dict[str, Any]:
        """What an answer changes in the state."""
        if self.update:
            return self.update(answered)
        value: Any = answered.answer
        if isinstance(value, Files) and self._changes_repository(answered.state):
            return answered_change.update_of(value, answered.state, self.writes)
        if isinstance(value, Files):
            value = value.over(dict(self._files(answered.state)))
        return {self.writes: value.model_dump(mode="json") if isinstance(value, BaseModel) else value}

    def read(
        self, message: FinalMessage, state: SwarmState, shown: Mapping[str, bool] | None = None
    ) -> Reading[A]:
        """The answer in a model's final message.

        Args:
            message: The final message.
            state: The state that the prompt showed.
            shown: Of a repository: the paths of the files that it showed, and whether it showed all of each.

        Raises:
            UnreadableAnswer: It cannot be read or used.
        """
        if isinstance(self.answer, Mapping):
            answer = cast("A", read_typed(message, self.answer))
        else:
            answer = read(message, self.answer, self._files(state), shown=shown)
        of_repository = isinstance(answer, Files) and self._changes_repository(state)
        refused = answered_change.refusal(cast("Files", answer), state) if of_repository else None
        if complaint := refused or self.complaint(answer, state):
            raise UnreadableAnswer(complaint)
        note = "; ".join(answer.notes) if isinstance(answer, Files) else ""
        return Reading(answer, note, self.doubt(answer, state))

    def _changes_repository(self, state: SwarmState) -> bool:
        """Whether the role writes files of a repository."""
        return self.writes in CHANGE_KEYS and answered_change.repository_of(state) is not None

    def _files(self, state: SwarmState) -> Mapping[str, str]:
        """The files that an answer may change."""
        if self._changes_repository(state):
            return answered_change.current_files(state)
        return cast("dict[str, str]", state.get(self.writes) or {}) if self.form == "files" else {}


@cache
def _schema(answer: Any) -> dict[str, Any] | None:
    return answer.model_json_schema() if issubclass(answer, BaseModel) else None


@cache
def _form(state: type[SwarmState], key: str) -> Form:
    kind = get_type_hints(state)[key]
    if kind is str:
        return "text"
    if kind == dict[str, str]:
        return "files"
    return "reviews" if kind == list[Review] else "data"
