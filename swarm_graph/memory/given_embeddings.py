"""The embeddings of LangGraph's own `index` of a store, as an embedding model of ours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from hashlib import sha256

from langchain_core.embeddings import Embeddings
from langgraph.store.base import IndexConfig, ensure_embeddings

from swarm_graph.errors import ConfigError, EmbeddingError


class GivenEmbeddings:
    """Makes vectors with the function or the LangChain `Embeddings` that a user gives.

    Attributes:
        name: Identifies the vectors. LangGraph has no name for a model, so it is that of the function or
            class, with its attribute `model` or `model_name` if it has one, and the dimensions.
        batch: The number of texts that the user's function is given at once.
        shortened: How many texts were cut; LangGraph's embeddings do not say it.
    """

    batch, shortened = 128, 0

    def __init__(self, index: IndexConfig) -> None:
        """Nothing is asked yet.

        Args:
            index: LangGraph's settings for search by meaning.

        Raises:
            ConfigError: `embed` is nothing that makes vectors, or `dims` is no number.
        """
        embed, dims = index.get("embed"), index.get("dims")
        if not (callable(embed) or isinstance(embed, (str, Embeddings))):
            raise ConfigError(
                f"index: embed: expected a function, LangChain Embeddings or the name of some, not {embed!r}"
            )
        if dims is not None and (not isinstance(dims, int) or dims < 1):
            raise ConfigError(f"index: dims: expected the numbers of a vector, such as 384, not {dims!r}")
        self._embeddings = ensure_embeddings(embed)
        self._dims = dims
        self.name = f"index: {embed if isinstance(embed, str) else _named(embed)}, {self._dims} dimensions"

    async def passages(self, texts: Sequence[str]) -> list[list[float]]:
        """A vector for each text.

        Raises:
            EmbeddingError: The embeddings fail, or are of other dimensions.
        """
        try:
            vectors = await self._embeddings.aembed_documents([*texts])
        except Exception as error:
            raise EmbeddingError(f"the embeddings of the store's index fail: {error!r}") from error
        return self._checked(vectors, len(texts))

    async def query(self, text: str) -> list[float]:
        """The vector of a question.

        Raises:
            EmbeddingError: The embeddings fail, or are of other dimensions.
        """
        try:
            vector = await self._embeddings.aembed_query(text)
        except Exception as error:
            raise EmbeddingError(f"the embeddings of the store's index fail: {error!r}") from error
        return self._checked([vector], 1)[0]

    def _checked(self, vectors: list[list[float]], count: int) -> list[list[float]]:
        sizes = {len(vector) for vector in vectors}
        if len(vectors) != count or (self._dims and sizes - {self._dims}):
            raise EmbeddingError(
                f"the embeddings of the store's index made {len(vectors)} vectors of {sorted(sizes)} numbers "
                f"for {count} texts; expected {count} of {self._dims}"
            )
        lengths = [math.hypot(*vector) for vector in vectors]
        usable = [
            [number / length for number in vector] if 0 < length < math.inf else None
            for vector, length in zip(vectors, lengths, strict=True)
        ]
        found = [vector for vector in usable if vector is not None]
        if len(found) < count:
            raise EmbeddingError(
                "the embeddings of the store's index made a vector without a direction; expected finite "
                "numbers that are not all zero",
                vectors=usable,
                of_texts=True,
            )
        return found


def _named(embed: object) -> str:
    """The name of a function or class, the same in a process that multiprocessing has started."""
    if isinstance(embed, partial):
        given = [*enumerate(embed.args), *embed.keywords.items()]
        plain = [pair for pair in given if isinstance(pair[1], (str, int, float))]  # same text everywhere
        return f"{_named(embed.func)} {sha256(repr(plain).encode()).hexdigest()[:8]}"
    kind = embed if hasattr(embed, "__qualname__") else type(embed)
    module = "__main__" if kind.__module__ == "__mp_main__" else kind.__module__
    models = [getattr(embed, name, None) for name in ("model", "model_name")]
    return " ".join([f"{module}.{kind.__qualname__}", *(name for name in models if isinstance(name, str))])
