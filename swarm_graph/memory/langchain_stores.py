"""The vector stores of LangChain that the configuration may name, each opened so that it stays on its own.

A store holds no text: what it takes for a text is a digest, and the vector is one that we have made. So it
embeds nothing, downloads nothing, and its files tell nobody what the swarm remembers.
"""

from __future__ import annotations

import asyncio
import shutil
import threading
import uuid
import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore

LOCK_TIMEOUT_S = 30.0
"""How long to wait for another process that is changing the same folder."""
CONNECT_TIMEOUT_S = 10
EFFORT = 1000
"""How many vectors Chroma's index looks at. With its default of 100 it has missed two thirds of the best
ones, measured with 3,000 vectors that are unlike each other; this costs some milliseconds."""


class Place(NamedTuple):
    """Where the vectors of one database and one model lie."""

    name: str
    """What the names of its collections begin with; the number of dimensions follows."""
    folder: Path
    """Of a store in files."""
    url: str
    """Of a store on a server."""


class KnownTexts(NamedTuple):
    """The texts of the database at a version of memory. Their ids grow, and are never used again."""

    last: int
    """The highest id."""
    total: int
    without: frozenset[int]
    """Those that have no vector."""


class Difference(NamedTuple):
    """What a vector store lacks, and what it has too much, compared with the database."""

    seen: int
    """The version of memory."""
    missing: list[str]
    """The digests of texts whose vectors it lacks, in hexadecimal digits."""
    extra: list[str]
    """The ids of vectors that belong to no text."""
    texts: KnownTexts


class OurVectors(Embeddings):
    """LangChain's view of vectors that we have: a store asks it for those that it is given at the moment."""

    def __init__(self) -> None:
        self.vectors: Mapping[str, list[float]] = {}

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """The vectors of digests."""
        return [self.vectors[text] for text in texts]

    def embed_query(self, text: str) -> list[float]:
        """The vector of the question that is asked at the moment."""
        return self.vectors[text]


class Collection:
    """The vectors of one database and one model in a vector store. Use it with its `lock`.

    All instances of a process share it, because these libraries do not expect a second client of one folder.

    Attributes:
        packages: What pip installs for it.
        lock: One thread at a time.
        size: The dimensions of its vectors; 0 while it is closed.
        held: The ids that it has, as far as is known; None if that is to be asked.
        seen: The version of memory that it has; None before the first one.
        texts: The texts at that version.
        difference: What is still to be added and removed.
    """

    packages = ""

    def __init__(self, place: Place) -> None:
        self.lock = threading.Lock()
        self.size = 0
        self.held: set[str] | None = None
        self.seen: int | None = None
        self.texts: KnownTexts | None = None
        self.difference: Difference | None = None
        self._place, self._ours = place, OurVectors()
        self._store: VectorStore

    def alone(self) -> AbstractContextManager[object]:
        """Keep other processes out, where the store itself does not."""
        return nullcontext()

    def is_current(self) -> bool:
        """Whether what is open is what other processes see."""
        return True

    def will_change(self) -> None:
        """Tell other processes that theirs is not current any more."""

    def open(self, size: int) -> None:
        """Open or make the collection, and remove those with vectors of another size.

        Args:
            size: The dimensions; 0 to have none at all.
        """
        name = f"{self._place.name}_{size}"
        for other in self._names() - {name}:
            self._drop(other)
        self.held = self.seen = self.texts = self.difference = None
        if size:
            self._store = self._open(name, size)
        self.size = size

    def close(self) -> None:
        """Close it; it may be opened again. A second call does nothing."""
        self.size = 0
        self._close()

    def add(self, vectors: Mapping[str, list[float]]) -> None:
        """Add vectors by the digests of their texts, in hexadecimal digits."""
        self._ours.vectors = vectors
        self._store.add_texts([*vectors], ids=[id_of(digest) for digest in vectors])

    def remove(self, ids: Sequence[str]) -> None:
        """Remove vectors by their ids; those that it does not have are no error."""
        self._store.delete([*ids])

    def nearest(self, vector: list[float], count: int) -> list[str]:
        """The digests whose vectors are nearest to one, in hexadecimal digits, best first."""
        question = "question"
        self._ours.vectors = {question: vector}
        return [found.page_content for found in self._store.similarity_search(question, k=count)]

    def count(self) -> int:
        """How many vectors it has."""
        return len(self.ids())

    def ids(self) -> set[str]:
        """The ids of all vectors that it has."""
        raise NotImplementedError

    def _names(self) -> set[str]:
        """The collections of this database and model."""
        return set()

    def _drop(self, name: str) -> None:
        """Remove one of them."""

    def _open(self, name: str, size: int) -> VectorStore:
        raise NotImplementedError

    def _close(self) -> None:
        """Let go of files and connections."""


def id_of(digest: str) -> str:
    """The id of a text in a vector store; all of them take a UUID.

    Args:
        digest: In hexadecimal digits.
    """
    return str(uuid.UUID(digest[:32]))


