"""The items of a LangGraph store as rows of `memory_items`."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from langgraph.store.base import Item, ListNamespacesOp, MatchCondition, PutOp, SearchItem, SearchOp

from swarm_graph.checkpoints.memory_tables import (
    ItemText,
    delete_texts,
    rows_for,
    texts_of,
    time_of,
    unreadable_item,
    value_of,
    write_texts,
)
from swarm_graph.checkpoints.storage import Cursor
from swarm_graph.checkpoints.word_index import WordIndex
from swarm_graph.errors import InputError
from swarm_graph.memory.filters import matches

_SEPARATOR, _AFTER_SEPARATOR = ".", "/"
"""LangGraph allows no dot in a label. The second follows the first, so both bound a namespace's children."""
_ESCAPED = re.compile(r"\\(\\|u[0-9a-f]{4})")
_COLUMNS = "id, namespace, key, value, created_at, updated_at"
_IS_ALIVE = "(expires_at IS NULL OR expires_at > ?)"
_ID_OF = "SELECT id FROM memory_items WHERE namespace = ? AND key = ?"
_WITH_IDS = f"SELECT {_COLUMNS} FROM memory_items WHERE id IN ({{marks}}) AND {_IS_ALIVE}"
_NAMESPACES = f"""WITH RECURSIVE every (namespace) AS (
    SELECT min(namespace) FROM memory_items
    UNION ALL
    SELECT (SELECT min(namespace) FROM memory_items WHERE namespace > every.namespace)
    FROM every WHERE every.namespace IS NOT NULL)
SELECT namespace FROM every WHERE EXISTS
    (SELECT 1 FROM memory_items WHERE memory_items.namespace = every.namespace AND {_IS_ALIVE})"""
"""One look into the index for each namespace: `DISTINCT` reads every item."""
_PAGE = 200
"""How many rows are looked up at once while a filter decides how many are needed."""


def stored_name(name: str) -> str:
    """A namespace or key as the database has it: half a surrogate pair, which is no Unicode, is escaped."""
    return name.replace("\\", r"\\").encode(errors="backslashreplace").decode()


def stored_namespace(namespace: Sequence[str]) -> str:
    """A namespace as the database has it."""
    return stored_name(_SEPARATOR.join(namespace))


def _read_name(stored: Any) -> str:
    if not isinstance(stored, str):
        raise unreadable_item()

    def unescaped(found: re.Match[str]) -> str:
        return "\\" if found[1] == "\\" else chr(int(found[1][1:], 16))

    return _ESCAPED.sub(unescaped, stored) if "\\" in stored else stored


def _read_namespace(stored: Any) -> tuple[str, ...]:
    return tuple(_read_name(stored).split(_SEPARATOR))


class NewItem(NamedTuple):
    """What an operation wants to put, ready to be written; or to delete, if it has no value."""

    namespace: str
    """As the database has it, and so are the key and the value."""
    key: str
    value: str | None
    fields: str = "[]"
    texts: Sequence[ItemText] = ()
    ttl: float | None = None


def new_item(op: PutOp, fields: Sequence[str]) -> NewItem:
    """What an operation wants to put or delete.

    Args:
        op: The operation.
        fields: The paths of the texts by which the item is found.

    Raises:
        InputError: The value is no JSON.
    """
    names = stored_namespace(op.namespace), stored_name(op.key)
    if op.value is None:
        return NewItem(*names, None)
    try:
        value = json.dumps(dict(op.value))
        texts = texts_of(json.loads(value), fields)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"cannot store the item {op.key!r}: its value is no JSON: {error}") from error
    return NewItem(*names, value, json.dumps([*fields]), texts, op.ttl)


# --- write -----------------------------------------------------------------------------------------


