"""The index of words in SQLite: the FTS5 table `memory_index`, which holds no texts of its own."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing

from swarm_graph.checkpoints.storage import Cursor
from swarm_graph.checkpoints.word_index import IndexedText, Term, WordIndex, indexed
from swarm_graph.text import format_count

_CHECKS = (
    (
        "the index of memory lacks {}",
        "memory_texts WHERE id NOT IN (SELECT id FROM memory_index_docsize)",
    ),
    (
        "the index of memory holds {} that memory does not have",
        "memory_index_docsize WHERE id NOT IN (SELECT id FROM memory_texts)",
    ),
)
"""What may be wrong, and the rows that are."""
_BY_RANK, _NEWEST_FIRST = "AND rank MATCH 'bm25(0.0, 1.0)' ORDER BY rank", "ORDER BY rowid DESC"


class FTS5Words(WordIndex):
    """The index of a SQLite file; see `WordIndex`."""

    def add(self, cursor: Cursor, texts: Iterable[IndexedText]) -> None:
        cursor.executemany(
            "INSERT INTO memory_index (rowid, scope, text) VALUES (?, ?, ?)",
            [(text.id, text.scope, indexed(text.text)) for text in texts],
        )

    def remove(self, cursor: Cursor, texts: Iterable[IndexedText]) -> None:
        """FTS5 needs the same words again to delete them: the table `memory_texts` has the text as it was."""
        texts = [*texts]
        if not all(isinstance(text.text, str) for text in texts):
            raise sqlite3.IntegrityError("memory_texts holds a text that is none")
        cursor.executemany(
            "INSERT INTO memory_index (memory_index, rowid, scope, text) VALUES ('delete', ?, ?, ?)",
            [(text.id, text.scope, indexed(text.text)) for text in texts],
        )

    def clear(self, cursor: Cursor) -> None:
        cursor.execute("INSERT INTO memory_index (memory_index) VALUES ('delete-all')")

    def problems(self, cursor: Cursor) -> list[str]:
        cursor.execute("INSERT INTO memory_index (memory_index) VALUES ('integrity-check')")
        if _words_in_index(cursor) != _words_of_texts(cursor):
            raise sqlite3.DatabaseError("words are lost")
        counts = [(line, _number(cursor, f"SELECT count(*) FROM {rows}")) for line, rows in _CHECKS]
        return [line.format(format_count(count, "text")) for line, count in counts if count]

    def is_damage(self, error: BaseException | None) -> bool:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        damage = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR)
        return isinstance(error, sqlite3.DatabaseError) and code in damage

    def counts(self, cursor: Cursor, terms: Sequence[Term], scope: str, most: int) -> list[int]:
        return [_count(cursor, _match([term], scope), most) for term in terms]

    def ranked(self, cursor: Cursor, terms: Sequence[Term], scope: str) -> Generator[int]:
        yield from _rows(cursor, _match(terms, scope, " OR "), _BY_RANK)

    def newest(self, cursor: Cursor, terms: Sequence[Term], scope: str) -> Generator[int]:
        yield from _rows(cursor, _match(terms, scope, " AND "), _NEWEST_FIRST)

    def within(self, cursor: Cursor, scope: str) -> list[int] | None:
        match, total = f'scope : "{scope}"', _number(cursor, "SELECT count(*) FROM memory_texts")
        return None if _count(cursor, match, total) == total else [*_rows(cursor, match, _NEWEST_FIRST)]


def _match(terms: Sequence[Term], scope: str, operator: str = " ") -> str:
    """A question in FTS5's language. Nothing in a quoted word is an operator."""
    within = f'scope : "{scope}" AND ' if scope else ""
    return f"{within}text : ({operator.join(map(_quoted, terms))})"


def _quoted(term: Term) -> str:
    return f'"{" ".join(term.words)}"{" *" if term.is_beginning else ""}'


def _rows(cursor: Cursor, match: str, order: str) -> Generator[int]:
    assert isinstance(cursor, sqlite3.Cursor)
    with closing(cursor.connection.cursor()) as rows:  # the caller's is used for other statements meanwhile
        rows.execute(f"SELECT rowid FROM memory_index WHERE memory_index MATCH ? {order}", (match,))
        for (row,) in rows:
            yield row


def _count(cursor: Cursor, match: str, most: int) -> int:
    """How many texts match; it stops counting at `most`."""
    found = cursor.execute(
        "SELECT count(*) FROM (SELECT 1 FROM memory_index WHERE memory_index MATCH ? LIMIT ?)", (match, most)
    )
    return int(found.fetchone()[0])


def _words_in_index(cursor: Cursor) -> int:
    """How many words the index can find.

    FTS5's own check does not notice that blocks are lost from its end, or that words cannot be looked up.
    """
    cursor.execute("CREATE VIRTUAL TABLE temp.memory_words USING fts5vocab('main', 'memory_index', 'row')")
    words = _number(
        cursor,
        "SELECT coalesce(sum(cnt), 0) FROM temp.memory_words AS each WHERE doc = "
        "(SELECT doc FROM temp.memory_words AS looked_up WHERE looked_up.term = each.term)",
    )
    cursor.execute("DROP TABLE temp.memory_words")
    return words


def _words_of_texts(cursor: Cursor) -> int:
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


def _number(cursor: Cursor, sql: str) -> int:
    return int(cursor.execute(sql).fetchone()[0])
