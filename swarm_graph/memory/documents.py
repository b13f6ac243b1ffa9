"""The documents in memory: what is kept of each, and the files from which they are read."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from glob import escape
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any, NamedTuple, Self

from swarm_graph.errors import InputError
from swarm_graph.inputs.find_files import Inputs, LeftOut, find_inputs, shown
from swarm_graph.inputs.read_document import read_document
from swarm_graph.memory.cut_passages import CutPassage, passages_of
from swarm_graph.memory.namespaces import ID_DIGITS
from swarm_graph.settings import DocumentSettings
from swarm_graph.text import in_one_line

MAX_TIME = 1e11
"""A later time, in seconds since the epoch, is none."""
MAX_PASSAGES = 1_000_000
"""Passages of a document; a record that claims more is damaged."""


@dataclass(frozen=True)
class StoredDocument:
    """A document in memory.

    Attributes:
        id: What `show` and `forget` take: ten hexadecimal digits of its collection and source.
        collection: Its collection.
        source: Its name in citations: the path below the folder that was added, or the name of the file.
        path: Where its file lies; empty for an imported document.
        sha256: The hash of its file.
        kind: PDF, Word, Excel, PowerPoint, HTML, mail or text.
        passages: How many passages it has.
        notes: What was assumed or left out when it was read.
        read_at: When it was read, in seconds since the epoch.
        edited: The numbers of the passages that a person has corrected.
        imported_from: The file from which it was imported; empty if its own file was read.
    """

    id: str
    collection: str
    source: str
    path: str
    sha256: str
    kind: str
    passages: int
    notes: tuple[str, ...] = ()
    read_at: float = 0.0
    edited: tuple[int, ...] = ()
    imported_from: str = ""

    def to_value(self) -> dict[str, Any]:
        """It as the value of an item in a LangGraph store; the item's namespace and key name the rest."""
        value = asdict(self) | {"notes": [*self.notes], "edited": [*self.edited]}
        return {name: one for name, one in value.items() if name not in ("id", "collection")}

    @classmethod
    def of_value(cls, id: str, collection: str, value: Mapping[str, Any]) -> Self:
        """It from such a value. The database may come from elsewhere: what cannot be right is empty."""
        texts = {name: _text(value, name) for name in ("source", "path", "sha256", "kind", "imported_from")}
        count = value.get("passages")
        return cls(
            id=id,
            collection=collection,
            passages=count if isinstance(count, int) and 0 <= count <= MAX_PASSAGES else 0,
            notes=tuple(in_one_line(note) for note in _list(value, "notes") if isinstance(note, str)),
            read_at=as_time(value.get("read_at")),
            edited=tuple(number for number in _list(value, "edited") if isinstance(number, int)),
            **texts,
        )

    def with_edited(self, number: int) -> Self:
        """It after a person has corrected a passage."""
        return replace(self, edited=tuple(sorted({*self.edited, number})))


def as_time(value: Any) -> float:
    """A time in seconds since the epoch; 0 for what is none."""
    return float(value) if isinstance(value, int | float) and 0 <= value < MAX_TIME else 0.0


def _text(value: Mapping[str, Any], name: str) -> str:
    found = value.get(name)
    return found if isinstance(found, str) else ""


def _list(value: Mapping[str, Any], name: str) -> list[Any]:
    found = value.get(name)
    return found if isinstance(found, list) else []


def document_id(collection: str, source: str) -> str:
    """The id of a document."""
    return sha256(f"{collection}\0{source}".encode()).hexdigest()[:ID_DIGITS]


def passage_key(document: str, number: int) -> str:
    """The key of a passage in its collection; people write `DOCUMENT/NUMBER`."""
    return f"{document}/{number:04d}"


def _one_line(name: str) -> str:
    """A file's name as citations, tables and exports can hold it: a newline in it is a space."""
    return "".join(letter if letter.isprintable() else " " for letter in shown(name))


class Sources:
    """The documents of a collection by path and by source, so that each file has a source of its own."""

    def __init__(self, documents: Iterable[StoredDocument]) -> None:
        self._by_path: dict[str, StoredDocument] = {}
        self._by_source: dict[str, StoredDocument] = {}
        for document in documents:
            self.add(document)

    def add(self, document: StoredDocument) -> None:
        """Add a document, or replace it."""
        self._by_source[document.source] = document
        if document.path:
            self._by_path[document.path] = document

    def at(self, path: str) -> StoredDocument | None:
        """The document that was read from a file."""
        return self._by_path.get(path)

    def of(self, file: FoundFile) -> tuple[str, StoredDocument | None]:
        """The source of a file, and the document that it has been; None for a new one.

        A name that another file has is told apart by the folders above it. An imported document has no file
        yet: a file of its name takes its place.
        """
        if known := self.at(str(file.path)):
            return known.source, known
        parts = file.path.parts
        for length in range(len(file.relative.parts), len(parts) + 1):
            source = _one_line(Path(*parts[-length:]).as_posix())
            taken = self._by_source.get(source)
            if taken is None or not taken.path:
                return source, taken
        raise InputError(
            f"no source is free for the file '{file.path}'; forget a document of this name first"
        )

    def gone_below(self, folder: Path) -> Iterator[StoredDocument]:
        """The documents that were read from files of a folder that no longer exist."""
        for path, document in self._by_path.items():
            if Path(path).is_relative_to(folder) and _is_gone(path):
                yield document


