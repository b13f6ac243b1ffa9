"""Word files (.docx, .docm): paragraphs, headings, numbers of lists, tables, notes and comments in place.

The XML is read here: python-docx knows neither the numbers of lists nor footnotes nor tracked changes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import BinaryIO

from swarm_graph.inputs.office_file import Element, OfficeFile, note_external, note_extras
from swarm_graph.inputs.text_writer import TextWriter, clean
from swarm_graph.inputs.word_numbers import Number, Numbers
from swarm_graph.inputs.word_styles import Styles, W, value
from swarm_graph.inputs.word_symbols import character_of
from swarm_graph.text import format_count

MATH = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
SHOWN_CHARACTERS = {f"{W}tab": "\t", f"{W}br": "\n", f"{W}cr": "\n", f"{W}noBreakHyphen": "-"}
DELETED = {f"{W}del", f"{W}moveFrom"}
WITHOUT_TEXT = {f"{W}instrText", f"{W}delText", f"{W}delInstrText", f"{W}rPr", f"{W}pPr", FALLBACK}
NOTES = {f"{W}footnoteReference": "footnote", f"{W}endnoteReference": "endnote"}
TEXT_BOX, COMMENT = f"{W}txbxContent", f"{W}commentReference"
MAX_NESTING = 60
"""Tables within tables, text boxes and the like; Word writes at most a few."""


def read(file: BinaryIO, writer: TextWriter) -> None:
    """Write a Word document.

    Raises:
        Unreadable: The file is encrypted or broken, or unpacks to too much.
    """
    office = OfficeFile(file, writer.limits)
    note_extras(office, writer)
    _WordReader(office, writer).read()


class _WordReader:
    """Reads one document.

    Attributes:
        counts: What was met and changes the text: deletions, insertions, symbols, OLE objects.
    """

    def __init__(self, office: OfficeFile, writer: TextWriter) -> None:
        self.office, self.writer = office, writer
        self.main = office.main_part()
        self.relations = office.relations(self.main)
        self.styles = Styles(self._part("styles"))
        self.numbers = Numbers(self._part("numbering"), self.styles)
        self.notes = {kind: self._by_id(f"{kind}s") for kind in ("footnote", "endnote", "comment")}
        self.counts: Counter[str] = Counter()

    def read(self) -> None:
        """Write headers, the body and footers, and say what was left out."""
        note_external(self.relations, self.writer)
        body = self.office.xml(self.main).find(f"{W}body")
        self._margins("header")
        self._blocks(body if body is not None else (), 0)
        self._margins("footer")
        self._say()

    def _part(self, kind: str) -> Element | None:
        names = (relation.target for relation in self.relations.values() if relation.kind == kind)
        return self.office.optional(next(names, ""))

    def _by_id(self, kind: str) -> dict[str, Element]:
        root = self._part(kind)
        return {item.get(f"{W}id", ""): item for item in root} if root is not None else {}

    def _margins(self, kind: str) -> None:
        """Write the headers or footers of all sections, each text once."""
        texts: dict[str, None] = {}
        for relation in self.relations.values():
            if relation.kind == kind and not relation.is_external:
                root = self.office.optional(relation.target)
                texts[self._flat(root) if root is not None else ""] = None
        for text in filter(None, texts):
            self.writer.paragraph(f"[{kind}] {text}")

    # --- blocks: paragraphs and tables --------------------------------------------------------------

    def _blocks(self, parent: Element | tuple[()], depth: int) -> None:
        for block in _unwrapped(parent):
            if block.tag == f"{W}p":
                self._paragraph(block, depth)
            elif block.tag == f"{W}tbl":
                self.writer.table(self._rows(block, depth))
            elif block.tag == f"{W}altChunk":
                self.counts["embedded documents"] += 1

    def _paragraph(self, paragraph: Element, depth: int) -> None:
        text = self._text(paragraph)
        number = self._number(paragraph)
        level = self.styles.heading_level(paragraph)
        if level:
            self.writer.heading(level, f"{number.label if number and text.strip() else ''} {text}")
        elif number and text.strip():
            self.writer.item(f"{'  ' * number.level}{number.label} {text.strip()}")
        else:
            self.writer.paragraph(text)
        for box in _text_boxes(paragraph):
            if depth < MAX_NESTING:
                self._blocks(box, depth + 1)

    def _rows(self, table: Element, depth: int) -> Iterator[list[str]]:
        for row in _unwrapped(table):
            if row.tag != f"{W}tr" or row.find(f"{W}trPr/{W}del") is not None:
                continue
            cells: list[str] = []
            for cell in _unwrapped(row):
                if cell.tag == f"{W}tc":
                    cells += [self._cell(cell, depth), *[""] * (_span(cell) - 1)]
            yield cells

    def _cell(self, cell: Element, depth: int) -> str:
        """The text of a cell; the rows of a table inside it become lines."""
        lines = []
        for block in _unwrapped(cell):
            if block.tag == f"{W}p":
                lines.append(self._numbered(block))
            elif block.tag == f"{W}tbl" and depth < MAX_NESTING:
                lines += ["; ".join(filter(None, row)) for row in self._rows(block, depth + 1)]
        return "\n".join(filter(None, lines))

    def _numbered(self, paragraph: Element) -> str:
        text = self._text(paragraph).strip()
        number = self._number(paragraph)
        return f"{number.label} {text}" if number and text else text

    def _number(self, paragraph: Element) -> Number | None:
        """The number of a paragraph, counted unless the paragraph is deleted. Word counts empty ones, too."""
        deleted = paragraph.find(f"{W}pPr/{W}rPr/{W}del") is not None
        return None if deleted else self.numbers.next_label(paragraph)

    def _flat(self, parent: Element) -> str:
        """All text below an element on one line, as for a header or a footnote."""
        texts = (self._text(paragraph) for paragraph in parent.iter(f"{W}p"))
        return " ".join(" ".join(texts).split())

    # --- the text of one paragraph ------------------------------------------------------------------

    def _text(self, paragraph: Element) -> str:
        parts: list[str] = []
        pending = [*reversed(paragraph)]
        while pending:
            element = pending.pop()
            if element.tag in DELETED:
                self.counts["deletions"] += 1
            elif element.tag not in WITHOUT_TEXT and element.tag != TEXT_BOX:
                parts.append(self._own_text(element))
                pending += reversed(element)
        return clean("".join(parts)).replace("\u00ad", "")

    def _own_text(self, element: Element) -> str:
        """The text that an element stands for, without those in it."""
        tag = element.tag
        if tag in (f"{W}t", f"{MATH}t"):
            return element.text or ""
        if tag == f"{W}br" and element.get(f"{W}type") in ("page", "column"):
            return ""
        if tag in (f"{W}ins", f"{W}moveTo"):
            self.counts["insertions"] += 1
        elif tag == f"{W}object":
            self.counts["embedded objects"] += 1
        elif tag == f"{W}sym":
            return self._symbol(element)
        elif tag == f"{W}checkBox":
            return "☑" if _is_ticked(element) else "☐"
        elif tag == f"{W}ddList":
            return _chosen(element)
        elif tag in NOTES:
            return self._footnote(NOTES[tag], element.get(f"{W}id", ""))
        elif tag == COMMENT:
            return self._comment(element.get(f"{W}id", ""))
        return SHOWN_CHARACTERS.get(tag, "")

    def _symbol(self, symbol: Element) -> str:
        shown = character_of(symbol.get(f"{W}font", ""), symbol.get(f"{W}char", ""))
        self.counts["symbols"] += not shown
        return shown or "▯"

    def _footnote(self, kind: str, number: str) -> str:
        note = self.notes[kind].get(number)
        return f" [{kind}: {self._flat(note)}]" if note is not None else ""

    def _comment(self, number: str) -> str:
        comment = self.notes["comment"].get(number)
        if comment is None:
            return ""
        self.counts["comments"] += 1
        return f" [comment by {comment.get(f'{W}author') or 'somebody'}: {self._flat(comment)}]"

    def _say(self) -> None:
        """Note what was met and changes the text."""
        notes = {
            "deletions": "{} tracked as deleted, left out",
            "insertions": "{} tracked as inserted, read",
            "comments": "{}, shown in place as [comment by …]",
            "symbols": "{} of special fonts, shown as ▯",
            "embedded objects": "{} left out",
            "embedded documents": "{} left out",
        }
        for what, note in notes.items():
            if count := self.counts[what]:
                noun = {"deletions": "passage", "insertions": "passage"}.get(what, what.removesuffix("s"))
                self.writer.note(note.format(format_count(count, noun)))


def _unwrapped(parent: Element | tuple[()]) -> Iterator[Element]:
    """The children of an element; content controls and custom XML around them are taken off."""
    pending = [*reversed(parent)]
    while pending:
        child = pending.pop()
        if child.tag in (f"{W}sdt", f"{W}sdtContent", f"{W}customXml", f"{W}ins", f"{W}moveTo"):
            pending += reversed(child)
        else:
            yield child


def _is_ticked(box: Element) -> bool:
    """Whether the box of an old form is ticked: as somebody left it, else by its default."""
    for name in ("checked", "default"):
        if (found := box.find(f"{W}{name}")) is not None:
            return found.get(f"{W}val", "1") not in ("0", "false", "off")
    return False


def _chosen(choice: Element) -> str:
    """The entry of an old form's list that is chosen: the first one unless it says another."""
    entries = [entry.get(f"{W}val", "") for entry in choice.findall(f"{W}listEntry")]
    number = value(choice, "w:result") or value(choice, "w:default") or "0"
    at = int(number) if number.isascii() and number.isdecimal() and len(number) < 4 else 0
    return entries[at] if at < len(entries) else ""


def _text_boxes(paragraph: Element) -> Iterator[Element]:
    """The text boxes of a paragraph, without those inside them and without the copies for older programs."""
    pending = [*reversed(paragraph)]
    while pending:
        element = pending.pop()
        if element.tag == TEXT_BOX:
            yield element
        elif element.tag != FALLBACK:
            pending += reversed(element)


def _span(cell: Element) -> int:
    """The columns that a cell covers; a hostile number counts as one."""
    span = cell.find(f"{W}tcPr/{W}gridSpan")
    value = span.get(f"{W}val", "1") if span is not None else "1"
    return int(value) if value.isascii() and value.isdecimal() and 0 < int(value) <= 63 else 1
