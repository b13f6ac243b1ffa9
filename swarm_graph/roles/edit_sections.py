"""The part of a file that the headings behind a diff's `@@` name, such as `@@ class Queue:`."""

from __future__ import annotations

import re
from collections.abc import Sequence

_DEFINITION = re.compile(
    r"(?:async|class|def|export|func|function|fn|fun|impl|interface|module|namespace|private|protected|pub"
    r"|public|static|struct|trait|type)\b"
)


def lines_below(lines: Sequence[str], sections: Sequence[str]) -> range:
    """The numbers of the lines below headings, the outer heading first.

    Empty without headings, and if a heading stands nowhere or several times in the part of the outer one.
    """
    start, stop = -1, len(lines)
    for section in sections:
        found = [number for number in range(start + 1, stop) if _is_heading(lines[number], section)]
        if len(found) != 1:
            return range(0)
        start = found[0]
        stop = _end_of_section(lines, start, stop)
    return range(start + 1, stop) if sections else range(0)


def _is_heading(line: str, section: str) -> bool:
    """Whether a line is a heading; git cuts a long one off."""
    line = line.strip()
    return line == section or (len(section) >= 40 and line.startswith(section))


def _end_of_section(lines: Sequence[str], start: int, stop: int) -> int:
    """The next line that begins a definition beside the one at `start` or around it."""
    indent = _width(lines[start])
    first = lines[start].split()[0]
    for number in range(start + 1, stop):
        words = lines[number].split()
        if not words or _width(lines[number]) > indent:
            continue
        if words[0] == first or _DEFINITION.match(words[0]):
            return number
    return stop


def _width(line: str) -> int:
    line = line.expandtabs(8)
    return len(line) - len(line.lstrip())
