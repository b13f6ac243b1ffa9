"""The JSON objects in a text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from swarm_graph.errors import UnreadableAnswer
from swarm_graph.text import without_lone_surrogates

_VALUE_OF_A_KEY = re.compile(r'"\s*:[\s\[]*$')
_BRACES = re.compile(r'[{}]|"(?:[^"\\]|\\.)*(?:"|$)', re.DOTALL)
_OBJECT = re.compile(r'\{\s*"')


class Found(NamedTuple):
    """A JSON object, and where it stands in the text."""

    value: dict[str, Any]
    start: int
    end: int


def json_objects(text: str) -> Iterator[Found]:
    """The outermost JSON objects in a text, in order. Nothing inside a broken object is returned.

    Raises:
        UnreadableAnswer: An object is cut off.
    """
    decoder = json.JSONDecoder(object_pairs_hook=unique_keys, strict=False)
    position = text.find("{")
    while position >= 0:
        try:
            value, end = decoder.raw_decode(text, position)
            value = json.loads(without_lone_surrogates(json.dumps(value, ensure_ascii=False)))
        except (ValueError, RecursionError):
            end = _end_of_broken(text, position)
        else:
            if not _VALUE_OF_A_KEY.search(text, max(0, position - 40), position):
                yield Found(value, position, end)
        position = text.find("{", end)


def unique_keys(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """A dict of key-value pairs, for JSON's `object_pairs_hook`.

    Raises:
        ValueError: A key occurs twice.
    """
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key '{key}' occurs twice")
        found[key] = value
    return found


def _end_of_broken(text: str, start: int) -> int:
    """The end of a broken object at `start`, or the start of the next object after a lone brace in prose."""
    depth = 0
    for match in _BRACES.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(match[0], 0)
        if not depth:
            return match.end()
    if _OBJECT.match(text, start):
        raise UnreadableAnswer("the JSON object is cut off")
    following = _OBJECT.search(text, start)
    return following.start() if following else len(text)
