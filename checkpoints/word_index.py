"""The index of the words of memory's texts, as each database has it: what fills, searches and checks it.

`fts5_words.py` is the one of SQLite, `postgres_words.py` that of PostgreSQL. Both have the same words for a
text: Unicode in one form, lower case, without accents, and without English endings.
"""

from __future__ import annotations

import re
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Sequence
from typing import NamedTuple

from swarm_graph.checkpoints.cursor import Cursor

UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u2fdf\u3005-\u3007\u3040-\u30ff\u3400-\u9fff"
    "\uac00-\ud7a3\uf900-\ufaff\uff66-\uff9d\U00020000-\U0003ffff"
)
"""Characters of scripts that put no space between words, as Chinese; for a class of a regular expression."""
_UNSPACED = re.compile(f"([{UNSPACED}])")
_SOFT_HYPHEN = "\u00ad"


def indexed(text: str) -> str:
    """A text as the index and questions have it: Unicode in one form, each unspaced character a word."""
    plain = unicodedata.normalize("NFKC", text).replace(_SOFT_HYPHEN, "").replace("\0", " ")
    return plain if plain.isascii() else _UNSPACED.sub(r" \1 ", plain)


class Term(NamedTuple):
    """A word to look up, or several that follow each other."""

    words: tuple[str, ...]
    is_beginning: bool = False
    """Whether the last word may go on."""


class IndexedText(NamedTuple):
    """A text in the index, or for it."""

    id: int
    """That of its row in `memory_texts`."""
    scope: str
    """A number for its namespace and for each one above it, with spaces between."""
    text: str


class WordIndex(ABC):
    """Finds texts by their words. It has no state: each method is given a cursor.

    Where a method takes a `scope`, it is the number of a namespace: only texts in it and below count. The
    empty one stands for all texts.
    """

    @abstractmethod
    def add(self, cursor: Cursor, texts: Iterable[IndexedText]) -> None:
        """Add texts, inside a transaction."""

    @abstractmethod
    def remove(self, cursor: Cursor, texts: Iterable[IndexedText]) -> None:
        """Remove texts, which must be as they were added, inside a transaction."""

    @abstractmethod
    def clear(self, cursor: Cursor) -> None:
        """Remove all texts, also from a damaged index, inside a transaction."""

    @abstractmethod
    def problems(self, cursor: Cursor) -> list[str]:
        """What is wrong with the index, a line each, inside a write transaction.

        Raises:
            StorageError: The index is damaged, or the database cannot be used; `is_damage` tells.
        """

    @abstractmethod
    def is_damage(self, error: BaseException | None) -> bool:
        """Whether an error of the database means that the index is damaged."""

    @abstractmethod
    def counts(self, cursor: Cursor, terms: Sequence[Term], scope: str, most: int) -> list[int]:
        """How many texts have each of the terms; counting stops at `most`."""

    @abstractmethod
    def ranked(self, cursor: Cursor, terms: Sequence[Term], scope: str) -> Generator[int]:
        """The ids of the texts that have one of the terms, the best by BM25 first."""

    @abstractmethod
    def newest(self, cursor: Cursor, terms: Sequence[Term], scope: str) -> Generator[int]:
        """The ids of the texts that have all of the terms, the newest first."""

    @abstractmethod
    def within(self, cursor: Cursor, scope: str) -> list[int] | None:
        """The ids of the texts in a scope; None if those are all texts."""