class Chroma(Collection):
    """Chroma, in a folder of ours.

    It does not notice what another process changes, and damages its index then. So processes take turns, and
    one that finds another mark in the folder than its own opens it anew.
    """

    packages = "langchain-chroma"

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._mark, self._name = "", ""
        self._client: Any = None

    def alone(self) -> AbstractContextManager[object]:
        self._place.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return FileLock(self._place.folder / f"{self._place.name}.lock", timeout=LOCK_TIMEOUT_S)

    def is_current(self) -> bool:
        with suppress(OSError):
            return self._mark_file().read_text(encoding="utf-8") == self._mark
        return False

    def will_change(self) -> None:
        self._mark = uuid.uuid4().hex
        self._mark_file().write_text(self._mark, encoding="utf-8")

    def count(self) -> int:
        return int(self._client.get_collection(self._name).count())

    def ids(self) -> set[str]:
        return set(self._client.get_collection(self._name).get(include=[])["ids"])

    def _folder(self) -> Path:
        return self._place.folder / self._name

    def _mark_file(self) -> Path:
        return self._folder() / "swarm_graph.mark"

    def _names(self) -> set[str]:
        return {path.name for path in self._place.folder.glob(f"{self._place.name}_*") if path.is_dir()}

    def _drop(self, name: str) -> None:
        shutil.rmtree(self._place.folder / name)

    def _open(self, name: str, size: int) -> VectorStore:
        import chromadb
        import langchain_chroma
        from chromadb.api.shared_system_client import SharedSystemClient
        from chromadb.config import Settings

        self._name = name
        self._folder().mkdir(mode=0o700, exist_ok=True)
        with suppress(OSError):
            self._mark = self._mark_file().read_text(encoding="utf-8")
        # model_construct, because Chroma would also read settings from the environment and the folder's .env:
        # the address of a trace server, a class to import.
        settings = Settings.model_construct(anonymized_telemetry=False)
        # Chroma would go on to use what it could not open before, even if the folder is a new one.
        SharedSystemClient._identifier_to_system.pop(str(self._folder()), None)
        self._client = chromadb.PersistentClient(str(self._folder()), settings)
        if not self._mark:
            self.will_change()
        store: VectorStore = langchain_chroma.Chroma(
            name, self._ours, client=self._client, collection_configuration={"hnsw": {"ef_search": EFFORT}}
        )
        return store

    def _close(self) -> None:
        self._mark = ""
        if self._client:
            self._client.close()
            self._client = None


class Faiss(Collection):
    """FAISS, in the memory of this process: its files are pickles, which are never read."""

    packages = "faiss-cpu langchain-community"

    def ids(self) -> set[str]:
        return set(self._faiss.index_to_docstore_id.values())

    def count(self) -> int:
        return len(self._faiss.index_to_docstore_id)

    def _open(self, name: str, size: int) -> VectorStore:
        import faiss

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # the package is not developed any more
            from langchain_community.docstore.in_memory import InMemoryDocstore
            from langchain_community.vectorstores import FAISS
        store: VectorStore = FAISS(self._ours, faiss.IndexFlatL2(size), InMemoryDocstore(), {})
        self._faiss: Any = store
        return store


class PGVector(Collection):
    """A table of PostgreSQL with its extension pgvector."""

    packages = "langchain-postgres"

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._name = ""
        self._sync: Any = None
        self._engine: Any = None

    def ids(self) -> set[str]:
        return {str(found) for (found,) in self._rows(f'SELECT langchain_id FROM "{self._name}"')}

    def count(self) -> int:
        return int(self._rows(f'SELECT count(*) FROM "{self._name}"')[0][0])

    def open(self, size: int) -> None:
        from sqlalchemy import create_engine, make_url

        self._close()
        self._url = make_url(self._place.url).set(drivername="postgresql+psycopg")
        self._settings = {"connect_args": {"connect_timeout": CONNECT_TIMEOUT_S}}
        self._sync = create_engine(self._url, **self._settings)
        super().open(size)

    def _names(self) -> set[str]:
        tables = self._rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        return {name for (name,) in tables if name.startswith(f"{self._place.name}_")}

    def _drop(self, name: str) -> None:
        from sqlalchemy import text

        with self._sync.begin() as connection:
            connection.execute(text(f'DROP TABLE IF EXISTS "{name}"'))

    def _open(self, name: str, size: int) -> VectorStore:
        from langchain_postgres import PGEngine, PGVectorStore

        self._name = name
        self._engine = PGEngine.from_connection_string(self._url, **self._settings)
        if name not in self._names():
            try:
                self._engine.init_vectorstore_table(name, size)
            except Exception:
                if name not in self._names():  # else another process has just made it
                    raise
        store: VectorStore = PGVectorStore.create_sync(self._engine, self._ours, name)
        return store

    def _rows(self, query: str) -> list[Any]:
        from sqlalchemy import text

        with self._sync.connect() as connection:
            return [*connection.execute(text(query))]

    def _close(self) -> None:
        if self._sync:
            self._sync.dispose()
        if self._engine:
            asyncio.run(self._engine.close())
        self._sync = self._engine = None


COLLECTIONS: Mapping[str, type[Collection]] = {
    "langchain_chroma.Chroma": Chroma,
    "langchain_community.vectorstores.FAISS": Faiss,
    "langchain_postgres.PGVectorStore": PGVector,
}
"""By the import path that the configuration names."""
