"""Damage in the tables of memory. Its items are the truth: texts, index and vectors can be made from them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from swarm_graph.checkpoints.memory_tables import (
    every_row,
    index_problems,
    rebuild_index,
    rows_of_item,
    text_rows,
    texts_of,
    time_of,
    value_of,
)
from swarm_graph.checkpoints.storage import Cursor, Storage
from swarm_graph.errors import StorageError
from swarm_graph.text import format_count

ITEMS, VECTORS = "memory_items", "memory_vectors"
INDEX = "memory_index"
"""How the names of the index's tables begin."""
MADE_ANEW = ("memory_texts", "memory_version")
"""The tables of which no row is lost for good."""


class _Item(NamedTuple):
    id: int
    namespace: str
    value: dict[str, Any]
    fields: list[str]


def memory_problems(database: Storage) -> list[str]:
    """What is wrong with the tables of memory, a line each; nothing for a file without memory.

    Raises:
        StorageError: The file cannot be read.
    """
    if not database.has_memory:
        return []
    problems = index_problems(database)
    try:
        with database.view() as cursor:
            unreadable = len(_unreadable(cursor))
            stale = sum(_is_stale(cursor, item) for item in _items(cursor))
            vectors = len(_damaged_vectors(cursor))
    except StorageError as error:
        if not str(error.__cause__).startswith("no such table"):
            raise
        return [*problems, f"memory lacks a table ({error.__cause__})"]
    counted = {
        f"{format_count(unreadable, 'item')} that cannot be read": unreadable,
        f"{format_count(stale, 'item')} whose texts are wrong": stale,
        f"{format_count(vectors, 'vector')} of a wrong length": vectors,
    }
    return [*problems, *(f"memory holds {what}" for what, count in counted.items() if count)]


def mend_memory(database: Storage) -> dict[str, int] | None:
    """Delete the items and vectors that cannot be read; make the texts and the index anew from the others.

    Returns:
        The number of deleted rows, by table; None if nothing was wrong, and nothing was changed.

    Raises:
        StorageError: The index is too damaged to be replaced in this file.
    """
    if not memory_problems(database):
        return None
    with database.transaction() as cursor:
        items = _unreadable(cursor)
        cursor.executemany(f"DELETE FROM {ITEMS} WHERE id = ?", [(item,) for item in items])
        vectors = _damaged_vectors(cursor)
        cursor.executemany(f"DELETE FROM {VECTORS} WHERE rowid = ?", [(row,) for row in vectors])
        rebuild_index(database)
    return {ITEMS: len(items), VECTORS: len(vectors)}


def _rows(cursor: Cursor) -> Iterator[tuple[int, _Item | None]]:
    """The items by id; None for one that cannot be read."""
    for item, *columns in every_row(cursor, ITEMS, "namespace, key, value, fields, created_at, updated_at"):
        yield item, _read(item, *columns)


def _read(item: int, namespace: Any, key: Any, value: Any, fields: Any, *times: Any) -> _Item | None:
    try:
        read = _Item(item, namespace, value_of(value), json.loads(fields))
        for stored in times:
            time_of(stored)
    except (StorageError, ValueError, TypeError, RecursionError):
        return None
    is_sound = isinstance(namespace, str) and isinstance(key, str) and isinstance(read.fields, list)
    return read if is_sound and all(isinstance(field, str) for field in read.fields) else None


def _items(cursor: Cursor) -> Iterator[_Item]:
    return (item for _, item in _rows(cursor) if item)


def _unreadable(cursor: Cursor) -> list[int]:
    return [row for row, item in _rows(cursor) if item is None]


def _is_stale(cursor: Cursor, item: _Item) -> bool:
    wanted = text_rows(item.id, item.namespace, texts_of(item.value, item.fields))
    return sorted(rows_of_item(cursor, item.id).values()) != sorted(wanted)


def _damaged_vectors(cursor: Cursor) -> list[int]:
    """The rows of vectors that are no numbers of two bytes, or not as long as most of their model."""
    by_model: dict[str, dict[int, list[int]]] = {}
    query = f"SELECT rowid, model, substr(vector, 1, 1), length(vector) FROM {VECTORS}"
    for row, model, first, length in cursor.execute(query):
        usable = length if isinstance(first, bytes) and length % 2 == 0 else 0
        by_model.setdefault(model, {}).setdefault(usable, []).append(row)
    damaged: list[int] = []
    for rows in by_model.values():
        usual = max(rows, key=lambda length: len(rows[length]) if length else 0)
        damaged += [row for length, some in rows.items() if length != usual or not length for row in some]
    return damaged
