"""Code as HTML: highlighted with Pygments, with the numbers of its lines.

Only classes are set: `report.css` has the colours. Pygments takes very long for some texts, so it gets none
that is long, and it is stopped after MAX_SECONDS; what it has not reached by then is shown plain.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import lru_cache
from html import escape
from pathlib import PurePosixPath
from typing import NamedTuple

from markupsafe import Markup
from pygments.lexer import Lexer  # type: ignore[import-untyped]
from pygments.lexers import get_lexer_by_name  # type: ignore[import-untyped]
from pygments.token import (  # type: ignore[import-untyped]
    Comment,
    Generic,
    Keyword,
    Literal,
    Name,
    Number,
    Operator,
    String,
    Text,
    _TokenType,
)

from swarm_graph.text import visible

MAX_HIGHLIGHTED, MAX_HIGHLIGHTED_LINE = 60_000, 1_000
"""Characters of a text, and of its longest line, that is highlighted; a longer one is shown plain."""
MAX_SECONDS, MAX_REPORT_SECONDS = 2.0, 10.0
"""How long Pygments may work for one text, and for all texts of a report."""
MAX_LINE = 2_000
"""Characters of a line that are shown."""
MAX_LINES = 5_000
"""Lines of a file that are shown."""
BINARY_SHARE = 0.1
"""The share of characters that nobody can read above which a text counts as binary."""
_SAMPLE, _STEP = 10_000, 100
NOT_READABLE = "not shown: most of it is no readable text"

LANGUAGES = {
    "py": "python", "pyi": "python", "js": "javascript", "mjs": "javascript", "cjs": "javascript",
    "jsx": "javascript", "ts": "typescript", "tsx": "typescript", "java": "java", "kt": "kotlin", "c": "c",
    "h": "c", "cc": "cpp", "cpp": "cpp", "hpp": "cpp", "cs": "csharp", "go": "go", "rs": "rust",
    "rb": "ruby", "php": "php", "swift": "swift", "scala": "scala", "html": "html", "htm": "html",
    "xml": "xml", "svg": "xml", "css": "css", "scss": "scss", "json": "json", "yaml": "yaml", "yml": "yaml",
    "toml": "toml", "ini": "ini", "cfg": "ini", "md": "markdown", "markdown": "markdown", "rst": "rst",
    "sh": "bash", "bash": "bash", "ps1": "powershell", "sql": "sql", "mk": "make", "cmake": "cmake",
    "diff": "diff", "patch": "diff", "lua": "lua", "r": "r", "pl": "perl", "hs": "haskell", "dart": "dart",
}  # fmt: skip
"""Pygments' name of the language, by the extension of a path."""
_NAMES = {"makefile": "make", "dockerfile": "docker", "cmakelists.txt": "cmake"}
_CLASSES: Sequence[tuple[_TokenType, str]] = (
    (Comment.Preproc, "hl-k"), (Comment, "hl-c"), (Keyword.Constant, "hl-n"), (Keyword, "hl-k"),
    (Operator.Word, "hl-k"), (String, "hl-s"), (Number, "hl-n"), (Literal, "hl-n"),
    (Name.Function, "hl-f"), (Name.Class, "hl-f"), (Name.Decorator, "hl-f"), (Name.Tag, "hl-k"),
    (Name.Attribute, "hl-f"), (Name.Builtin, "hl-b"), (Name.Exception, "hl-b"), (Generic.Heading, "hl-k"),
    (Generic.Subheading, "hl-k"), (Generic.Inserted, "hl-s"), (Generic.Deleted, "hl-n"),
    (Generic.Emph, "hl-f"), (Generic.Strong, "hl-f"),
)  # fmt: skip
"""The class of a kind of token; the first that holds. All others have the colour of text."""


class CodeLine(NamedTuple):
    """A line of code.

    Attributes:
        number: From 1.
        html: The line, highlighted.
        is_marked: Whether a finding is about it.
    """

    number: int
    html: Markup
    is_marked: bool = False


class CodeLines(NamedTuple):
    """Lines of a file.

    Attributes:
        path: The path of the file.
        lines: The lines.
        total: How many lines the file has.
        note: What is not shown, and why; empty if everything is.
    """

    path: str
    lines: list[CodeLine]
    total: int
    note: str = ""

    @property
    def span(self) -> str:
        """The lines in words: `lines 3 to 9 of 40`."""
        if not self.lines:
            return ""
        first, last = self.lines[0].number, self.lines[-1].number
        named = f"line {first}" if first == last else f"lines {first} to {last}"
        return f"{named} of {self.total:,}"


