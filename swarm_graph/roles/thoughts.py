"""What a reasoning model thinks before it answers: `<think>` blocks in its text."""

from __future__ import annotations

import re
from typing import NamedTuple

from swarm_graph.roles.fences import ends_in_block

_LEADING = re.compile(r"\s*<think(?:ing)?>")
_OPENS = re.compile(r"^[ \t]*<think(?:ing)?>", re.MULTILINE)
_CLOSES = re.compile(r"^[ \t]*</think(?:ing)?>|</think(?:ing)?>[ \t]*$", re.MULTILINE)
_CLOSING_TAG = re.compile(r"</think(?:ing)?>")


class Separated(NamedTuple):
    """A model's text without its thoughts.

    `doubtful` is the text before a closing tag that no tag opened. It is probably thoughts, because chat
    templates often write the opening tag themselves, but it may be part of the answer.
    """

    answer: str
    doubtful: str


def without_thoughts(text: str) -> str:
    """A model's text without its `<think>` block, also when one of the two tags is missing.

    Tags in a fenced block or in the middle of a line are part of the answer.
    """
    return separate(text).answer


def separate(text: str) -> Separated:
    """Separate the answer in a model's text from its thoughts."""
    position = 0
    while opened := _LEADING.match(text, position):
        closed = _CLOSING_TAG.search(text, opened.end())
        position = closed.end() if closed else len(text)
    text = text[position:]
    opened, closed = _OPENS.search(text), _CLOSES.search(text)
    if opened and closed and closed.start() < opened.start():
        opened = None
    start = opened.start() if opened else 0
    end = closed.end() if closed else len(text) if opened else 0
    if ends_in_block(text[: start or end]):
        return Separated(text, "")
    return Separated(text[:start] + text[end:], "" if opened else text[:end])
