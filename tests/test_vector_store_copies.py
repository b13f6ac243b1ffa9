"""A vector store has the vectors of the database after each change; LangChain's own store stands for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from langchain_core.vectorstores import InMemoryVectorStore, VectorStore
from word_vectors import WordVectors

from swarm_graph.checkpoints.database import Database
from swarm_graph.checkpoints.memory_tables import digest_of
from swarm_graph.errors import EmbeddingError
from swarm_graph.memory.langchain_stores import COLLECTIONS, Collection, Place
from swarm_graph.memory.store import SwarmStore
from swarm_graph.memory.vector_stores import LangChainVectors
from swarm_graph.memory_settings import VectorStoreSettings

NAMESPACE = ("plant",)


class Kept(Collection):
    """LangChain's store in memory; `added` are the digests that it was given, in their order."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.added: list[str] = []
        self._kept = InMemoryVectorStore(self._ours)

    def add(self, vectors: Mapping[str, list[float]]) -> None:
        self.added += vectors
        super().add(vectors)

    def ids(self) -> set[str]:
        return {*self._kept.store}

    def digests(self) -> set[str]:
        return {kept["text"] for kept in self._kept.store.values()}

    def _open(self, name: str, size: int) -> VectorStore:
        return self._kept


class Leaving(WordVectors):
    """A model whose server may be away."""

    is_away = False

    async def passages(self, texts: Sequence[str]) -> list[list[float]]:
        if self.is_away:
            raise EmbeddingError("memory: the server is away")
        return await super().passages(texts)


def digests(*texts: str) -> set[str]:
    return {digest_of(text).hex() for text in texts}


def test_each_change_reaches_the_vector_store_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Kept] = []

    def make(place: Place) -> Kept:
        made.append(Kept(place))
        return made[0]

    monkeypatch.setitem(COLLECTIONS, "kept", make)
    settings = VectorStoreSettings.model_construct(class_="kept", path=None, url_env=None)
    with Database(tmp_path / "swarm.db") as database:
        model = Leaving()
        store = SwarmStore(database, LangChainVectors(database, model, settings))

        def put(**texts: str | None) -> set[str]:
            """Put or delete items; the digests that the vector store has then."""
            for key, text in texts.items():
                store.put(NAMESPACE, key, {"text": text}, ["text"]) if text else store.delete(NAMESPACE, key)
            return made[0].digests()

        assert put(a="pump", b="valve") == digests("pump", "valve")
        assert put(c="flare", d="pump") == digests("pump", "valve", "flare")
        model.is_away = True
        assert put(e="torch", f="stack") == digests("pump", "valve", "flare")
        model.is_away = False
        assert put(g="drum") == digests("pump", "valve", "flare", "drum")
        assert store.reindex() == 2
        assert made[0].digests() == digests("pump", "valve", "flare", "drum", "torch", "stack")
        assert put(b="gate", c=None, a=None) == digests("pump", "gate", "drum", "torch", "stack")
        assert put(h="seal", d=None) == digests("gate", "drum", "torch", "stack", "seal")
        assert next(item.key for item in store.search((), query="torch")) == "e"
    assert len(made[0].added) == len({*made[0].added}), "nothing is added twice"