def put(cursor: Cursor, words: WordIndex, new: NewItem) -> set[bytes]:
    """Add, replace or delete an item, inside a transaction; return the digests of texts that it has lost."""
    if new.value is None:
        found = cursor.execute(_ID_OF, (new.namespace, new.key)).fetchall()
        return _delete(cursor, words, [item for (item,) in found])
    now = time.time()
    expires = None if new.ttl is None else now + new.ttl * 60
    cursor.execute(
        """INSERT INTO memory_items (namespace, key, value, fields, created_at, updated_at, ttl, expires_at)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (namespace, key) DO UPDATE SET value = excluded.value,
        fields = excluded.fields, updated_at = excluded.updated_at, ttl = excluded.ttl,
        expires_at = excluded.expires_at""",
        (*new[:4], now, now, new.ttl, expires),
    )
    (item,) = cursor.execute(_ID_OF, new[:2]).fetchone()
    return write_texts(cursor, words, item, new.namespace, new.texts)


def count_expired(cursor: Cursor) -> int:
    """How many items have expired."""
    found = cursor.execute("SELECT count(*) FROM memory_items WHERE expires_at <= ?", (time.time(),))
    return int(found.fetchone()[0])


def delete_expired(cursor: Cursor, words: WordIndex) -> set[bytes]:
    """Delete all items that have expired, inside a transaction; return the digests of their texts."""
    found = cursor.execute("SELECT id FROM memory_items WHERE expires_at <= ?", (time.time(),)).fetchall()
    return _delete(cursor, words, [item for (item,) in found])


def _delete(cursor: Cursor, words: WordIndex, items: Sequence[int]) -> set[bytes]:
    digests = {digest for item in items for digest in delete_texts(cursor, words, item)}
    cursor.executemany("DELETE FROM memory_items WHERE id = ?", [(item,) for item in items])
    return digests


def renew_ttl(cursor: Cursor, items: Collection[int]) -> None:
    """Let the time of items start again, inside a transaction; those without a TTL stay as they are."""
    now = time.time()
    cursor.executemany(
        "UPDATE memory_items SET expires_at = ? + ttl * 60 WHERE ttl IS NOT NULL AND id = ?",
        [(now, item) for item in sorted(items)],
    )


def have_ttl(cursor: Cursor, items: Collection[int]) -> bool:
    """Whether one of the items has a TTL."""
    sql = "SELECT 1 FROM memory_items WHERE ttl IS NOT NULL AND id IN ({marks}) LIMIT 1"
    return any(rows_for(cursor, sql, [*items]))


# --- read ------------------------------------------------------------------------------------------


def item_named(cursor: Cursor, namespace: Sequence[str], key: str) -> tuple[int, Item] | None:
    """An item with its id; None if there is none, or it has expired."""
    row = cursor.execute(
        f"SELECT {_COLUMNS} FROM memory_items WHERE namespace = ? AND key = ? AND {_IS_ALIVE}",
        (stored_namespace(namespace), stored_name(key), time.time()),
    ).fetchone()
    if row is None:
        return None
    found = _search_item(row, None)
    return row[0], Item(**{name: getattr(found, name) for name in Item.__slots__})


def items_by_id(cursor: Cursor, scores: Sequence[tuple[int, float]]) -> list[tuple[int, SearchItem]]:
    """Items with their ids, in the order of the ids and scores that are given; none that has expired."""
    found = _alive_items(cursor, [item for item, _ in scores])
    return [(item, _search_item(found[item], score)) for item, score in scores if item in found]


def newest_items(cursor: Cursor, op: SearchOp) -> list[tuple[int, SearchItem]]:
    """The items of a search without a question, with their ids, the newest first."""
    within, parameters = _within(op.namespace_prefix)
    which = f"FROM memory_items WHERE {within} AND {_IS_ALIVE} ORDER BY updated_at DESC, id DESC"
    values = (*parameters, time.time())
    if not op.filter:
        rows = cursor.execute(f"SELECT {_COLUMNS} {which} LIMIT ? OFFSET ?", (*values, op.limit, op.offset))
        return [(row[0], _search_item(row, None)) for row in rows]
    ids = [item for (item,) in cursor.execute(f"SELECT id {which}", values)]
    found = (
        pair for start in range(0, len(ids), _PAGE) for pair in _page(cursor, ids[start : start + _PAGE])
    )
    matching = (pair for pair in found if matches(pair[1].value, op.filter))
    return [*islice(matching, op.offset, op.offset + op.limit)]


