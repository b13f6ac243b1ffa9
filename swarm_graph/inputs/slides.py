"""PowerPoint files (.pptx, .pptm): titles, text, tables and notes of each slide.

The XML is read here: python-pptx would bring Pillow, lxml and XlsxWriter, 40 MB, for what takes a page.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from swarm_graph.inputs.office_file import (
    OFFICE,
    Element,
    OfficeFile,
    Relation,
    note_external,
    note_extras,
)
from swarm_graph.inputs.text_writer import TextWriter, ranges

A = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
P = "{http://schemas.openxmlformats.org/presentationml/2006/main}"
DIAGRAM = "{http://schemas.openxmlformats.org/drawingml/2006/diagram}"
TITLES = ("title", "ctrTitle")
NUMBERS = ("sldNum", "dt", "ftr", "hdr", "sldImg")
"""Placeholders of a slide's margins, which repeat on every slide."""


def read(file: BinaryIO, writer: TextWriter) -> None:
    """Write the slides in their order.

    Raises:
        Unreadable: The file is encrypted or broken, or has too many slides.
    """
    office = OfficeFile(file, writer.limits)
    note_extras(office, writer)
    main = office.main_part()
    relations = office.relations(main)
    names = [
        relations[slide.get(f"{OFFICE}id", "")].target
        for slide in office.xml(main).iter(f"{P}sldId")
        if slide.get(f"{OFFICE}id") in relations
    ]
    writer.limits.check_count(len(names), "slides", "max_pages")
    hidden = [number for number, name in enumerate(names, 1) if _slide(office, name, number, writer)]
    if hidden:
        writer.note(f"hidden slides are read, too: {ranges(hidden)}")
    if any("comments" in name for name in office.names):
        writer.note("comments on the slides are left out")


def _slide(office: OfficeFile, name: str, number: int, writer: TextWriter) -> bool:
    """Write one slide; return whether it is hidden."""
    root, relations = office.xml(name), office.relations(name)
    note_external(relations, writer)
    writer.mark("slide", str(number))
    shapes = [*_shapes(root)]
    for shape in (shape for shape in shapes if _placeholder(shape) in TITLES):
        writer.heading(1, " ".join(_lines(shape)))
    for shape in shapes:
        if _placeholder(shape) not in (*TITLES, *NUMBERS):
            _shape(office, shape, relations, writer)
    for relation in relations.values():
        if relation.kind == "notesSlide":
            _notes(office.optional(relation.target), writer)
    return root.get("show") == "0"


def _shapes(root: Element) -> Iterator[Element]:
    """The shapes of a slide, those in groups too, in the order of the file."""
    yield from (item for item in root.iter() if item.tag in (f"{P}sp", f"{P}graphicFrame"))


def _placeholder(shape: Element) -> str:
    """The kind of placeholder that a shape is; empty for other shapes."""
    found = shape.find(f"{P}nvSpPr/{P}nvPr/{P}ph")
    return found.get("type", "body") if found is not None else ""


def _shape(office: OfficeFile, shape: Element, relations: dict[str, Relation], writer: TextWriter) -> None:
    for table in shape.iter(f"{A}tbl"):
        writer.table(
            ["\n".join(_lines(cell)) for cell in row.findall(f"{A}tc")] for row in table.iter(f"{A}tr")
        )
    if shape.tag == f"{P}sp":
        writer.paragraph("\n".join(_lines(shape)))
    for diagram in shape.iter(f"{DIAGRAM}relIds"):
        relation = relations.get(diagram.get(f"{OFFICE}dm", ""))
        root = office.optional(relation.target) if relation else None
        writer.paragraph("\n".join(f"- {line}" for line in _lines(root)) if root is not None else "")


def _notes(root: Element | None, writer: TextWriter) -> None:
    shapes = _shapes(root) if root is not None else ()
    lines = [line for shape in shapes if _placeholder(shape) == "body" for line in _lines(shape)]
    if lines:
        writer.paragraph("Notes: " + "\n".join(lines))


def _lines(parent: Element) -> list[str]:
    """The paragraphs below an element, indented by their level."""
    lines = []
    for paragraph in parent.iter(f"{A}p"):
        text = "".join(_own_text(element) for element in paragraph.iter())
        level = paragraph.find(f"{A}pPr")
        depth = level.get("lvl", "0") if level is not None else "0"
        if text.strip():
            lines.append("  " * (int(depth) if depth in {*"12345678"} else 0) + text.strip())
    return lines


def _own_text(element: Element) -> str:
    return element.text or "" if element.tag == f"{A}t" else "\n" if element.tag == f"{A}br" else ""
