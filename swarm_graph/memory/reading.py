"""Reads what is in memory: lists it, searches it, and finds a memory by its id or name."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from langgraph.store.base import GetOp, Item, ListNamespacesOp, MatchCondition, SearchItem

from swarm_graph.config_source import closest_match
from swarm_graph.errors import InputError
from swarm_graph.memory.documents import StoredDocument, passage_key
from swarm_graph.memory.experience import KINDS
from swarm_graph.memory.namespaces import DOCUMENTS, EXPERIENCE, ID_DIGITS, KNOWLEDGE, MEMORY
from swarm_graph.memory.passage import Passage
from swarm_graph.memory.ranking import found_items
from swarm_graph.memory.work import MAX_LABELS, Work, all_items, labels
from swarm_graph.text import cut, format_count

MAX_NAME = 80
"""Characters of an unknown name in a message."""
_ID = re.compile(rf"([0-9a-f]{{{ID_DIGITS}}})(?:/0*([1-9]\d{{0,6}}))?")


@dataclass(frozen=True)
class Memory:
    """A document, one of its passages, or an experience.

    Attributes:
        id: Its id.
        source: The document's source, or `session ID`.
        collection: The collection, or the kind of experience.
        passages: The passages of a document in their order; else the passage or the experience itself.
        document: The document that it is, or of which it is a passage; None for an experience.
        item: The item of a passage or an experience; None for a document.
    """

    id: str
    source: str
    collection: str
    passages: list[Passage]
    document: StoredDocument | None = None
    item: Item | None = field(default=None, repr=False)

    @property
    def is_document(self) -> bool:
        """Whether it is a document as a whole."""
        return self.item is None

    @property
    def details(self) -> dict[str, Any]:
        """What else is kept of a passage or an experience, such as its evidence, or when it was edited."""
        shown = ("text", "source", "place", "document", "number")
        return {key: one for key, one in self.item.value.items() if key not in shown} if self.item else {}


def documents(collection: str | None = None) -> Work[list[StoredDocument]]:
    """The documents of a collection, or of all, by collection and source."""
    items = yield from all_items(*DOCUMENTS, *([] if collection is None else [collection]))
    found = [StoredDocument.of_value(item.key, item.namespace[-1], item.value) for item in items]
    return sorted(found, key=lambda document: (document.collection, document.source, document.id))


def known_documents(collection: str | None = None) -> Work[list[StoredDocument]]:
    """`documents` of a collection that there must be; raises InputError if there is none of this name."""
    if collection is not None:
        yield from check_known(collection)
    return (yield from documents(collection))


def experience_items() -> Work[list[SearchItem]]:
    """The items of all experiences, by kind and id."""
    items = yield from all_items(*EXPERIENCE)
    return sorted(items, key=lambda item: (item.namespace, item.key))


def experiences(kind: str | None = None) -> Work[list[Passage]]:
    """The experiences of a kind, or all. Raises InputError for an unknown kind."""
    if kind not in (None, *KINDS):
        raise InputError(f"no kind of experience {kind!r}; known: {', '.join(KINDS)}")
    items = yield from experience_items()
    return [Passage.of_item(item) for item in items if kind in (None, item.namespace[-1])]


def passage_items(document: StoredDocument) -> Work[list[Item]]:
    """The passages of a document that nobody has forgotten, in their order."""
    namespace = (*KNOWLEDGE, document.collection)
    keys = [passage_key(document.id, number) for number in range(1, document.passages + 1)]
    items = (yield [GetOp(namespace, key) for key in keys]) if keys else []
    return [item for item in items if item]


def search(question: str, limit: int, collection: str | None) -> Work[list[Passage]]:
    """The passages that fit a question best; see `SwarmMemory.search`."""
    if not question.strip():
        raise InputError("the question is empty; expected some words")
    if collection is not None:
        yield from check_known(collection)
    namespace = MEMORY if collection is None else (*KNOWLEDGE, collection)
    found = yield from found_items(question, namespace, limit)
    return [Passage.of_item(item) for item in found]


def check_known(collection: str) -> Work[None]:
    """Raises InputError if there is no such collection."""
    known = sorted({*(yield from labels(DOCUMENTS)), *(yield from labels(KNOWLEDGE))})
    if collection not in known:
        raise InputError(f"no collection {_hint(collection, known)}")


def find(name: str) -> Work[Memory]:
    """The memory with an id, or the document with a source or a file; see `SwarmMemory.show`."""
    if given := _ID.fullmatch(name.strip()):
        found = yield from _of_id(given[1], int(given[2] or 0))
        if found:
            return found
    known = yield from documents()
    matching = _named(name, known)
    if len(matching) > 1:
        ids = ", ".join(f"{document.id} in {document.collection}" for document in matching)
        raise InputError(f"{len(matching)} documents are '{cut(name, MAX_NAME)}'; name one by its id: {ids}")
    if matching:
        return (yield from _whole(matching[0]))
    keys = [name.strip(), *([passage_key(given[1], int(given[2]))] if given and given[2] else [])]
    if stray := (yield from _stray(keys)):
        return stray
    kept = yield from experiences()
    names = [one for document in known for one in (document.source, document.id)]
    raise InputError(f"no memory {_hint(name, [*names, *(experience.id for experience in kept)])}")


def _stray(keys: Sequence[str]) -> Work[Memory | None]:
    """What roles may recall under one of some keys, though it is of no document; None if there is nothing."""
    every = yield from _namespaces()
    items = (yield [GetOp(namespace, key) for namespace in every for key in keys]) if every else []
    item = next(filter(None, items), None)
    return _one(item) if item else None


def other_namespaces() -> Work[list[str]]:
    """Where roles may recall from, beside the documents and experiences that are listed."""
    listed = {(*KNOWLEDGE, collection) for collection in (yield from labels(DOCUMENTS))}
    every = yield from _namespaces()
    others = [one for one in every if one not in listed and one[: len(EXPERIENCE)] != EXPERIENCE]
    return [".".join(one) for one in others]


def _namespaces() -> Work[list[tuple[str, ...]]]:
    """All namespaces that roles may recall from."""
    found: list[tuple[str, ...]]
    (found,) = yield [ListNamespacesOp((MatchCondition("prefix", MEMORY),), limit=MAX_LABELS)]
    return found


def _named(name: str, known: Sequence[StoredDocument]) -> list[StoredDocument]:
    """The documents with a source or a file; without any, those whose source ends so, as `pumps/P-7.md`."""
    path = os.path.abspath(name)  # noqa: PTH100 - as the path of a document is made
    exact = [document for document in known if name == document.source or path == document.path]
    return exact or [document for document in known if document.source.endswith(f"/{name}")]


def _hint(name: str, known: Iterable[str]) -> str:
    meant = closest_match(name, known)
    cure = f"did you mean '{meant}'?" if meant else "`swarm-graph memory list` shows all"
    return f"'{cut(name, MAX_NAME)}'; {cure}"


def _of_id(id: str, number: int) -> Work[Memory | None]:
    """The memory with an id; None if there is none."""
    collections = yield from labels(DOCUMENTS)
    kinds = yield from labels(EXPERIENCE)
    namespaces: list[tuple[str, ...]] = [(*DOCUMENTS, one) for one in collections]
    namespaces += [(*EXPERIENCE, one) for one in kinds if not number]
    items = (yield [GetOp(namespace, id) for namespace in namespaces]) if namespaces else []
    item = next(filter(None, items), None)
    if item is None:
        return None
    if item.namespace[: len(EXPERIENCE)] == EXPERIENCE:
        return _one(item)
    document = StoredDocument.of_value(item.key, item.namespace[-1], item.value)
    if not number:
        return (yield from _whole(document))
    (passage,) = yield [GetOp((*KNOWLEDGE, document.collection), passage_key(id, number))]
    if passage is None:
        has = format_count(document.passages, "passage")
        raise InputError(f"no passage {number} of '{document.source}' in memory; it was cut into {has}")
    return _one(passage, document)


def _whole(document: StoredDocument) -> Work[Memory]:
    items = yield from passage_items(document)
    passages = [Passage.of_item(item) for item in items]
    return Memory(document.id, document.source, document.collection, passages, document)


def _one(item: Item, document: StoredDocument | None = None) -> Memory:
    passage = Passage.of_item(item)
    return Memory(passage.id, passage.source, passage.collection, [passage], document, item)
