"""The tables of memory: the texts of items, the index of their words, and how to check and rebuild it.

The rows of `memory_texts` and `memory_index` follow from those of `memory_items`: `fields` names the parts of
a value that are texts.
"""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

from swarm_graph.checkpoints.database import Database
from swarm_graph.errors import StorageError
from swarm_graph.text import format_count

WHOLE = "$"
"""The path of the whole value."""
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u2fdf\u3005-\u3007\u3040-\u30ff\u3400-\u9fff"
    "\uac00-\ud7a3\uf900-\ufaff\uff66-\uff9d\U00020000-\U0003ffff"
)
"""Characters of scripts that put no space between words, as Chinese; for a class of a regular expression."""
_UNSPACED = re.compile(f"([{UNSPACED}])")
_SOFT_HYPHEN = "\u00ad"


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


def indexed(text: str) -> str:
    """A text as the index and questions have it: Unicode in one form, each unspaced character a word."""
    plain = unicodedata.normalize("NFKC", text).replace(_SOFT_HYPHEN, "").replace("\0", " ")
    return plain if plain.isascii() else _UNSPACED.sub(r" \1 ", plain)


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


def rows_of_item(cursor: sqlite3.Cursor, item: int) -> dict[int, TextRow]:
    """The rows of `memory_texts` that the file has for an item, by id."""
    found = cursor.execute(f"SELECT id, {_TEXT_COLUMNS} FROM memory_texts WHERE item = ?", (item,))
    return {row: TextRow(*columns) for row, *columns in found.fetchall()}


def write_texts(cursor: sqlite3.Cursor, item: int, namespace: str, texts: Sequence[ItemText]) -> set[bytes]:
    """Give an item its texts in place of those that it has; if they are the same, they keep their ids.

    Returns:
        The digests of the texts in whose place they are.

    Args:
        cursor: Inside a transaction.
        item: The item's id.
        namespace: Its namespace, as stored.
        texts: All its texts.
    """
    rows = cursor.execute("SELECT path, digest FROM memory_texts WHERE item = ?", (item,)).fetchall()
    if sorted(rows) == sorted((text.path, text.digest) for text in texts):
        return set()
    replaced = delete_texts(cursor, item)
    for row in text_rows(item, namespace, texts):
        cursor.execute(_INSERT_TEXT, row)
        _index(cursor, cursor.lastrowid, row.scope, row.text)
    return replaced


def delete_texts(cursor: sqlite3.Cursor, item: int) -> set[bytes]:
    """Delete the texts of an item, and their words from the index; return their digests."""
    sql = "SELECT id, scope, text, digest FROM memory_texts WHERE item = ?"
    rows = cursor.execute(sql, (item,)).fetchall()
    for row, scope, text, _ in rows:
        _unindex(cursor, row, scope, text)
    cursor.execute("DELETE FROM memory_texts WHERE item = ?", (item,))
    return {digest for *_, digest in rows}


def delete_unused_vectors(cursor: sqlite3.Cursor, digests: Iterable[bytes]) -> None:
    """Delete the vectors, of every model, of texts that no item has any more.

    Args:
        cursor: Inside the transaction that removed the texts.
        digests: Of the removed texts.
    """
    cursor.executemany(
        "DELETE FROM memory_vectors WHERE digest = ?1 AND NOT EXISTS "
        "(SELECT 1 FROM memory_texts WHERE digest = ?1)",
        [(digest,) for digest in digests],
    )


def _index(cursor: sqlite3.Cursor, row: int | None, scope: str, text: str) -> None:
    cursor.execute(
        "INSERT INTO memory_index (rowid, scope, text) VALUES (?, ?, ?)", (row, scope, indexed(text))
    )


def _unindex(cursor: sqlite3.Cursor, row: int, scope: str, text: str) -> None:
    """FTS5 needs the same words again to delete them: the table `memory_texts` has the text as it was."""
    if not isinstance(text, str):
        raise sqlite3.IntegrityError("memory_texts holds a text that is none")
    cursor.execute(
        "INSERT INTO memory_index (memory_index, rowid, scope, text) VALUES ('delete', ?, ?, ?)",
        (row, scope, indexed(text)),
    )


def version_of_memory(cursor: sqlite3.Cursor) -> int:
    """How many transactions have changed memory; 0 if none has."""
    found = cursor.execute("SELECT version FROM memory_version").fetchone()
    return int(found[0]) if found else 0


def bump_version(cursor: sqlite3.Cursor) -> None:
    """Tell other processes that memory has changed."""
    cursor.execute(
        "INSERT INTO memory_version VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET version = version + 1"
    )


