"""Documents for tests: as programs write them, and as people and attackers break them."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path

W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
CONTENT_TYPES = "http://schemas.openxmlformats.org/package/2006/content-types"
PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"
XML = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>'
LAUGHS = (
    '<!DOCTYPE w [<!ENTITY a "ha">'
    + "".join(f'<!ENTITY {new} "{f"&{old};" * 10}">' for old, new in zip("abcdefgh", "bcdefghi", strict=True))
    + "]>"
)
"""Entities that expand to 200 MB."""


def pdf(path: Path, pages: Sequence[Sequence[str]], *, picture_on: Sequence[int] = ()) -> Path:
    """A PDF by reportlab: the lines of each page, and a picture on some pages, counted from 1."""
    from reportlab.lib.utils import ImageReader
    from reportlab.pdfgen.canvas import Canvas

    canvas = Canvas(str(path))
    for number, lines in enumerate(pages, 1):
        for at, line in enumerate(lines):
            canvas.drawString(72, 760 - 16 * at, line)
        if number in picture_on:
            canvas.drawImage(ImageReader(BytesIO(png())), 72, 100, 200, 200)
        canvas.showPage()
    canvas.save()
    return path


def png() -> bytes:
    """A small picture."""
    from PIL import Image

    data = BytesIO()
    Image.new("RGB", (8, 8), "red").save(data, "PNG")
    return data.getvalue()


def pdf_of(text: str) -> bytes:
    """A PDF of one line in any script. Its font has no shapes, but says which characters it means."""
    letters = sorted(set(text))
    codes = {letter: number for number, letter in enumerate(letters, 1)}
    shown = "".join(f"{codes[letter]:04x}" for letter in text)
    rows = "\n".join(f"<{codes[letter]:04x}> <{letter.encode('utf-16-be').hex()}>" for letter in letters)
    cmap = (
        "/CIDInit /ProcSet findresource begin 12 dict begin begincmap\n"
        "1 begincodespacerange <0000> <ffff> endcodespacerange\n"
        f"{len(letters)} beginbfchar\n{rows}\nendbfchar\nendcmap end end"
    )
    return raw_pdf(
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R "
        "/Resources << /Font << /F 5 0 R >> >> >>",
        stream(f"BT /F 12 Tf 72 700 Td <{shown}> Tj ET".encode()),
        "<< /Type /Font /Subtype /Type0 /BaseFont /Any /Encoding /Identity-H /ToUnicode 6 0 R "
        "/DescendantFonts [<< /Type /Font /Subtype /CIDFontType2 /BaseFont /Any /DW 500 "
        "/CIDSystemInfo << /Registry (Adobe) /Ordering (Identity) /Supplement 0 >> >>] >>",
        stream(cmap.encode()),
    )


def stream(data: bytes, *, packed: bool = False) -> bytes:
    """A stream object, compressed or not."""
    data = zlib.compress(data, 9) if packed else data
    kind = "/Filter /FlateDecode " if packed else ""
    return f"<< {kind}/Length {len(data)} >>\nstream\n".encode() + data + b"\nendstream"


def raw_pdf(*objects: str | bytes) -> bytes:
    """A PDF file of these objects, numbered from 1; the first is the catalogue."""
    data, places = b"%PDF-1.7\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(data))
        body = content if isinstance(content, bytes) else content.encode()
        data += f"{number} 0 obj\n".encode() + body + b"\nendobj\n"
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    count = len(objects) + 1
    end = f"xref\n0 {count}\n0000000000 65535 f \n{table}trailer << /Root 1 0 R /Size {count} >>\n"
    return data + f"{end}startxref\n{len(data)}\n%%EOF".encode()


def word(path: Path, body: str, parts: Mapping[str, str] | None = None, *, prolog: str = "") -> Path:
    """A Word file with this body, and parts such as `footnotes` with their XML.

    Args:
        path: Where to.
        body: What stands in `w:body`.
        parts: The name of each other part (without .xml) to what stands in its root element.
        prolog: What stands before the root element of the body.
    """
    parts = parts or {}
    document = (
        f'{XML}{prolog}<w:document xmlns:w="{W}" xmlns:r="{RELATIONS}"><w:body>{body}</w:body></w:document>'
    )
    files = {"word/document.xml": document, "word/_rels/document.xml.rels": _relations(parts)}
    for name, content in parts.items():
        root = name.rstrip("0123456789")
        files[f"word/{name}.xml"] = f'{XML}<w:{root} xmlns:w="{W}" xmlns:r="{RELATIONS}">{content}</w:{root}>'
    return office(path, "word/document.xml", files)


def _relations(parts: Mapping[str, str]) -> str:
    rows = (
        f'<Relationship Id="r{number}" Type="{RELATIONS}/{name.rstrip("0123456789")}" Target="{name}.xml"/>'
        for number, name in enumerate(parts)
    )
    return f'{XML}<Relationships xmlns="{PACKAGE}">{"".join(rows)}</Relationships>'


def office(path: Path, main: str, files: Mapping[str, str | bytes]) -> Path:
    """An Office file of these parts."""
    target = f'<Relationship Id="r1" Type="{RELATIONS}/officeDocument" Target="{main}"/>'
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as package:
        package.writestr("[Content_Types].xml", f'{XML}<Types xmlns="{CONTENT_TYPES}"/>')
        package.writestr("_rels/.rels", f'{XML}<Relationships xmlns="{PACKAGE}">{target}</Relationships>')
        for name, content in files.items():
            package.writestr(name, content)
    return path


def with_parts(path: Path, parts: Mapping[str, bytes]) -> Path:
    """Add parts to a zip file, or replace them."""
    with zipfile.ZipFile(path) as old:
        files = {name: old.read(name) for name in old.namelist()} | {**parts}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name, content in files.items():
            new.writestr(name, content)
    return path


def paragraph(text: str, properties: str = "") -> str:
    """A paragraph of a Word file."""
    return f'<w:p><w:pPr>{properties}</w:pPr><w:r><w:t xml:space="preserve">{text}</w:t></w:r></w:p>'
