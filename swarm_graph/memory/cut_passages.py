"""Cuts a document into passages: each can be found, shown and understood alone."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from swarm_graph.inputs.parts import CONTINUED, MARK, REPEATED, Part, split
from swarm_graph.text import cut

PASSAGE_CHARACTERS = 1200
"""The most characters of a passage, with what it stands under."""
MAX_TITLE = 100
"""Characters of a document's title in its passages."""
_DIGITS = re.compile(r"\d+")
_HEADING = re.compile(r"#{1,6}[ \t]+(\S.*)")


class CutPassage(NamedTuple):
    """A passage of a document, and where it stands: its pages, sections or lines."""

    text: str
    place: str


def passages_of(name: str, text: str) -> list[CutPassage]:
    """The passages of a document; none if it has no text.

    A passage begins with a line that says what it stands under: the document, and the headings above. The
    header of a table that was cut comes next, then the document's own text, unchanged.

    Args:
        name: The document's name, without a suffix.
        text: Its text, as `read_document` returns it.
    """
    title = _title(name, text)
    parts = split(text, PASSAGE_CHARACTERS - len(title) - 2, pages_apart=True)
    # The title stands in the first part itself.
    titles = [name[:MAX_TITLE], *([title] * (len(parts) - 1))]
    return [
        CutPassage(_text(above, part), part.place)
        for above, part in zip(titles, parts, strict=True)
        if any(_own_lines(part.text))
    ]


def _title(name: str, text: str) -> str:
    """A document's name and its first heading; without headings its first line that no other page repeats."""
    lines = [*_own_lines(text)]
    repeats = Counter(map(_without_numbers, lines))
    first = next((line for line in lines if repeats[_without_numbers(line)] == 1), "")
    heading = next(
        (found[1].strip() for line in text.splitlines() if (found := _HEADING.fullmatch(line))), first
    )
    names = [name, heading] if name.lower() not in heading.lower() else [heading]
    return cut(": ".join(filter(None, names)), MAX_TITLE)


def _without_numbers(line: str) -> str:
    """A line without its numbers: what the head of each page has in common, as in `SOP-7, page 3 of 9`."""
    return _DIGITS.sub("", line)


def _own_lines(text: str) -> Iterator[str]:
    """The lines of a text without empty ones and marks."""
    return (line.strip() for line in text.splitlines() if line.strip() and not MARK.fullmatch(line.strip()))


def _text(title: str, part: Part) -> str:
    context = part.context.removeprefix(REPEATED).removesuffix(CONTINUED).splitlines()
    headings = [found[1].strip() for line in context if (found := _HEADING.fullmatch(line))]
    under = " > ".join([title, *(heading for heading in headings if heading not in title)])
    table = "".join(f"{line}\n" for line in context if line.startswith("|"))
    stripped = part.text.strip("\n")
    return f"{under}\n\n{table}{stripped}"
