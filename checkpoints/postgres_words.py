"""The index of words in PostgreSQL: the table `memory_index`, a tsvector with a GIN index for each text.

The words are cut here, so that they are those of FTS5 whatever the server's locale is; the server only takes
their endings off, by the dictionary `swarm_porter`. A tsvector bounds the number of its words and their
positions, so a long text has several rows, its parts. A part holds the numbers of its scope as words with an
`@` before them, which no text has.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import NamedTuple

from swarm_graph.checkpoints.storage import Cursor
from swarm_graph.checkpoints.word_index import IndexedText, Term, WordIndex, indexed
from swarm_graph.text import format_count

STEP = (
    "CREATE TEXT SEARCH DICTIONARY swarm_porter (TEMPLATE = snowball, LANGUAGE = porter)",
    "CREATE TEXT SEARCH CONFIGURATION swarm_words (PARSER = default)",
    "ALTER TEXT SEARCH CONFIGURATION swarm_words ADD MAPPING FOR asciiword, word, numword, int, uint, float, "
    "sfloat WITH swarm_porter",
    "CREATE TABLE memory_index (text BIGINT NOT NULL, part INTEGER NOT NULL, size INTEGER NOT NULL, "
    "words TSVECTOR NOT NULL, PRIMARY KEY (text, part))",
    "CREATE INDEX idx_memory_index_words ON memory_index USING gin (words)",
)
"""The statements that make the index."""
PART, OVERLAP = 2000, 16
"""The words of a part, and how many of them the one before has, too, so that a phrase lies in one of them."""
MAX_WORD = 100
"""The characters of a word that count."""
PAGE = 1000
"""Texts that are read at once where few may be needed, or all."""
_ACCENTS = range(0x300, 0x370)
_WORDS = "array_to_tsvector(string_to_array(?, ' ')) || to_tsvector('swarm_words', ?)"
_CHECKS = (
    (
        "the index of memory lacks {}",
        "SELECT count(*) FROM memory_texts WHERE id NOT IN (SELECT text FROM memory_index)",
    ),
    (
        "the index of memory holds {} that memory does not have",
        "SELECT count(DISTINCT text) FROM memory_index WHERE text NOT IN (SELECT id FROM memory_texts)",
    ),
)
_PARSED = """SELECT to_tsquery('swarm_words', term)::text
FROM unnest(?::text[]) WITH ORDINALITY AS asked (term, number) ORDER BY number"""
_COUNT = "(SELECT count(*) FROM (SELECT 1 FROM memory_index WHERE words @@ ?::tsquery LIMIT ?) AS found)"
_SCORES = """SELECT text, ?::integer AS number,
    ?::float8 * (times * 2.2 / (times + 1.2 * (0.25 + 0.75 * size::float8 / ?::float8))) AS score
