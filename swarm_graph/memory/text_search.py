"""Search for texts by their words, with SQLite's FTS5."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Generator, Iterator
from contextlib import closing
from itertools import accumulate

from swarm_graph.checkpoints.memory_tables import UNSPACED, indexed, scope_word
from swarm_graph.repository.words import STOP_WORDS

MAX_WORDS = 128
"""The most different words of a question that are looked up."""
MAX_EFFORT = 40_000
"""About how many texts are ranked for a question of a few words. It takes a microsecond for each, and a
twentieth more for each word."""
_MAX_COUNTED, _MIN_COUNTED = 100_000, 500
"""About how many texts are counted for all words of a question, and the least for each word: ten thousand
take a millisecond."""

_GERMAN = frozenset({
    "aber", "als", "am", "an", "auch", "auf", "aus", "bei", "beim", "bis", "da", "das", "dass", "dem", "den",
    "der", "des", "die", "dies", "diese", "diesem", "diesen", "dieser", "dieses", "du", "durch", "ein",
    "eine", "einem", "einen", "einer", "eines", "er", "es", "für", "haben", "hat", "ich", "ihr", "im", "in",
    "ist", "kann", "können", "man", "mit", "muss", "müssen", "nach", "nicht", "nur", "oder", "sich", "sie",
    "sind", "so", "soll", "sollen", "um", "und", "uns", "unter", "vom", "von", "vor", "wann", "war", "was",
    "welche", "welchem", "welchen", "welcher", "welches", "wenn", "werden", "wer", "wie", "wir", "wird", "wo",
    "zu", "zum", "zur", "über",
})  # fmt: skip
_STOP_WORDS = STOP_WORDS | _GERMAN
_UNSPACED = re.compile(f"[{UNSPACED}]")
_RUN = re.compile(r"[^\W_]+(?:[-_/.:+#,'°]+[^\W_]+)*")
"""A word, or an identifier of several parts: P-101, src/calc.py, snake_case, 5.5."""
_PART = re.compile(r"[^\W_]+")
_LETTERS_OR_DIGITS = re.compile(r"[^\W\d_]+|\d+")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_TWO_LETTERS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss"})
_FOLDED = re.compile(r"([aou])e")
_MAX_UNIT = 4
"""The most letters of a unit, as in `5 bar`, and of what stands before a number, as in `DN 50`."""
_NUMBERED = re.compile(r"(?:[^\W\d_]+[-_/.])+\d{2,}")
"""An identifier that others extend: P-101 is P-101A and P-101B, too."""


def terms(question: str) -> list[str]:
    """The words and phrases of a question that are looked up, each quoted for FTS5, each once.

    Words that say nothing are left out. An identifier is looked up as a phrase, joined, and by its parts; of
    scripts without spaces, each two characters side by side.
    """
    words = _RUN.findall(indexed(question).lower())
    found: dict[str, None] = {}
    for before, word, after in zip(["", *words], words, [*words[1:], ""], strict=False):
        is_unspaced = _UNSPACED.match(word)
        for variant in _characters(before, word, after) if is_unspaced else _variants(word, before):
            found['"' + " ".join(variant) + '"'] = None
        if _NUMBERED.fullmatch(word):
            found['"' + " ".join(_PART.findall(word)) + '" *'] = None
        if len(found) >= MAX_WORDS:
            break
    return [*found][:MAX_WORDS]


def _characters(before: str, word: str, after: str) -> Iterator[list[str]]:
    """A character of a script without spaces, with the one after it; alone if it stands alone."""
    if _UNSPACED.match(after):
        yield [word, after]
    elif not _UNSPACED.match(before):
        yield [word]


def _variants(word: str, before: str) -> Iterator[list[str]]:
    """The ways in which a text may write a word.

    Args:
        word: The word, or an identifier.
        before: The word before it; a number makes this one its unit, and short letters belong to a number.
    """
    parts = _PART.findall(word)
    telling = [part for part in parts if part not in _STOP_WORDS and (len(parts) == 1 or len(part) > 1)]
    yield from ([part] for part in telling)
    if len(parts) > 1 and (telling or any(map(str.isdigit, word))):
        yield parts
        if any(map(str.isdigit, word)):
            yield ["".join(parts)]
    elif len(split := _LETTERS_OR_DIGITS.findall(word)) > 1:
        yield split
        yield [split[0], "".join(split[1:])]
    if word[0].isdigit() and before.isalpha() and len(before) <= _MAX_UNIT and before not in _STOP_WORDS:
        yield [before + parts[0], *parts[1:]]
    if telling and word.isalpha() and len(word) <= _MAX_UNIT and (number := _NUMBER.fullmatch(before)):
        *whole, last = _PART.findall(number[0])
        yield [*whole, last + word]


def ranked_by_words(cursor: sqlite3.Cursor, question: str, namespace: str) -> Generator[int, None, None]:
    """The ids of the texts that share a word with a question, the best first.

    They are ranked by BM25 for the question's rarest words, as many as MAX_EFFORT allows; a word in half of
    the texts counts nothing there. If all words are that common, the newest texts that have all of them are
    found, or else those with the rarest.

    Args:
        cursor: Sees the tables of memory.
        question: Any text: nothing in it is an operator.
        namespace: Only texts in it and below, as stored; empty for all.
    """
    within = _within(namespace)
    counts = _counts(cursor, terms(question), within)
    if rare := _rare(counts):
        yield from _rows(cursor, f"{within}text : ({' OR '.join(rare)})", _BY_RANK)
    elif counts:
        every, rarest = f"({' AND '.join(counts)})", next(iter(counts))
        has_any = _count(cursor, f"{within}text : {every}", 1)
        yield from _rows(cursor, f"{within}text : {every if has_any else rarest}")


def texts_below(cursor: sqlite3.Cursor, namespace: str) -> list[int] | None:
    """The ids of the texts in a namespace and below it; None for all texts.

    Args:
        cursor: Sees the tables of memory.
        namespace: As stored; empty for the root.
    """
    if not namespace:
        return None
    match = f'scope : "{scope_word(namespace)}"'
    (texts,) = cursor.execute("SELECT count(*) FROM memory_texts").fetchone()
    return None if _count(cursor, match, texts) == texts else [*_rows(cursor, match)]


def _within(namespace: str) -> str:
    return f'scope : "{scope_word(namespace)}" AND ' if namespace else ""


def _counts(cursor: sqlite3.Cursor, words: list[str], within: str) -> dict[str, int]:
    """How many texts have each word, the rarest first; without words that no text has."""
    most = min(MAX_EFFORT, max(_MIN_COUNTED, _MAX_COUNTED // max(len(words), 1)))
    known: dict[str, int] = {}
    for word in words:
        for spelled in (word, *_other_spellings(word)):
            if count := _count(cursor, f"{within}text : {spelled}", most + 1):
                known[spelled] = count if count <= most else MAX_EFFORT
                break
    return dict(sorted(known.items(), key=lambda pair: pair[1]))


def _other_spellings(word: str) -> Iterator[str]:
    """A German word that no text has, as others write it. The index has no dots: `ä` is `a` there."""
    with_letters = word.translate(_TWO_LETTERS)
    folded = _FOLDED.sub(r"\1", with_letters)
    yield from dict.fromkeys(
        spelled for spelled in (with_letters, folded, folded.replace("ss", "ß")) if spelled != word
    )


def _rare(counts: dict[str, int]) -> list[str]:
    """The words that may be ranked together."""
    totals = accumulate(counts.values())
    return [
        word
        for number, (word, total) in enumerate(zip(counts, totals, strict=True), 1)
        if total * (1 + number / 20) < MAX_EFFORT
    ]


_BY_RANK = "AND rank MATCH 'bm25(0.0, 1.0)' ORDER BY rank"


def _rows(
    cursor: sqlite3.Cursor, match: str, order: str = "ORDER BY rowid DESC"
) -> Generator[int, None, None]:
    with closing(cursor.connection.cursor()) as rows:
        rows.execute(f"SELECT rowid FROM memory_index WHERE memory_index MATCH ? {order}", (match,))
        for (row,) in rows:
            yield row


def _count(cursor: sqlite3.Cursor, match: str, most: int) -> int:
    """How many texts match; it stops counting at `most`."""
    found = cursor.execute(
        "SELECT count(*) FROM (SELECT 1 FROM memory_index WHERE memory_index MATCH ? LIMIT ?)", (match, most)
    )
    return int(found.fetchone()[0])
