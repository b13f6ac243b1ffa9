"""A streamed answer as its parts arrive: its text, the reason of its end, its bound, and its tokens."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from typing import Any, NamedTuple

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.ai import UsageMetadata, add_usage
from langchain_core.messages.tool import ToolCallChunk

from swarm_graph.models.context_window import prompt_bytes
from swarm_graph.state import ToolCall
from swarm_graph.text import printable

COMPLETE_REASONS = (
    "stop", "tool_calls", "tool_call", "tool_use", "function_call", "eos", "eos_token", "eos_found",
    "end", "end_turn", "end_of_turn",
    "stop_sequence", "stop_token", "stop_string", "stop_string_found", "complete", "completed", "done",
    "finished",
)  # fmt: skip
"""The finish reasons that servers give for a complete answer."""
LENGTH_REASONS = (
    "length", "limit", "token_limit", "max_length", "max_tokens", "max_new_tokens", "max_output_tokens",
    "max_completion_tokens", "max_predicted_tokens_reached", "model_length", "context_length",
    "context_length_reached", "model_context_window_exceeded",
)  # fmt: skip
"""The finish reasons that servers give for an answer that was cut off at its token limit."""
MAX_REASON_CHARS = 60
"""The rest of a longer finish reason is cut off."""
NO_REASONS = ("null", "none", "finish_reason_unspecified")
"""Words that say that an answer goes on."""
MAX_ANSWER_TOKENS = 2**17
"""An answer without a `max_tokens` is cut off at 131,072 tokens; its thoughts count, too."""
MAX_TOKENS = 2**31
"""Counts above this are the server's mistake."""


class Delta(NamedTuple):
    """A part of a streamed answer: what a server said in one event or line."""

    text: str = ""
    thoughts: str = ""
    reason: str = ""
    """The finish reason in OpenAI's spelling; empty while the answer goes on."""
    usage: UsageMetadata | None = None
    """The tokens that the server counted."""
    tools: tuple[ToolCallChunk, ...] = ()
    """Parts of calls of tools."""
    has_metadata: bool = False
    """LangChain's message has metadata of its response."""


SIGN_OF_LIFE = Delta()
"""A part that says nothing."""


def as_delta(message: AIMessage) -> Delta:
    """A message of LangChain as a part of an answer.

    A model that cannot stream yields its whole answer as one message, which counts as complete.
    """
    metadata = message.response_metadata
    reason = normal_reason(metadata.get("finish_reason") or metadata.get("done_reason"))
    is_part = isinstance(message, AIMessageChunk)
    return Delta(
        text=str(message.text),
        thoughts=str(message.additional_kwargs.get("reasoning_content", "")),
        reason=reason or ("" if is_part else "stop"),
        usage=message.usage_metadata,
        tools=_tools(message),
        has_metadata=bool(metadata) or not is_part,
    )


def _tools(message: AIMessage) -> tuple[ToolCallChunk, ...]:
    if isinstance(message, AIMessageChunk):
        return tuple(message.tool_call_chunks)
    calls = [(call["name"], json.dumps(call["args"]), call["id"]) for call in message.tool_calls]
    broken = [(call["name"], call["args"], call["id"]) for call in message.invalid_tool_calls]
    return tuple(
        ToolCallChunk(name=name, args=arguments, id=id_, index=number, type="tool_call_chunk")
        for number, (name, arguments, id_) in enumerate([*calls, *broken])
    )


def normal_reason(reason: Any) -> str:
    """A server's finish reason in OpenAI's spelling; empty when it gives none.

    `STOP`, `stop` and `{"type": "stop"}` are "stop"; `MAX_TOKENS` and the like are "length".
    """
    if isinstance(reason, Mapping):
        reason = reason.get("type") or reason.get("reason")
    if not isinstance(reason, str):
        return ""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", printable(reason[:MAX_REASON_CHARS]).strip())
    word = re.sub(r"[\s.-]+", "_", spaced).lower()
    if word in NO_REASONS:
        return ""
    word = word.removeprefix("finish_reason_")
    return "length" if word in LENGTH_REASONS else word


def finish_reason(deltas: Sequence[Delta]) -> str:
    """The server's reason for ending an answer; empty when it gave none.

    A reason counts only after the last text: an answer that goes on had not ended. Some servers give two
    reasons; "length" wins, because the answer is cut off.
    """
    last = ""
    for delta in reversed(deltas):
        if delta.reason == "length":
            return "length"
        last = last or delta.reason
        if says_something(delta):
            break
    return last


def says_something(delta: Delta) -> bool:
    """Whether a part has text or thoughts that are more than blanks, or a part of a call of a tool."""
    return bool(delta.tools or delta.text.strip() or delta.thoughts.strip())


