"""Text and JSON-like data: check it, clean it, and format it for people."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any
from urllib.parse import quote

MAX_DEPTH = 64
"""Levels of nesting in JSON-like data; far below the depth at which Python's parsers and writers fail."""
MAX_VALUES = 1_000_000
"""Values in one piece of JSON-like data, containers included."""
MAX_NAMES = 3
"""Names that a message lists before it only counts."""
MIN_REPEATS, MIN_REPEATED_CHARACTERS, MAX_PHRASE_WORDS = 4, 40, 60
"""What counts as a model's loop: how often, how much text in all, and how long the repeated phrase may be."""

_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2800\u3164\ufe00-\ufe0d\uffa0\U0001d159\U000e0100-\U000e01ef]"
    "|(?<![\u00a9\u00ae\u203c-\u3299\U0001f000-\U0001faff])[\ufe0e\ufe0f]"
)
"""Characters that Unicode counts as printable and nobody sees; not those that choose the look of a symbol."""
_LOOP_IN_WORD = re.compile(r"(?P<unit>(?=\W{0,19}\w).{1,20}?)(?P=unit){9,}")


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
    if all(line.isprintable() for line in text.replace("\t", " ").split("\n")):
        return text
    return "".join(char for char in text if char in "\n\t" or char.isprintable())


def longer_fence(text: str) -> str:
    """A Markdown fence that is longer than any in a text."""
    longest = max((len(run) for run in re.findall(r"^ {0,3}(`{3,})", text, flags=re.MULTILINE)), default=2)
    return "`" * (longest + 1)


def cut_note(shown: int, characters: int) -> str:
    """The line that stands where a text was cut: how much of it is shown."""
    return f"[cut: {shown} of {characters} characters shown]"


def visible(line: str) -> str:
    """A line in which characters that nobody would see, such as those of a direction, are escaped."""
    if line.isascii() and line.isprintable():
        return line
    line = _UNSEEN.sub(lambda found: _escaped(found[0]), line)
    return line if line.isprintable() else "".join(c if c.isprintable() else _escaped(c) for c in line)


def _escaped(character: str) -> str:
    return json.dumps(character)[1:-1]


def visible_text(text: str) -> str:
    """A text whose lines are `visible`."""
    return "\n".join(map(visible, text.split("\n")))


def without_loops(text: str) -> str:
    """A text in which each phrase or line that a model repeats over and over stands once, with the number.

    `a b a b a b …` becomes `a b … repeated 40 times`.
    """
    words = [*re.finditer(r"\S+", text)]
    plain = [word[0] for word in words]
    parts, start, position = [], 0, 0
    while position < len(words):
        size, times = _loop_at(plain, position)
        if times:
            end = words[position + size - 1].end()
            parts.append(f"{text[start:end]} … repeated {times} times")
            start = words[position + size * times - 1].end()
        position += max(size * times, 1)
    return _LOOP_IN_WORD.sub(_once, "".join([*parts, text[start:]]))


def _loop_at(words: Sequence[str], start: int) -> tuple[int, int]:
    """The words of the phrase that is repeated from here on, and how often; zeros if none is."""
    for size in range(1, min(MAX_PHRASE_WORDS, (len(words) - start) // MIN_REPEATS) + 1):
        if not words[start] == words[start + size] == words[start + 2 * size]:
            continue  # almost always, and much quicker than to compare phrases
        phrase, times = words[start : start + size], 1
        while words[start + size * times : start + size * (times + 1)] == phrase:
            times += 1
        if times >= MIN_REPEATS and (len(" ".join(phrase)) + 1) * times >= MIN_REPEATED_CHARACTERS:
            return size, times
    return 0, 0


def _once(loop: re.Match[str]) -> str:
    """A loop without spaces, as `abababab…`, shortened in the same way."""
    if len(loop[0]) < MIN_REPEATED_CHARACTERS:
        return loop[0]
    return f"{loop['unit']} … repeated {len(loop[0]) // len(loop['unit'])} times"


def shortened(text: str, limit: int) -> str:
    """A text of at most `limit` characters, or its beginning with a note of how long it is."""
    return text if len(text) <= limit else f"{text[:limit].rstrip()}… ({len(text):,} characters in all)"


def in_one_line(text: str) -> str:
    """A text without line breaks, and with U+FFFD for what is no Unicode."""
    return without_lone_surrogates(" ".join(text.splitlines()))


def cut(text: str, limit: int) -> str:
    """A text of at most `limit` characters; of a longer one the beginning and an ellipsis."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def without_lone_surrogates(text: str) -> str:
    """Text that can be encoded as UTF-8: each lone surrogate becomes U+FFFD, each pair its character.

    Models' answers hold them when a server cuts an escaped emoji in two; files and SQLite reject them.
    """
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def file_name(session_id: str) -> str:
    """A session id as a file name. Thread ids of graphs may hold any character, as in `a/b`; it is quoted."""
    name = quote(session_id, safe="")
    return name if name.strip(".") else name.replace(".", "%2E")  # "." and ".." are folders


def to_json(document: Any) -> str:
    """Indented JSON with a newline at its end."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def format_cost(cost: float) -> str:
    """A cost with two decimals; below 1 with two significant digits, so that a small cost is not 0.00."""
    return f"{cost:.2f}" if cost >= 1 or not cost else f"{cost:.2g}"


def cost_cell(cost: float) -> str:
    """A cost in a table: empty without prices, so that a column in which no cost is can be left out."""
    return format_cost(cost) if cost else ""


def count_cell(count: int | None) -> str:
    """A count in a table: empty if it is unknown, so that a column of unknown counts can be left out."""
    return "" if count is None else str(count)


def format_count(number: int, noun: str) -> str:
    """A number with its noun in the singular or plural: "1 call", "2 calls"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def format_change(files: int, added: int, deleted: int) -> str:
    """The numbers of a change: files, and the lines that it adds and deletes."""
    return f"{format_count(files, 'file')}, +{added} \N{MINUS SIGN}{deleted}"


def citation(source: str, place: str) -> str:
    """A source with the place in it, if there is one: "P-101.pdf, p. 4"."""
    return f"{source}, {place}" if place else source


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
    except (OverflowError, ValueError, OSError, TypeError):  # as from a database that somebody changed
        return "?"


def duration(seconds: float) -> str:
    """A stretch of time for people: `0.4 s`, `12 s`, `4 min 5 s`, `2 h 3 min`, `3 d 4 h`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for unit, size, smaller, part in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size:,} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{whole} s"


def without_empty_columns(
    heads: Sequence[str], rows: Sequence[Sequence[Any]]
) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """Heads and rows of a table without the columns in which every cell is an empty text."""
    kept = [column for column in range(len(heads)) if any(row[column] != "" for row in rows)]
    return tuple(heads[column] for column in kept), [tuple(row[column] for column in kept) for row in rows]


def text_table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A table as text: a line for the heads, a line for each row, columns as wide as their longest cell."""
    lines = [tuple(" ".join(cell.split("\n")) for cell in line) for line in (heads, *rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    padded = (
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines
    )
    return "".join(f"{line.rstrip()}\n" for line in padded)
