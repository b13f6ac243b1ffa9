"""What several tests of memory share: passages in a store, and a store that fails."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from langgraph.store.base import BaseStore, Op, Result
from langgraph.store.memory import InMemoryStore

from swarm_graph.checkpoints.saver import open_checkpointer
from swarm_graph.database_place import place_of
from swarm_graph.memory.namespaces import KNOWLEDGE
from swarm_graph.memory.passage import Passage
from swarm_graph.memory.store import SwarmStore
from swarm_graph.state import COLLECTION

RULE = "Plant rule 7: every valve command is confirmed by its limit switch within 5 s."
RULES = {
    "rules.md": RULE,
    "pumps.md": "Pumps: P-101 trips at 20 % level, because it draws vapour below that.",
    "tags.md": "Tags: a valve is XV, a pump is P, a level is LT.",
    "paint.md": "Paint the railings every two years.",
}
"""Source to text."""


def remember(store: BaseStore, texts: Mapping[str, str], place: str = "p. 1") -> None:
    """Put a passage for each source."""
    for number, (source, text) in enumerate(texts.items()):
        passage = Passage(f"{number:010x}/0001", text, source, place)
        store.put((*KNOWLEDGE, COLLECTION), passage.id, passage.to_value(), index=["text"])


def remembering(texts: Mapping[str, str] = RULES) -> InMemoryStore:
    """LangGraph's own store, without an index, with a passage for each source."""
    store = InMemoryStore()
    remember(store, texts)
    return store


def remember_in(folder: Path, texts: Mapping[str, str] = RULES) -> None:
    """Put a passage for each source into the memory of a data folder."""
    with open_checkpointer(place_of(folder), data_dir=folder) as saver:
        remember(SwarmStore.on(saver.database), texts)


def forget(store: BaseStore) -> None:
    """Delete every passage."""
    for item in store.search(KNOWLEDGE, limit=1000):
        store.delete(item.namespace, item.key)


class BrokenStore(BaseStore):
    """A store whose server is gone."""

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        raise ConnectionError("no server at 127.0.0.1:5432\nis it started?")

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        return self.batch(ops)


class HangingStore(BaseStore):
    """A store whose server takes every search and never answers."""

    def __init__(self) -> None:
        self.end = threading.Event()

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        self.end.wait()
        return []

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        await asyncio.Event().wait()
        return []


def recalled(state: Mapping[str, Any], node: str) -> list[str]:
    """The sources that a node has recalled, all rounds."""
    return [
        passage["source"]
        for one in state.get("recalled", [])
        if one["node"] == node
        for passage in one["passages"]
    ]
