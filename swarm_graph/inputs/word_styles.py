"""The styles of a Word document: which are headings, and which number their paragraphs."""

from __future__ import annotations

import re
from collections.abc import Iterator

from swarm_graph.inputs.office_file import Element

W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_HEADING = re.compile(r"heading ([1-9])", re.IGNORECASE)
MAX_BASES = 20
"""Styles that are based on one another; a loop ends here."""


def value(parent: Element | None, path: str) -> str:
    """The `w:val` of a descendant, as in `w:pPr/w:pStyle`; empty if there is none."""
    found = parent.find(path.replace("w:", W)) if parent is not None else None
    return found.get(f"{W}val", "") if found is not None else ""


class Styles:
    """The styles of a document.

    Args:
        root: The part styles.xml; None if there is none.
    """

    def __init__(self, root: Element | None) -> None:
        found = root.iter(f"{W}style") if root is not None else ()
        self._styles = {style.get(f"{W}styleId", ""): style for style in found}

    def heading_level(self, paragraph: Element) -> int:
        """The level of a heading, from 1; 0 for other paragraphs."""
        for style in self.bases(value(paragraph, "w:pPr/w:pStyle")):
            name = value(style, "w:name")
            if match := _HEADING.fullmatch(name):
                return int(match[1])
            if name.lower() == "title":
                return 1
        level = value(paragraph, "w:pPr/w:outlineLvl")
        return int(level) + 1 if level in {*"012345678"} else 0

    def bases(self, name: str) -> Iterator[Element]:
        """A style by its id, then those that it is based on."""
        for _ in range(MAX_BASES):
            style = self._styles.get(name)
            if style is None:
                return
            yield style
            name = value(style, "w:basedOn")
