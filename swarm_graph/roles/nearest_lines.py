"""The lines of a file that are most like the ones an edit quotes, for the question that repairs it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import accumulate

from swarm_graph.roles.edit import lines_of
from swarm_graph.text import cut

_WORD = re.compile(r"[^\W_]+")
_MAX_LINES, _MAX_WIDTH = 12, 160
_MARGIN = 2


def nearest_lines(text: str, before: str) -> str:
    """The region of a file that is most like the lines that an edit quotes, with line numbers.

    A line is like another if it has the same words. Only regions as long as the quote are compared, so this
    takes time in proportion to the file.

    Args:
        text: The file.
        before: The lines that an edit quotes.

    Returns:
        At most 12 lines such as `  41| def add(a, b):`; empty if no word of the quote stands in the file.
    """
    lines, quoted = lines_of(text), [line for line in lines_of(before) if line.strip()]
    start = nearest_start(lines, quoted)
    if start is None:
        return ""
    shown = min(max(len(quoted) + 2 * _MARGIN, 1), _MAX_LINES)
    margin = _MARGIN if len(quoted) + _MARGIN <= _MAX_LINES else 0
    first = max(start - margin, 0)
    return numbered(lines, first, min(first + shown, len(lines)))


def nearest_start(lines: Sequence[str], quoted: Sequence[str]) -> int | None:
    """Where the region begins that is most like the quoted lines; None if nothing is like them."""
    wanted = {line.strip() for line in quoted}
    words = {word for line in quoted for word in _WORD.findall(line)}
    rates = [_rate(line, wanted, words) for line in lines]
    size = min(len(quoted), len(lines))
    sums = [0.0, *accumulate(rates)]
    regions = [sums[at + size] - sums[at] for at in range(len(lines) - size + 1)] if size else []
    best = max(regions, default=0.0)
    return regions.index(best) if best > 0 else None


def numbered(lines: Sequence[str], start: int, stop: int) -> str:
    """Lines with their numbers in the file, from 1; long ones are cut."""
    width = len(str(stop))
    return "\n".join(
        f"{number + 1:>{width}}| {cut(lines[number], _MAX_WIDTH)}" for number in range(start, stop)
    )


def _rate(line: str, wanted: set[str], words: set[str]) -> float:
    """How like the quoted lines a line is: 2 for one of them, otherwise its share of their words."""
    if not line.strip():
        return 0.0
    if line.strip() in wanted:
        return 2.0 if any(map(str.isalnum, line)) else 0.1
    own = set(_WORD.findall(line))
    common = len(own & words)
    return common / (len(own) + len(words) - common) if common else 0.0
