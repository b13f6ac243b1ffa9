"""Search by meaning with a vector store of LangChain, in place of a matrix of our own.

Our database keeps the texts and their vectors; the vector store is a copy of the vectors that finds the
nearest ones. It is brought up to date before each use, so whatever happens to it, a use repairs it: vectors
that it lacks are added, others removed. Nothing is ever embedded for it.
"""

from __future__ import annotations

import asyncio
import atexit
import hashlib
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Collection as Group
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from swarm_graph.checkpoints.database import MEMORY
from swarm_graph.checkpoints.memory_tables import rows_for, version_of_memory
from swarm_graph.checkpoints.storage import Storage
from swarm_graph.errors import ConfigError, EmbeddingError, SwarmError, VectorStoreError
from swarm_graph.memory.langchain_stores import (
    COLLECTIONS,
    LOCK_TIMEOUT_S,
    Collection,
    Difference,
    KnownTexts,
    Place,
    id_of,
)
from swarm_graph.memory.meaning import Progress, tell
from swarm_graph.memory.vectors import OwnVectors
from swarm_graph.memory_settings import VectorStoreSettings
from swarm_graph.models.embeddings import Embedder
from swarm_graph.models.masking import masked
from swarm_graph.text import printable, shortened

AT_ONCE = 2000
"""Vectors that are added or removed before other processes may have a turn."""
FEW = 2000
"""So many texts are compared with a question directly: a vector store would have to leave most others out."""
WIDER = 4
"""How many times more vectors are asked for when too few of those found are of texts that may be found."""
PATIENCE = 10
"""How often a collection may get no better by what is added; another process may change it, too."""
MAX_ERROR = 200

T = TypeVar("T")
_Rank = list[tuple[int, float]]
_COLLECTIONS: dict[tuple[int, str, Place], Collection] = {}
"""Those of this process; a forked child opens its own."""


class _Incomplete(Exception):
    """The collection does not have what the database has."""