def _page(cursor: Cursor, ids: Sequence[int]) -> Iterator[tuple[int, SearchItem]]:
    found = _alive_items(cursor, ids)
    return ((item, _search_item(found[item], None)) for item in ids if item in found)


def _alive_items(cursor: Cursor, ids: Sequence[int]) -> dict[int, Sequence[Any]]:
    """The rows of items by id, without those that have expired."""
    return {row[0]: row for row in rows_for(cursor, _WITH_IDS, ids, after=[time.time()])}


def items_of_texts(cursor: Cursor, texts: Iterable[int], op: SearchOp, most: int) -> list[int]:
    """The ids of the items of a search that have certain texts, in the order of the texts, each once.

    Args:
        cursor: Sees the tables of memory.
        texts: Ids of texts, the best first.
        op: The search; its namespace and filter apply.
        most: The most to return.
    """
    found: dict[int, None] = {}
    texts = iter(texts)
    while len(found) < most and (page := [*islice(texts, _PAGE)]):
        found.update(dict.fromkeys(_matching_items(cursor, page, op)))
    return [*found][:most]


def _matching_items(cursor: Cursor, texts: list[int], op: SearchOp) -> Iterator[int]:
    within, parameters = _within(op.namespace_prefix)
    sql = f"""SELECT memory_texts.id, item, {"memory_items.value" if op.filter else "NULL"}
        FROM memory_texts CROSS JOIN memory_items
        WHERE memory_texts.id IN ({{marks}}) AND memory_items.id = item AND {within} AND {_IS_ALIVE}"""
    rows = rows_for(cursor, sql, texts, after=[*parameters, time.time()])
    by_text = {text: item for text, item, value in rows if not op.filter or _matches(value, op)}
    return (by_text[text] for text in texts if text in by_text)


def texts_within(cursor: Cursor, op: SearchOp) -> list[int]:
    """The ids of all texts whose items match a search's namespace and filter."""
    within, parameters = _within(op.namespace_prefix)
    rows = cursor.execute(
        f"""SELECT memory_texts.id, {"memory_items.value" if op.filter else "NULL"}
        FROM memory_items CROSS JOIN memory_texts
        WHERE memory_texts.item = memory_items.id AND {within} AND {_IS_ALIVE}""",
        (*parameters, time.time()),
    )
    return [text for text, value in rows if not op.filter or _matches(value, op)]


def _matches(value: Any, op: SearchOp) -> bool:
    return matches(value_of(value), op.filter)


def namespaces(cursor: Cursor, op: ListNamespacesOp) -> list[tuple[str, ...]]:
    """The namespaces of items that an operation lists, in order."""
    rows = cursor.execute(_NAMESPACES, (time.time(),))
    every = (_read_namespace(stored) for (stored,) in rows)
    fitting = (found for found in every if all(_fits(found, part) for part in op.match_conditions or ()))
    return sorted({found[: op.max_depth] for found in fitting})[op.offset : op.offset + op.limit]


def _fits(namespace: tuple[str, ...], condition: MatchCondition) -> bool:
    size = len(condition.path)
    if condition.match_type not in ("prefix", "suffix"):
        raise InputError(f"unknown match type {condition.match_type!r}; expected 'prefix' or 'suffix'")
    part = (
        namespace[:size] if condition.match_type == "prefix" else namespace[max(len(namespace) - size, 0) :]
    )
    pairs = zip(part, condition.path, strict=False)
    return len(part) == size and all(wanted in ("*", label) for label, wanted in pairs)


def _within(prefix: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """The condition in SQL for a namespace and all below it, with its parameters."""
    if not prefix:
        return "TRUE", ()
    stored = stored_namespace(prefix)
    first, end = stored + _SEPARATOR, stored + _AFTER_SEPARATOR
    return "(namespace = ? OR namespace >= ? AND namespace < ?)", (stored, first, end)


def _search_item(row: Sequence[Any], score: float | None) -> SearchItem:
    _, namespace, key, value, created_at, updated_at = row
    return SearchItem(
        namespace=_read_namespace(namespace),
        key=_read_name(key),
        value=value_of(value),
        created_at=time_of(created_at),
        updated_at=time_of(updated_at),
        score=score,
    )
