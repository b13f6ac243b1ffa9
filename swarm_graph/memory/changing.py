"""Corrects and forgets memories."""

from __future__ import annotations

import time
from collections.abc import Sequence

from langgraph.store.base import Op, PutOp

from swarm_graph.errors import InputError
from swarm_graph.memory.adding import deletion
from swarm_graph.memory.namespaces import DOCUMENTS, KNOWLEDGE
from swarm_graph.memory.passage import Passage
from swarm_graph.memory.reading import Memory, check_known, documents, find
from swarm_graph.memory.work import PAGE, Work, all_items
from swarm_graph.text import check_json_like, format_count

MAX_TEXT = 20_000
"""Characters of a text that a person writes."""


def edit(name: str, text: str) -> Work[Passage]:
    """Correct a text; see `SwarmMemory.edit`."""
    if not text.strip():
        raise InputError(f"the text is empty; `swarm-graph memory forget {name}` deletes the memory")
    if len(text) > MAX_TEXT:
        raise InputError(f"the text has {len(text):,} characters; expected at most {MAX_TEXT:,}")
    try:
        check_json_like(text)
    except ValueError as error:
        raise InputError(f"the text cannot be kept: {error}") from error
    memory = yield from find(name)
    if memory.is_document and len(memory.passages) == 1:
        memory = yield from find(memory.passages[0].id)
    if memory.item is None:
        has = format_count(len(memory.passages), "passage")
        raise InputError(f"'{memory.source}' has {has}; name one, as in {memory.id}/2")
    value = memory.item.value | {"text": text, "edited": time.time()}
    puts: list[Op] = [PutOp(memory.item.namespace, memory.item.key, value, index=["text"])]
    if document := memory.document:
        changed = document.with_edited(int(memory.item.key.rpartition("/")[2]))
        puts.append(PutOp((*DOCUMENTS, document.collection), document.id, changed.to_value(), index=False))
    yield puts
    return Passage(memory.id, text, memory.source, memory.passages[0].place, memory.collection)


def forget(names: Sequence[str], collection: str | None) -> Work[list[str]]:
    """Delete memories; see `SwarmMemory.forget`."""
    found: dict[str, Memory] = {}
    for name in names:
        memory = yield from find(name)
        found[memory.id] = memory
    lines = []
    if collection is not None:
        lines = yield from _forget_collection(collection)
    for memory in found.values():
        yield _deletion(memory)
    return [*lines, *map(in_words, found.values())]


def _deletion(memory: Memory) -> list[Op]:
    if memory.item:
        return [PutOp(memory.item.namespace, memory.item.key, None)]
    return deletion(memory.document) if memory.document else []


def in_words(memory: Memory) -> str:
    """A memory in a few words."""
    if memory.document is None:
        return f"{memory.id} ({memory.collection}, {memory.source})"
    if memory.item:
        return f"{memory.id} ({memory.passages[0].citation})"
    return f"{memory.id} ({memory.source}, {format_count(len(memory.passages), 'passage')})"


def _forget_collection(collection: str) -> Work[list[str]]:
    """Delete all documents of a collection, and whatever else lies in it."""
    yield from check_known(collection)
    known = yield from documents(collection)
    for document in known:
        yield deletion(document)
    left = yield from all_items(*KNOWLEDGE, collection)
    left += yield from all_items(*DOCUMENTS, collection)
    for start in range(0, len(left), PAGE):
        yield [PutOp(item.namespace, item.key, None) for item in left[start : start + PAGE]]
    return [f"{one.id} ({one.source}, {format_count(one.passages, 'passage')})" for one in known]
