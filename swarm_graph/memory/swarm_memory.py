"""SwarmMemory: add documents to memory; list, search, show, correct, forget and move what is in it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from langgraph.store.base import BaseStore

from swarm_graph.errors import InputError
from swarm_graph.inputs.read_document import LIMITS
from swarm_graph.memory import adding, changing, exchange, experience, reading
from swarm_graph.memory.adding import AddedDocument, Report
from swarm_graph.memory.documents import StoredDocument
from swarm_graph.memory.experience import ExperienceKind, Offer
from swarm_graph.memory.meaning import Progress
from swarm_graph.memory.passage import Passage
from swarm_graph.memory.reading import Memory
from swarm_graph.memory.work import ado, do
from swarm_graph.memory_settings import MemorySettings
from swarm_graph.settings import DocumentSettings
from swarm_graph.state import COLLECTION

if TYPE_CHECKING:
    from swarm_graph.memory.store import SwarmStore

File = str | os.PathLike[str]
"""A path."""


def _no_report(_: AddedDocument) -> None:
    pass


class SwarmMemory:
    """What the swarm remembers: documents that people add, and what its sessions have verified.

    Use it as a value, or in `with` or `async with`. Each method has a twin for async callers, whose name
    begins with `a`, as `aadd`.

    Attributes:
        store: The LangGraph store that holds it.
    """

    def __init__(
        self,
        store: BaseStore | File | None = None,
        *,
        memory: MemorySettings | Mapping[str, Any] | None = None,
        documents: DocumentSettings = LIMITS,
    ) -> None:
        """Use a store, or open a database.

        Args:
            store: Any LangGraph store; or the path of a database, which is made if it is missing, or its URL,
                `postgresql://…`. Default: the database of the sessions, as the setting `database` says, or
                `.swarm/swarm.db`.
            memory: For a database, the group `memory` of the configuration, with the embedding model.
            documents: The limits of reading a document.

        Raises:
            InputError: `memory` is given with a store, which has its own settings.
            StorageError: The database cannot be opened.
        """
        self._limits = documents
        self._opened = None
        if isinstance(store, BaseStore):
            if memory is not None:
                raise InputError("`memory` is for the path of a database; a store has its own settings")
            self.store = store
        else:
            from swarm_graph.memory.store import open_store

            place = store if store is None else os.fspath(store)
            self.store = self._opened = open_store(place, memory=memory)

    def close(self) -> None:
        """Close the database if this object has opened it; a second call does nothing."""
        if self._opened:
            self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    @property
    def problem(self) -> str:
        """Why the last call did without the embedding model; empty if it did not."""
        return str(getattr(self.store, "problem", ""))

    def add(
        self, files: File | Iterable[File], collection: str = COLLECTION, *, report: Report = _no_report
    ) -> list[AddedDocument]:
        """Add documents, and bring those up to date that are in memory.

        A file that has not changed is skipped, a changed one is read again. Documents are removed when they
        were read from a folder that is added again and their files no longer exist. A document is added as a
        whole or not at all; a file that cannot be read keeps no other one out.

        Args:
            files: Files, folders, which are walked, and patterns such as `docs/*.md`.
            collection: The collection of the documents.
            report: Called with each document when it is done.

        Returns:
            What has become of each document, and of each file that cannot be read; last, with the status
            "left out", a note on the files that were left out.

        Raises:
            InputError: The collection cannot have this name.
        """
        return do(adding.add(_listed(files), collection, self._limits, self._own_files, report), self.store)

    async def aadd(
        self, files: File | Iterable[File], collection: str = COLLECTION, *, report: Report = _no_report
    ) -> list[AddedDocument]:
        """`add` for async callers."""
        work = adding.add(_listed(files), collection, self._limits, self._own_files, report)
        return await ado(work, self.store)

    def documents(self, collection: str | None = None) -> list[StoredDocument]:
        """The documents of a collection, or of all, by collection and source.

        Raises:
            InputError: There is no such collection.
        """
        return do(reading.known_documents(collection), self.store)

    async def adocuments(self, collection: str | None = None) -> list[StoredDocument]:
        """`documents` for async callers."""
        return await ado(reading.known_documents(collection), self.store)

    def experiences(self, kind: ExperienceKind | None = None) -> list[Passage]:
        """What sessions have verified, by kind and id; of one kind: design, finding or tests.

        Raises:
            InputError: There is no such kind.
        """
        return do(reading.experiences(kind), self.store)

    async def aexperiences(self, kind: ExperienceKind | None = None) -> list[Passage]:
        """`experiences` for async callers."""
        return await ado(reading.experiences(kind), self.store)

    def other_namespaces(self) -> list[str]:
        """Where else roles may recall from: a program, or the sender of the database, has put items there."""
        return do(reading.other_namespaces(), self.store)

    async def aother_namespaces(self) -> list[str]:
        """`other_namespaces` for async callers."""
        return await ado(reading.other_namespaces(), self.store)

    def search(self, question: str, limit: int = 5, collection: str | None = None) -> list[Passage]:
        """The passages and experiences that fit a question best, the best first.

        Args:
            question: A question, or some words.
            limit: How many at the most.
            collection: Search this collection of documents only.

        Raises:
            InputError: The question is empty, or there is no such collection.
        """
        return do(reading.search(question, limit, collection), self.store)

    async def asearch(self, question: str, limit: int = 5, collection: str | None = None) -> list[Passage]:
        """`search` for async callers."""
        return await ado(reading.search(question, limit, collection), self.store)

    def show(self, name: str) -> Memory:
        """A document, a passage or an experience as a whole.

        Args:
            name: Its id (of a passage `DOCUMENT/NUMBER`), or the source or the file of a document.

        Raises:
            InputError: There is no such memory, or several documents have this source.
        """
        return do(reading.find(name), self.store)

    async def ashow(self, name: str) -> Memory:
        """`show` for async callers."""
        return await ado(reading.find(name), self.store)

    def edit(self, name: str, text: str) -> Passage:
        """Correct the text of a passage or an experience.

        The edited text of a passage stays until its file has changed and is read again.

        Args:
            name: As for `show`. A document stands for its passage if it has one only.
            text: The new text.

        Raises:
            InputError: There is no such memory, or the text is empty or too long.
        """
        return do(changing.edit(name, text), self.store)

    async def aedit(self, name: str, text: str) -> Passage:
        """`edit` for async callers."""
        return await ado(changing.edit(name, text), self.store)

    def offers(self) -> list[Offer]:
        """What sessions have verified and a person has not decided about; nothing recalls it."""
        return do(experience.offers(), self.store)

    async def aoffers(self) -> list[Offer]:
        """`offers` for async callers."""
        return await ado(experience.offers(), self.store)

    def accept(self, ids: str | Iterable[str]) -> None:
        """Keep offers as memories; each replaces an older one about the same thing.

        Args:
            ids: The ids of the offers.

        Raises:
            InputError: There is no such offer; nothing was kept.
        """
        do(experience.accept(_listed(ids)), self.store)

    async def aaccept(self, ids: str | Iterable[str]) -> None:
        """`accept` for async callers."""
        await ado(experience.accept(_listed(ids)), self.store)

    def reject(self, ids: str | Iterable[str]) -> None:
        """Drop offers; what they would have replaced stays.

        Args:
            ids: The ids of the offers.

        Raises:
            InputError: There is no such offer; nothing was dropped.
        """
        do(experience.reject(_listed(ids)), self.store)

    async def areject(self, ids: str | Iterable[str]) -> None:
        """`reject` for async callers."""
        await ado(experience.reject(_listed(ids)), self.store)

    def forget(self, names: str | Iterable[str] = (), *, collection: str | None = None) -> list[str]:
        """Delete memories, or all documents of a collection. Files are not touched.

        Args:
            names: Ids, or sources or files of documents; see `show`.
            collection: The collection.

        Returns:
            A line for each that was deleted.

        Raises:
            InputError: There is no such memory or collection; nothing was deleted.
        """
        return do(changing.forget(_listed(names), collection), self.store)

    async def aforget(self, names: str | Iterable[str] = (), *, collection: str | None = None) -> list[str]:
        """`forget` for async callers."""
        return await ado(changing.forget(_listed(names), collection), self.store)

    def export(self, file: File) -> exchange.Counts:
        """Write all documents with their passages, and all experiences, to a file.

        The file has no vectors, no offers and no paths of this machine. The same memory gives the same bytes.

        Args:
            file: The file, which is replaced if it exists; JSON Lines, mode 0600.

        Returns:
            How many documents, passages and experiences were written.

        Raises:
            StorageError: The file cannot be written.
        """
        return do(exchange.export(Path(file)), self.store)

    async def aexport(self, file: File) -> exchange.Counts:
        """`export` for async callers."""
        return await ado(exchange.export(Path(file)), self.store)

    def import_(self, file: File, *, report: Report = _no_report) -> list[AddedDocument]:
        """Add what `export` wrote. Of a document or an experience that is here, too, the newer one stays.

        The file is checked as a whole first, and one broken line keeps all of it out. It may come from
        anybody: what it says is data, and names no file that is opened.

        Args:
            file: The file.
            report: Called with each document and experience when it is done.

        Returns:
            What has become of each document and experience.

        Raises:
            InputError: The file cannot be read, is cut off, or has a broken line; nothing was imported.
        """
        return do(exchange.import_(Path(file), report), self.store)

    async def aimport(self, file: File, *, report: Report = _no_report) -> list[AddedDocument]:
        """`import_` for async callers."""
        return await ado(exchange.import_(Path(file), report), self.store)

    def reindex(self, progress: Progress | None = None) -> int:
        """Make the vectors of all texts that have none of the embedding model; returns how many were made.

        Args:
            progress: Called with how many texts are done, and of how many.

        Raises:
            InputError: The store is not one of swarm_graph's.
            EmbeddingError: The model cannot be used; vectors made so far are kept.
        """
        return self._own_store.reindex(progress)

    async def areindex(self, progress: Progress | None = None) -> int:
        """`reindex` for async callers."""
        return await self._own_store.areindex(progress)

    @property
    def _own_store(self) -> SwarmStore:
        from swarm_graph.memory.store import SwarmStore

        if not isinstance(self.store, SwarmStore):
            raise InputError(f"a {type(self.store).__name__} makes its vectors itself, with each item")
        return self.store

    @property
    def _own_files(self) -> frozenset[Path]:
        """The files of our own database, which are no documents."""
        file = getattr(getattr(self.store, "database", None), "file", None)
        endings = ("", "-wal", "-shm", "-journal") if file else ()
        return frozenset(Path(f"{file}{ending}") for ending in endings)


def _listed(names: Any) -> list[Any]:
    """One name or several as a list."""
    return [names] if isinstance(names, str | os.PathLike) else [*names]
