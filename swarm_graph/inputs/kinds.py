"""The kind of a document: by its content first, then by its suffix."""

from __future__ import annotations

import re
import zipfile
from io import BytesIO
from pathlib import PurePath

from swarm_graph.inputs.document import Unreadable

PDF, WORD, EXCEL, SLIDES = "PDF", "Word", "Excel", "PowerPoint"
HTML, MAIL, TEXT = "HTML", "mail", "text"
_WITH_SIGNATURE = (PDF, WORD, EXCEL, SLIDES)

SUFFIXES = {
    ".pdf": PDF,
    ".docx": WORD, ".docm": WORD, ".dotx": WORD, ".dotm": WORD,
    ".xlsx": EXCEL, ".xlsm": EXCEL, ".xltx": EXCEL, ".xltm": EXCEL,
    ".pptx": SLIDES, ".pptm": SLIDES, ".ppsx": SLIDES, ".ppsm": SLIDES, ".potx": SLIDES,
    ".html": HTML, ".htm": HTML, ".xhtml": HTML,
    ".eml": MAIL, ".mht": MAIL, ".mhtml": MAIL,
}  # fmt: skip
"""The kinds of documents that are read, by suffix."""

TABLES, JSON_LINES = (".csv", ".tsv"), (".jsonl", ".ndjson")
"""The suffixes of files whose lines are rows."""

CURES = {
    ".doc": "save it as .docx",
    ".xls": "save it as .xlsx",
    ".xlsb": "save it as .xlsx",
    ".ppt": "save it as .pptx",
    ".odt": "save it as .docx",
    ".ods": "save it as .xlsx",
    ".odp": "save it as .pptx",
    ".rtf": "save it as .docx",
    ".pages": "export it as PDF or Word",
    ".numbers": "export it as PDF or Excel",
    ".key": "export it as PDF or PowerPoint",
    ".msg": "save it as .eml",
    ".epub": "convert it to PDF or HTML",
}
"""The cure for each kind of document that is not read."""

_PICTURES = (b"\x89PNG\r\n", b"\xff\xd8\xff", b"GIF8", b"II*\0", b"MM\0*", b"BM")
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_IN_OLE = (
    ("EncryptedPackage", "is encrypted with a password; save it without one"),
    ("WordDocument", "is an old Word file (.doc); save it as .docx"),
    ("Workbook", "is an old Excel file (.xls); save it as .xlsx"),
    ("PowerPoint Document", "is an old PowerPoint file (.ppt); save it as .pptx"),
    ("__properties_version1.0", "is a mail of Outlook (.msg); save it as .eml"),
)
_IN_ZIP = {"word/": WORD, "xl/": EXCEL, "ppt/": SLIDES}
_HTML = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html)\b", re.I | re.S
)
_MAIL = re.compile(
    rb"(?:From|To|Received|Return-Path|Delivered-To|DKIM-Signature|Message-ID|MIME-Version|Date|Subject"
    rb"|Content-Type|X-[\w-]+): ?",
    re.IGNORECASE,
)
HEAD_BYTES = 4096
"""The bytes at the beginning of a file that say what it is."""


def suffix_of(name: str) -> str:
    """The suffix of a file's name in lower case, such as ".pdf"."""
    return PurePath(name).suffix.lower()


def is_text(head: bytes, name: str) -> bool:
    """Whether a file is read as plain text: neither its first bytes nor its name say anything else."""
    suffix = suffix_of(name)
    return not _is_binary(head) and suffix not in SUFFIXES and suffix not in CURES


def is_html(head: bytes, name: str) -> bool:
    """Whether a file is an HTML page by its name, and no other document by its first bytes."""
    return not _is_binary(head) and SUFFIXES.get(suffix_of(name)) == HTML


def _is_binary(head: bytes) -> bool:
    return head.startswith((b"%PDF-", *_ZIP, _OLE, b"{\\rtf", *_PICTURES))


def kind_of(data: bytes, name: str) -> str:
    """The kind of a document.

    Args:
        data: The whole file.
        name: Its name.

    Raises:
        Unreadable: It cannot be read as a document; the message names the cure.
    """
    suffix, head = suffix_of(name), data[:HEAD_BYTES]
    if head.startswith(b"%PDF-") or (suffix == ".pdf" and b"%PDF-" in head):
        return PDF
    if head.startswith(_ZIP):
        return _of_zip(data, suffix)
    if head.startswith(_OLE):
        raise _of_ole(data)
    if head.startswith(b"{\\rtf"):
        raise Unreadable("is an RTF file; save it as .docx")
    if head.startswith(_PICTURES):
        raise Unreadable("is a picture; run OCR first")
    return _of_text(head, suffix)


def _of_text(head: bytes, suffix: str) -> str:
    """The kind of a file without a binary signature: HTML and mail have other names, too."""
    kind = SUFFIXES.get(suffix, TEXT)
    if kind not in _WITH_SIGNATURE and suffix not in CURES:
        return kind
    if _HTML.match(head):
        return HTML
    if _MAIL.match(head):
        return MAIL
    if kind == TEXT:
        raise Unreadable(f"is a {suffix} file, which cannot be read; {CURES[suffix]}")
    raise Unreadable(f"is no {kind} file, as its name says; give it its right name, or save it again")


def _of_zip(data: bytes, suffix: str) -> str:
    try:
        names = zipfile.ZipFile(BytesIO(data)).namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        kind = SUFFIXES.get(suffix, "zip")
        raise Unreadable(f"is broken: it is no whole {kind} file; copy or save it again") from error
    if "[Content_Types].xml" in names:
        for folder, kind in _IN_ZIP.items():
            if any(name.startswith(folder) for name in names):
                return _of_office(kind, names)
    if suffix in CURES:
        raise Unreadable(f"is a {suffix} file, which cannot be read; {CURES[suffix]}")
    if "mimetype" in names or any(name.endswith(".iwa") for name in names):
        raise Unreadable("is a document of another program; export it as PDF, Word or Excel")
    raise Unreadable("is a zip archive; unpack it and name the files in it")


def _of_office(kind: str, names: list[str]) -> str:
    if kind == EXCEL and "xl/workbook.bin" in names:
        raise Unreadable("is a binary Excel file (.xlsb); save it as .xlsx")
    return kind


def _of_ole(data: bytes) -> Unreadable:
    for name, message in _IN_OLE:
        if name.encode("utf-16-le") in data:
            return Unreadable(message)
    return Unreadable("is a document of an old program; save it as PDF, Word or Excel")


def wrong_suffix(kind: str, name: str) -> str:
    """A note for a file whose suffix does not match its content; empty if it does."""
    suffix = suffix_of(name)
    says = SUFFIXES.get(suffix)
    if kind == TEXT or says == kind or (not says and not suffix):
        return ""
    return f"its name ends with '{suffix}', but its content is {kind}"
