"""The tables of memory: the texts of items, the index of their words, and how to check and rebuild it.

The rows of `memory_texts` and `memory_index` follow from those of `memory_items`: `fields` names the parts of
a value that are texts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

from swarm_graph.checkpoints.storage import Cursor, Storage
from swarm_graph.checkpoints.word_index import IndexedText, WordIndex
from swarm_graph.errors import StorageError
from swarm_graph.text import format_count

WHOLE = "$"
"""The path of the whole value."""
AT_ONCE = 500
"""Values in one question to the database, and rows that are read at once."""


class ItemText(NamedTuple):
    """A text by which an item is found, and the path where it lies in the value."""

    path: str
    text: str

    @property
    def digest(self) -> bytes:
        """What identifies the text."""
        return digest_of(self.text)


def digest_of(text: str) -> bytes:
    """What identifies a text in the database; its vectors are kept under it."""
    return hashlib.sha256(text.encode()).digest()


def texts_of(value: Mapping[str, Any], fields: Sequence[str]) -> list[ItemText]:
    """The texts of a value, without blank ones.

    Args:
        value: The value of an item.
        fields: Paths as LangGraph has them, such as `sections[*].text`; WHOLE for all of it in one text.
    """
    from langgraph.store.base import get_text_at_path

    found = []
    for path in dict.fromkeys(fields):
        texts = ["\n".join(_lines(value))] if path == WHOLE else get_text_at_path(value, path)
        for number, text in enumerate(texts):
            name = f"{path}.{number}" if len(texts) > 1 else path
            found.append(ItemText(name, text.encode(errors="replace").decode()))
    return [text for text in found if text.text.strip()]


def _lines(value: Any, name: str = "") -> Iterator[str]:
    """Everything in a value, a line each, as `name: text`."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _lines(part, str(key))
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _lines(part, name)
    elif value is not None:
        yield f"{name}: {value}"


@lru_cache(maxsize=512)
def scope_word(namespace: str) -> str:
    """The word in the index's column `scope` for a namespace and all below it.

    It is made of digits: FTS5 takes endings off words.
    """
    return str(int.from_bytes(hashlib.sha256(namespace.encode()).digest()[:8]))


@lru_cache(maxsize=512)
def _scope(namespace: str) -> str:
    labels = namespace.split(".")
    return " ".join(scope_word(".".join(labels[:depth])) for depth in range(1, len(labels) + 1))


# --- rows of one item ------------------------------------------------------------------------------


def value_of(stored: Any) -> dict[str, Any]:
    """The value of an item, as the database has it. Raises StorageError if it is none."""
    try:
        value = json.loads(stored)
    except (TypeError, ValueError, RecursionError) as error:
        raise unreadable_item() from error
    if not isinstance(value, dict):
        raise unreadable_item()
    return value


def time_of(stored: Any) -> datetime:
    """The time at which an item was put, as the database has it. Raises StorageError if it is none."""
    try:
        return datetime.fromtimestamp(stored, UTC)
    except (TypeError, ValueError, OverflowError, OSError) as error:
        raise unreadable_item() from error


def unreadable_item() -> StorageError:
    """The error of a row of `memory_items` that no version of swarm_graph wrote."""
    return StorageError(
        "memory holds an item that cannot be read; `swarm-graph doctor --database --repair` deletes it"
    )


class TextRow(NamedTuple):
    """A row of `memory_texts` without its id."""

    item: int
    path: str
    digest: bytes
    scope: str
    text: str


_TEXT_COLUMNS = ", ".join(TextRow._fields)
_INSERT_TEXT = f"INSERT INTO memory_texts ({_TEXT_COLUMNS}) VALUES (?, ?, ?, ?, ?)"


def text_rows(item: int, namespace: str, texts: Iterable[ItemText]) -> list[TextRow]:
    """The rows of `memory_texts` that an item has."""
    return [TextRow(item, text.path, text.digest, _scope(namespace), text.text) for text in texts]


def rows_of_item(cursor: Cursor, item: int) -> dict[int, TextRow]:
    """The rows of `memory_texts` that the file has for an item, by id."""
    found = cursor.execute(f"SELECT id, {_TEXT_COLUMNS} FROM memory_texts WHERE item = ?", (item,))
    return {row: TextRow(*columns) for row, *columns in found.fetchall()}


def write_texts(
    cursor: Cursor, words: WordIndex, item: int, namespace: str, texts: Sequence[ItemText]
) -> set[bytes]:
    """Give an item its texts in place of those that it has; if they are the same, they keep their ids.

    Returns:
        The digests of the texts in whose place they are.

    Args:
        cursor: Inside a transaction.
        words: The index of words.
        item: The item's id.
        namespace: Its namespace, as stored.
        texts: All its texts.
    """
    rows = cursor.execute("SELECT path, digest FROM memory_texts WHERE item = ?", (item,)).fetchall()
    if sorted(rows) == sorted((text.path, text.digest) for text in texts):
        return set()
    replaced = delete_texts(cursor, words, item) if rows else set()
    # With RETURNING, SQLite would have FTS5 write what it has collected before each text.
    cursor.executemany(_INSERT_TEXT, text_rows(item, namespace, texts))
    words.add(cursor, _indexed_texts(cursor, item))
    return replaced


