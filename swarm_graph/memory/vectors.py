"""Search by meaning with vectors of our own, in the same database.

A vector belongs to the digest of its text and to the name of its model: a text that several items have is
embedded once, and two programs with different models use one file without disturbing each other.

The vectors of texts that nobody has any more go with the last item that has them, and those of texts that
were never committed, as after a kill, with `reindex`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from swarm_graph.checkpoints.memory_tables import bump_version, digest_of, rows_for, version_of_memory
from swarm_graph.checkpoints.storage import Cursor, Storage
from swarm_graph.errors import ConfigError, EmbeddingError
from swarm_graph.memory.meaning import Progress, tell
from swarm_graph.models.embeddings import Embedder, texts_refused
from swarm_graph.text import format_count

if TYPE_CHECKING:
    from swarm_graph.memory.matrix import Matrix

MISSING = "search by meaning needs the package numpy: `pip install numpy`, or remove memory.embeddings"
CATCH_UPS = 10
"""How often a search looks again for what other processes add meanwhile."""
_HAS_NONE = "NOT EXISTS (SELECT 1 FROM memory_vectors v WHERE v.model = ? AND v.digest = t.digest)"


@dataclass(frozen=True)
class _Made:
    """How many vectors were made, and how many texts the model has refused, with its last reason."""

    count: int = 0
    refused: int = 0
    reason: str = ""

    def __add__(self, other: _Made) -> _Made:
        return _Made(self.count + other.count, self.refused + other.refused, other.reason or self.reason)

    @property
    def error(self) -> EmbeddingError:
        """What is to be raised if texts were refused."""
        return texts_refused(self.refused, self.count + self.refused, self.reason)


def _missing_note(missing: int, total: int) -> str:
    """What is said of texts that have no vector; empty if all have one."""
    if not missing:
        return ""
    return (
        f"{missing} of {format_count(total, 'text')} found by words alone until `swarm-graph memory reindex`"
    )


class OwnVectors:
    """Vectors in the table `memory_vectors`, and in memory the matrix of those that texts have.

    The matrix takes two bytes a number: 77 MB for 100,000 texts with 384 numbers each. The first search loads
    it. Later ones load what is new, also what other processes have added.
    """

    def __init__(self, database: Storage, embedder: Embedder) -> None:
        """Nothing is read or asked yet.

        Args:
            database: The file.
            embedder: The embedding model.

        Raises:
            ConfigError: numpy is not installed.
        """
        if not find_spec("numpy"):
            raise ConfigError(MISSING)
        self._database, self._embedder = database, embedder
        self._matrix: Matrix | None = None
        self._seen = (0, -1)
        """The version of memory that the matrix has, after how many undone transactions."""
        self._noted = (0, -1), ""
        """The version of memory that `missing` has counted, and what it says."""
        self._last, self._without = 0, set[int]()
        """The highest id of a text that was read, and the texts up to it that had no vector."""

    async def prepare(self, texts: Sequence[str]) -> None:
        await self._database.run(self._database.add_memory)
        made = await self._make(texts)
        if made.refused:
            raise made.error

    async def rank(self, query: str, allowed: Collection[int] | None, limit: int) -> list[tuple[int, float]]:
        matrix = await self._database.run(self._current)
        if matrix is None:
            return []
        missing = _missing_note(len(self._without), len(self._without) + len(matrix.ids))
        vector = await self._embedder.query(query) if len(matrix.ids) else []
        tell(missing)
        if not vector:
            return []
        if len(vector) != matrix.dimensions:  # has the matrix been made anew meanwhile, with another model?
            matrix = await self._database.run(self._read_anew)
            if len(vector) != matrix.dimensions:
                raise self._other_model(len(vector), matrix.dimensions)
        return await asyncio.to_thread(matrix.nearest, vector, allowed, limit)

    async def changed(self) -> None:
        """Nothing: the next search looks."""

    async def missing(self) -> str:
        """A note of how many texts have no vector; empty if all have one. For those who have no matrix."""
        return await self._database.run(self._note_missing)

    async def reindex(self, progress: Progress | None = None) -> int:
        if not await self._database.run(lambda: self._database.has_memory):
            return 0
        await self._database.run(self._remove_leftovers, len(await self._embedder.query("size")))
        missing = await self._database.run(self._count_missing)
        total, last, done = _Made(), 0, 0
        while rows := await self._database.run(self._texts_without, last):
            last = rows[-1][0]
            total += await self._make([text for _, text in rows if isinstance(text, str)])
            done += len(rows)
            if progress:
                progress(done, missing)
        if total.refused:
            raise total.error
        return total.count

    # --- making vectors --------------------------------------------------------------------------

    async def _make(self, texts: Sequence[str]) -> _Made:
        """Make and keep the vectors that texts lack. Raises EmbeddingError if the model does not answer."""
        wanted = {digest_of(text): text for text in texts}
        known = await self._database.run(self._known, [*wanted])
        missing = [(digest, text) for digest, text in wanted.items() if digest not in known]
        shortened, total = self._embedder.shortened, _Made()
        for start in range(0, len(missing), self._embedder.batch):
            total += await self._make_together(missing[start : start + self._embedder.batch])
        if count := self._embedder.shortened - shortened:
            texts_cut = f"{format_count(count, 'text')} cut for the embedding model"
            tell(f"{texts_cut}: search by meaning reads only the beginning")
        return total

    async def _make_together(self, texts: Sequence[tuple[bytes, str]]) -> _Made:
        """Make and keep the vectors of one request. Raises what `_make` raises."""
        problem = None
        try:
            vectors: Sequence[list[float] | None] = await self._embedder.passages([text for _, text in texts])
        except EmbeddingError as error:
            vectors, problem = error.vectors or [None] * len(texts), error
        made = [(digest, v) for (digest, _), v in zip(texts, vectors, strict=True) if v is not None]
        await self._keep(made)
        if problem and not problem.of_texts:
            raise problem
        return _Made(len(made), len(texts) - len(made), problem.detail or str(problem) if problem else "")

    def _known(self, digests: Sequence[bytes]) -> Collection[bytes]:
        """The digests that have a vector."""
        with self._database.view() as cursor:
            return self._vectors(cursor, digests).keys()

    def _vectors(self, cursor: Cursor, digests: Sequence[bytes]) -> dict[bytes, bytes]:
        """The vectors of this model, by digest, for those digests that have one."""
        sql = "SELECT digest, vector FROM memory_vectors WHERE model = ? AND digest IN ({marks})"
        return dict(rows_for(cursor, sql, digests, [self._embedder.name]))

    async def _keep(self, made: Sequence[tuple[bytes, Sequence[float]]]) -> None:
        from swarm_graph.memory.matrix import packed

        if made:
            vectors = packed(vector for _, vector in made)
            await self._database.run(
                self._write, [(self._embedder.name, d, v) for (d, _), v in zip(made, vectors, strict=True)]
            )

    def _write(self, rows: Sequence[tuple[str, bytes, bytes]]) -> None:
        with self._database.transaction() as cursor:
            bump_version(cursor)
            size, stored = len(rows[0][2]), self.stored_size(cursor)
            if stored not in (None, size):
                raise self._other_model(size // 2, stored // 2)
            cursor.executemany(
                "INSERT INTO memory_vectors VALUES (?, ?, ?) "
                "ON CONFLICT (digest, model) DO UPDATE SET vector = excluded.vector",
                rows,
            )

    def stored_size(self, cursor: Cursor) -> int | None:
        """The bytes of a vector of this model; None if there is none."""
        found = cursor.execute(
            "SELECT length(vector) FROM memory_vectors WHERE model = ? LIMIT 1", (self._embedder.name,)
        ).fetchone()
        return found and int(found[0])

    def _other_model(self, now: int, before: int) -> EmbeddingError:
        return EmbeddingError(
            f"the embedding model {self._embedder.name} answers with vectors of {now} numbers, not {before} "
            f"as before; if it is another model now, `swarm-graph memory reindex` embeds all texts anew"
        )

    def _remove_leftovers(self, dimensions: int) -> None:
        """Remove the vectors that no text has, and those of another model with the same name."""
        with self._database.transaction() as cursor:
            bump_version(cursor)
            cursor.execute("DELETE FROM memory_vectors WHERE digest NOT IN (SELECT digest FROM memory_texts)")
            if self.stored_size(cursor) not in (None, 2 * dimensions):
                cursor.execute("DELETE FROM memory_vectors WHERE model = ?", (self._embedder.name,))

    def _note_missing(self) -> str:
        with self._database.view() as cursor:
            if self._database.has_memory and (seen := self._version(cursor)) != self._noted[0]:
                (total,) = cursor.execute("SELECT count(*) FROM memory_texts").fetchone()
                self._noted = seen, _missing_note(self._count_missing(), total)
            return self._noted[1]

    def _count_missing(self) -> int:
        """How many texts have no vector of this model."""
        with self._database.view() as cursor:
            (missing,) = cursor.execute(
                f"SELECT count(*) FROM memory_texts t WHERE {_HAS_NONE}", (self._embedder.name,)
            ).fetchone()
            return int(missing)

    def _texts_without(self, last: int) -> list[tuple[int, str]]:
        """The next texts without a vector, after the one with the id `last`."""
        with self._database.view() as cursor:
            return cursor.execute(
                f"SELECT id, text FROM memory_texts t WHERE {_HAS_NONE} AND id > ? ORDER BY id LIMIT ?",
                (self._embedder.name, last, self._embedder.batch),
            ).fetchall()

    # --- the matrix ------------------------------------------------------------------------------

    def _current(self) -> Matrix | None:
        """The matrix as the database is now; None for a database without memory."""
        from swarm_graph.memory.matrix import Matrix

        with self._database.view() as cursor:
            if self._matrix is None and not self._database.has_memory:
                return None
            for _ in range(CATCH_UPS):  # a server may let a transaction see what others commit meanwhile
                seen = self._version(cursor)
                if seen[0] != self._seen[0]:  # the matrix may have rows that were undone
                    self._forget()
                if self._matrix is not None and seen == self._seen:
                    break
                self._matrix = self._caught_up(cursor, self._matrix or Matrix.empty())
                self._seen = seen
            return self._matrix

    def _version(self, cursor: Cursor) -> tuple[int, int]:
        """How many transactions were undone, and the version of memory."""
        return self._database.rollbacks, version_of_memory(cursor)

    def _read_anew(self) -> Matrix:
        self._forget()
        matrix = self._current()
        assert matrix is not None
        return matrix

    def _forget(self) -> None:
        self._matrix, self._last, self._without = None, 0, set()

    def _caught_up(self, cursor: Cursor, matrix: Matrix) -> Matrix:
        """The matrix without the texts that are gone, and with those that are new or have a vector now.

        Ids of texts grow, and are never used again.
        """
        if not self._last:
            return self._with_all(cursor, matrix)
        sql = "SELECT id, digest FROM memory_texts WHERE id "
        texts = cursor.execute(f"{sql} > ?", (self._last,)).fetchall()
        texts += rows_for(cursor, f"{sql} IN ({{marks}})", [*self._without])
        (count,) = cursor.execute("SELECT count(*) FROM memory_texts").fetchone()
        if count < len(matrix.ids) + len({*self._without, *(text for text, _ in texts)}):
            matrix = matrix.only([text for (text,) in cursor.execute("SELECT id FROM memory_texts")])
        return self._with_texts(matrix, texts, self._vectors(cursor, [digest for _, digest in texts]))

    def _with_all(self, cursor: Cursor, matrix: Matrix) -> Matrix:
        """The matrix of all texts. Both tables are read in their own order, which is three times as fast."""
        texts = sorted(cursor.execute("SELECT id, digest FROM memory_texts"))
        rows = cursor.execute(
            "SELECT digest, vector FROM memory_vectors WHERE model = ?", (self._embedder.name,)
        )
        return self._with_texts(matrix, texts, dict(rows))

    def _with_texts(
        self, matrix: Matrix, texts: Sequence[tuple[int, bytes]], vectors: Mapping[bytes, bytes]
    ) -> Matrix:
        found = [(text, vectors[digest]) for text, digest in texts if isinstance(vectors.get(digest), bytes)]
        self._without = {text for text, _ in texts} - {text for text, _ in found}
        self._last = max([self._last, *(text for text, _ in texts)])
        return matrix.with_rows(found)
