"""The fenced blocks of a Markdown text, also where a model nests fences or forgets to close one."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Container, Iterable
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

FILE_KEY = r"(?:file|filename|filepath|file_path|path)"
NAMED_FILE = re.compile(
    rf"""(?<![\w-])(?P<key>{FILE_KEY}|title|name)\s*[=:]\s*"""
    r"""(?:"(?P<double>[^"]+)"|'(?P<single>[^']+)'|["']?(?P<bare>[^\s"'{},]+))"""
)
"""How an info string names a file, as in `path=src/queue.py` or `title="queue.py"`."""

_FENCE = re.compile(r"(?P<indent> *)(?P<fence>`{3,}|~{3,})(?P<info>.*)")

Fence = re.Match[str]


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        info: The text behind the opening fence, stripped.
        before: The last line with text before the block; empty right after another block.
        text: The lines of the block, each with its newline.
        closed: Whether a fence of its own closes it; false where the text or another block ends it.
        lines: The numbers of the lines between its fences, from 0.
    """

    info: str
    before: str
    text: str
    closed: bool
    lines: range

    @property
    def language(self) -> str:
        """The language that the info string begins with, in lower case; empty when it names none."""
        match = re.match(r"[{.]*([\w+#]+)", self.info)
        return match[1].lower() if match else ""


class Markdown(NamedTuple):
    """A text taken apart: its fenced blocks, and the lines outside of them."""

    blocks: list[Block]
    outside: str


def parse(text: str, opaque: Container[int] = ()) -> Markdown:
    """Take a Markdown text apart.

    Args:
        text: The text.
        opaque: The numbers of lines, from 0, that are no fences whatever they look like.
    """
    lines = text.replace("\r\n", "\n").rstrip().split("\n")
    fences = [None if number in opaque else _fence(line) for number, line in enumerate(lines)]
    ends = _Ends(fences)
    blocks: list[Block] = []
    outside: list[str] = []
    before, number = "", 0
    while number < len(lines):
        line, opening = lines[number], fences[number]
        number += 1
        if opening is None:
            outside.append(line)
            before = line if line.strip() else before
            continue
        end = ends.find(number, opening)
        closed = end < len(lines) and _is_bare(fences[end])
        body = _unindented(lines[number:end], len(opening["indent"]))
        if end == len(lines):
            body = _without_glued_fence(body, opening["fence"])
        text = "".join(f"{line}\n" for line in body)
        blocks.append(Block(opening["info"].strip(), before, text, closed, range(number, end)))
        before = ""
        number = end + closed
    return Markdown(blocks, "\n".join(outside))


def ends_in_block(text: str) -> bool:
    """Whether a text ends inside a fenced block."""
    blocks = parse(text).blocks
    return bool(blocks) and not blocks[-1].closed


def _unindented(lines: list[str], indent: int) -> list[str]:
    """The lines with up to `indent` spaces less, as Markdown has it for a block whose fence is indented."""
    if not indent:
        return lines
    return [line[min(indent, len(line) - len(line.lstrip(" "))) :] for line in lines]


def _without_glued_fence(lines: list[str], fence: str) -> list[str]:
    """The lines of the last block, whose closing fence may stand right behind its code: "x = 1```"."""
    last = lines[-1].rstrip() if lines else ""
    is_glued = last.endswith(fence) and last.count(fence) == 1 and last.strip() != fence
    return [*lines[:-1], last.removesuffix(fence)] if is_glued else lines


def _fence(line: str) -> Fence | None:
    match = _FENCE.fullmatch(line) if "```" in line or "~~~" in line else None
    return None if match and match["fence"][0] == "`" and "`" in match["info"] else match


def _is_bare(fence: Fence | None) -> bool:
    return fence is not None and not fence["info"].strip()


class _Ends:
    """Finds the line that ends a block, or the number of lines when nothing closes it.

    Models nest fences of equal length. An inner fence that names a language opens a block of its own, which
    is closed first, unless the outer block would then stay open. A fence that names a file ends a block that
    was never closed, except in a Markdown block, which may hold files.
    """

    def __init__(self, fences: list[Fence | None]) -> None:
        self._end_of_text = len(fences)
        self._fences = [(number, fence) for number, fence in enumerate(fences) if fence]
        self._indexes: dict[tuple[str, int], _Index] = {}

    def find(self, start: int, opening: Fence) -> int:
        """The end of the block whose first line is `start`."""
        index = self._index(opening)
        markdown = bool(re.match(r"\s*(?:markdown|md)\b", opening["info"]))
        first = bisect_left(index.numbers, start)
        end, bare = index.end_from(first), _next(index.bare, first)
        named = None if markdown else _next(index.named, first)
        if named is not None and (end is None or named < end):
            return index.numbers[named if bare is None else min(named, bare)]
        if end is not None:
            return index.numbers[end]
        if bare is None or (markdown and index.depths[-1] == index.depths[first]):
            return self._end_of_text
        return index.numbers[bare]

    def _index(self, opening: Fence) -> _Index:
        key = (opening["fence"], len(opening["indent"]))
        if key not in self._indexes:
            self._indexes[key] = _Index(
                (number, fence)
                for number, fence in self._fences
                if fence["fence"].startswith(opening["fence"])
                and len(fence["indent"]) <= len(opening["indent"]) + 3
            )
        return self._indexes[key]


class _Index:
    """The fences that can stand inside a block or close it, indexed so that its end is found without a scan.

    Attributes:
        numbers: Their line numbers.
        bare: The positions in `numbers` of those that have no info string.
        named: The positions of those that name a file.
        depths: How many more blocks are open before each of them, and after the last, than before the first.
    """

    def __init__(self, fences: Iterable[tuple[int, Fence]]) -> None:
        found = list(fences)
        self.numbers = [number for number, _ in found]
        self.bare = [position for position, (_, fence) in enumerate(found) if _is_bare(fence)]
        self.named = [
            position for position, (_, fence) in enumerate(found) if NAMED_FILE.search(fence["info"])
        ]
        self.depths = list(accumulate((-1 if _is_bare(fence) else 1 for _, fence in found), initial=0))
        self._positions: dict[int, list[int]] = {}
        for position, depth in enumerate(self.depths):
            self._positions.setdefault(depth, []).append(position)

    def end_from(self, first: int) -> int | None:
        """The position of the fence that closes a block whose first inner fence is at `first`."""
        closing = self._positions.get(self.depths[first] - 1, [])
        found = bisect_right(closing, first)
        return closing[found] - 1 if found < len(closing) else None


def _next(positions: list[int], first: int) -> int | None:
    found = bisect_left(positions, first)
    return positions[found] if found < len(positions) else None
