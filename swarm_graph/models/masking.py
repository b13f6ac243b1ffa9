"""API keys are taken out of whatever a server sends, before it is stored, logged or shown.

A server may repeat a key in an error or in an answer: whole or in parts, backwards, in another case, escaped
or encoded. Wherever MIN_RUN characters in a row of a key appear, `***` takes their place. Shorter parts stay:
they give no key away, and would be found in harmless text. So a key of fewer than MIN_RUN characters is never
masked, and dummies such as `none` or `test` do no harm.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from itertools import pairwise

MASK = "***"
MIN_RUN = 8
"""Characters of a key, one after the other, that are masked. SEPARATORS, white space and control characters
between them do not count: lists and hex dumps add them, and they are lost where a text is put on one line."""
SEPARATORS = " ,:;|*`'\""
HEX_RUN, BASE64_RUN = 2 * MIN_RUN, 10
"""The digits of as many encoded characters; for base64, what MIN_RUN characters fill completely."""
MAX_ESCAPES = 3
"""Escapes within escapes, such as JSON in JSON, that are undone."""
HELD_CHARACTERS, MAX_HELD_CHARACTERS = 128, 4096
"""The end of a stream's text that is held back, because the next part may continue a key in it, and the most
that is held while a key goes on and on."""

_ESCAPE = re.compile(
    r"%([0-9a-f]{2})|\\u([0-9a-f]{4})|\\x([0-9a-f]{2})|&#x([0-9a-f]{1,6});|&#([0-9]{1,7});"
    r"|&(amp|lt|gt|quot|apos);|(</?[a-z][^<>]{0,12}>)|\\(.)",
    re.IGNORECASE | re.DOTALL,
)
_NAMED = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}
_CONTROL = dict.fromkeys("bfnrt", " ")
_FOLD = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ+/", "abcdefghijklmnopqrstuvwxyz-_")
"""Makes letters small, and both alphabets of base64 the same."""

_Runs = dict[int, frozenset[str]]
"""The texts to mask, by length."""


def masked(text: str, secrets: Collection[str]) -> str:
    """A text from a server with `***` in place of every part of a secret; linear in its length.

    Args:
        text: The text.
        secrets: API keys and the like.
    """
    runs = _runs(tuple(secrets))
    return _replaced(text, _places(text, runs)) if runs else text


class MaskedStream:
    """Masks a text that arrives in parts: a secret may be split over them."""

    def __init__(self, secrets: Collection[str]) -> None:
        self._runs = _runs(tuple(secrets))
        self._parts: list[str] = []

    def add(self, part: str) -> None:
        """Append the next part."""
        self._parts.append(part)

    def take(self, *, last: bool = False) -> str:
        """The masked text that was not taken before; its end is held back unless it is the last."""
        text = "".join(self._parts)
        if not self._runs:
            self._parts.clear()
            return text
        places = _places(text, self._runs)
        end = len(text) if last else max(len(text) - HELD_CHARACTERS, 0)
        end = next((start for start, stop in places if start < end < stop), end)
        end = max(end, len(text) - MAX_HELD_CHARACTERS)
        self._parts = [text[end:]]
        return _replaced(text[:end], [(start, min(stop, end)) for start, stop in places if start < end])


@lru_cache(maxsize=64)
def _runs(secrets: tuple[str, ...]) -> _Runs:
    found: dict[int, set[str]] = {}
    for secret in secrets:
        plain = "".join(filter(_counts, secret))
        for size, form in _forms(plain) if len(plain) >= MIN_RUN else ():
            folded = form.translate(_FOLD)
            windows = {folded[start : start + size] for start in range(len(folded) - size + 1)}
            found.setdefault(size, set()).update(windows)
    return {size: frozenset(texts) for size, texts in found.items()}


def _counts(char: str) -> bool:
    return char.isprintable() and char not in SEPARATORS


def _forms(secret: str) -> Iterator[tuple[int, str]]:
    """A secret and its encodings, each forwards and backwards, with the length of a run in it."""
    for text in (secret, secret[::-1]):
        data = text.encode(errors="replace")
        encoded = [(HEX_RUN, data.hex()), *((BASE64_RUN, _base64(data, lead)) for lead in range(3))]
        for size, form in [(MIN_RUN, text), *encoded]:
            yield size, form
            yield size, form[::-1]


def _base64(data: bytes, lead: int) -> str:
    """The characters that data fill completely in base64 when `lead` other bytes stand before them."""
    encoded = b64encode(bytes(lead) + data).decode().rstrip("=")
    end = len(encoded) - (1 if (lead + len(data)) % 3 else 0)
    return encoded[(0, 2, 3)[lead] : end]


def _places(text: str, runs: _Runs) -> list[tuple[int, int]]:
    """Where a text holds secrets: begin and end of each place, in order."""
    is_secret = bytearray(len(text))
    view = text
    bounds: Sequence[int] = range(len(text) + 1)
    for _ in range(MAX_ESCAPES + 1):
        for start, stop in _matches(view, bounds, runs):
            is_secret[start:stop] = b"\1" * (stop - start)
        if not _ESCAPE.search(view):
            break
        view, bounds = _unescaped(view, bounds)
    return [match.span() for match in re.finditer(b"\x01+", is_secret)]


def _matches(view: str, bounds: Sequence[int], runs: _Runs) -> Iterator[tuple[int, int]]:
    """The begin and end, in the text, of what matches a run in a view of it.

    Args:
        view: The text with some of its escapes undone.
        bounds: Where each character of the view begins in the text, and the text's end.
        runs: The texts to mask.
    """
    kept = [place for place, char in enumerate(view) if _counts(char)]
    folded = "".join([view[place] for place in kept]).translate(_FOLD)
    for size, known in runs.items():
        for start in range(len(folded) - size + 1):
            if folded[start : start + size] in known:
                yield bounds[kept[start]], bounds[kept[start + size - 1] + 1]


def _unescaped(view: str, bounds: Sequence[int]) -> tuple[str, Sequence[int]]:
    """The view with one level of escapes undone, and its bounds."""
    chars: list[str] = []
    new_bounds: list[int] = []
    end = 0
    for match in _ESCAPE.finditer(view):
        chars += [view[end : match.start()], _char(match)]
        new_bounds += [*bounds[end : match.start()], bounds[match.start()]]
        end = match.end()
    return "".join([*chars, view[end:]]), [*new_bounds, *bounds[end:]]


def _char(match: re.Match[str]) -> str:
    percent, u, x, entity_x, entity, named, tag, backslashed = match.groups()
    if tag:
        return " "
    if named:
        return _NAMED[named.lower()]
    if backslashed:
        return _CONTROL.get(backslashed, backslashed)
    code = int(entity) if entity else int(percent or u or x or entity_x, 16)
    return chr(code) if code <= 0x10FFFF else " "


def _replaced(text: str, places: list[tuple[int, int]]) -> str:
    """The text with `***` in place of the places."""
    edges = [0, *(edge for place in places for edge in place), len(text)]
    return MASK.join(text[start:stop] for start, stop in [*pairwise(edges)][::2])
