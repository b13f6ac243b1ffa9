"""A model's context window: does a prompt fit before it is sent, and did the server read all of it?

When the server counts no tokens, the size is estimated from the bytes: conservatively at first, later
from the counts of earlier prompts to the same model.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

Tools = Sequence[Mapping[str, Any]]
"""The tools that a request offers, in OpenAI's form."""

MAX_TOKENS_PER_BYTE = 1 / 3
"""More than prose and code take: English has about 0.25, code 0.3. Tables of numbers take up to 0.9."""
_NO_LETTER = re.compile(r"[0-9!-/:-@\[-`{-~]")
MIN_TOKENS_PER_BYTE = 1 / 7
"""Less than any usual text takes."""
MARGIN = 1.15
"""Factor for prompts that differ from the earlier ones."""
MESSAGE_TOKENS = 16
"""Tokens that a chat template adds around a message."""
ANSWER_TOKENS = 256
"""Tokens that are always reserved for an answer."""
MIN_SAMPLE_BYTES = 1000
"""Smaller prompts say little about the tokens per byte."""


class TokenEstimator:
    """Estimates the tokens of a model's prompts from those that its server has counted."""

    def __init__(self) -> None:
        self._max_per_byte = self._min_per_byte = 0.0

    def learn(self, size: int, tokens: int) -> None:
        """Record that a prompt of `size` bytes took `tokens` tokens."""
        if size >= MIN_SAMPLE_BYTES and tokens > 0:
            self._max_per_byte = max(self._max_per_byte, tokens / size)
            self._min_per_byte = min(self._min_per_byte or 1.0, tokens / size)

    def at_most(self, size: int) -> int:
        """An upper estimate of the tokens in a prompt of `size` bytes."""
        return round(size * (self._max_per_byte * MARGIN or MAX_TOKENS_PER_BYTE))

    def at_least(self, size: int) -> int:
        """A lower estimate of the tokens in a prompt of `size` bytes."""
        return round(size * (self._min_per_byte / MARGIN or MIN_TOKENS_PER_BYTE))


def estimated_tokens(text: str) -> int:
    """About how many tokens a text takes, rather too many: many models need one for every digit and sign."""
    single = len(_NO_LETTER.findall(text))
    return round(single + (len(text.encode(errors="replace")) - single) * MAX_TOKENS_PER_BYTE)


def text_of(message: BaseMessage) -> str:
    """All that a message says: its text, and the calls of tools in it."""
    calls = getattr(message, "tool_calls", None)
    if not calls:
        return str(message.text)
    said = [json.dumps({"tool": call["name"], "arguments": call["args"]}) for call in calls]
    return "\n".join(filter(None, [message.text, *said]))


def prompt_bytes(messages: Sequence[BaseMessage], tools: Tools = ()) -> int:
    """The UTF-8 bytes of a prompt's texts, and of the tools that it offers."""
    texts = sum(len(text_of(message).encode(errors="replace")) for message in messages)
    return texts + (len(json.dumps(tools)) if tools else 0)


def room_for_answer(max_tokens: int | None) -> int:
    """Tokens to reserve for an answer of at most `max_tokens`."""
    return min(max_tokens or ANSWER_TOKENS, ANSWER_TOKENS)
