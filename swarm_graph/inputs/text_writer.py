"""Writes the text of a document: paragraphs, headings, tables, and the marks that findings cite."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from swarm_graph.inputs.document import Mark
from swarm_graph.inputs.limits import Limits
from swarm_graph.text import printable, without_lone_surrogates

_LIKE_A_MARK = re.compile(r"^(\[(?:page|sheet|slide|attachment) [^\n]*\])$", re.MULTILINE)
_BLANK_LINES = re.compile(r"\n[ \t]*\n(?:[ \t]*\n)+")


class TextWriter:
    """Collects the text of one document.

    Attributes:
        limits: What reading may take.
        notes: What was assumed or left out, each once.
        has_text: Whether any text besides marks was written.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.notes: dict[str, None] = {}
        self.marks: list[Mark] = []
        self._parts: list[str] = []
        self._length, self._in_list = 0, False
        self.has_text = False

    @property
    def text(self) -> str:
        """The text so far, with one newline at its end unless it is empty."""
        return "".join(self._parts).rstrip("\n") + "\n" if self._parts else ""

    def note(self, note: str) -> None:
        """Say what was assumed or left out."""
        self.notes[clean(note)] = None

    def mark(self, kind: str, name: str) -> None:
        """Begin a page, sheet, slide or attachment."""
        name = one_line(name)
        self._add(f"[{kind} {name}]", Mark(0, kind, name))

    def heading(self, level: int, text: str) -> None:
        """Write a heading; an empty one is left out."""
        if text := one_line(text):
            level = min(max(level, 1), 6)
            self._add(f"{'#' * level} {text}", Mark(0, "heading", text, level))

    def paragraph(self, text: str) -> None:
        """Write text after an empty line. A line that looks like a mark is written as `\\[page 4]`."""
        text = _BLANK_LINES.sub("\n\n", _LIKE_A_MARK.sub(r"\\\1", clean(text))).strip("\n")
        if text.strip():
            self._add(text)

    def item(self, text: str) -> None:
        """Write a line of a list, without an empty line between it and the item before it."""
        if self._in_list and text.strip():
            self._parts[-1] = self._parts[-1].removesuffix("\n")
            self._length -= 1
        self.paragraph(text)
        self._in_list = bool(text.strip())

    def table(self, rows: Iterable[Sequence[str]]) -> None:
        """Write a Markdown table; its first row is the head. Rows may differ in length."""
        cells = [[_cell(cell) for cell in row] for row in rows]
        cells = [row for row in cells if any(row)]
        if cells:
            width = max(map(len, cells))
            lines = [f"| {' | '.join(row + [''] * (width - len(row)))} |" for row in cells]
            self._add("\n".join([lines[0], "|" + "---|" * width, *lines[1:]]))

    def _add(self, text: str, mark: Mark | None = None) -> None:
        self.has_text = self.has_text or mark is None or mark.kind == "heading"
        if mark:
            self.marks.append(mark._replace(offset=self._length))
        self._in_list = False
        self._parts.append(f"{text}\n\n")
        self._length += len(text) + 2
        self.limits.check_text(self._length)


def clean(text: str) -> str:
    """Text without control and direction characters, with `\\n` line ends."""
    return printable(without_lone_surrogates(re.sub(r"\r\n?|[\v\f\u2028\u2029]", "\n", text)))


def one_line(text: str) -> str:
    """Cleaned text on one line."""
    return " ".join(clean(text).split())


def _cell(text: str) -> str:
    return re.sub(r"\s*\n\s*", "<br>", clean(text).strip()).replace("|", "\\|")


def listed(names: Sequence[str], most: int = 8) -> str:
    """Names for a note: the first ones, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(one_line, names[:most])) + more


def ranges(numbers: Iterable[int]) -> str:
    """Page numbers as text: "3, 7-9"."""
    spans: list[list[int]] = []
    for number in sorted(numbers):
        if spans and spans[-1][1] == number - 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)