FROM (SELECT text, size, ts_rank_cd('{1, 1, 1, 1}', words, ?::tsquery)::float8 AS times
    FROM memory_index WHERE words @@ ?::tsquery) AS found"""
"""BM25 for one word. With equal weights `ts_rank_cd` says how often a text has the word, or the phrase."""
_MIN_WEIGHT = 1e-6
"""Of a word that half of the texts have, as in FTS5."""
_NEWEST = """SELECT DISTINCT text FROM memory_index WHERE words @@ ?::tsquery AND text < ?
ORDER BY text DESC LIMIT ?"""
_LAST = 2**63 - 1


class PostgresWords(WordIndex):
    """The index of a PostgreSQL database; see `WordIndex`."""

    def add(self, cursor: Cursor, texts: Iterable[IndexedText]) -> None:
        cursor.executemany(
            f"INSERT INTO memory_index (text, part, size, words) VALUES (?, ?, ?, {_WORDS})",
            [part for text in texts for part in _parts(text)],
        )

    def remove(self, cursor: Cursor, texts: Iterable[IndexedText]) -> None:
        cursor.execute(
            "DELETE FROM memory_index WHERE text = ANY(?::bigint[])", ([text.id for text in texts],)
        )

    def clear(self, cursor: Cursor) -> None:
        cursor.execute("DELETE FROM memory_index")

    def problems(self, cursor: Cursor) -> list[str]:
        counts = [(line, int(cursor.execute(sql).fetchone()[0])) for line, sql in _CHECKS]
        return [line.format(format_count(count, "text")) for line, count in counts if count]

    def is_damage(self, error: BaseException | None) -> bool:
        """False: the server says by itself that an index is damaged, and how to mend it."""
        return False

    def counts(self, cursor: Cursor, terms: Sequence[Term], scope: str, most: int) -> list[int]:
        return _counts(cursor, [_in_scope(query, scope) for query in _parsed(cursor, terms)], most)

    def ranked(self, cursor: Cursor, terms: Sequence[Term], scope: str) -> Generator[int]:
        queries = [query for query in _parsed(cursor, terms) if query]
        total, size = cursor.execute(
            "SELECT count(*), coalesce(sum(size), 0) FROM memory_index WHERE part = 0"
        ).fetchone()
        values: list[object] = []
        counts = _counts(cursor, queries, total // 2 + 1)
        for number, (query, count) in enumerate(zip(queries, counts, strict=True)):
            weight = max(math.log((total - count + 0.5) / (count + 0.5)), _MIN_WEIGHT)
            values += [number, weight, size / max(total, 1), query, _in_scope(query, scope)]
        scores = " UNION ALL ".join([_SCORES] * len(queries))
        total_score = "sum(score ORDER BY number)"  # in FTS5's order: equal texts must have equal sums
        sql = f"SELECT text FROM ({scores}) AS scores GROUP BY text ORDER BY {total_score} DESC, text"
        if values:
            yield from [text for (text,) in cursor.execute(sql, values)]

    def newest(self, cursor: Cursor, terms: Sequence[Term], scope: str) -> Generator[int]:
        every = _in_scope(" & ".join(f"( {query} )" for query in _parsed(cursor, terms) if query), scope)
        page, last = [_LAST], _LAST
        while page:
            page = [text for (text,) in cursor.execute(_NEWEST, (every, last, PAGE))]
            yield from page
            last = page[-1] if page else last

    def within(self, cursor: Cursor, scope: str) -> list[int] | None:
        sql = "SELECT DISTINCT text FROM memory_index WHERE words @@ ?::tsquery ORDER BY text DESC"
        texts = [text for (text,) in cursor.execute(sql, (f"'@{scope}'",))]
        (total,) = cursor.execute("SELECT count(*) FROM memory_texts").fetchone()
        return None if len(texts) == total else texts


def _parsed(cursor: Cursor, terms: Sequence[Term]) -> list[str]:
    """The terms with the words as the index has them; empty for one without a word."""
    return [query for (query,) in cursor.execute(_PARSED, ([*map(_query, terms)],))]


def _in_scope(query: str, scope: str) -> str:
    return f"'@{scope}' & ( {query} )" if scope and query else query


def _counts(cursor: Cursor, queries: Sequence[str], most: int) -> list[int]:
    """How many texts each query finds; counting stops at `most`."""
    asked = [*filter(None, queries)]
    if not asked:
        return [0] * len(queries)
    values = [value for query in asked for value in (query, most)]
    found = iter(cursor.execute(f"SELECT {', '.join([_COUNT] * len(asked))}", values).fetchone())
    return [int(next(found)) if query else 0 for query in queries]


def _query(term: Term) -> str:
    """A term in PostgreSQL's language. Its words are letters and digits, so nothing in it is an operator."""
    words = [f"'{word}'" for word in _words(" ".join(term.words))]
    return f"{' <-> '.join(words)}{':*' if term.is_beginning else ''}"


class _Part(NamedTuple):
    text: int
    part: int
    size: int
    """The words of the whole text and of its scope, which FTS5 counts, too."""
    scopes: str
    words: str


def _parts(text: IndexedText) -> Iterator[_Part]:
    words = _words(indexed(text.text))
    scopes = " ".join(f"@{scope}" for scope in text.scope.split())
    for part, start in enumerate(range(0, max(len(words), 1), PART)):
        some = words[max(start - OVERLAP, 0) : start + PART]
        yield _Part(text.id, part, len(words) + len(text.scope.split()), scopes, " ".join(some))


class _Folded(dict[int, str]):
    """Each character as the index has it: a letter or digit in lower case without accent, or a space."""

    def __missing__(self, code: int) -> str:
        folded = self[code] = _fold(chr(code))
        return folded


def _fold(character: str) -> str:
    if ord(character) in _ACCENTS:
        return ""
    if unicodedata.category(character)[0] not in "LN":
        return " "
    lower = character.lower()
    base = unicodedata.normalize("NFD", lower)[0]
    return base if base.isascii() else lower


_FOLDED = _Folded()


def _words(text: str) -> list[str]:
    """The words of a text as FTS5 cuts them, before it takes their endings off."""
    return [word[:MAX_WORD] for word in text.translate(_FOLDED).split()]
