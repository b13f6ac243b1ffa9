"""A model's context window: whether a prompt fits before it is sent, and whether all of it arrived.

Without a server that counts tokens the size is estimated from the bytes, on the safe side, and from
what earlier prompts of the same model took.
"""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.messages import BaseMessage

TOKENS_PER_BYTE = 1 / 3
"""More than any usual text takes: English has about 0.25, code 0.3."""
LEAST_TOKENS_PER_BYTE = 1 / 7
"""Less than any usual text takes."""
MARGIN = 1.15
"""Prompts differ from those before."""
MESSAGE_TOKENS = 16
"""What a chat template puts around a message."""
ANSWER_TOKENS = 256
"""Room that an answer needs at the least."""
SAMPLE_BYTES = 1000
"""Smaller prompts say little about how many tokens a byte takes."""


class Gauge:
    """How many tokens a model's prompts take, learned from those that its server counted."""

    def __init__(self) -> None:
        self._most = self._least = 0.0

    def learn(self, size: int, tokens: int) -> None:
        """A prompt of `size` bytes took so many tokens."""
        if size >= SAMPLE_BYTES and tokens > 0:
            self._most = max(self._most, tokens / size)
            self._least = min(self._least or 1.0, tokens / size)

    def most(self, size: int) -> int:
        """What a prompt takes at the most, as far as can be told."""
        return round(size * (self._most * MARGIN or TOKENS_PER_BYTE))

    def least(self, size: int) -> int:
        """What a prompt takes at the least, as far as can be told."""
        return round(size * (self._least / MARGIN or LEAST_TOKENS_PER_BYTE))


def size_of(messages: Sequence[BaseMessage]) -> int:
    """The bytes of a prompt."""
    return sum(len(message.text.encode(errors="replace")) for message in messages)


def room_for_answer(max_tokens: int | None) -> int:
    """Tokens that must be left for the answer."""
    return min(max_tokens or ANSWER_TOKENS, ANSWER_TOKENS)
