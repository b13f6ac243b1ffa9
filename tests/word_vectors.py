"""An embedding model that knows words alone: texts with words in common are near to each other."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

DIMENSIONS = 256


class WordVectors:
    """It asks no server. `asked` holds the passages that it was asked about."""

    batch, shortened = 32, 0

    def __init__(self, name: str = "words", dimensions: int = DIMENSIONS) -> None:
        self.name, self.dimensions = name, dimensions
        self.asked: list[str] = []

    async def passages(self, texts: Sequence[str]) -> list[list[float]]:
        """The vectors of passages."""
        self.asked += texts
        return [self.vector(text) for text in texts]

    async def query(self, text: str) -> list[float]:
        """The vector of a question."""
        return self.vector(text)

    def vector(self, text: str) -> list[float]:
        """The sum of a random vector for each word, of length 1."""
        total = np.zeros(self.dimensions)
        for word in text.lower().split():
            seed = hashlib.sha256(f"{self.name} {word}".encode()).digest()[:8]
            total += np.random.default_rng(int.from_bytes(seed, "big")).standard_normal(self.dimensions)
        vector: list[float] = (total / np.linalg.norm(total)).tolist()
        return vector
