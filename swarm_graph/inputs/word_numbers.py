"""The numbers of a Word document's lists and headings, which Word computes and does not store."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import NamedTuple

from swarm_graph.inputs.office_file import Element
from swarm_graph.inputs.word_styles import Styles, W, value

MAX_LEVEL = 8
MAX_ROMAN = 3999
_ROMAN = (
    (1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"),
    (50, "l"), (40, "xl"), (10, "x"), (9, "ix"), (5, "v"), (4, "iv"), (1, "i"),
)  # fmt: skip


class Number(NamedTuple):
    """The number of a paragraph, as it is shown, and its level from 0."""

    label: str
    level: int


class _Level(NamedTuple):
    start: int
    format: str
    text: str


class Numbers:
    """Counts the numbered paragraphs of a document, in their order.

    Args:
        root: The part numbering.xml; None if there is none.
        styles: The styles, which can number their paragraphs.
    """

    def __init__(self, root: Element | None, styles: Styles) -> None:
        self._styles = styles
        self._lists = _lists(root) if root is not None else {}
        self._counts: defaultdict[str, dict[int, int]] = defaultdict(dict)

    def next_label(self, paragraph: Element) -> Number | None:
        """The number of the next paragraph; None if it has none."""
        number, level = self._of(paragraph)
        found = self._lists.get(number)
        if not found or level not in found.levels:
            return None
        counts = self._counts[found.counter]
        counts[level] = counts.get(level, found.levels[level].start - 1) + 1
        for deeper in range(level + 1, MAX_LEVEL + 1):
            counts.pop(deeper, None)
        return Number(found.label(level, counts), level)

    def _of(self, paragraph: Element) -> tuple[str, int]:
        """The list and level of a paragraph: its own, else those of its style. No list: an empty text."""
        style = value(paragraph, "w:pPr/w:pStyle")
        owners = [paragraph, *self._styles.bases(style)]
        levels = [level for owner in owners if (level := value(owner, "w:pPr/w:numPr/w:ilvl"))]
        for owner in owners:
            if number := value(owner, "w:pPr/w:numPr/w:numId"):
                found = self._lists.get(number)
                linked = found.styles.get(style) if found and owner is not paragraph else None
                return number, linked if linked is not None else _small(levels[0] if levels else "0")
        return "", 0


class _List(NamedTuple):
    counter: str
    """Lists with the same counter go on with each other's numbers."""
    levels: dict[int, _Level]
    styles: dict[str, int]
    """The level of each style that numbers its paragraphs."""

    def label(self, level: int, counts: dict[int, int]) -> str:
        own = self.levels[level]
        if own.format == "bullet":
            return "-"

        def number(match: re.Match[str]) -> str:
            at = int(match[1]) - 1
            shown = self.levels.get(at, own)
            return _formatted(counts.get(at, shown.start), shown.format)

        return re.sub(r"%([1-9])", number, own.text) or "-"


def _lists(root: Element) -> dict[str, _List]:
    abstract = {item.get(f"{W}abstractNumId", ""): item for item in root.findall(f"{W}abstractNum")}
    lists = {}
    for item in root.findall(f"{W}num"):
        base = value(item, "w:abstractNumId")
        levels, styles = _levels(abstract.get(base)), _linked_styles(abstract.get(base))
        counter = f"abstract {base}"
        for override in item.findall(f"{W}lvlOverride"):
            at = _small(override.get(f"{W}ilvl", "0"))
            if (own := override.find(f"{W}lvl")) is not None:
                levels[at] = _level(own)
            if (start := value(override, "w:startOverride")) and at in levels:
                levels[at] = levels[at]._replace(start=_small(start, 32767))
                counter = f"number {item.get(f'{W}numId')}"
        lists[item.get(f"{W}numId", "")] = _List(counter, levels, styles)
    return lists


def _levels(abstract: Element | None) -> dict[int, _Level]:
    found = abstract.findall(f"{W}lvl") if abstract is not None else ()
    return {_small(level.get(f"{W}ilvl", "0")): _level(level) for level in found}


def _linked_styles(abstract: Element | None) -> dict[str, int]:
    found = abstract.findall(f"{W}lvl") if abstract is not None else ()
    return {name: _small(level.get(f"{W}ilvl", "0")) for level in found if (name := value(level, "w:pStyle"))}


def _level(level: Element) -> _Level:
    start = value(level, "w:start")
    return _Level(
        _small(start or "0", 32767), value(level, "w:numFmt") or "decimal", value(level, "w:lvlText")
    )


def _small(text: str, most: int = MAX_LEVEL) -> int:
    """A number of a file; 0 for anything else."""
    return min(int(text), most) if text.isascii() and text.isdecimal() and len(text) < 9 else 0


def _formatted(number: int, form: str) -> str:
    match form:
        case "none":
            return ""
        case "lowerLetter" | "upperLetter" if number > 0:
            letter = chr(ord("a") + (number - 1) % 26) * ((number - 1) // 26 + 1)
            return letter.upper() if form == "upperLetter" else letter
        case "lowerRoman" | "upperRoman" if 0 < number <= MAX_ROMAN:
            return _roman(number).upper() if form == "upperRoman" else _roman(number)
        case "decimalZero":
            return f"{number:02}"
    return str(number)


def _roman(number: int) -> str:
    digits = ""
    for size, digit in _ROMAN:
        digits += digit * (number // size)
        number %= size
    return digits
