"""The newest rows of an answer while it is written: prose wrapped at words, code as code."""

from __future__ import annotations

import re
from itertools import groupby
from typing import NamedTuple

from rich.console import Console
from rich.syntax import ANSI_DARK, ANSISyntaxTheme, Syntax
from rich.text import Text

from swarm_graph.text import printable

MAX_LINES = 40
"""Complete lines that are kept in order to draw them."""
MAX_LINE_CHARACTERS = 2000
"""The end of an unfinished line that is kept."""
MAX_CODE_CHARACTERS = 400
"""Of a line of code that gets colours: on longer ones a highlighter may take longer than a frame lasts."""
CODE_THEME = ANSISyntaxTheme({token: style for token, style in ANSI_DARK.items() if token != ("Error",)})
"""Its colours are those that the terminal defines, so they suit light and dark ones.

Errors have none: code that is not finished is full of them.
"""

_FENCE = re.compile(r"\s*(?P<fence>`{3,}|~{3,})\s*(?P<info>[^`]*)$")
_LANGUAGE = re.compile(r"[{.]*([\w+#-]+)")


class _Line(NamedTuple):
    """A line, and the language of its code; None for prose."""

    text: str
    language: str | None


class StreamedText:
    """The end of a text that arrives in parts; another thread may draw it meanwhile."""

    def __init__(self) -> None:
        self._lines: list[_Line] = []
        self._unfinished = ""
        self._fence = ""
        self._language: str | None = None

    def __bool__(self) -> bool:
        return bool(self._lines or self._unfinished.strip())

    def add(self, text: str) -> None:
        """Take the next part of the text."""
        if not self:
            self._unfinished, text = "", text.lstrip()
            if text.startswith(("{", "[")):
                self._language = "json"
        *complete, rest = (self._unfinished + printable(text)).split("\n")
        lines = [self._line(line) for line in complete]
        self._lines = [*self._lines, *lines][-MAX_LINES:]
        self._unfinished = rest[-MAX_LINE_CHARACTERS:]

    def _line(self, text: str) -> _Line:
        """A complete line. A fence around code belongs to the prose."""
        fence = None if self._language == "json" and not self._fence else _FENCE.match(text)
        if fence is None:
            return _Line(text[-MAX_LINE_CHARACTERS:], self._language)
        if not self._fence:
            language = _LANGUAGE.match(fence["info"])
            self._fence, self._language = fence["fence"], language[1].lower() if language else "text"
        elif fence["fence"].startswith(self._fence) and not fence["info"].strip():
            self._fence, self._language = "", None
        else:
            return _Line(text, self._language)
        return _Line(text, None)

    def rows(self, console: Console, width: int, height: int) -> list[Text]:
        """The newest rows, at most `height`, each at most `width` cells wide."""
        unfinished = [_Line(self._unfinished, self._language)] if self._unfinished.strip() else []
        lines = [*self._lines, *unfinished][-height:]
        rows: list[Text] = []
        for language, block in groupby(lines, lambda line: line.language):
            text = _styled("\n".join(line.text.expandtabs(4) for line in block), language)
            rows += text.wrap(console, width, overflow="fold")
        for row in rows:
            row.rstrip()
        return rows[-height:]


def _styled(text: str, language: str | None) -> Text:
    if language is None or max(map(len, text.split("\n"))) > MAX_CODE_CHARACTERS:
        return Text(text)
    code = Syntax("", language, theme=CODE_THEME, background_color="default", word_wrap=True)
    highlighted = code.highlight(text)
    if highlighted.plain.endswith("\n"):  # which the lexer has added
        highlighted.right_crop(1)
    return highlighted
