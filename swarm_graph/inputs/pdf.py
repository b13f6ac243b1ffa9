"""PDF files: page by page, by pypdf."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from swarm_graph.inputs.document import Unreadable
from swarm_graph.inputs.pdf_extras import Notes, below, note_extras, page_notes, values, write_form
from swarm_graph.inputs.text_writer import TextWriter, clean, listed, ranges
from swarm_graph.text import format_count

if TYPE_CHECKING:
    from pypdf import PageObject, PdfReader
    from pypdf.generic import DictionaryObject

_LIGATURES = str.maketrans({"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st"})
_SOFT_BREAK = re.compile("\u00ad[ \t]*\n?")
_UNKNOWN = re.compile(r"[\ufffd\ue000-\uf8ff]|/(?:g|G|cid|C)\d+|\(cid:\d+\)")
MAX_UNKNOWN = 0.3
"""A page with a larger share of characters without a meaning counts as unreadable."""
NEEDS_FONT_TOOLS = "fontTools is required"
"""How pypdf says that a font holds its characters as CFF alone. The package would take 31 MB."""
MAX_FORM_DEPTH = 5
"""Forms within forms that are searched for pictures."""
MAX_FAULTS = 100
"""Faults of a file that are counted."""
PAGES_CACHED = 16
"""Pages after which pypdf's cache is emptied: a long file takes no more memory than a short one."""


_FAULTS = (ArithmeticError, AttributeError, LookupError, NotImplementedError, TypeError, ValueError)
"""Exceptions that pypdf raises for broken files, besides its own."""


class _Page(NamedTuple):
    text: str
    has_picture: bool
    comments: tuple[str, ...]


class _Faults(logging.Handler):
    """The faults that pypdf found in a file and ignored."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []
        self.unread_fonts = False

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()[:100]
        if message.startswith(NEEDS_FONT_TOOLS):  # no fault of the file
            self.unread_fonts = True
        elif len(self.messages) < MAX_FAULTS and message not in self.messages:
            self.messages.append(message)

    def note(self, writer: TextWriter) -> None:
        """Say what they mean for the text."""
        if self.messages:
            writer.note(f"the file has faults, so text may be missing: {listed(self.messages, 2)}")
        if self.unread_fonts:
            writer.note("a font does not say in the usual way which characters it shows: some may be wrong")


def read(file: BinaryIO, writer: TextWriter) -> None:
    """Write the pages of a PDF file.

    Raises:
        Unreadable: The file is encrypted or broken, has too many pages, or has no text.
    """
    from pypdf.errors import DependencyError, LimitReachedError, PyPdfError

    faults = _Faults()
    logging.getLogger("pypdf").addHandler(faults)
    try:
        pages = [*_pages(file, writer)]
    except DependencyError as error:
        raise Unreadable(f"needs another package: {clean(str(error))}") from error
    except LimitReachedError as error:
        raise Unreadable(f"takes too much to read, as only bombs do ({clean(str(error))[:100]})") from error
    except (PyPdfError, *_FAULTS) as error:
        raise Unreadable(
            f"is broken ({clean(str(error))[:100]}); open it in a PDF viewer and save it again"
        ) from error
    finally:
        logging.getLogger("pypdf").removeHandler(faults)
    if not _has_text(writer, pages):
        raise _no_text(pages)
    faults.note(writer)
    _note_pages(writer, pages)
    for number, page in enumerate(pages, 1):
        writer.mark("page", str(number))
        writer.paragraph(page.text)
        writer.paragraph("\n".join(page.comments))


def _pages(file: BinaryIO, writer: TextWriter) -> Iterator[_Page]:
    import pypdf

    reader = pypdf.PdfReader(file)
    _decrypt(reader, writer)
    count = len(reader.pages)
    writer.limits.check_count(count, "pages", "max_pages")
    write_form(reader, writer)
    size, notes = 0, list[Notes]()
    for number in range(count):
        page = reader.pages[number]
        notes.append(page_notes(page))
        text = "\n\n".join(filter(None, (_page_text(page), *notes[-1].typed)))
        yield _Page(text, _has_picture(page), notes[-1].comments)
        writer.limits.check_text(size := size + len(text) + sum(map(len, notes[-1].comments)))
        if number % PAGES_CACHED == 0:
            reader.resolved_objects.clear()
    note_extras(reader, notes, writer)


def _decrypt(reader: PdfReader, writer: TextWriter) -> None:
    if not reader.is_encrypted:
        return
    if not reader.decrypt(""):
        raise Unreadable(
            "is encrypted with a password; save it without one, as with "
            "`qpdf --decrypt --password=PASSWORD IN.pdf OUT.pdf`"
        )
    writer.note("it is encrypted, but opens without a password")


def _page_text(page: PageObject) -> str:
    text = _SOFT_BREAK.sub("", page.extract_text().translate(_LIGATURES))
    return "\n".join(line.rstrip() for line in clean(text).splitlines()).strip()


def _has_picture(page: DictionaryObject, depth: int = 0) -> bool:
    """Whether a page shows a picture, or a form on it does; none is decoded."""
    for drawing in values(below(page, "/Resources"), "/XObject"):
        if below(drawing, "/Subtype") == "/Image":
            return True
        if depth < MAX_FORM_DEPTH and _has_picture(drawing, depth + 1):
            return True
    return False


def _has_text(writer: TextWriter, pages: list[_Page]) -> bool:
    """Whether there is text. Comments on a scan and a form beside it do not make it readable."""
    if any(page.text for page in pages):
        return True
    is_scan = any(page.has_picture for page in pages)
    return not is_scan and (writer.has_text or any(page.comments for page in pages))


def _no_text(pages: list[_Page]) -> Unreadable:
    pictures = sum(page.has_picture for page in pages)
    if not pictures:
        return Unreadable(f"has no text: {format_count(len(pages), 'page')}, all empty")
    which = f"{pictures} pages are pictures" if pictures > 1 else "1 page is a picture"
    return Unreadable(f"has no text: {which}; run OCR first, as with `ocrmypdf IN.pdf OUT.pdf`")


def _note_pages(writer: TextWriter, pages: list[_Page]) -> None:
    """Say which pages are missing from the text, in whole or in part."""
    numbered = [*enumerate(pages, 1)]
    kinds = {
        "only pictures, which are not read; OCR would read them": [
            number for number, page in numbered if page.has_picture and not page.text
        ],
        "neither text nor pictures": [
            number for number, page in numbered if not page.has_picture and not page.text
        ],
        "pictures beside the text, which are not read": [
            number for number, page in numbered if page.has_picture and page.text
        ],
        "characters that the file does not map to text; OCR would read them": [
            number for number, page in numbered if _is_unknown(page.text)
        ],
    }
    for what, found in kinds.items():
        if found:
            writer.note(f"{'page' if len(found) == 1 else 'pages'} {ranges(found)}: {what}")


def _is_unknown(text: str) -> bool:
    unknown = sum(len(match) for match in _UNKNOWN.findall(text))
    return unknown > MAX_UNKNOWN * len("".join(text.split()))
