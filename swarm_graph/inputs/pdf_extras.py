"""What a PDF file holds beside the text of its pages: values of a form, comments, links, embedded files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from swarm_graph.inputs.limits import MAX_ATTACHMENTS
from swarm_graph.inputs.text_writer import TextWriter, clean, listed, one_line, ranges
from swarm_graph.text import format_count

if TYPE_CHECKING:
    from pypdf import PageObject, PdfReader
    from pypdf.generic import DictionaryObject

TYPED, LINK, FILE = "/FreeText", "/Link", "/FileAttachment"
NO_COMMENT = {LINK, FILE, "/Widget", "/Popup"}
"""Annotations without words of their own: the values of widgets are those of the form, and a popup shows the
words of another annotation."""
MEDIA = {"/Movie", "/Sound", "/Screen", "/RichMedia", "/3D"}
PUSH_BUTTON = 1 << 16


class Notes(NamedTuple):
    """What lies on a page."""

    typed: tuple[str, ...] = ()
    """Texts that people wrote onto the page, as into a form on paper."""
    comments: tuple[str, ...] = ()
    links: int = 0
    """Links that lead out of the file."""
    files: tuple[str, ...] = ()
    """The names of embedded files, of sounds and of films."""


def page_notes(page: PageObject) -> Notes:
    """What lies on a page, in the order of the file. Nothing of it is run, followed or opened."""
    found = [*_annotations(page)]
    kinds = [(str(below(item, "/Subtype")), item) for item in found]
    return Notes(
        typed=tuple(text for kind, item in kinds if kind == TYPED and (text := _words(item))),
        comments=tuple(
            f"[comment by {_author(item)}: {one_line(text)}]"
            for kind, item in kinds
            if kind not in {*NO_COMMENT, TYPED} and (text := _words(item))
        ),
        links=sum(kind == LINK and _leads_out(item) for kind, item in kinds),
        files=tuple(_file_name(kind, item) for kind, item in kinds if kind in {FILE, *MEDIA}),
    )


def _annotations(page: DictionaryObject) -> Iterator[Any]:
    found = below(page, "/Annots")
    for item in found if isinstance(found, list) else ():
        annotation = item.get_object()
        if isinstance(annotation, dict):
            yield annotation


def _words(annotation: Any) -> str:
    words = below(annotation, "/Contents")
    return clean(words).strip() if isinstance(words, str) else ""


def _author(annotation: Any) -> str:
    return one_line(str(below(annotation, "/T") or "")) or "somebody"


def _leads_out(link: Any) -> bool:
    return below(below(link, "/A"), "/S") in ("/URI", "/Launch", "/GoToR")


def _file_name(kind: str, annotation: Any) -> str:
    file = below(annotation, "/FS")
    name = below(file, "/UF") or below(file, "/F") if isinstance(file, dict) else file
    return one_line(str(name)) if name else f"one of the kind {kind.lstrip('/')}"


def write_form(reader: PdfReader, writer: TextWriter) -> None:
    """Write the values of the form, which lie beside the pages."""
    form = below(reader.root_object, "/AcroForm")
    fields = (reader.get_fields() or {}) if form is not None else {}
    rows = [(_label(name, field), value) for name, field in fields.items() if (value := _value(field))]
    if rows:
        writer.paragraph("Form fields:")
        writer.table([("field", "value"), *rows])
    elif below(form, "/XFA") is not None:
        writer.note("it holds an XFA form, whose values are not read; print the file to a PDF to have them")
    if signed := sum(isinstance(below(field, "/V"), dict) for field in fields.values()):
        writer.note(f"{format_count(signed, 'signature')} not checked")


def _label(name: str, field: Any) -> str:
    """What a form shows as the name of a field, else the name that it has in the file."""
    return str(below(field, "/TU") or name)


def _value(field: Any) -> str:
    """The value of a text, a choice, or a box: `Yes` or whatever ticking it means, else `Off`."""
    value = below(field, "/V")
    if below(field, "/FT") == "/Btn":
        flags = below(field, "/Ff")
        is_push_button = isinstance(flags, int) and bool(flags & PUSH_BUTTON)
        return "" if value is None or is_push_button else str(value).lstrip("/")
    if isinstance(value, list):
        return ", ".join(str(item.get_object()) for item in value)
    return str(value) if isinstance(value, str) else ""


def note_extras(reader: PdfReader, notes: Sequence[Notes], writer: TextWriter) -> None:
    """Say what was read besides the text of the pages, and what was left out."""
    if pages := [number for number, note in enumerate(notes, 1) if note.comments]:
        count = format_count(sum(len(note.comments) for note in notes), "comment")
        where = f"{'page' if len(pages) == 1 else 'pages'} {ranges(pages)}"
        writer.note(f"{count}, shown at the end of {where} as [comment by …]")
    if links := sum(note.links for note in notes):
        writer.note(f"{format_count(links, 'link')} left out, but for the words")
    names = [file.name for file in islice(reader.attachment_list, MAX_ATTACHMENTS)]
    if names := [*dict.fromkeys([*names, *(name for note in notes for name in note.files)])]:
        writer.note(f"embedded files are left out: {listed(names)}")


def values(owner: Any, key: str) -> list[Any]:
    """The values of a dictionary in a dictionary of the file."""
    found = below(owner, key)
    return [value.get_object() for value in found.values()] if isinstance(found, dict) else []


def below(owner: Any, key: str) -> Any:
    """A value of a dictionary of the file; None if it is no dictionary or has no such key."""
    found = owner.get(key) if isinstance(owner, dict) else None
    return found.get_object() if found is not None else None