class LangChainVectors:
    """Our vectors, found by a vector store of `memory.vector_store`."""

    def __init__(self, database: Storage, embedder: Embedder, settings: VectorStoreSettings) -> None:
        """Nothing is imported, opened or asked yet.

        Args:
            database: The file.
            embedder: The embedding model.
            settings: The vector store.

        Raises:
            ConfigError: numpy is not installed, or the database is not in a file, or the variable with the
                server's address is not set.
        """
        if database.path == MEMORY:
            raise ConfigError("a vector store needs a database in a file; remove memory.vector_store")
        self._database, self._embedder, self._settings = database, embedder, settings
        self._own = OwnVectors(database, embedder)
        self._place = _place(database, embedder.name, settings)

    async def prepare(self, texts: Sequence[str]) -> None:
        await self._own.prepare(texts)

    async def rank(self, query: str, allowed: Group[int] | None, limit: int) -> _Rank:
        missing = await self._own.missing()
        vector = await self._embedder.query(query) if await self._database.run(self._size) else []
        tell(missing)
        if not vector:
            return []
        return await _in_thread(lambda stop: self._nearest(vector, allowed, limit, stop))

    async def changed(self) -> None:
        await _in_thread(lambda stop: self._use(lambda _: None, stop))

    async def reindex(self, progress: Progress | None = None) -> int:
        try:
            return await self._own.reindex(progress)
        finally:
            await self.changed()

    # --- in a thread -----------------------------------------------------------------------------

    def _nearest(
        self, vector: list[float], allowed: Group[int] | None, limit: int, stop: threading.Event
    ) -> _Rank:
        from swarm_graph.memory.matrix import Matrix

        if allowed is not None and len(allowed) <= FEW:
            texts = [*allowed]
        else:
            texts = self._use(lambda collection: self._found(collection, vector, allowed, limit), stop)
        # The vector store says where to look. How similar the texts are is computed here, so an index that
        # is approximate, old or of somebody else changes which passages are found, and nothing more.
        matrix = Matrix.empty(len(vector)).with_rows(self._vectors_of_texts(texts))
        return matrix.nearest(vector, None, limit)

    def _found(
        self, collection: Collection, vector: list[float], allowed: Group[int] | None, limit: int
    ) -> list[int]:
        if not collection.size:
            return []
        if collection.size != len(vector):
            raise EmbeddingError(
                f"the embedding model {self._embedder.name} answers with vectors of {len(vector)} numbers, "
                f"not {collection.size} as before; `swarm-graph memory reindex` embeds all texts anew"
            )
        count, total = limit, collection.count()
        fitting = None if allowed is None else frozenset(allowed)
        while True:
            texts = self._texts(collection, collection.nearest(vector, min(count, total)))
            found = [text for text in texts if fitting is None or text in fitting]
            if len(found) >= limit or count >= total:
                return found
            count *= WIDER

    def _use(self, work: Callable[[Collection], T], stop: threading.Event) -> T:
        """Do work with the collection when it has what the database has.

        Args:
            work: What to do.
            stop: Set when nobody waits any more; what the collection has by then, it keeps.

        Raises:
            VectorStoreError: It cannot be used.
        """
        key = os.getpid(), self._settings.class_, self._place
        if not _COLLECTIONS:
            atexit.register(_close_all, os.getpid())
        collection = _COLLECTIONS.setdefault(key, COLLECTIONS[self._settings.class_](self._place))
        fewest, in_vain = sys.maxsize, 0
        with collection.lock, self._errors(collection):
            while not stop.is_set() and in_vain < PATIENCE:
                with collection.alone():
                    wrong = self._bring_nearer(collection)
                    if not wrong:
                        return work(collection)
                in_vain = in_vain + 1 if wrong >= fewest else 0
                fewest = min(fewest, wrong)
            raise _Incomplete("it does not keep what it is given" if in_vain else "stopped")

    def _bring_nearer(self, collection: Collection) -> int:
        """Make the collection more like the database.

        Returns:
            How many vectors it lacked or had too many; some of them still.
        """
        if not self._database.has_memory:
            return 0
        seen, size = self._version(), self._size()
        if collection.size and (collection.size != size or not collection.is_current()):
            collection.close()
        if not collection.size:
            collection.open(size)
        if not size:
            return 0
        if collection.held is None or len(collection.held) != collection.count():
            collection.held = collection.ids()
            collection.seen = collection.texts = collection.difference = None
        if seen == collection.seen:
            return 0
        found = collection.difference
        if found is None or found.seen != seen:
            found = self._difference(collection, collection.held, seen, size)
        missing, extra = found.missing[:AT_ONCE], found.extra[:AT_ONCE]
        if missing or extra:
            collection.will_change()
            self._add(missing, collection)
            self._remove(extra, collection)
            rest = found._replace(missing=found.missing[AT_ONCE:], extra=found.extra[AT_ONCE:])
            collection.difference = rest if rest.missing or rest.extra else None
        else:
            collection.seen, collection.texts = seen, found.texts
        return len(found.missing) + len(found.extra)

    def _add(self, digests: Sequence[str], collection: Collection) -> None:
        if vectors := self._vectors(digests):
            collection.add(vectors)
            assert collection.held is not None
            collection.held |= {id_of(digest) for digest in vectors}

    def _remove(self, ids: Sequence[str], collection: Collection) -> None:
        if ids:
            collection.remove(ids)
            assert collection.held is not None
            collection.held -= {*ids}

    @contextmanager
    def _errors(self, collection: Collection) -> Iterator[None]:
        """Whatever a library raises becomes one line; the next use opens the collection anew."""
        try:
            yield
        except (SwarmError, KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # Rust's panics are no Exceptions
            with suppress(Exception):
                collection.close()
            raise VectorStoreError(self._problem(error)) from error

    def _problem(self, error: BaseException) -> str:
        name, place = self._settings.class_, self._place
        if isinstance(error, ImportError):
            packages = COLLECTIONS[name].packages
            return f"{name} is not installed ({error.name} is missing): `pip install {packages}`"
        if isinstance(error, TimeoutError) and not place.url:
            return f"another process has used the vector store in '{place.folder}' for {LOCK_TIMEOUT_S:g} s"
        secrets = [place.url, place.url.rpartition("@")[0].rpartition(":")[2]] if place.url else []
        reason = " ".join(printable(masked(str(error), [s for s in secrets if s])).split())
        reason = shortened(reason or type(error).__name__, MAX_ERROR)
        if place.url:
            return (
                f"the vector store {name} cannot be used: {reason}; does the server run at the address that "
                f"the variable {self._settings.url_env} holds?"
            )
        return (
            f"the vector store {name} in '{place.folder}' cannot be used: {reason}; end other programs that "
            "use the folder, or delete it: it is made again from the database"
        )

    # --- our database ----------------------------------------------------------------------------

    def _version(self) -> int:
        with self._database.view() as cursor:
            return version_of_memory(cursor)

    def _size(self) -> int:
        """How many numbers our vectors of this model have; 0 if there are none."""
        with self._database.view() as cursor:
            if not self._database.has_memory:
                return 0
            return (self._own.stored_size(cursor) or 0) // 2

    def _difference(self, collection: Collection, held: set[str], seen: int, size: int) -> Difference:
        """What the collection lacks, and what it has too much.

        Only the texts are read that are new or had no vector before, unless others have changed.

        Args:
            collection: The collection.
            held: The ids that it has.
            seen: The version of memory.
            size: How many numbers a vector must have.
        """
        query = (
            "SELECT t.id, t.digest, v.digest IS NOT NULL FROM memory_texts t LEFT JOIN memory_vectors v "
            "ON v.model = ? AND v.digest = t.digest AND length(v.vector) = ?"
        )
        values = (self._embedder.name, 2 * size)
        known, rows = collection.texts, None
        with self._database.view() as cursor:
            (total,) = cursor.execute("SELECT count(*) FROM memory_texts").fetchone()
            if known:
                rows = cursor.execute(f"{query} WHERE t.id > ?", (*values, known.last)).fetchall()
                rows += rows_for(cursor, f"{query} WHERE t.id IN ({{marks}})", [*known.without], values)
                if total != known.total + sum(text > known.last for text, *_ in rows):  # some are gone
                    known = rows = None
            if rows is None:
                rows = cursor.execute(query, values).fetchall()
        last = max([known.last if known else 0, *(text for text, *_ in rows)])
        without = frozenset(text for text, _, has_vector in rows if not has_vector)
        wanted = {id_of(digest.hex()): digest.hex() for _, digest, has_vector in rows if has_vector}
        missing = [digest for id, digest in wanted.items() if id not in held]
        extra = [] if known else [*held - wanted.keys()]
        return Difference(seen, missing, extra, KnownTexts(last, total, without))

    def _vectors(self, digests: Sequence[str]) -> dict[str, list[float]]:
        """Our vectors by the digests of their texts."""
        import numpy as np

        from swarm_graph.memory.matrix import NUMBER

        rows = self._select(
            "SELECT digest, vector FROM memory_vectors WHERE model = ? AND digest IN ({marks})",
            [bytes.fromhex(digest) for digest in digests],
            self._embedder.name,
        )
        return {
            digest.hex(): np.frombuffer(vector, NUMBER).astype(np.float32).tolist() for digest, vector in rows
        }

    def _texts(self, collection: Collection, digests: Sequence[str]) -> list[int]:
        """The texts with some digests. If there is one of no text, the next use looks for others like it."""
        wanted = [bytes.fromhex(digest) for digest in digests if _is_digest(digest)]
        rows = self._select("SELECT id, digest FROM memory_texts WHERE digest IN ({marks})", wanted)
        if len({digest for _, digest in rows}) < len(digests):
            collection.held = None
        return [text for text, _ in rows]

    def _vectors_of_texts(self, texts: Sequence[int]) -> list[tuple[int, bytes]]:
        return self._select(
            "SELECT t.id, v.vector FROM memory_texts t JOIN memory_vectors v "
            "ON v.model = ? AND v.digest = t.digest WHERE t.id IN ({marks})",
            texts,
            self._embedder.name,
        )

    def _select(self, query: str, values: Sequence[object], *first: object) -> list[tuple[Any, Any]]:
        """The rows of a query for many values; `{marks}` stands for some of them."""
        with self._database.view() as cursor:
            return [*rows_for(cursor, query, values, first)]


def _place(database: Storage, model: str, settings: VectorStoreSettings) -> Place:
    """Where a database has its vectors of a model. Raises ConfigError."""
    url = ""
    if settings.url_env and not (url := os.environ.get(settings.url_env, "")):
        raise ConfigError(
            f"the environment variable {settings.url_env!r}, which memory.vector_store.url_env names, is not "
            "set; expected the address of the vector store's server"
        )
    _, _, identity = database.identities[0].partition(" ")  # the file, or the number of a server's database
    name = f"swarm_{hashlib.sha256(f'{identity} {model}'.encode()).hexdigest()[:16]}"
    return Place(name, Path(settings.path or database.folder / f"{Path(identity).name}.vectors"), url)


async def _in_thread(work: Callable[[threading.Event], T]) -> T:
    """Do blocking work; when the caller is cancelled, it stops after what it is about to add."""
    stop = threading.Event()
    try:
        return await asyncio.to_thread(work, stop)
    finally:
        stop.set()


def _close_all(process: int) -> None:
    """Close the collections at the end of the process that has opened them."""
    for (owner, _, _), collection in _COLLECTIONS.items():
        if owner == process == os.getpid():
            collection.close()


def _is_digest(text: str) -> bool:
    with suppress(ValueError):
        return len(bytes.fromhex(text)) == 32
    return False
