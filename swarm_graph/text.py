"""Plain data and text: what a checkpoint, a JSON file, a table and a terminal can take as it is."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

DEEPEST = 64
MOST = 1_000_000


def check_plain(value: Any) -> None:
    """ValueError, with the place, for anything but text, numbers, booleans, null, lists and objects of them.

    Numbers have 64 bits at most and are finite, keys are text, and nothing is deeper than DEEPEST or holds
    more than MOST values.
    """
    todo: list[tuple[tuple[str, ...], Any]] = [((), value)]
    for seen in count():
        if not todo:
            return
        path, value = todo.pop()
        if problem := _too_much(seen, len(path)) or _problem(value):
            raise ValueError(f"{_place(path)} {problem}")
        if isinstance(value, Mapping):
            todo += [((*path, key), inner) for key, inner in value.items()]
        elif isinstance(value, (list, tuple)):
            todo += [((*path, str(number)), inner) for number, inner in enumerate(value)]


def plain_text(text: str) -> str:
    """Text of a model or server without control, escape and direction characters."""
    return "".join(char for char in text if char in "\n\t" or char.isprintable())


def _place(path: tuple[str, ...]) -> str:
    return ".".join(path[:4]) + ("…" if len(path) > 4 else "") or "it"


def _too_much(seen: int, depth: int) -> str:
    if depth > DEEPEST:
        return f"is nested more than {DEEPEST} deep"
    return f"comes after {MOST} other values, which are too many" if seen > MOST else ""


def _problem(value: Any) -> str:
    match value:
        case None | bool() | list() | tuple():
            return ""
        case int():
            return "" if -(2**63) <= value < 2**63 else "is a number of more than 64 bits"
        case float():
            return "" if math.isfinite(value) else f"is {value}, which JSON has no number for"
        case str():
            return "" if value.isascii() or _is_whole(value) else "holds half a character (no valid UTF-8)"
        case Mapping():
            odd = [key for key in value if not isinstance(key, str) or _problem(key)]
            return f"has the key {odd[0]!r}, and keys are text" if odd else ""
    return f"is a {type(value).__name__}; expected text, numbers, lists and objects"


def _is_whole(text: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in text)


def to_json(document: Any) -> str:
    """Readable JSON that ends with a newline."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def money(cost: float) -> str:
    """A cost, however small, in two digits that say something."""
    return f"{cost:.2f}" if cost >= 1 or not cost else f"{cost:.2g}"


def counted(number: int, noun: str) -> str:
    """As in "1 call" and "2 calls"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def local_time(seconds: float) -> str:
    """Seconds since the epoch, for people."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def aligned(heads: tuple[str, ...], cells: Sequence[tuple[str, ...]]) -> str:
    """A table with a line for each row, its columns as wide as they must be."""
    lines = [heads, *cells]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    padded = (
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines
    )
    return "".join(f"{line.rstrip()}\n" for line in padded)


def encodable(text: str) -> str:
    """A text without halves of characters, which no file and no database takes."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
