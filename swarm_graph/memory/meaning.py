"""Search by meaning, as the store calls it: by our own vectors, or by a vector store of LangChain."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

Progress = Callable[[int, int], object]
"""Called with how many texts are done, and of how many."""

_NOTES: ContextVar[list[str] | None] = ContextVar("notes of memory", default=None)


@contextmanager
def collected_notes() -> Iterator[list[str]]:
    """Collect what the calls of memory inside it did without; other tasks and threads collect theirs."""
    outer, notes = _NOTES.get(), list[str]()
    token = _NOTES.set(notes)
    try:
        yield notes
    finally:
        _NOTES.reset(token)
        if outer is not None:
            outer += [note for note in notes if note not in outer]


def tell(note: str) -> None:
    """Tell the caller of memory what it goes without; an empty note says nothing."""
    notes = _NOTES.get()
    if note and notes is not None and note not in notes:
        notes.append(note)


class Meaning(Protocol):
    """Finds texts of `memory_texts` that mean what a question means.

    What it goes without, it says with `tell`: texts that were too long for the model, or have no vector.
    """

    async def prepare(self, texts: Sequence[str]) -> None:
        """Make and keep the vectors of texts, before their items are committed.

        What is made is committed as it comes, so nothing is made twice after a kill.

        Raises:
            EmbeddingError: Some texts have no vector; those that were made are kept.
        """

    async def rank(self, query: str, allowed: Collection[int] | None, limit: int) -> list[tuple[int, float]]:
        """The rows of `memory_texts` that are nearest to a question, best first, with their similarity.

        Args:
            query: The question.
            allowed: The rows that may be found; None for all.
            limit: The most rows to return.

        Raises:
            EmbeddingError: The question has no vector.
        """

    async def changed(self) -> None:
        """Learn that a commit has added or removed texts."""

    async def reindex(self, progress: Progress | None = None) -> int:
        """Make the vectors that texts lack, and remove those that no text has.

        Args:
            progress: Learns how far it is.

        Returns:
            How many were made.

        Raises:
            EmbeddingError: Some texts have no vector; those that were made are kept.
        """
