"""JSON in a text, with the small errors of models put right: commas, quotes, brackets that are missing."""

from __future__ import annotations

import ast
import json
import re
from typing import Any

MAX_BROKEN, MAX_TRIES = 20_000, 8
"""Characters of a broken value that are looked at, and how many broken values of one text."""
MAX_LENIENT = 2_000
"""Characters that the slow reader of JSON5 is given."""
_PARTS = re.compile(r"\"(?:[^\"\\]|\\.)*(?P<closed>\")?|[{}\[\]]|(?=</|<\||\n```)", re.DOTALL)
_PAIRS = {"{": "}", "[": "]"}
_TYPOGRAPHIC = str.maketrans({"\u201c": '"', "\u201d": '"', "\u201e": '"', "\u00a0": " "})


class JsonReader:
    """Reads the JSON values of one text.

    Small errors are put right: a bracket that is missing at the end, a comma too many, single or typographic
    quotes, keys without quotes, Python's words, line ends in a string.
    """

    def __init__(self, text: str) -> None:
        self._text, self._tries = text, 0
        self._decoder = json.JSONDecoder(strict=False)

    @property
    def gives_up(self) -> bool:
        """Whether so many values were broken that no other one is looked at."""
        return self._tries > MAX_TRIES

    def read(self, position: int) -> tuple[Any, int | None]:
        """The value that begins at a position, and its end; no end if it cannot be read."""
        try:
            return self._decoder.raw_decode(self._text, position)
        except (ValueError, RecursionError):
            return self._mended(position)

    def _mended(self, position: int) -> tuple[Any, int | None]:
        self._tries += 1
        if self.gives_up:
            return None, None
        part = self._extent(position)
        if part is None:
            return None, None
        text, end = part
        for candidate in (text, text.translate(_TYPOGRAPHIC)):
            value = _lenient(candidate)
            if isinstance(value, (dict, list)):
                return value, end
        return None, None

    def _extent(self, start: int) -> tuple[str, int] | None:
        """A broken value with the brackets that are missing, and its end; None if it is cut off."""
        missing: list[str] = []
        limit = min(len(self._text), start + MAX_BROKEN)
        end = limit
        for part in _PARTS.finditer(self._text, start, limit):
            mark = part[0]
            if mark in _PAIRS:
                missing.append(_PAIRS[mark])
            elif mark in ("}", "]"):
                if missing and missing[-1] == mark:
                    missing.pop()
                if not missing:
                    return self._text[start : part.end()], part.end()
            elif mark == "":
                end = part.start()
                break
            elif not part["closed"]:
                return None
        if end == limit < len(self._text):
            return None
        return self._text[start:end].rstrip() + "".join(reversed(missing)), end


def _lenient(text: str) -> Any:
    try:
        return json.loads(text, strict=False)
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        pass
    if len(text) > MAX_LENIENT:
        return None
    import json5  # takes long to import; almost all JSON is whole

    try:
        return json5.loads(text)
    except (ValueError, RecursionError):
        return None
