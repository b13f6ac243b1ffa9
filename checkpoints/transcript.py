"""The transcript of sessions: their events, with what every call was asked and what it answered.

A transcript is a list of events in the order in which they happened, each with an id that grows. The events
of a call bring the texts that live observers do not get: the prompt, the thoughts, the answer. Only people
read a transcript; a resume reads the call journal (`journal.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

from swarm_graph.events import Event

MAX_CHARACTERS = 1_000_000
"""The beginning and the end of a longer text are kept."""
MAX_SESSION_BYTES = 256 * 2**20
"""Once the texts of a session take this much of the database, further texts of it are not kept."""

ALL_PLACES = slice(None)

Outcome = Literal["answered", "truncated", "failed", "cancelled", "open"]
"""How a call ended; `open` while it runs, or if its process was killed."""


class Message(NamedTuple):
    """A message of a prompt: `system`, `human` or `ai`, and its text."""

    role: str
    text: str


class Texts(NamedTuple):
    """The texts that a transcript keeps with an event of a call.

    Attributes:
        prompt: The messages.
        parameters: What the answer depends on besides the messages, as JSON.
        thoughts: What a reasoning model thought, if its server sends thoughts apart from the answer.
        answer: The answer as it came, markup and thoughts included; a part of it if the call failed.
        tool_calls: The tool calls in the answer, as JSON; empty if there are none.
        arguments: The arguments of a call of a tool, as JSON.
        result: The result of a call of a tool.
    """

    prompt: Sequence[Message] = ()
    parameters: str = ""
    thoughts: str = ""
    answer: str = ""
    tool_calls: str = ""
    arguments: str = ""
    result: str = ""


NO_TEXTS = Texts()


class ToolKey(NamedTuple):
    """What tells the calls of tools in a session apart: the key of the call, and when it began."""

    key: str
    started_at: float


class ToolTexts(NamedTuple):
    """What the transcript has of a call of a tool.

    Attributes:
        arguments: The arguments, as JSON; empty if they are not kept.
        result: The result; empty if there is none, or it is not kept.
        missing: Why they are not kept; empty if they are.
    """

    arguments: str = ""
    result: str = ""
    missing: str = ""


class StoredEvent(NamedTuple):
    """An event of the database.

    Attributes:
        id: Its number; it grows with every event of the database.
        event: The event.
        call: The id of the event that began its model call; None for other events, and for that one.
    """

    id: int
    event: Event
    call: int | None = None


@dataclass(frozen=True)
class Call:
    """One attempt of a model call: its figures, and what was said.

    Attributes:
        session: The session's id.
        node: The node of the graph; in a task graph the task's id.
        role: The role that asked.
        task: The task's id.
        iteration: The round, from 1.
        attempt: Counts the attempts at the same question, from 1.
        repair: Whether it is the question after an answer that could not be read.
        model: The label of the model.
        server: Its server; empty for a simulated model.
        outcome: answered, truncated, failed, cancelled, or open: it still runs, or its process was killed.
        finish_reason: The server's reason for ending the answer; empty without one.
        error: Why the call failed.
        started_at: Seconds since the epoch.
        queued_s: Seconds in the queue before it was sent.
        first_token_s: Seconds to the first token; None if none came.
        seconds: Seconds from sending to the end.
        input_tokens: Of the prompt; 0 for a call that did not end.
        prompt_tokens_evaluated: The input tokens that the server's prefix cache did not hold; None if the
            server does not say.
        output_tokens: Of the answer, thoughts included.
        reasoning_tokens: The output tokens that were thoughts, if the server counts them.
        cut_tokens: An estimate of the tokens of a call that did not end.
        estimated: Whether the tokens are estimated because the server did not count them.
        cost: By the prices of the model.
        prompt: The messages, in order.
        parameters: Temperature, limits and the other parameters of the call, without secrets.
        schema: The JSON schema that the server was given for the answer; None if it was given none.
        thoughts: What a reasoning model thought, if its server sends thoughts apart from the answer.
        answer: The answer as it came; what had arrived of it, if the call did not end.
        tool_calls: The tools that the answer calls: `name`, `arguments`, `id`, and `problem` if the arguments
            cannot be read.
        problem: Why the answer could not be used as it was; empty if it could.
        note: What was mended or left out when the answer was read; empty if nothing was.
        missing: Why there are no texts; empty if there are.
        number: Names it in its database: the id of the event that began it; 0 if that is not kept.
    """

    session: str
    node: str
    role: str = ""
    task: str = ""
    iteration: int = 0
    attempt: int = 1
    repair: bool = False
    model: str = ""
    server: str = ""
    outcome: Outcome = "open"
    finish_reason: str = ""
    error: str = ""
    started_at: float = 0.0
    queued_s: float = 0.0
    first_token_s: float | None = None
    seconds: float = 0.0
    input_tokens: int = 0
    prompt_tokens_evaluated: int | None = None
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cut_tokens: int = 0
    estimated: bool = False
    cost: float = 0.0
    prompt: tuple[Message, ...] = ()
    parameters: dict[str, Any] = field(default_factory=dict)
    schema: dict[str, Any] | None = None
    thoughts: str = ""
    answer: str = ""
    tool_calls: list[dict[str, Any]] = field(default_factory=list)
    problem: str = ""
    note: str = ""
    missing: str = ""
    number: int = 0

    @property
    def is_usable(self) -> bool:
        """Whether the call ended with an answer that could be used."""
        return self.outcome == "answered" and not self.problem

    def __repr__(self) -> str:
        """One line without the texts: a list of calls fits on a screen."""
        repair = ", repair" if self.repair else ""
        tokens = f"{self.input_tokens} tokens in, {self.output_tokens} out"
        return (
            f"Call({self.node!r}, round {self.iteration}, attempt {self.attempt}{repair}: "
            f"{self.outcome}, {tokens}, {self.seconds:.1f} s)"
        )

    def to_dict(self) -> dict[str, Any]:
        """The call as JSON-like data, without its number in the database."""
        shown = {name: value for name, value in vars(self).items() if name != "number"}
        return {**shown, "prompt": [message._asdict() for message in self.prompt]}


class Transcript(Protocol):
    """Where the transcript of sessions is kept. All methods block; `append` joins a transaction around it."""

    def append(self, event: Event, call: int | None = None, texts: Texts = NO_TEXTS) -> int:
        """Append an event and return its id, which is greater than all before it.

        Once a session has reached MAX_SESSION_BYTES, texts are left out, and pieces of answers are not kept;
        the id is 0 then.

        Args:
            event: As live observers get it; it names its session.
            call: The id of the event that began its call; None for other events, and for that one.
            texts: What was said.
        """

    def calls(
        self,
        session_id: str,
        matching: Mapping[str, str] | None = None,
        *,
        places: slice = ALL_PLACES,
        number: int | None = None,
    ) -> Iterator[Call]:
        """Yield the calls of a session in the order in which they began, those that still run included.

        Args:
            session_id: The session.
            matching: The values that `role`, `node` or `task` must have.
            places: Only the calls at these places of the list, from 0.
            number: Only the call with this number.
        """

    def call_count(self, session_id: str) -> int:
        """How many calls `calls` yields for a session."""

    def events(
        self,
        after: int = 0,
        *,
        session_id: str | None = None,
        kinds: Sequence[str] = (),
        limit: int = 1000,
    ) -> list[StoredEvent]:
        """The events after one, in order, without their texts; what was damaged or changed is left out.

        Args:
            after: The id of the last event that is known.
            session_id: Only events of this session; None for those of all sessions.
            kinds: Only events of these kinds; empty for all.
            limit: How many, at most.
        """

    def latest(self, session_id: str | None = None) -> int:
        """The id of the latest event, of a session or of all; 0 if there is none.

        That of all stays what it is when events are deleted.
        """

    def compact(self, session_id: str) -> None:
        """Delete the pieces of answers of calls that have ended: the last event of a call has them all."""

    def tool_texts(self, session_id: str) -> dict[ToolKey, ToolTexts]:
        """The arguments and results of the calls of tools of a session."""

    def forget(self, session_id: str) -> int:
        """Delete the transcript of a session; the figures of its calls stay. Returns the number of events."""


def bounded(text: str) -> str:
    """A text of at most about MAX_CHARACTERS, which says what it lacks."""
    if len(text) <= MAX_CHARACTERS:
        return text
    left_out = len(text) - MAX_CHARACTERS
    end = MAX_CHARACTERS // 4
    return f"{text[: MAX_CHARACTERS - end]}\n[… {left_out:,} characters are not kept …]\n{text[-end:]}"
