"""The pages and slides that an answer cites, checked against those that the files of its task have."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from swarm_graph.text import first_names

_CITED = re.compile(
    r"(?<![\w.])(pp?\.|pages?|slides?)\s?(\d{1,5})(?:\s?(?:-|\u2013|to|and|,)\s?(\d{1,5})(?!\d))?", re.I
)
"""p. 4, pp. 4-7, pages 4 and 5, slide 2."""


def unknown_places(text: str, marks: Mapping[str, Sequence[str]]) -> str:
    """A note on cited pages and slides that no file has; empty if there are none.

    Args:
        text: The answer.
        marks: The names of the pages, slides and sheets of the files, by the word of their marks. Kinds that
            no file has are not checked: the answer may cite another document.
    """
    if not marks:
        return ""
    unknown = dict.fromkeys(
        f"{'p.' if kind == 'page' else kind} {number}"
        for kind, number in _cited(text)
        if kind in marks and number not in marks[kind]
    )
    return f"cites {first_names([*unknown])}, which the files do not have" if unknown else ""


def _cited(text: str) -> Iterator[tuple[str, str]]:
    for match in _CITED.finditer(text):
        kind = "slide" if match[1].lower().startswith("slide") else "page"
        yield from ((kind, str(int(number))) for number in match.group(2, 3) if number)