# --- all rows --------------------------------------------------------------------------------------


def index_problems(database: Database) -> list[str]:
    """What is wrong with the texts and the index of memory, a line each; nothing for a file without memory.

    Raises:
        StorageError: The file cannot be read or written; FTS5 checks an index inside a write transaction.
    """
    if not database.has_memory:
        return []
    try:
        with database.transaction() as cursor:
            cursor.execute("INSERT INTO memory_index (memory_index) VALUES ('integrity-check')")
            if _words_in_index(cursor) != _words_of_texts(cursor):
                return [_DAMAGED]
            counts = [(line, _count(cursor, f"SELECT count(*) FROM {rows}")) for line, rows in _CHECKS]
            return [line.format(format_count(count, "text")) for line, count in counts if count]
    except StorageError as error:
        if not isinstance(error.__cause__, sqlite3.DatabaseError) or not _is_damage(error.__cause__):
            raise
        return [_DAMAGED]


_DAMAGED = "the index of memory is damaged"
_CHECKS = (
    (
        "the index of memory lacks {}",
        "memory_texts WHERE id NOT IN (SELECT id FROM memory_index_docsize)",
    ),
    (
        "the index of memory holds {} that memory does not have",
        "memory_index_docsize WHERE id NOT IN (SELECT id FROM memory_texts)",
    ),
    (
        "memory holds {} without an item",
        "memory_texts WHERE item NOT IN (SELECT id FROM memory_items)",
    ),
)
"""What may be wrong, and the rows that are."""


def _words_in_index(cursor: sqlite3.Cursor) -> int:
    """How many words the index can find.

    FTS5's own check does not notice that blocks are lost from its end, or that words cannot be looked up.
    """
    cursor.execute("CREATE VIRTUAL TABLE temp.memory_words USING fts5vocab('main', 'memory_index', 'row')")
    words = _count(
        cursor,
        "SELECT coalesce(sum(cnt), 0) FROM temp.memory_words AS each WHERE doc = "
        "(SELECT doc FROM temp.memory_words AS looked_up WHERE looked_up.term = each.term)",
    )
    cursor.execute("DROP TABLE temp.memory_words")
    return words


def _words_of_texts(cursor: sqlite3.Cursor) -> int:
    """How many words the texts of the index have; FTS5 keeps a number for each column of each text."""
    rows = cursor.execute("SELECT sz FROM memory_index_docsize WHERE typeof(sz) = 'blob'")
    return sum(sum(_numbers(sizes)) for (sizes,) in rows)


def _numbers(stored: bytes) -> Iterator[int]:
    """SQLite's numbers of variable length: seven bits in a byte; the highest bit says that one follows."""
    number = 0
    for byte in stored:
        number = number << 7 | byte & 0x7F
        if byte < 0x80:
            yield number
            number = 0


def _count(cursor: sqlite3.Cursor, sql: str) -> int:
    return int(cursor.execute(sql).fetchone()[0])


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR)


def rebuild_index(database: Database) -> int:
    """Make the texts and the index of memory anew from its items; return how many texts they have.

    Texts that are as they should be keep their ids.

    Raises:
        StorageError: The items cannot be read, the file cannot be written, or the index is too damaged to be
            emptied.
    """
    if not database.has_memory:
        return 0
    with database.transaction() as cursor:
        cursor.execute("INSERT INTO memory_index (memory_index) VALUES ('delete-all')")
        _rewrite_texts(cursor)
        rows = cursor.connection.execute("SELECT id, scope, text FROM memory_texts ORDER BY id")
        for row, scope, text in rows:
            _index(cursor, row, scope, text)
        bump_version(cursor)
        return _count(cursor, "SELECT count(*) FROM memory_texts")


def _rewrite_texts(cursor: sqlite3.Cursor) -> None:
    """Let `memory_texts` hold just the texts of the items; the index is still empty."""
    cursor.execute("DELETE FROM memory_texts WHERE item NOT IN (SELECT id FROM memory_items)")
    items = cursor.connection.execute("SELECT id, namespace, value, fields FROM memory_items ORDER BY id")
    for item, namespace, value, fields in items:
        wanted = text_rows(item, namespace, texts_of(json.loads(value), json.loads(fields)))
        for row, found in rows_of_item(cursor, item).items():
            if found in wanted:
                wanted.remove(found)
            else:
                cursor.execute("DELETE FROM memory_texts WHERE id = ?", (row,))
        cursor.executemany(_INSERT_TEXT, wanted)