def delete_texts(cursor: Cursor, words: WordIndex, item: int) -> set[bytes]:
    """Delete the texts of an item, and their words from the index; return their digests."""
    digests = cursor.execute("SELECT digest FROM memory_texts WHERE item = ?", (item,)).fetchall()
    words.remove(cursor, _indexed_texts(cursor, item))
    cursor.execute("DELETE FROM memory_texts WHERE item = ?", (item,))
    return {digest for (digest,) in digests}


def _indexed_texts(cursor: Cursor, item: int) -> list[IndexedText]:
    rows = cursor.execute("SELECT id, scope, text FROM memory_texts WHERE item = ? ORDER BY id", (item,))
    return [IndexedText(*row) for row in rows.fetchall()]


def delete_unused_vectors(cursor: Cursor, digests: Iterable[bytes]) -> None:
    """Delete the vectors, of every model, of texts that no item has any more.

    Args:
        cursor: Inside the transaction that removed the texts.
        digests: Of the removed texts.
    """
    cursor.executemany(
        "DELETE FROM memory_vectors WHERE digest = :digest AND NOT EXISTS "
        "(SELECT 1 FROM memory_texts WHERE digest = :digest)",
        [{"digest": digest} for digest in digests],
    )


def version_of_memory(cursor: Cursor) -> int:
    """How many transactions have changed memory; 0 if none has."""
    found = cursor.execute("SELECT version FROM memory_version").fetchone()
    return int(found[0]) if found else 0


def bump_version(cursor: Cursor) -> None:
    """Tell other processes that memory has changed; call it first in a transaction that writes.

    So those of several processes come one after the other, as on SQLite, and none waits for a row in vain.
    """
    cursor.execute(
        "INSERT INTO memory_version VALUES (1, 1) "
        "ON CONFLICT (id) DO UPDATE SET version = memory_version.version + 1"
    )


def take_turn(cursor: Cursor) -> None:
    """Wait, in a transaction, for those of other processes that change memory."""
    cursor.execute("UPDATE memory_version SET version = version")


# --- many rows -------------------------------------------------------------------------------------


def rows_for(
    cursor: Cursor, sql: str, values: Sequence[Any], before: Sequence[Any] = (), after: Sequence[Any] = ()
) -> Iterator[Any]:
    """The rows of a query for many values, in no order.

    Args:
        cursor: Used for nothing else meanwhile.
        sql: The query; `{marks}` stands for some of the values, as in `id IN ({marks})`.
        values: The values.
        before: The values of the placeholders before these.
        after: And after them.
    """
    for start in range(0, len(values), AT_ONCE):
        some = values[start : start + AT_ONCE]
        marks = ", ".join("?" * len(some))
        yield from cursor.execute(sql.format(marks=marks), (*before, *some, *after)).fetchall()


def every_row(cursor: Cursor, table: str, columns: str) -> Iterator[tuple[Any, ...]]:
    """All rows of a table by their ids, which come first in each; other statements may come between.

    Args:
        cursor: Sees the table.
        table: `memory_items` or `memory_texts`.
        columns: The columns besides the id.
    """
    sql = f"SELECT id, {columns} FROM {table} WHERE id > ? ORDER BY id LIMIT ?"
    rows = cursor.execute(sql, (0, AT_ONCE)).fetchall()
    while rows:
        yield from rows
        rows = cursor.execute(sql, (rows[-1][0], AT_ONCE)).fetchall()


def index_problems(database: Storage) -> list[str]:
    """What is wrong with the texts and the index of memory, a line each; nothing for a file without memory.

    Raises:
        StorageError: The database cannot be read or written; FTS5 checks an index inside a write transaction.
    """
    if not database.has_memory:
        return []
    try:
        with database.transaction() as cursor:
            problems = database.words.problems(cursor)
            left = _count(
                cursor, "SELECT count(*) FROM memory_texts WHERE item NOT IN (SELECT id FROM memory_items)"
            )
    except StorageError as error:
        if not database.words.is_damage(error.__cause__):
            raise
        return ["the index of memory is damaged"]
    return [*problems, *([f"memory holds {format_count(left, 'text')} without an item"] if left else [])]


def _count(cursor: Cursor, sql: str) -> int:
    return int(cursor.execute(sql).fetchone()[0])


def rebuild_index(database: Storage) -> int:
    """Make the texts and the index of memory anew from its items; return how many texts they have.

    Texts that are as they should be keep their ids.

    Raises:
        StorageError: The items cannot be read, the database cannot be written, or the index is too damaged to
            be emptied.
    """
    if not database.has_memory:
        return 0
    with database.transaction() as cursor:
        bump_version(cursor)
        database.words.clear(cursor)
        _rewrite_texts(cursor)
        for text in every_row(cursor, "memory_texts", "scope, text"):
            database.words.add(cursor, [IndexedText(*text)])
        return _count(cursor, "SELECT count(*) FROM memory_texts")


def _rewrite_texts(cursor: Cursor) -> None:
    """Let `memory_texts` hold just the texts of the items; the index is still empty."""
    cursor.execute("DELETE FROM memory_texts WHERE item NOT IN (SELECT id FROM memory_items)")
    for item, namespace, value, fields in every_row(cursor, "memory_items", "namespace, value, fields"):
        wanted = text_rows(item, namespace, texts_of(json.loads(value), json.loads(fields)))
        for row, found in rows_of_item(cursor, item).items():
            if found in wanted:
                wanted.remove(found)
            else:
                cursor.execute("DELETE FROM memory_texts WHERE id = ?", (row,))
        cursor.executemany(_INSERT_TEXT, wanted)
