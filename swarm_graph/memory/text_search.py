"""Search for texts by their words."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator, Sequence
from itertools import accumulate

from swarm_graph.checkpoints.memory_tables import scope_word
from swarm_graph.checkpoints.storage import Cursor
from swarm_graph.checkpoints.word_index import UNSPACED, Term, WordIndex, indexed
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


def terms(question: str) -> list[Term]:
    """The words and phrases of a question that are looked up, each once.

    Words that say nothing are left out. An identifier is looked up as a phrase, joined, and by its parts; of
    scripts without spaces, each two characters side by side.
    """
    words = _RUN.findall(indexed(question).lower())
    found: dict[Term, None] = {}
    for before, word, after in zip(["", *words], words, [*words[1:], ""], strict=False):
        is_unspaced = _UNSPACED.match(word)
        for variant in _characters(before, word, after) if is_unspaced else _variants(word, before):
            found[Term((*variant,))] = None
        if _NUMBERED.fullmatch(word):
            found[Term((*_PART.findall(word),), is_beginning=True)] = None
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


def ranked_by_words(cursor: Cursor, index: WordIndex, question: str, namespace: str) -> Generator[int]:
    """The ids of the texts that share a word with a question, the best first.

    They are ranked by BM25 for the question's rarest words, as many as MAX_EFFORT allows; a word in half of
    the texts counts nothing there. If all words are that common, the newest texts that have all of them are
    found, or else those with the rarest.

    Args:
        cursor: Sees the tables of memory.
        index: The index of words.
        question: Any text: nothing in it is an operator.
        namespace: Only texts in it and below, as stored; empty for all.
    """
    scope = _scope(namespace)
    counts = _counts(cursor, index, terms(question), scope)
    if rare := _rare(counts):
        yield from index.ranked(cursor, rare, scope)
    elif counts:
        found = index.newest(cursor, [*counts], scope)
        if (first := next(found, None)) is None:
            found = index.newest(cursor, [next(iter(counts))], scope)
        else:
            yield first
        yield from found


def texts_below(cursor: Cursor, index: WordIndex, namespace: str) -> list[int] | None:
    """The ids of the texts in a namespace and below it; None for all texts.

    Args:
        cursor: Sees the tables of memory.
        index: The index of words.
        namespace: As stored; empty for the root.
    """
    return index.within(cursor, scope) if (scope := _scope(namespace)) else None


def _scope(namespace: str) -> str:
    return scope_word(namespace) if namespace else ""


def _counts(cursor: Cursor, index: WordIndex, words: Sequence[Term], scope: str) -> dict[Term, int]:
    """How many texts have each word, the rarest first; without words that no text has."""
    most = min(MAX_EFFORT, max(_MIN_COUNTED, _MAX_COUNTED // max(len(words), 1)))

    def count(terms: Sequence[Term]) -> dict[Term, int]:
        return dict(zip(terms, index.counts(cursor, terms, scope, most + 1), strict=True))

    counts = count(words)
    spellings = {word: [*_other_spellings(word)] for word in words if not counts[word]}
    counts |= count([spelled for others in spellings.values() for spelled in others])
    known = {
        spelled: counts[spelled] if counts[spelled] <= most else MAX_EFFORT
        for word in words
        for spelled in [next(filter(counts.get, [word, *spellings.get(word, ())]), None)]
        if spelled
    }
    return dict(sorted(known.items(), key=lambda pair: pair[1]))


def _other_spellings(term: Term) -> Iterator[Term]:
    """A German word that no text has, as others write it. The index has no dots: `ä` is `a` there."""
    with_letters = tuple(word.translate(_TWO_LETTERS) for word in term.words)
    folded = tuple(_FOLDED.sub(r"\1", word) for word in with_letters)
    sharp = tuple(word.replace("ss", "ß") for word in folded)
    others = dict.fromkeys((with_letters, folded, sharp))
    yield from (term._replace(words=words) for words in others if words != term.words)


def _rare(counts: dict[Term, int]) -> list[Term]:
    """The words that may be ranked together."""
    totals = accumulate(counts.values())
    return [
        word
        for number, (word, total) in enumerate(zip(counts, totals, strict=True), 1)
        if total * (1 + number / 20) < MAX_EFFORT
    ]
