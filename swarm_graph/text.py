"""Text and JSON-like data: check it, clean it, and format it for people."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

MAX_DEPTH = 64
"""Levels of nesting in JSON-like data; far below the depth at which Python's parsers and writers fail."""
MAX_VALUES = 1_000_000
"""Values in one piece of JSON-like data, containers included."""
MAX_NAMES = 3
"""Names that a message lists before it only counts."""


def check_json_like(value: Any) -> None:
    """Check that a value can go into a checkpoint, a JSON file and SQLite as it is.

    Allowed: text, integers of 64 bits, finite floats, booleans, None, lists, tuples, and mappings with text
    keys, at most MAX_DEPTH deep and MAX_VALUES in all.

    Raises:
        ValueError: The value holds anything else. The message begins with the place, such as `a.0.b`.
    """
    # A stack of its own: recursion would end in a RecursionError on the data that this check must reject.
    pending: list[tuple[tuple[str, ...], Any]] = [((), value)]
    for checked in count():
        if not pending:
            return
        path, value = pending.pop()
        if problem := _size_problem(checked, len(path)) or _value_problem(value):
            raise ValueError(f"{_place(path)} {problem}")
        if isinstance(value, Mapping):
            pending += [((*path, key), item) for key, item in value.items()]
        elif isinstance(value, (list, tuple)):
            pending += [((*path, str(index)), item) for index, item in enumerate(value)]


def _place(path: tuple[str, ...]) -> str:
    return ".".join(path[:4]) + ("…" if len(path) > 4 else "") or "it"


def _size_problem(checked: int, depth: int) -> str:
    if depth > MAX_DEPTH:
        return f"is nested more than {MAX_DEPTH} deep"
    return f"comes after {MAX_VALUES} other values, which are too many" if checked > MAX_VALUES else ""


def _value_problem(value: Any) -> str:
    match value:
        case None | bool() | list() | tuple():
            return ""
        case int():
            return "" if -(2**63) <= value < 2**63 else "is a number of more than 64 bits"
        case float():
            return "" if math.isfinite(value) else f"is {value}, which JSON has no number for"
        case str():
            valid = value.isascii() or not _has_lone_surrogate(value)
            return "" if valid else "holds half a character (no valid UTF-8)"
        case Mapping():
            wrong = [key for key in value if not isinstance(key, str) or _value_problem(key)]
            return f"has the key {wrong[0]!r}, and keys are text" if wrong else ""
    return f"is a {type(value).__name__}; expected text, numbers, lists and objects"


def _has_lone_surrogate(text: str) -> bool:
    return any("\ud800" <= char <= "\udfff" for char in text)


def printable(text: str) -> str:
    """Text from a model or a server, safe to print: no control, escape or direction characters.

    Newlines and tabs stay.
    """
    return "".join(char for char in text if char in "\n\t" or char.isprintable())


def without_lone_surrogates(text: str) -> str:
    """Text that can be encoded as UTF-8: each lone surrogate becomes U+FFFD, each pair its character.

    Models' answers hold them when a server cuts an escaped emoji in two; files and SQLite reject them.
    """
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def to_json(document: Any) -> str:
    """Indented JSON with a newline at its end."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def format_cost(cost: float) -> str:
    """A cost with two decimals; below 1 with two significant digits, so that a small cost is not 0.00."""
    return f"{cost:.2f}" if cost >= 1 or not cost else f"{cost:.2g}"


def format_count(number: int, noun: str) -> str:
    """A number with its noun in the singular or plural: "1 call", "2 calls"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def first_names(names: Sequence[str]) -> str:
    """The first three names, and the number of the others: "a, b, c and 4 more"."""
    more = len(names) - MAX_NAMES
    return ", ".join(names[:MAX_NAMES]) + (f" and {more} more" if more > 0 else "")


def local_time(seconds: float) -> str:
    """A time as local date and time.

    Args:
        seconds: Seconds since the epoch.

    Returns:
        The time; a question mark if there is no such time.
    """
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
    except (OverflowError, ValueError, OSError):  # as from a database that somebody changed
        return "?"


def text_table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A table as text: a line for the heads, a line for each row, columns as wide as their longest cell."""
    lines = [tuple(" ".join(cell.split("\n")) for cell in line) for line in (heads, *rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    padded = (
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines
    )
    return "".join(f"{line.rstrip()}\n" for line in padded)
