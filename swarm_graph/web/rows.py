"""A page of a long list."""

from __future__ import annotations

from typing import Any, NamedTuple

PAGE = 100
"""Rows of a list on one page."""


class Rows(NamedTuple):
    """A page of a list.

    Attributes:
        rows: The rows on this page.
        first: How many rows come before them.
        total: How many rows there are.
    """

    rows: list[Any]
    first: int
    total: int

    @property
    def before(self) -> int:
        """Where the page before this one begins."""
        return max(self.first - PAGE, 0)

    @property
    def after(self) -> int:
        """Where the next page begins; 0 if this one is the last."""
        end = self.first + len(self.rows)
        return end if end < self.total else 0


def rows_from(rows: list[Any], first: int) -> Rows:
    """The page of a list that begins with a row."""
    first = min(max(first, 0), max(len(rows) - 1, 0)) // PAGE * PAGE
    return Rows(rows[first : first + PAGE], first, len(rows))
