"""Pieces of SQL that SQLite and PostgreSQL take alike, where the usual ones differ."""

from __future__ import annotations

import secrets
from collections.abc import Sequence


def total(expression: str) -> str:
    """The sum of an expression over the rows of a group, as a floating-point number; 0.0 without rows."""
    return f"coalesce(sum(CAST({expression} AS DOUBLE PRECISION)), 0.0)"


def among(column: str, values: Sequence[object]) -> str:
    """Whether a column has one of some values, which the caller binds; false if there are none."""
    return f"{column} IN ({', '.join('?' * len(values))})" if values else "1 = 0"


def replacement(columns: Sequence[str], key: Sequence[str]) -> str:
    """What follows an INSERT, so that it changes the row that has the same key, if there is one."""
    changed = ", ".join(f'"{name}" = excluded."{name}"' for name in columns if name not in key)
    return f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {changed}"


def set_aside() -> str:
    """What is appended to the key of a row that no longer counts: 16 digits that no other row has."""
    return f".{secrets.token_hex(8)}"