def _is_gone(path: str) -> bool:
    """Whether there is no such file. One that may not be looked at is not gone."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):
        return False
    return False


class FoundFile(NamedTuple):
    """A file to read."""

    path: Path
    """Absolute, as it was named: links are not resolved."""
    relative: Path
    """Its path below the folder that was named; of a file that was named itself, its name."""
    given: Path
    """Its path for messages: as it was named, or below the folder as that was named."""


class FoundFiles(NamedTuple):
    """The files that names, folders and patterns stand for."""

    files: list[FoundFile]
    folders: list[Path]
    """The folders that were walked, absolute."""
    left_out: list[LeftOut]
    problems: list[tuple[str, str]]
    """The names for which there is no file, and why."""

    @property
    def note(self) -> str:
        """One line that counts and names what was left out; empty if nothing was."""
        return Inputs([], self.left_out).note


def find_documents(names: Iterable[str | os.PathLike[str]], own: Collection[Path] = ()) -> FoundFiles:
    """The files of all names, each once. Folders are walked; hidden and linked folders are not entered.

    Args:
        names: Files, folders, and patterns such as `docs/*.md`.
        own: The files of our own database, which are left out.
    """
    found = FoundFiles([], [], [], [])
    taken: set[Path] = set()
    for name in [os.fspath(name) for name in names]:
        folder = _absolute(name) if os.path.isdir(name) else None  # noqa: PTH112 - no error for any name
        try:
            inputs = find_inputs([str(Path(escape(name), "**", "*")) if folder else name])
        except InputError as error:
            found.problems.append((shown(name), str(error)))
            continue
        if folder:
            found.folders.append(folder)
        found.left_out.extend(inputs.left_out)
        for file in _files(inputs, folder):
            if kind := _left_out(file, folder, own):
                found.left_out.append(LeftOut(kind, shown(file.given)))
            elif file.path not in taken:
                taken.add(file.path)
                found.files.append(file)
    return found


def _files(inputs: Inputs, folder: Path | None) -> Iterator[FoundFile]:
    for given in inputs.files:
        path = _absolute(given)
        yield FoundFile(path, path.relative_to(folder) if folder else Path(path.name), given)


def _absolute(path: str | Path) -> Path:
    """A path from the root, without `..`. Links stay: a file keeps the name by which a person knows it."""
    return Path(os.path.abspath(path))  # noqa: PTH100


def _left_out(file: FoundFile, folder: Path | None, own: Collection[Path]) -> str:
    """Why a file is left out; empty if it is not."""
    target = file.path.resolve()
    if target in own:
        return "own database file"
    return "outside link" if folder and not target.is_relative_to(folder.resolve()) else ""


class ReadFile(NamedTuple):
    """A file, read as passages unless it has not changed."""

    sha256: str
    kind: str = ""
    notes: tuple[str, ...] = ()
    passages: Sequence[CutPassage] = ()


def read_file(file: FoundFile, known: StoredDocument | None, limits: DocumentSettings) -> ReadFile:
    """Read a file, and cut it into passages; an unchanged one has none.

    Args:
        file: The file.
        known: The document that was read from it before.
        limits: The limits of reading a document.

    Raises:
        InputError: It cannot be read, or has no text.
    """
    sha256 = _digest(file, limits)
    if known and known.sha256 == sha256:
        return ReadFile(sha256)
    document = read_document(file.given, limits)
    passages = passages_of(file.path.stem, document.text)
    if not passages:
        why = "; ".join(document.notes) or "it has no text"
        raise InputError(f"'{shown(file.given)}' holds nothing to remember: {why}")
    return ReadFile(sha256, document.kind, document.notes, passages)


def _digest(file: FoundFile, limits: DocumentSettings) -> str:
    """The hash of a file; empty if it is too large to be read anyway."""
    try:
        with file.path.open("rb") as opened:
            if os.fstat(opened.fileno()).st_size > limits.max_megabytes * 1e6:
                return ""
            return file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"cannot read the input file '{shown(file.given)}': {error.strerror}") from error
