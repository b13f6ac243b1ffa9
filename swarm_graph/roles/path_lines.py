"""Lines of an answer that delete or rename a file.

They stand plain, in a list, bold, in backticks, or in a block that holds nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator
from typing import NamedTuple

from swarm_graph.roles.edit_blocks import lines_of_edits
from swarm_graph.roles.fences import Block

_LINE = re.compile(
    r"(?:(?:[-*+]|\d+[.)])[ \t]+)?[*`]{0,3}(?P<word>DELETE|RENAME)\b[*`]{0,3}:?\*{0,2}[ \t]+(?P<rest>\S.*)"
)
_NAME = r"(?:`[^`\n]+`|[^\s`]+)"
_WHY = r"(?:[ \t]+(?:\(.*\)|[-#\u2013\u2014].*))?"
_DELETED = re.compile(rf"(?P<path>{_NAME}){_WHY}")
_RENAMED = re.compile(rf"(?P<path>{_NAME})[ \t]+(?:->|→|=>|to)[ \t]+(?P<new>{_NAME}){_WHY}")
_MEANT = re.compile(
    r"[\s>*_`+-]*(?:\d+[.)]\s+)?[*_`]*"
    r"(?P<word>DELETE|REMOVE|RENAME|MOVE|(?i:delete|rename)|(?:git )?(?:rm|mv))\b(?P<rest>.*)"
)
_MAX_LINE = 400


class PathLine(NamedTuple):
    """A line that deletes a file, or renames it if there is a new path."""

    path: str
    new_path: str = ""


def path_line(line: str) -> PathLine | None:
    """What a line deletes or renames; None if it is another line."""
    found = _LINE.fullmatch(line.strip()) if len(line) <= _MAX_LINE else None
    if not found:
        return None
    rest = found["rest"].replace("**", "")
    rest = rest.rstrip("`") if rest.count("`") % 2 else rest
    form = _DELETED if found["word"] == "DELETE" else _RENAMED
    names = form.fullmatch(rest.strip())
    return PathLine(*(name.strip("`") for name in names.groups())) if names else None


def path_lines(outside: str, blocks: Iterable[Block] = ()) -> list[PathLine]:
    """The deletions and renames of an answer.

    Args:
        outside: Its text outside of blocks; lines inside of edits there do not count.
        blocks: Its blocks without a path; one counts if it holds such lines and nothing else.
    """
    of_blocks = (line for block in blocks if holds_path_lines(block) for line in block.text.split("\n"))
    return [found for line in (*_outside_of_edits(outside), *of_blocks) if (found := path_line(line))]


def holds_path_lines(block: Block) -> bool:
    """Whether a block holds such lines and nothing else."""
    lines = [line for line in block.text.split("\n") if line.strip()]
    return bool(lines) and all(map(path_line, lines))


def not_understood(outside: str, blocks: Iterable[Block], known: Container[str]) -> Iterator[str]:
    """The lines that seem to delete or rename a known file and are in no form that counts."""
    inside = (line for block in blocks for line in block.text.split("\n"))
    for line in (*_outside_of_edits(outside), *inside):
        found = _MEANT.match(line) if len(line) <= _MAX_LINE else None
        if found and not path_line(line) and _names_file(found, known):
            yield line.strip()


def _names_file(found: re.Match[str], known: Container[str]) -> bool:
    """Whether a file is named: in a sentence by its next word, else anywhere on the line."""
    words = [word.strip("`*_,;:.()\"'").removeprefix("./") for word in found["rest"].split()]
    is_sentence = not found["word"].isupper() and not found["word"].endswith(("rm", "mv"))
    return any(word and word in known for word in (words[:1] if is_sentence else words))


def _outside_of_edits(text: str) -> Iterator[str]:
    edits = lines_of_edits(text)
    return (line for number, line in enumerate(text.split("\n")) if number not in edits)
