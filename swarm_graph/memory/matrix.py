"""The vectors of texts as one matrix of numpy, to find the nearest ones; two bytes a number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

NUMBER = np.dtype("<f2")
BLOCK = 1024
"""Rows that are multiplied at once: in full precision they fit into the processor's cache."""
MAX_SIMILARITY = 1.01
"""Vectors of length 1 are never more similar; a larger number comes from a damaged row."""


@dataclass(frozen=True)
class Matrix:
    """Vectors of length 1, each with the id of its text. It never changes, so any thread may use it.

    A longer one that `with_rows` returns shares its memory.
    """

    ids: NDArray[np.int64]
    rows: NDArray[np.float16]
    """Has room for more rows than there are ids."""

    @classmethod
    def empty(cls, dimensions: int = 0) -> Self:
        """A matrix without rows."""
        return cls(np.empty(0, np.int64), np.empty((0, dimensions), NUMBER))

    @property
    def dimensions(self) -> int:
        """How many numbers a vector has; 0 if there was none yet."""
        return int(self.rows.shape[1])

    def with_rows(self, found: Sequence[tuple[int, bytes]]) -> Matrix:
        """The matrix with more rows; those of another size are left out.

        Args:
            found: Ids and the bytes of their vectors.
        """
        if not found:
            return self
        usual = Counter(len(vector) for _, vector in found).most_common(1)[0][0]
        size = self.dimensions * NUMBER.itemsize or usual
        fitting = [(text, vector) for text, vector in found if len(vector) == size]
        if not fitting or not size or size % NUMBER.itemsize:
            return self
        count = len(self.ids)
        ids = np.append(self.ids, np.array([text for text, _ in fitting], np.int64))
        rows = self.rows
        if len(rows) < len(ids):
            room = len(ids) + len(ids) // 4 if count else len(ids)
            rows = np.empty((room, size // NUMBER.itemsize), NUMBER)
            rows[:count] = self.rows[:count] if count else 0
        for start in range(0, len(fitting), BLOCK):
            some = b"".join(vector for _, vector in fitting[start : start + BLOCK])
            block = np.frombuffer(some, NUMBER).reshape(-1, size // NUMBER.itemsize)
            rows[count + start : count + start + len(block)] = block
        return Matrix(ids, rows)

    def only(self, texts: Collection[int]) -> Matrix:
        """The matrix with the rows of some texts only."""
        kept = np.isin(self.ids, _array(texts))
        return Matrix(self.ids[kept], self.rows[: len(self.ids)][kept])

    def nearest(
        self, vector: Sequence[float], allowed: Collection[int] | None, limit: int
    ) -> list[tuple[int, float]]:
        """The ids of the texts that are most similar to a vector, best first, with their similarity.

        Args:
            vector: Of as many numbers as the rows have.
            allowed: The texts that may be found; None for all.
            limit: The most to return.
        """
        places = np.arange(len(self.ids))
        if allowed is not None:
            places = np.flatnonzero(np.isin(self.ids, _array(allowed)))
        scores = self._similarities(unit(vector))[places]
        places, scores = places[np.abs(scores) <= MAX_SIMILARITY], scores[np.abs(scores) <= MAX_SIMILARITY]
        if len(places) > limit:
            best = np.argpartition(-scores, limit)[:limit]
            places, scores = places[best], scores[best]
        order = np.lexsort((self.ids[places], -scores))
        return [(int(self.ids[places[at]]), float(scores[at])) for at in order]

    def _similarities(self, vector: NDArray[np.float32]) -> NDArray[np.float32]:
        count = len(self.ids)
        found = np.empty(count, np.float32)
        with np.errstate(invalid="ignore", over="ignore"):  # of damaged rows, which are never similar
            for start in range(0, count, BLOCK):
                stop = min(start + BLOCK, count)
                found[start:stop] = self.rows[start:stop].astype(np.float32) @ vector
        return found


def _array(texts: Collection[int]) -> NDArray[np.int64]:
    return np.fromiter(texts, np.int64, len(texts))


def unit(vector: Sequence[float]) -> NDArray[np.float32]:
    """A vector with length 1."""
    numbers = np.asarray(vector, np.float64)
    scaled: NDArray[np.float32] = (numbers / np.linalg.norm(numbers)).astype(np.float32)
    return scaled


def packed(vectors: Iterable[Sequence[float]]) -> list[bytes]:
    """Vectors with length 1, as they are kept."""
    return [unit(vector).astype(NUMBER).tobytes() for vector in vectors]
