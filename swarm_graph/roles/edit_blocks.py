"""Edits in a model's answer: SEARCH/REPLACE blocks, diffs and patches, read and told from files."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import NamedTuple

from swarm_graph.errors import UnreadableAnswer
from swarm_graph.roles.diffs import edits_of_diff, is_diff, lines_of_diffs, unfenced_diffs
from swarm_graph.roles.edit import Edit

_SEARCH = re.compile(r"(?P<mark><{5,9}) ?(?:SEARCH|ORIGINAL)\b(?P<path>.*)")
_DIVIDER = re.compile(r"={5,9}[ \t]*")
_REPLACE = re.compile(r">{5,9} ?(?:REPLACE|UPDATED)?\b.*")
_BARE_PATH = re.compile(
    r"[\w./\\+@\[\]-]+\.\w+|[\w.@+\[\]-]+(?:[/\\][\w.@+\[\]-]+)+|\.\w[\w.-]+|Makefile|Dockerfile|LICENSE"
)
_QUOTED_PATH = re.compile(r"(?:#+ +)?(?:\*\*)?`([\w./+@\[\] -]+\.\w+)`(?:\*\*)?:?")
"""A path in backticks, which may hold spaces."""
_MAX_HEAD = 2000


def holds_edits(text: str) -> bool:
    """Whether a text consists of edits: it begins with one, perhaps after a line that names the file."""
    lines = [line for line in text[:_MAX_HEAD].split("\n") if line.strip()]
    below_path = lines[1:2] if lines and _bare_path(lines[0]) else []
    return is_diff(lines) or any(map(_SEARCH.fullmatch, [*lines[:1], *below_path]))


def edits_in(text: str, path: str) -> list[Edit]:
    """The edits that a text holds.

    Args:
        text: Text for which `holds_edits`.
        path: The file that they change, where the text does not say it.

    Raises:
        UnreadableAnswer: An edit is incomplete.
    """
    blocks, outside = _split(text)
    if any(map(_SEARCH.fullmatch, outside)):
        raise UnreadableAnswer("a SEARCH/REPLACE block is not complete: write the whole file instead")
    if not blocks:
        return edits_of_diff(text.split("\n"), path)
    edits: list[Edit] = []
    for block in blocks:
        path = block.path or path
        edits.append(Edit(path, block.before, block.after))
    return edits


def unfenced_edits(text: str) -> list[Edit]:
    """The edits in the text outside of code blocks: SEARCH/REPLACE blocks, diffs and patches.

    Raises:
        UnreadableAnswer: An edit is incomplete.
    """
    blocks: list[Edit] = []
    if "<<<<<" in text and any(map(_SEARCH.fullmatch, text.split("\n"))):
        blocks = edits_in(text, "")
        text = "\n".join(_split(text)[1])
    return [*blocks, *(edit for lines in unfenced_diffs(text) for edit in edits_of_diff(lines, ""))]


def lines_of_edits(text: str) -> set[int]:
    """The numbers, from 0, of the lines inside SEARCH/REPLACE blocks, diffs and patches.

    An edit of a Markdown file holds fences; they neither open nor close a block of the answer.
    """
    lines = text.replace("\r\n", "\n").split("\n")
    return {*lines_of_blocks(lines), *lines_of_diffs(lines)}


def lines_of_blocks(lines: list[str]) -> Iterator[int]:
    """The numbers of the lines inside complete SEARCH/REPLACE blocks."""
    if not any(line.startswith("<<<<<") for line in lines):
        return
    search: int | None = None
    for number, line in enumerate(lines):
        if _SEARCH.fullmatch(line):
            search = number
        elif search is not None and _REPLACE.fullmatch(line):
            if any(map(_DIVIDER.fullmatch, lines[search:number])):
                yield from range(search, number + 1)
            search = None


class _Block(NamedTuple):
    """A SEARCH/REPLACE block; `path` is empty where neither its first line nor the one above names a file."""

    path: str
    before: str
    after: str


def _split(text: str) -> tuple[list[_Block], list[str]]:
    """The SEARCH/REPLACE blocks of a text, and the lines outside of them."""
    blocks: list[_Block] = []
    outside: list[str] = []
    above = ""
    lines = text.split("\n")
    number = 0
    ends = {end: _Positions(lines, end) for end in (_SEARCH, _DIVIDER, _REPLACE)}
    while number < len(lines):
        line = lines[number]
        search = _SEARCH.fullmatch(line)
        replace = ends[_REPLACE].after(number) if search else None
        inner = ends[_SEARCH].between(number, replace) if replace else []
        divider = _divider(lines, number, replace, ends[_DIVIDER]) if replace and not inner else None
        if search and divider is not None and replace is not None:
            path = _bare_path(search["path"]) or _bare_path(above)
            before, after = lines[number + 1 : divider], lines[divider + 1 : replace]
            blocks.append(_Block(path, "".join(f"{x}\n" for x in before), "".join(f"{x}\n" for x in after)))
            above, number = "", replace + 1
            continue
        outside.append(line)
        above = line if line.strip() else above
        number += 1
    return blocks, outside


def _divider(lines: list[str], search: int, replace: int, dividers: _Positions) -> int | None:
    """The line between the two halves of a block; None if there is none.

    A text may hold lines of `=` itself, such as the underline of a heading; then the divider is the only one
    as long as the mark of SEARCH.
    """
    between = dividers.between(search, replace)
    length = len(lines[search]) - len(lines[search].lstrip("<"))
    alike = [number for number in between if len(lines[number].rstrip()) == length]
    found = between if len(between) == 1 else alike
    if len(found) > 1 or (between and not found):
        raise UnreadableAnswer(
            "a SEARCH/REPLACE block has several lines of =======, so its two halves cannot be told apart: "
            "leave lines of = out of the block, or write the whole file"
        )
    return found[0] if found else None


class _Positions:
    """The numbers of the lines that match a pattern."""

    def __init__(self, lines: list[str], pattern: re.Pattern[str]) -> None:
        self._numbers = [number for number, line in enumerate(lines) if pattern.fullmatch(line)]

    def after(self, number: int) -> int | None:
        """The first of them behind a line."""
        found = bisect_right(self._numbers, number)
        return self._numbers[found] if found < len(self._numbers) else None

    def between(self, start: int, stop: int) -> list[int]:
        """Those between two lines."""
        return self._numbers[bisect_right(self._numbers, start) : bisect_left(self._numbers, stop)]


def _bare_path(line: str) -> str:
    """The path in a line that holds nothing else: perhaps a heading, bold, in backticks, or with a colon."""
    if quoted := _QUOTED_PATH.fullmatch(line.strip()):
        return quoted[1]
    word = re.sub(r"^(?:#+|[-*]) +|[*`]|:$", "", line.strip()).strip()
    return word if _BARE_PATH.fullmatch(word) else ""
