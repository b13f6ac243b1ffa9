"""How a streamed answer ends: its finish reason, and what the server counted."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.ai import UsageMetadata

from swarm_graph.models.context_window import size_of
from swarm_graph.text import plain_text


def as_chunk(message: AIMessage) -> AIMessageChunk:
    """A part of a stream; of a model that cannot stream the whole answer, which is no half one."""
    if isinstance(message, AIMessageChunk):
        return message
    return AIMessageChunk(
        content=message.content,
        usage_metadata=message.usage_metadata,
        response_metadata={"finish_reason": "stop", **message.response_metadata},
    )


ENDS = ("stop", "tool_calls", "eos_token", "eos", "stop_sequence", "end_turn")
"""What servers call the end of an answer that is whole."""


MOST_TOKENS = 2**31


def reason_of(chunks: Sequence[AIMessageChunk]) -> str:
    """Why the server ended an answer; empty when it did not. Of two reasons that it was cut off counts."""
    metadata = [chunk.response_metadata for chunk in chunks]
    said = [why for one in metadata if (why := one.get("finish_reason") or one.get("done_reason"))]
    return "length" if "length" in said else plain_text(str(said[-1])) if said else ""


def usage_of(chunks: Sequence[AIMessageChunk], whole: AIMessageChunk) -> UsageMetadata | None:
    """What the server has counted. LangChain adds it up, but who counts the input again counts all again."""
    told = [chunk.usage_metadata for chunk in chunks if chunk.usage_metadata]
    again = sum(usage["input_tokens"] > 0 for usage in told) > 1
    return told[-1] if again else whole.usage_metadata


def reasoning_tokens(usage: UsageMetadata) -> int:
    """The reasoning tokens among the output tokens, as far as the server's count of them is possible."""
    said = usage.get("output_token_details", {}).get("reasoning") or 0
    return min(max(said, 0), usage["output_tokens"])


def is_count(usage: UsageMetadata | None) -> bool:
    """Whether a server has counted: null (LangChain makes 0 of it) and impossible numbers are no counts."""
    return (
        usage is not None
        and 0 < usage["input_tokens"] < MOST_TOKENS
        and 0 <= usage["output_tokens"] < MOST_TOKENS
    )


def estimated_usage(messages: Sequence[BaseMessage], tokens: int) -> UsageMetadata:
    """What a call used when its server does not say: four bytes a token in, a token a piece out."""
    sent = size_of(messages) // 4
    return UsageMetadata(input_tokens=sent, output_tokens=tokens, total_tokens=sent + tokens)
