"""The end of a streamed answer: its finish reason, its bound, and the tokens that the server counted."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.ai import UsageMetadata

from swarm_graph.models.context_window import prompt_bytes
from swarm_graph.text import printable

COMPLETE_REASONS = (
    "stop", "tool_calls", "function_call", "eos", "eos_token", "eos_found", "end", "end_turn", "end_of_turn",
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


def as_chunk(message: AIMessage) -> AIMessageChunk:
    """A message as a part of a stream.

    A model that cannot stream yields its whole answer as one message, which counts as complete.
    """
    if isinstance(message, AIMessageChunk):
        return message
    return AIMessageChunk(
        content=message.content,
        usage_metadata=message.usage_metadata,
        response_metadata={"finish_reason": "stop", **message.response_metadata},
    )


def says_something(chunk: AIMessageChunk) -> bool:
    """Whether a chunk has text or thoughts that are more than blanks."""
    thoughts = chunk.additional_kwargs.get("reasoning_content", "")
    return bool(chunk.text.strip() or str(thoughts).strip())


def reason_of(chunk: AIMessageChunk) -> str:
    """The finish reason in a chunk; empty when it has none."""
    metadata = chunk.response_metadata
    return normal_reason(metadata.get("finish_reason") or metadata.get("done_reason"))


def is_empty(chunk: AIMessageChunk) -> bool:
    """Whether a chunk is only a sign of life: it has no text, no thought, no end and no count."""
    said = chunk.content or chunk.additional_kwargs or chunk.tool_call_chunks
    return not (said or chunk.response_metadata or chunk.usage_metadata)


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


def finish_reason(chunks: Sequence[AIMessageChunk]) -> str:
    """The server's reason for ending an answer; empty when it gave none.

    A reason counts only after the last text: an answer that goes on had not ended. Some servers give two
    reasons; "length" wins, because the answer is cut off.
    """
    reasons: list[str] = []
    for chunk in chunks:
        if says_something(chunk):
            reasons.clear()
        if reason := reason_of(chunk):
            reasons.append(reason)
    if "length" in reasons:
        return "length"
    return reasons[-1] if reasons else ""


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

    def add(self, chunk: AIMessageChunk) -> None:
        """Count a chunk of the answer."""
        said = chunk.text + str(chunk.additional_kwargs.get("reasoning_content", ""))
        self._chunks += bool(said)
        self._bytes += len(said.encode(errors="replace"))
        too_many = self._chunks > self._max_chunks and self._bytes > self._long
        self.exceeded = too_many or self._bytes > self._max_bytes


def server_usage(chunks: Sequence[AIMessageChunk], whole: AIMessageChunk) -> UsageMetadata | None:
    """The tokens that the server counted; None when it counted none.

    LangChain sums the counts of all chunks. That is wrong for a server that repeats its running total: if the
    input is counted more than once, the last count holds.

    Args:
        chunks: The parts of the answer.
        whole: LangChain's sum of these parts.
    """
    counts = [chunk.usage_metadata for chunk in chunks if chunk.usage_metadata]
    repeated = sum(usage["input_tokens"] > 0 for usage in counts) > 1
    return counts[-1] if repeated else whole.usage_metadata


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
