"""What a reasoning model thinks before it answers: `<think>` blocks in its text, and other models' tags."""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

from swarm_graph.prompts.chat_template import KNOWN, ChatTemplate
from swarm_graph.roles.fences import ends_in_block


class Separated(NamedTuple):
    """A model's text without its thoughts.

    Attributes:
        answer: The text without them.
        doubtful: The text before a closing tag that no tag opened. It is probably thoughts, because chat
            templates often write the opening tag themselves, but it may be part of the answer.
        unclosed: Whether thoughts after the answer began and never ended, so that they may hide a part of it.
    """

    answer: str
    doubtful: str
    unclosed: bool = False


def separate(text: str, template: ChatTemplate = KNOWN) -> Separated:
    """Separate the answer in a model's text from its thoughts, also when one of the two tags is missing.

    Tags in a fenced block or in the middle of a line are part of the answer.

    Args:
        text: What the model wrote.
        template: Its chat template.
    """
    tags = _patterns(template)
    text = text[tags.end_of_leading(text) :]
    opened, closed = tags.opens_line.search(text), tags.closes_line.search(text)
    if opened and closed and closed.start() < opened.start():
        opened = None
    if opened:
        closed = tags.closing_line(opened).search(text, opened.end())
        closed = closed or tags.closing(opened).search(text, opened.end())
    start = opened.start() if opened else 0
    end = closed.end() if closed else len(text) if opened else 0
    if ends_in_block(text[: start or end]):
        return Separated(text, "")
    unclosed = bool(opened and not closed and text[:start].strip())
    return Separated(text[:start] + text[end:], "" if opened else text[:end], unclosed)


def without_leading_thoughts(text: str, template: ChatTemplate = KNOWN) -> str:
    """A text without the thoughts that it begins with."""
    return text[_patterns(template).end_of_leading(text) :]


class _Patterns:
    def __init__(self, template: ChatTemplate) -> None:
        opening = "|".join(f"({opening})" for opening, _ in template.thought_tags)
        closing = "|".join(closing for _, closing in template.thought_tags)
        self._closing = [re.compile(closing) for _, closing in template.thought_tags]
        self._closing_line = [_at_edge_of_line(closing) for _, closing in template.thought_tags]
        self._leading = re.compile(rf"\s*(?:{opening})")
        self.opens_line = re.compile(rf"^[ \t]*(?:{opening})", re.MULTILINE)
        self.closes_line = _at_edge_of_line(closing)

    def closing_line(self, opened: re.Match[str]) -> re.Pattern[str]:
        """The pattern of the tag that closes an opened one, at the beginning or the end of a line."""
        return self._closing_line[(opened.lastindex or 1) - 1]

    def closing(self, opened: re.Match[str]) -> re.Pattern[str]:
        """The pattern of the tag that closes an opened one."""
        return self._closing[(opened.lastindex or 1) - 1]

    def end_of_leading(self, text: str) -> int:
        """The end of the thoughts that a text begins with; 0 when it begins with none."""
        position = 0
        while opened := self._leading.match(text, position):
            closed = self.closing(opened).search(text, opened.end())
            position = closed.end() if closed else len(text)
        return position


def _at_edge_of_line(tag: str) -> re.Pattern[str]:
    return re.compile(rf"^[ \t]*(?:{tag})|(?:{tag})[ \t]*$", re.MULTILINE)


@cache
def _patterns(template: ChatTemplate) -> _Patterns:
    return _Patterns(template)