class LengthBound:
    """Notices an answer that is clearly longer than it may be, because its server does not end it.

    Servers send about one token per chunk. Some send several, some send every letter, and a token can be
    long; so an answer is too long when its chunks and its bytes say so, or its bytes alone do by far.

    Attributes:
        exceeded: Whether the answer is too long.
    """

    def __init__(self, max_tokens: int | None) -> None:
        tokens = max_tokens or MAX_ANSWER_TOKENS
        self._chunks, self._max_chunks = 0, tokens + tokens // 4 + 64
        self._bytes, self._long, self._max_bytes = 0, 8 * tokens, 64 * tokens + 4096
        self.exceeded = False

    def add(self, delta: Delta) -> None:
        """Count a part of the answer."""
        said = delta.text + delta.thoughts
        if delta.tools:
            said += "".join(f"{part['name'] or ''}{part['args'] or ''}" for part in delta.tools)
        self._chunks += bool(said)
        self._bytes += len(said) if said.isascii() else len(said.encode(errors="replace"))
        too_many = self._chunks > self._max_chunks and self._bytes > self._long
        self.exceeded = too_many or self._bytes > self._max_bytes


class StreamedAnswer:
    """An answer as its parts arrive, up to its bound.

    Attributes:
        deltas: Its parts.
        pieces: How many of them hold text, thoughts or calls; servers send about one token in each.
        has_ended: Whether its end has been said, and nothing else since.
        is_too_long: Whether it is longer than it may be; the rest is not read.
    """

    def __init__(self, max_tokens: int | None) -> None:
        self.deltas: list[Delta] = []
        self.pieces = 0
        self.has_ended = self.is_too_long = False
        self._bound = LengthBound(max_tokens)

    def add(self, deltas: Iterable[Delta]) -> None:
        """Append what has arrived, up to the bound."""
        for delta in deltas:
            self.deltas.append(delta)
            self._bound.add(delta)
            if delta.text or delta.thoughts or delta.tools:
                self.pieces += 1
            if delta.reason:
                self.has_ended = True
            elif self.has_ended and says_something(delta):
                self.has_ended = False
            if self._bound.exceeded:
                self.is_too_long = True
                return

    def text(self, since: int = 0) -> str:
        """The text of its parts, the first `since` left out."""
        return "".join([delta.text for delta in self.deltas[since:]])

    def thoughts(self, since: int = 0) -> str:
        """The thoughts in its parts, the first `since` left out."""
        return "".join([delta.thoughts for delta in self.deltas[since:]])

    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The tools that it calls, well formed or not."""
        parts = [part for delta in self.deltas for part in delta.tools]
        if not parts:
            return ()
        from swarm_graph.models.tool_parts import CallParts  # roles without tools do not need it

        calls = CallParts()
        calls.add(parts)
        return calls.read()


def server_usage(deltas: Iterable[Delta]) -> UsageMetadata | None:
    """The tokens that the server counted; None when it counted none.

    The counts of all parts are summed, as LangChain does. That is wrong for a server that repeats its running
    total: if the input is counted more than once, the last count holds.
    """
    counts = [delta.usage for delta in deltas if delta.usage]
    if not counts:
        return None
    repeated = sum(usage["input_tokens"] > 0 for usage in counts) > 1
    return counts[-1] if repeated else reduce(add_usage, counts)


def reasoning_tokens(usage: UsageMetadata) -> int:
    """The reasoning tokens among the output tokens; an impossible count is clamped."""
    tokens = usage.get("output_token_details", {}).get("reasoning") or 0
    return min(max(tokens, 0), usage["output_tokens"])


def cached_tokens(usage: UsageMetadata) -> int | None:
    """The input tokens that the server's prefix cache held; an impossible count is clamped.

    None where the server does not say.
    """
    tokens = usage.get("input_token_details", {}).get("cache_read")
    return None if tokens is None else min(max(tokens, 0), usage["input_tokens"])


def is_plausible(usage: UsageMetadata | None) -> bool:
    """Whether the server really counted: not null (0 in LangChain), and no impossible number."""
    return (
        usage is not None
        and 0 < usage["input_tokens"] < MAX_TOKENS
        and 0 <= usage["output_tokens"] < MAX_TOKENS
    )


def estimate_usage(messages: Sequence[BaseMessage], pieces: int) -> UsageMetadata:
    """Estimate a call's tokens for a server that does not count them.

    Args:
        messages: The prompt; four bytes count as a token.
        pieces: The parts of the streamed answer; each counts as a token.
    """
    sent = prompt_bytes(messages) // 4
    return UsageMetadata(input_tokens=sent, output_tokens=pieces, total_tokens=sent + pieces)
