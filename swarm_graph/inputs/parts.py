"""Cut a long document into parts that fit a model: at pages and headings, then paragraphs, lines, words.

The parts are slices of the text: joined they are the text again. A part that begins in the middle of a page,
section or table repeats the mark, the headings and the table's header as its context.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

MARK = re.compile(r"\[(page|sheet|slide|attachment) (.+)\]")
"""A mark: a line that names the place of the text below it, as `read_document` writes it."""
PAGE = "[page "
REPEATED, CONTINUED = "(repeated from above)\n", "(continued)\n"
"""The lines around the context that a part repeats."""
MAX_CONTEXT = 0.25
"""The largest share of a part that its context may take."""
MAX_TITLE = 60
"""Characters of a heading in a place."""
_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_HEADING = re.compile(r"(#{1,6})[ \t]+(\S.*)")
_NUMBER = re.compile(r"(?:\d+|[A-Z])(?:\.\d+)*(?=[.:)]?(?:\s|$))")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_SEPARATOR_ROW = re.compile(r"\|[\s|:-]*-[\s|:-]*")
_ENDS = (re.compile(r"\n[ \t]*\n\s*"), re.compile(r"\n"), re.compile(r"\s+"))
"""What paragraphs, lines and words end with."""
_PARAGRAPHS, _CHARACTERS = 7, 10
"""Levels of a cut; 0 is between pages, 1 to 6 between headings of that level."""


@dataclass(frozen=True)
class Part:
    """A part of a document.

    Attributes:
        text: A slice of the document.
        place: Its pages, slides or sheets; without any, its sections; without any, its lines.
        context: What it stands under and does not begin with, between REPEATED and CONTINUED; may be empty.
    """

    text: str
    place: str
    context: str = ""

    @property
    def shown(self) -> str:
        """The part as a prompt shows it."""
        return self.context + self.text


def split(text: str, limit: int, *, pages_apart: bool = False) -> list[Part]:
    """The parts of a document.

    It is cut between pages, slides and sheets; one that is too long, between its headings; a section that is
    too long, between paragraphs, then lines, then words. Only a word longer than a part is cut itself.

    Args:
        text: The document, as `read_document` returns it, or any Markdown or plain text.
        limit: The most characters of a part together with its context, at least 1.
        pages_apart: Whether each page, slide and sheet begins a part; by default a part holds as many as fit.

    Returns:
        The parts in their order; their texts joined are the text. It is one part if it fits.
    """
    return _Cutter(text, limit).parts(pages_apart)


def marks(text: str) -> dict[str, list[str]]:
    """The names of the pages, slides and sheets that a document has, by the word of their marks."""
    found: dict[str, list[str]] = {}
    for mark in _Outline(text).marks:
        kind, name = mark.names
        found.setdefault(kind, []).append(name)
    return found


class _Cutter:
    """Packs the pages or sections of a text into parts. `_start` and `_end` are those of the open part."""

    def __init__(self, text: str, limit: int) -> None:
        self._text, self._limit, self._outline = text, limit, _Outline(text)
        self._parts: list[Part] = []
        self._begin(0)

    def parts(self, pages_apart: bool) -> list[Part]:
        whole = (0, len(self._text))
        for unit in self._units(*whole, 0) if pages_apart else [whole]:
            self._add(*unit, level=0)
            self._close()
        return self._parts

    def _begin(self, start: int) -> None:
        self._start = self._end = start
        self._context = self._outline.context(start, int(self._limit * MAX_CONTEXT))
        self._room = self._limit - len(self._context)

    def _close(self) -> None:
        if self._end > self._start or not self._text:
            text, place = self._text[self._start : self._end], self._outline.place(self._start, self._end)
            self._parts.append(Part(text, place, self._context))
            self._begin(self._end)

    def _add(self, start: int, end: int, level: int) -> None:
        """Add a unit to the part; one that is too long for any part is cut at the next level."""
        if end - self._start > self._room and (end - start <= self._limit or self._is_filled):
            self._close()
        if end - self._start <= self._room:
            self._end = end
        elif level == _CHARACTERS:
            self._add_characters(end)
        else:
            for unit in self._units(start, end, level):
                self._add(*unit, level + 1)

    @property
    def _is_filled(self) -> bool:
        return self._end - self._start >= self._room / 2

    def _add_characters(self, end: int) -> None:
        self._close()
        while end - self._start > self._room:
            self._end = self._start + self._room
            self._close()
        self._end = end

    def _units(self, start: int, end: int, level: int) -> Iterator[tuple[int, int]]:
        for cut in self._cuts(start, end, level):
            if start < cut < end:
                yield start, cut
                start = cut
        yield start, end

    def _cuts(self, start: int, end: int, level: int) -> Iterable[int]:
        if level < _PARAGRAPHS:
            return (line.start for line in self._outline.lines_in(start, end) if line.level == level)
        ends = (match.end() for match in _ENDS[level - _PARAGRAPHS].finditer(self._text, start, end))
        return ends if level > _PARAGRAPHS else (cut for cut in ends if cut not in self._outline.first_below)


# --- what text stands under ----------------------------------------------------------------------


class _Line(NamedTuple):
    """The mark of a page, slide or sheet, of level 0, or a heading, of level 1 to 6."""

    start: int
    level: int
    text: str

    @property
    def names(self) -> tuple[str, str]:
        """The word and the name of a mark."""
        kind, _, name = self.text[1:-1].partition(" ")
        return kind, name


class _Table(NamedTuple):
    """The rows of a table, by their offsets, and its header."""

    start: int
    end: int
    header: str


class _Outline:
    """The marks, headings and tables of a text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._lines: list[_Line] = []
        self._tables: list[_Table] = []
        self.first_below: set[int] = set()
        """Where the text below a mark or heading begins, which stays with it."""
        self._read()
        self.marks = [line for line in self._lines if not line.level]

    def _read(self) -> None:
        start, fence, rows = 0, "", list[str]()
        for line in [*_LINE.findall(self._text), ""]:
            bare = line.rstrip()
            if rows and not bare.startswith("|"):
                self._add_table(start, rows)
                rows = []
            if fence:
                fence = "" if bare.lstrip().startswith(fence) else fence
            elif opened := _FENCE.match(bare):
                fence = opened[1]
            elif bare.startswith("|"):
                rows.append(line)
            elif MARK.fullmatch(bare):
                self._add_line(_Line(start, 0, bare), start + len(line))
            elif heading := _HEADING.fullmatch(bare):
                self._add_line(_Line(start, len(heading[1]), bare), start + len(line))
            start += len(line)

    def _add_table(self, end: int, rows: Sequence[str]) -> None:
        size = 2 if len(rows) > 1 and _SEPARATOR_ROW.fullmatch(rows[1].strip()) else 1
        self._tables.append(_Table(end - sum(map(len, rows)), end, "".join(rows[:size])))

    def _add_line(self, line: _Line, end: int) -> None:
        self._lines.append(line)
        space = re.compile(r"\s*").match(self._text, end)
        self.first_below.add(space.end() if space else end)

    def lines_in(self, start: int, end: int) -> list[_Line]:
        """The marks and headings of a slice."""
        return self._lines[bisect_left(self._lines, (start,)) : bisect_left(self._lines, (end,))]

    def context(self, start: int, limit: int) -> str:
        """What the text at an offset stands under. Its longest lines are left out until it fits."""
        if limit <= len(REPEATED + CONTINUED):
            return ""
        above = [line.text for line in self._above(start)] + self._header_above(start)
        while above:
            context = "".join([REPEATED, *(f"{line}\n" for line in above), CONTINUED])
            if len(context) <= limit:
                return context
            above.remove(max(above, key=len))
        return ""

    def _above(self, start: int) -> list[_Line]:
        """The mark and the headings that hold at an offset, from the top; none that the text begins with."""
        number = bisect_left(self._lines, (start,))
        own = [line for line in self._lines[number : number + 1] if line.start == start]
        level = own[0].level or _PARAGRAPHS if own else _PARAGRAPHS
        mark = own if own and not own[0].level else self.marks[: bisect_left(self.marks, (start,))][-1:]
        # A section may go over several pages, but not over several slides or sheets.
        first = mark[0].start if mark and not mark[0].text.startswith(PAGE) else 0
        headings: list[_Line] = []
        for line in reversed(self._lines[:number]):
            if line.start < first:
                break
            if 0 < line.level < level:
                headings.append(line)
                level = line.level
        return [*(line for line in mark if line not in own), *reversed(headings)]

    def _header_above(self, start: int) -> list[str]:
        number = bisect_right(self._tables, (start,)) - 1
        if number < 0:
            return []
        table = self._tables[number]
        is_cut = table.start + len(table.header) <= start < table.end
        return [table.header.rstrip("\n")] if is_cut else []

    def place(self, start: int, end: int) -> str:
        """Where a slice stands."""
        return self._marked(start, end) or self._sections(start, end) or self._numbers(start, end)

    def _marked(self, start: int, end: int) -> str:
        first = max(bisect_right(self.marks, (start + 1,)) - 1, 0)
        names: dict[str, list[str]] = {}
        for mark in self.marks[first : bisect_left(self.marks, (end,))]:
            kind, name = mark.names
            names.setdefault(kind, []).append(name)
        return ", ".join(place_of(kind, found) for kind, found in names.items())

    def _sections(self, start: int, end: int) -> str:
        inside = [line for line in self.lines_in(start, end) if line.level]
        begins = inside and not self._text[start : inside[0].start].strip()
        path = [] if begins else [line for line in self._above(start) if line.level]
        found = [*path[-1:], *inside]
        titles = dict.fromkeys(_title(line) for line in (*found[:1], *found[-1:]))
        between = "-" if all(_NUMBER.fullmatch(title) for title in titles) else " to "
        return f"section{'s' * (len(titles) > 1)} {between.join(titles)}" if titles else ""

    def _numbers(self, start: int, end: int) -> str:
        first = self._text.count("\n", 0, start) + 1
        last = first + self._text.count("\n", start, max(start, end - 1))
        return f"lines {first}-{last}" if last > first else f"line {first}"


def place_of(kind: str, names: Sequence[str]) -> str:
    """Pages, slides or sheets as people cite them, as in `p. 4-7`."""
    ends = dict.fromkeys((names[0], names[-1]))
    word = "p." if kind == "page" else f"{kind}s" if len(ends) > 1 else kind
    return f"{word} {'-'.join(ends)}"


def _title(line: _Line) -> str:
    title = line.text.lstrip("#").strip()
    number = _NUMBER.match(title)
    return number[0] if number else title[:MAX_TITLE]
