"""The fenced blocks of a Markdown text, also where a model nests fences or forgets to close one."""

from __future__ import annotations

import re
from dataclasses import dataclass
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
        closed: Whether the closing fence is there.
    """

    info: str
    before: str
    text: str
    closed: bool

    @property
    def language(self) -> str:
        """The language that the info string begins with, in lower case; empty when it names none."""
        match = re.match(r"[{.]*([\w+#]+)", self.info)
        return match[1].lower() if match else ""


class Markdown(NamedTuple):
    """A text taken apart: its fenced blocks, and the lines outside of them."""

    blocks: list[Block]
    outside: str


def parse(text: str) -> Markdown:
    """Take a Markdown text apart."""
    lines = text.replace("\r\n", "\n").rstrip().split("\n")
    fences = [_fence(line) for line in lines]
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
        end = _end(fences, number, opening)
        closed = end < len(lines)
        body = [re.sub(f"^ {{0,{len(opening['indent'])}}}", "", line) for line in lines[number:end]]
        blocks.append(Block(opening["info"].strip(), before, "".join(f"{line}\n" for line in body), closed))
        before = ""
        number = end + (closed and _is_bare(fences[end]))
    return Markdown(blocks, "\n".join(outside))


def ends_in_block(text: str) -> bool:
    """Whether a text ends inside a fenced block."""
    blocks = parse(text).blocks
    return bool(blocks) and not blocks[-1].closed


def _fence(line: str) -> Fence | None:
    match = _FENCE.fullmatch(line)
    return None if match and match["fence"][0] == "`" and "`" in match["info"] else match


def _is_bare(fence: Fence | None) -> bool:
    return fence is not None and not fence["info"].strip()


def _end(fences: list[Fence | None], start: int, opening: Fence) -> int:
    """The number of the line that ends a block, or the number of lines when nothing closes it.

    Models nest fences of equal length. An inner fence that names a language opens a block of its own, which
    is closed first, unless the outer block would then stay open. A fence that names a file ends a block that
    was never closed, except in a Markdown block, which may hold files.
    """
    markdown = bool(re.match(r"\s*(?:markdown|md)\b", opening["info"]))
    depth, first = 0, None
    for number in range(start, len(fences)):
        fence = fences[number]
        if fence is None or not fence["fence"].startswith(opening["fence"]):
            continue
        if len(fence["indent"]) > len(opening["indent"]) + 3:
            continue
        if not _is_bare(fence):
            if not markdown and NAMED_FILE.search(fence["info"]):
                return number if first is None else first
            depth += 1
        elif depth:
            depth -= 1
            first = number if first is None else first
        else:
            return number
    return len(fences) if first is None or (markdown and not depth) else first
