"""What an edit makes of the lines at its place: kept lines stay as the file has them, new ones fit in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from swarm_graph.roles.edit import Edit
from swarm_graph.roles.edit_places import FileLines, Misfit, Operation, Place, operations, plain, same_words


class Change(NamedTuple):
    """New lines for a part of a file: `lines` in the place of its lines from `start` to before `stop`."""

    start: int
    stop: int
    lines: list[str]


def change_at(file: FileLines, edit: Edit, place: Place) -> Change:
    """What an edit changes at its place.

    Raises:
        Misfit: It is not plain where blank lines belong, or how a new line is to be indented.
    """
    if not place.apart_from:
        start = place.numbers[0] - _leading_blanks(edit.old_lines)
        return Change(start, start + len(edit.old_lines), edit.new_lines)
    steps = operations(edit)
    stands_for = _file_lines(file, edit.old_lines, place.numbers, steps)
    new_lines = _fitted(file, edit, place)
    lines: list[str] = []
    for step in steps:
        if step.keeps:
            lines += [file.lines[k] for numbers in stands_for[step.i1 : step.i2] for k in numbers]
        else:
            lines += new_lines[step.j1 : step.j2]
    numbers = [number for found in stands_for for number in found]
    return Change(min(numbers), max(numbers) + 1, lines)


def _leading_blanks(lines: Sequence[str]) -> int:
    return next((number for number, line in enumerate(lines) if line.strip()), 0)


# --- blank lines ---------------------------------------------------------------------------------


def _file_lines(
    file: FileLines, before: Sequence[str], numbers: Sequence[int], steps: Sequence[Operation]
) -> list[list[int]]:
    """For each line that an edit quotes, the lines of the file that it stands for.

    Blank lines that the quote lacks belong to the line above them. That is plain only where the edit keeps
    or deletes the lines around them together; where it writes something between them, it is a guess.
    """
    step_of = [number for number, step in enumerate(steps) for _ in range(step.i1, step.i2)]
    filled = [number for number, line in enumerate(before) if line.strip()]
    found: list[list[int]] = [[] for _ in before]
    for number, at in zip(filled, numbers, strict=True):
        found[number] = [at]
    _edge(file, found, range(filled[0] - 1, -1, -1), numbers[0], -1)
    _edge(file, found, range(filled[-1] + 1, len(before)), numbers[-1], 1)
    for (above, below), (first, last) in zip(_pairs(filled), _pairs(numbers), strict=True):
        quoted, there = list(range(above + 1, below)), list(range(first + 1, last))
        if len(quoted) == len(there):
            for number, at in zip(quoted, there, strict=True):
                found[number] = [at]
        elif len(set(step_of[above : below + 1])) == 1:
            found[above] += there
        else:
            raise Misfit(f"has other blank lines than the file between its lines {above + 1} and {below + 1}")
    return found


def _edge(file: FileLines, found: list[list[int]], quoted: range, number: int, step: int) -> None:
    """Match the blank lines at an edge of the quote, as far as the file has them."""
    for line in quoted:
        number += step
        if not 0 <= number < len(file.lines) or file.lines[number].strip():
            return
        found[line] = [number]


def _pairs(numbers: Sequence[int]) -> list[tuple[int, int]]:
    return list(pairwise(numbers))


# --- indentation ---------------------------------------------------------------------------------


def _fitted(file: FileLines, edit: Edit, place: Place) -> list[str]:
    """The new lines of an edit, indented and written as the file's."""
    quoted = [line for line in edit.old_lines if line.strip()]
    there = [file.lines[number] for number in place.numbers]
    indents = _Indents(
        [(_indent(a), _indent(b)) for a, b in zip(quoted, there, strict=True) if same_words(a, b)]
    )
    lines = [indents.of_file(line) for line in edit.new_lines]
    if any(a != a.rstrip() and b == b.rstrip() for a, b in zip(quoted, there, strict=True)):
        lines = [line.rstrip() for line in lines]
    if place.apart_from == "typography":
        used = {char for a, b in zip(quoted, there, strict=True) for char in set(a) - set(b)}
        lines = ["".join(plain(char) if char in used else char for char in line) for line in lines]
    return lines


class _Indents:
    """How the indentation in an answer becomes the file's."""

    def __init__(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Compare the lines that both have. Raises Misfit if they differ by no one shift or unit."""
        self._known: dict[str, str] = {}
        for quoted, there in pairs:
            if self._known.setdefault(quoted, there) != there:
                raise Misfit("is indented in another way than the file")
        self._added, self._removed = _shift(self._known)
        if not self._is_shift() and _unit(self._known) is None:
            raise Misfit("is indented in another way than the file")

    def of_file(self, line: str) -> str:
        """A line of the answer with the indentation that it has in the file."""
        indent = _indent(line)
        if not line.strip():
            return line
        return self._of_file(indent) + line[len(indent) :]

    def _of_file(self, indent: str) -> str:
        if indent in self._known:
            return self._known[indent]
        if self._is_shift() and indent.startswith(self._removed):
            shifted = self._added + indent.removeprefix(self._removed)
            if len(set(shifted)) <= 1:
                return shifted
        unit = _unit(self._known)
        if unit and not self._is_shift():
            char, first, there, factor = unit
            width = there + (len(indent) - first) * factor
            if width >= 0 and width == int(width) and len(set(indent)) <= 1:
                return char * int(width)
        raise Misfit("has a new line whose indentation has no equal in the file")

    def _is_shift(self) -> bool:
        return all(
            quoted.startswith(self._removed) and there == self._added + quoted.removeprefix(self._removed)
            for quoted, there in self._known.items()
        ) and not _mixes(self._known)


def _shift(known: Mapping[str, str]) -> tuple[str, str]:
    """What the file's indentation has more, and less, than the answer's, by the line with the least."""
    quoted, there = min(known.items(), key=lambda pair: len(pair[0]), default=("", ""))
    if there.endswith(quoted):
        return there[: len(there) - len(quoted)], ""
    return "", quoted[: len(quoted) - len(there)] if quoted.endswith(there) else quoted


def _mixes(known: Mapping[str, str]) -> bool:
    """Whether one side is indented by tabs and the other by spaces."""
    quoted, there = set("".join(known)), set("".join(known.values()))
    return bool(quoted and there) and quoted != there


def _unit(known: Mapping[str, str]) -> tuple[str, int, int, float] | None:
    """How the width of an indentation changes: the file's character, a width in both, and the factor.

    None if the widths do not grow alike, or if one side mixes tabs and spaces.
    """
    characters = set("".join(known.values()))
    if len(characters) > 1 or len(set("".join(known))) > 1:
        return None
    pairs = {(len(quoted), len(there)) for quoted, there in known.items()}
    if _mixes(known):
        pairs.add((0, 0))
    (low, there), (high, there_high) = min(pairs), max(pairs)
    if high == low or there_high <= there:
        return None
    factor = (there_high - there) / (high - low)
    if any(there + (a - low) * factor != b for a, b in pairs):
        return None
    return "".join(characters) or " ", low, there, factor


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]
