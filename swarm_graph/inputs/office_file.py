"""The zip file behind a Word, Excel or PowerPoint document: its parts and their relations, within limits.

An Office file has no document type declaration, so one that has is refused: entities, which could take the
memory or name other files, never reach a parser.
"""

from __future__ import annotations

import posixpath
import zipfile
import zlib
from collections.abc import Collection
from typing import BinaryIO, NamedTuple
from xml.etree import ElementTree

from swarm_graph.inputs.document import Unreadable
from swarm_graph.inputs.limits import MAX_PARTS, MAX_RATIO, MIN_BOMB_BYTES, UNPACKED_FACTOR, Limits
from swarm_graph.inputs.text_writer import TextWriter, clean, listed
from swarm_graph.text import format_count

Element = ElementTree.Element

PACKAGE = "{http://schemas.openxmlformats.org/package/2006/relationships}"
OFFICE = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
STRICT = "http://purl.oclc.org/ooxml/"
"""The namespaces of ISO's strict variant, which we do not know."""


class Relation(NamedTuple):
    """A reference of one part."""

    kind: str
    """The last word of its type: header, image, hyperlink …"""
    target: str
    """The name of a part, or an address outside of the file."""
    is_external: bool


class OfficeFile:
    """The parts of an Office document.

    Args:
        file: The zip file.
        limits: What reading it may take.

    Raises:
        Unreadable: It is broken, encrypted, or unpacks to more than the limits allow.
    """

    def __init__(self, file: BinaryIO, limits: Limits) -> None:
        try:
            self._zip = zipfile.ZipFile(file)
        except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError) as error:
            raise _broken(error) from error
        # zipfile never unpacks more of a part than its entry says, so the entries can be trusted with that.
        self._parts = {part.filename: part for part in self._zip.infolist()}
        _check_parts(self._parts.values(), limits)

    @property
    def names(self) -> list[str]:
        """The names of all parts."""
        return [*self._parts]

    def read(self, name: str) -> bytes:
        """The bytes of a part. Raises Unreadable if they are missing or broken."""
        try:
            return self._zip.read(name)
        except (KeyError, *ZIP_ERRORS) as error:
            raise _broken(error) from error

    def xml(self, name: str) -> Element:
        """The root element of a part.

        Raises:
            Unreadable: It is missing or broken, or declares a document type.
        """
        parser = ElementTree.XMLParser(target=_NoDoctype())
        try:
            with self._zip.open(name) as part:
                while block := part.read(1 << 16):
                    parser.feed(block)
            root: Element = parser.close()
        except (KeyError, ElementTree.ParseError, *ZIP_ERRORS) as error:
            raise _broken(error) from error
        if STRICT in root.tag:
            raise Unreadable("is a 'Strict Open XML' file; save it as a normal one (.docx, .xlsx, .pptx)")
        return root

    def optional(self, name: str) -> Element | None:
        """The root element of a part, or None if there is no such part."""
        return self.xml(name) if name in self._parts else None

    def relations(self, name: str) -> dict[str, Relation]:
        """The references of a part, by the id that it uses."""
        folder, base = posixpath.split(name)
        root = self.optional(posixpath.join(folder, "_rels", f"{base}.rels"))
        found = {}
        for item in root.iter(f"{PACKAGE}Relationship") if root is not None else ():
            external = item.get("TargetMode") == "External"
            target = item.get("Target", "")
            if not external:
                target = posixpath.normpath(posixpath.join("/", folder, target)).lstrip("/")
            kind = item.get("Type", "").rpartition("/")[2]
            found[item.get("Id", "")] = Relation(kind, target, external)
        return found

    def main_part(self) -> str:
        """The name of the part that the document begins with. Raises Unreadable if there is none."""
        for relation in self.relations("").values():
            if relation.kind == "officeDocument" and relation.target in self._parts:
                return relation.target
        raise Unreadable("is broken: it names no document; open it in its program and save it again")

    def check_declarations(self) -> None:
        """Check that no part of XML declares a document type, for a library that parses them itself.

        Raises:
            Unreadable: One does.
        """
        for name in self._parts:
            if name.endswith((".xml", ".rels", ".vml")):
                self._check_declaration(name)

    def _check_declaration(self, name: str) -> None:
        """Only what stands before the root element can declare anything."""
        from xml.parsers import expat

        parser = expat.ParserCreate()
        parser.StartDoctypeDeclHandler = _refuse_doctype
        parser.StartElementHandler = _end_of_prolog
        try:
            with self._zip.open(name) as part:
                while block := part.read(1 << 12):
                    parser.Parse(block, False)
        except _PrologEnded:
            return
        except (KeyError, expat.ExpatError, *ZIP_ERRORS) as error:
            raise _broken(error) from error


ZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    OSError,
    ValueError,
)
"""What zipfile raises for a broken, unknown or encrypted part."""


class _PrologEnded(Exception):
    pass


def _end_of_prolog(*_: object) -> None:
    raise _PrologEnded


def _refuse_doctype(*_: object) -> None:
    raise Unreadable(
        "declares XML entities, which no Office program writes; open it in its program and save it again"
    )


class _NoDoctype(ElementTree.TreeBuilder):
    def doctype(self, name: str, public: str, system: str) -> None:
        """The parser calls this before it reads what the type declares."""
        _refuse_doctype()


def _check_parts(entries: Collection[zipfile.ZipInfo], limits: Limits) -> None:
    if len(entries) > MAX_PARTS:
        raise Unreadable(f"has {len(entries):,} parts, more than any document (at most {MAX_PARTS:,})")
    if any(entry.flag_bits & 1 for entry in entries):
        raise Unreadable("is encrypted with a password; save it without one")
    total = sum(entry.file_size for entry in entries)
    if total > UNPACKED_FACTOR * limits.max_bytes:
        raise Unreadable(
            f"unpacks to {total / 1e6:,.0f} MB, more than {UNPACKED_FACTOR} times documents.max_megabytes "
            f"({limits.max_megabytes:g}); raise it if you trust the file"
        )
    for entry in entries:
        if entry.file_size > MIN_BOMB_BYTES and entry.file_size > MAX_RATIO * entry.compress_size:
            raise Unreadable(
                f"is a zip bomb: '{clean(entry.filename)[:60]}' unpacks to {entry.file_size / 1e6:,.0f} MB, "
                f"{entry.file_size // max(entry.compress_size, 1):,} times its size"
            )


def _broken(error: Exception) -> Unreadable:
    reason = "a part is missing" if isinstance(error, KeyError) else clean(str(error))[:100]
    return Unreadable(f"is broken ({reason}); open it in its program and save it again")


def note_extras(file: OfficeFile, writer: TextWriter) -> None:
    """Note what a document holds besides its text: macros, embedded files, pictures. None of it is used."""
    folders = [name.split("/") for name in file.names]
    if any(name[-1].lower().startswith("vbaproject.") for name in folders):
        writer.note("macros are left out")
    if embedded := [name[-1] for name in folders if "embeddings" in name[:-1]]:
        writer.note(f"embedded files are left out: {listed(embedded)}")
    if any("activex" in map(str.lower, name[:-1]) for name in folders):
        writer.note("ActiveX controls are left out")
    if pictures := sum("media" in name[:-1] for name in folders):
        writer.note(f"{format_count(pictures, 'picture')} left out")
    if charts := sum(name[-2:-1] == ["charts"] and name[-1].startswith("chart") for name in folders):
        writer.note(f"{format_count(charts, 'chart')} left out")


def note_external(relations: dict[str, Relation], writer: TextWriter) -> None:
    """Note the references of a part to places outside of the file; nothing is fetched."""
    outside = [relation for relation in relations.values() if relation.is_external]
    if links := sum(relation.kind == "hyperlink" for relation in outside):
        writer.note(f"{format_count(links, 'link')} left out, but for the words")
    if others := [relation.target for relation in outside if relation.kind != "hyperlink"]:
        writer.note(f"linked files are not fetched: {listed(others)}")
