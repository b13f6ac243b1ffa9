"""Adds documents to memory and brings them up to date; a document is one batch of the store."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from langgraph.store.base import GetOp, Op, PutOp

from swarm_graph.errors import InputError
from swarm_graph.memory.cut_passages import CutPassage
from swarm_graph.memory.documents import (
    FoundFile,
    FoundFiles,
    ReadFile,
    Sources,
    StoredDocument,
    document_id,
    find_documents,
    passage_key,
    read_file,
)
from swarm_graph.memory.namespaces import DOCUMENTS, KNOWLEDGE
from swarm_graph.memory.passage import Passage
from swarm_graph.memory.reading import documents
from swarm_graph.memory.work import Work
from swarm_graph.settings import DocumentSettings
from swarm_graph.text import format_count

READERS = min(os.cpu_count() or 1, 8)
"""Files that are read at once."""
MAX_COLLECTION = 64
"""Characters of the name of a collection."""


class AddedDocument(NamedTuple):
    """What has become of a document that was to be added or imported."""

    source: str
    """Its name in citations; of a file that could not be read, the file as it was named."""
    id: str
    """Its id; empty for a file that could not be read."""
    status: str
    """added, changed, renamed, unchanged, removed, kept (it is newer than the imported one), or failed; or
    "left out" for the note on all files that were left out."""
    passages: int = 0
    note: str = ""
    """What was assumed, left out or replaced, or what failed; empty if there is nothing to say."""


Report = Callable[[AddedDocument], None]


def check_collection(collection: str) -> None:
    """Raises InputError for a name that no collection can have."""
    if not (0 < len(collection) <= MAX_COLLECTION and collection.isprintable()) or "." in collection:
        raise InputError(
            f"the name of a collection {collection[:MAX_COLLECTION]!r} is not allowed; expected 1 to "
            f"{MAX_COLLECTION} characters without a dot, as in plant"
        )


def add(
    names: Sequence[str | os.PathLike[str]],
    collection: str,
    limits: DocumentSettings,
    own: frozenset[Path],
    report: Report,
) -> Work[list[AddedDocument]]:
    """Add documents; see `SwarmMemory.add`."""
    check_collection(collection)
    sources = Sources((yield from documents(collection)))
    found: FoundFiles = yield partial(find_documents, names, own)
    gone = {document.id: document for folder in found.folders for document in sources.gone_below(folder)}
    done: list[AddedDocument] = []

    def tell(added: AddedDocument) -> None:
        done.append(added)
        report(added)

    for name, problem in found.problems:
        tell(_failed(name, problem, sources.at(os.path.abspath(name))))  # noqa: PTH100
    with closing(_reading(found.files, sources, limits)) as reading:
        for file, read in reading:
            tell((yield from _add_file(file, read, collection, sources, gone)))
    for document in gone.values():
        yield deletion(document)
        note = "its file no longer exists"
        tell(AddedDocument(document.source, document.id, "removed", document.passages, note))
    if found.left_out:
        tell(AddedDocument("", "", "left out", note=found.note))
    return done


def _failed(name: str, problem: str, known: StoredDocument | None) -> AddedDocument:
    stays = f"; what was read of it before stays, `memory forget {known.id}` removes it" if known else ""
    return AddedDocument(name, "", "failed", note=problem + stays)


def _reading(
    files: Iterable[FoundFile], sources: Sources, limits: DocumentSettings
) -> Generator[tuple[FoundFile, Future[ReadFile]]]:
    """Read files in their order, some ahead: a reader is a process of its own."""
    pool = ThreadPoolExecutor(READERS)
    waiting = deque[tuple[FoundFile, Future[ReadFile]]]()
    try:
        for file in files:
            waiting.append((file, pool.submit(read_file, file, sources.at(str(file.path)), limits)))
            if len(waiting) > READERS:
                yield waiting.popleft()
        yield from waiting
    finally:
        pool.shutdown(cancel_futures=True)


def _add_file(
    file: FoundFile,
    reading: Future[ReadFile],
    collection: str,
    sources: Sources,
    gone: dict[str, StoredDocument],
) -> Work[AddedDocument]:
    """Add a file, or bring its document up to date. What it continues is taken from `gone`."""
    try:
        source, known = sources.of(file)
        read = yield reading.result
        if known and known.sha256 == read.sha256:
            if not known.path:  # it was imported: from now on this is its file
                known = replace(known, path=str(file.path), imported_from="")
                yield [_put_document(known)]
                sources.add(known)
            return AddedDocument(source, known.id, "unchanged", known.passages)
    except InputError as error:
        return _failed(str(file.given), str(error), sources.at(str(file.path)))
    document = _document(file, read, collection, source)
    renamed = next(
        (one for one in gone.values() if one.sha256 == read.sha256 and one.id != document.id), None
    )
    yield from put(document, _values(document, read.passages), deletion(renamed) if renamed else [])
    gone.pop((renamed or document).id, None)
    sources.add(document)
    status = "changed" if known else "renamed" if renamed else "added"
    notes = [_replaced(known or renamed, renamed is not None), *read.notes]
    return AddedDocument(source, document.id, status, document.passages, "; ".join(filter(None, notes)))


def _document(file: FoundFile, read: ReadFile, collection: str, source: str) -> StoredDocument:
    return StoredDocument(
        id=document_id(collection, source),
        collection=collection,
        source=source,
        path=str(file.path),
        sha256=read.sha256,
        kind=read.kind,
        passages=len(read.passages),
        notes=read.notes,
        read_at=time.time(),
    )


def _values(document: StoredDocument, passages: Iterable[CutPassage]) -> list[dict[str, Any]]:
    """The passages of a document as values of items."""
    return [
        Passage("", cut.text, document.source, cut.place).to_value()
        | {"document": document.id, "number": number}
        for number, cut in enumerate(passages, 1)
    ]


def _replaced(earlier: StoredDocument | None, is_renamed: bool) -> str:
    """What a document replaces that a person may miss."""
    if earlier is None:
        return ""
    edited = f"replaces {format_count(len(earlier.edited), 'edited passage')}" if earlier.edited else ""
    imported = f"replaces what {earlier.imported_from} had of it" if earlier.imported_from else ""
    return "; ".join(filter(None, [f"was {earlier.source}" if is_renamed else "", edited, imported]))


def put(
    document: StoredDocument, passages: Sequence[Mapping[str, Any]], more: Sequence[Op] = ()
) -> Work[None]:
    """Put a document with its passages in place of what there is of it, in one batch.

    Args:
        document: The document.
        passages: The values of its passages, each with its `number`.
        more: Operations of the same batch.
    """
    namespace, collection = (*DOCUMENTS, document.collection), (*KNOWLEDGE, document.collection)
    (item,) = yield [GetOp(namespace, document.id)]
    earlier = StoredDocument.of_value(document.id, document.collection, item.value).passages if item else 0
    values: dict[str, Any] = {passage_key(document.id, number): None for number in range(1, earlier + 1)}
    values |= {passage_key(document.id, value["number"]): dict(value) for value in passages}
    yield [
        *more,
        _put_document(document),
        *(PutOp(collection, key, value, index=["text"]) for key, value in values.items()),
    ]


def _put_document(document: StoredDocument) -> PutOp:
    return PutOp((*DOCUMENTS, document.collection), document.id, document.to_value(), index=False)


def deletion(document: StoredDocument) -> list[Op]:
    """The operations that delete a document with its passages."""
    keys = [passage_key(document.id, number) for number in range(1, document.passages + 1)]
    return [
        PutOp((*DOCUMENTS, document.collection), document.id, None),
        *(PutOp((*KNOWLEDGE, document.collection), key, None) for key in keys),
    ]
