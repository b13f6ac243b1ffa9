"""The reader of each kind of document."""

from __future__ import annotations

from io import BytesIO

from swarm_graph.inputs import kinds
from swarm_graph.inputs.document import Unreadable
from swarm_graph.inputs.text_writer import TextWriter

EXTRA = "needs the packages of the extra documents: `pip install openpyxl 'pypdf[crypto]'`"


def read_into(writer: TextWriter, data: bytes, name: str, depth: int = 0) -> str:
    """Write a document.

    Args:
        writer: Where to.
        data: The file.
        name: Its name.
        depth: How many mails it lies in.

    Returns:
        Its kind.

    Raises:
        Unreadable: It cannot be read.
    """
    if not data:
        raise Unreadable("is empty")
    kind = kinds.kind_of(data, name)
    if note := kinds.wrong_suffix(kind, name):
        writer.note(note)
    try:
        _read(kind, data, writer, depth)
    except ModuleNotFoundError as error:
        raise Unreadable(EXTRA) from error
    if not writer.has_text and kind != kinds.TEXT:
        raise Unreadable(f"has no text ({'; '.join(writer.notes)})" if writer.notes else "has no text")
    return kind


def _read(kind: str, data: bytes, writer: TextWriter, depth: int) -> None:
    """Import the reader of a kind and call it; no other reader is loaded."""
    match kind:
        case kinds.PDF:
            from swarm_graph.inputs import pdf

            pdf.read(BytesIO(data), writer)
        case kinds.WORD:
            from swarm_graph.inputs import word

            word.read(BytesIO(data), writer)
        case kinds.EXCEL:
            from swarm_graph.inputs import excel

            excel.read(BytesIO(data), writer)
        case kinds.SLIDES:
            from swarm_graph.inputs import slides

            slides.read(BytesIO(data), writer)
        case kinds.HTML:
            from swarm_graph.inputs import html_page

            html_page.read(data, writer)
        case kinds.MAIL:
            from swarm_graph.inputs import mail

            mail.read(data, writer, depth, _read_attachment)
        case _:
            _read_text(data, writer)


def _read_attachment(data: bytes, name: str, writer: TextWriter, depth: int) -> None:
    read_into(writer, data, name, depth)


def _read_text(data: bytes, writer: TextWriter) -> None:
    from swarm_graph.inputs.encodings import decode

    decoded = decode(data)
    if decoded.assumed:
        writer.note(decoded.assumed)
    writer.paragraph(decoded.text)
