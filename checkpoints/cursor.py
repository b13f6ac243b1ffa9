"""A cursor inside a transaction, the same for both databases."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

Values = Sequence[Any] | Mapping[str, Any]


class Cursor(Protocol):
    """A cursor inside a transaction. Placeholders are `?`, or `:name` with a mapping, in both databases."""

    @property
    def rowcount(self) -> int:
        """How many rows the last statement has changed."""

    @property
    def description(self) -> Any:
        """A sequence for each column of the result; the first of it is the name."""

    def execute(self, sql: str, values: Values = ..., /) -> Cursor:
        """Execute a statement; returns the cursor itself, which yields the rows."""

    def executemany(self, sql: str, rows: Iterable[Any], /) -> Cursor:
        """Execute a statement for each of the rows."""

    def fetchone(self) -> Any:
        """The next row; None if there is none."""

    def fetchall(self) -> list[Any]:
        """All rows that are left."""

    def __iter__(self) -> Iterator[Any]: ...

    def close(self) -> None:
        """End the use of the cursor."""


def dicts(cursor: Cursor) -> list[dict[str, Any]]:
    """The rows of a result, each by the names of its columns."""
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]
