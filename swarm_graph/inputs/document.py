"""Document: the text of a document with its marks, and notes on what was assumed or left out."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import NamedTuple

UNITS = ("page", "sheet", "slide")
"""The kinds of marks that number the parts of a document, as in `[page 4]`."""
MAX_SHOWN = 2000
"""How many characters of a document a notebook shows."""


class Unreadable(Exception):
    """Internal: a document cannot be read; `read_document` turns it into an InputError with the file's name.

    The message follows the name: "is encrypted with a password; save it without one".
    """


class Mark(NamedTuple):
    """A place in a document's text that a finding can cite."""

    offset: int
    """Where its line begins in the text."""
    kind: str
    """page, sheet, slide, attachment or heading."""
    name: str
    """The number of a page or slide, the name of a sheet, the words of a heading."""
    level: int = 0
    """1 to 6 for a heading; 0 for the other kinds."""


@dataclass(frozen=True)
class Document:
    """A document as text.

    Attributes:
        path: The file, as it was named.
        kind: PDF, Word, Excel, PowerPoint, HTML, mail or text.
        text: The text. Lines such as `[page 4]`, `[sheet Pumps]` and `[slide 2]` mark where each part begins,
            `#` begins a heading, and tables are Markdown tables.
        notes: What was assumed (an encoding) and what was left out (pictures, macros), a line each.
        marks: The marks and headings in the text, in order.
    """

    path: str
    kind: str
    text: str
    notes: tuple[str, ...] = ()
    marks: tuple[Mark, ...] = ()

    @property
    def units(self) -> tuple[int, str]:
        """The number of pages, sheets or slides, and which of the three; (0, "") if the kind has none."""
        for unit in UNITS:
            if count := sum(mark.kind == unit for mark in self.marks):
                return count, unit
        return 0, ""

    def __repr__(self) -> str:
        count, unit = self.units
        size = f"{count} {unit}{'s' * (count != 1)}, " if count else ""
        return f"<Document {self.path!r}: {self.kind}, {size}{len(self.text):,} characters>"

    def _repr_html_(self) -> str:
        """What a notebook shows: the size, the notes and the beginning of the text."""
        notes = "".join(f"<li>{escape(note)}</li>" for note in self.notes)
        more = "…" if len(self.text) > MAX_SHOWN else ""
        return (
            f"<p>{escape(repr(self)[1:-1])}</p><ul>{notes}</ul>"
            f"<pre style='white-space: pre-wrap'>{escape(self.text[:MAX_SHOWN])}{more}</pre>"
        )