class Highlighter:
    """Shows the code of one report.

    Args:
        seconds: How long Pygments may work for the report; after that its code is plain.
    """

    def __init__(self, seconds: float = MAX_REPORT_SECONDS) -> None:
        self._seconds_left = seconds

    def file(self, path: str, text: str) -> CodeLines:
        """All lines of a file; of a long one the first.

        Args:
            path: Its path, which tells the language.
            text: Its text.
        """
        if is_binary(text):
            return CodeLines(path, [], 0, NOT_READABLE)
        total = _count(text)
        shown = self._lines(path, text, range(1, min(total, MAX_LINES) + 1), range(0))
        more = total - len(shown)
        return CodeLines(path, shown, total, f"{more:,} more lines are not shown" if more else "")

    def place(self, path: str, text: str, first: int, last: int, context: int, most: int) -> CodeLines:
        """The lines around a place; those of the place are marked.

        Args:
            path: The path of the file.
            text: Its text.
            first: The first line of the place, from 1.
            last: The last one.
            context: How many lines above and below are shown.
            most: How many lines of the place are shown.
        """
        if is_binary(text):
            return CodeLines(path, [], 0, NOT_READABLE)
        total = _count(text)
        last = min(last, total)
        end = min(last, first + most - 1)
        below = end + context if end == last else end
        numbers = range(max(first - context, 1), min(below, total) + 1)
        note = f"the finding is about {last - end:,} more lines" if last > end else ""
        return CodeLines(path, self._lines(path, text, numbers, range(first, end + 1)), total, note)

    def _lines(self, path: str, text: str, numbers: range, marked: range) -> list[CodeLine]:
        up_to = -(-numbers.stop // _STEP) * _STEP  # rounded up, so that several places share a cached text
        begun = time.monotonic()
        lines = _highlighted(path, text, up_to) if self._seconds_left > 0 else _plain(text, up_to)
        self._seconds_left -= time.monotonic() - begun
        return [CodeLine(number, Markup(lines[number - 1]), number in marked) for number in numbers]


def _count(text: str) -> int:
    return text.removesuffix("\n").count("\n") + 1


def is_binary(text: str) -> bool:
    """Whether a text holds so many unreadable characters that nobody wants to see it."""
    sample = text[:_SAMPLE]
    if sample.isascii() and "\0" not in sample:
        return False
    odd = sum(char == "\ufffd" or not (char.isprintable() or char in "\n\r\t\f") for char in sample)
    return odd > BINARY_SHARE * len(sample)


@lru_cache(maxsize=256)
def _highlighted(path: str, text: str, up_to: int) -> tuple[str, ...]:
    """The first lines of a text as HTML."""
    lines = _readable(text, up_to)
    lexer = _lexer(path)
    too_long = sum(map(len, lines)) > MAX_HIGHLIGHTED or max(map(len, lines)) > MAX_HIGHLIGHTED_LINE
    found = () if lexer is None or too_long else tuple(_html_lines(lexer, "\n".join(lines)))
    return found if len(found) == len(lines) else _plain(text, up_to)


def _plain(text: str, up_to: int) -> tuple[str, ...]:
    return tuple(map(escape, _readable(text, up_to)))


def _readable(text: str, up_to: int) -> list[str]:
    return [readable_line(line) for line in text.removesuffix("\n").split("\n", up_to)[:up_to]]


def readable_line(line: str) -> str:
    """A line of at most MAX_LINE characters, in which characters that nobody would see are escaped.

    Tabs stay.
    """
    more = len(line) - MAX_LINE
    line = line[:MAX_LINE].removesuffix("\r")
    line = "\t".join(map(visible, line.split("\t")))
    return f"{line}… ({more:,} more characters)" if more > 0 else line


def _html_lines(lexer: Lexer, text: str) -> Iterator[str]:
    parts: list[str] = []
    for kind, value in _tokens(lexer, text):
        css = _class(kind)
        first, *following = value.split("\n")
        parts.append(_span(css, first))
        for piece in following:
            yield "".join(parts)
            parts = [_span(css, piece)]
    yield "".join(parts)


def _tokens(lexer: Lexer, text: str) -> Iterator[tuple[_TokenType, str]]:
    end, position = time.monotonic() + MAX_SECONDS, 0
    for kind, value in lexer.get_tokens(text):
        yield kind, value
        position += len(value)
        if time.monotonic() > end:
            yield Text, text[position:]
            return


def _span(css: str, text: str) -> str:
    return f'<span class="{css}">{escape(text)}</span>' if text and css else escape(text)


@lru_cache(maxsize=512)
def _class(kind: _TokenType) -> str:
    return next((css for parent, css in _CLASSES if kind in parent), "")


@lru_cache(maxsize=64)
def _lexer(path: str) -> Lexer | None:
    """The lexer for a path: of a fixed list, so that no plugin is loaded and no text is guessed at."""
    name = PurePosixPath(path).name.lower()
    language = _NAMES.get(name) or LANGUAGES.get(name.rpartition(".")[2])
    return get_lexer_by_name(language, stripnl=False, ensurenl=False) if language else None
