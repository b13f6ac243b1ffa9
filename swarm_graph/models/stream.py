"""The end of a streamed answer: its finish reason, and the tokens that the server counted."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.ai import UsageMetadata

from swarm_graph.models.context_window import prompt_bytes
from swarm_graph.text import printable

COMPLETE_REASONS = ("stop", "tool_calls", "eos_token", "eos", "stop_sequence", "end_turn")
"""The finish reasons that servers give for a complete answer."""
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


def finish_reason(chunks: Sequence[AIMessageChunk]) -> str:
    """The server's reason for ending an answer; empty when it gave none.

    Some servers give two reasons; "length" wins, because the answer is cut off.
    """
    metadata = [chunk.response_metadata for chunk in chunks]
    reasons = [
        reason for part in metadata if (reason := part.get("finish_reason") or part.get("done_reason"))
    ]
    if "length" in reasons:
        return "length"
    return printable(str(reasons[-1])) if reasons else ""


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
