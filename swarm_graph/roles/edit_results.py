"""What an edit makes of the lines at its place: kept lines stay as the file has them, new ones fit in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from swarm_graph.roles.edit import Edit, Operation, operations
from swarm_graph.roles.edit_places import FileLines, Misfit, Place, plain, same_words

_QUOTES = "\u201c\u201d\u201e\u2018\u2019"
_INDENTED = ("  ", "\t")


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
        _check_indentation(file, edit)
        start = place.numbers[0] - _leading_blanks(edit.old_lines)
        return Change(start, start + len(edit.old_lines), edit.new_lines)
    steps = operations(edit)
    stands_for = _file_lines(file, edit, place.numbers, steps)
    new_lines = _fitted(file, edit, place)
    lines: list[str] = []
    for step in steps:
        if step.keeps:
            lines += [file.lines[k] for numbers in stands_for[step.i1 : step.i2] for k in numbers]
        else:
            lines += new_lines[step.j1 : step.j2]
    numbers = [number for found in stands_for for number in found]
    return Change(min(numbers), max(numbers) + 1, lines)


def _check_indentation(file: FileLines, edit: Edit) -> None:
    """Raises Misfit for new lines indented by spaces in a file that uses only tabs, or vice versa."""
    used = {line[0] for line in file.lines if line.startswith(_INDENTED)}
    new = {line[0] for line in edit.new_lines if line.startswith(_INDENTED)}
    if len(used) == 1 and new - used:
        mine, other = ("tabs", "spaces") if used == {"\t"} else ("spaces", "tabs")
        raise Misfit(f"has new lines that are indented by {other}, and the file is indented by {mine}")


def _leading_blanks(lines: Sequence[str]) -> int:
    return next((number for number, line in enumerate(lines) if line.strip()), 0)


# --- blank lines ---------------------------------------------------------------------------------


def _file_lines(
    file: FileLines, edit: Edit, numbers: Sequence[int], steps: Sequence[Operation]
) -> list[list[int]]:
    """For each line that an edit quotes, the lines of the file that it stands for.

    Where the quote has other blank lines than the file, the file's stay beside the line that the edit keeps.
    """
    before = edit.old_lines
    step_of = [number for number, step in enumerate(steps) for _ in range(step.i1, step.i2)]
    filled = [number for number, line in enumerate(before) if line.strip()]
    found: list[list[int]] = [[] for _ in before]
    for number, at in zip(filled, numbers, strict=True):
        found[number] = [at]
    for quoted, number, way in (
        (range(filled[0] - 1, -1, -1), numbers[0], -1),
        (range(filled[-1] + 1, len(before)), numbers[-1], 1),
    ):
        has_all = _edge(file, found, quoted, number, way)
        if not has_all and len({step_of[n] for n in (quoted[0] - way, *quoted)}) > 1:
            raise Misfit("has other blank lines than the file where it writes")
    for (above, below), (first, last) in zip(pairwise(filled), pairwise(numbers), strict=True):
        quoted, there = range(above + 1, below), range(first + 1, last)
        if len(quoted) == len(there):
            found[above + 1 : below] = [[at] for at in there]
            continue
        owner = _owner(edit, steps, step_of[above : below + 1])
        if owner is None:
            raise Misfit(f"has other blank lines than the file between its lines {above + 1} and {below + 1}")
        number = above if owner == "above" else below
        found[number] = sorted([*found[number], *there])
    return found


def _owner(edit: Edit, steps: Sequence[Operation], at: Sequence[int]) -> str | None:
    """Which line keeps the file's blank lines where the quote has others: the one `above` or `below` them.

    None where it is not plain: the edit writes something between the two lines, or changes the blank lines.

    Args:
        edit: The edit.
        steps: Its steps.
        at: The steps of the line above, of the blank lines that the edit quotes, and of the line below.
    """
    upper, lower, blanks = at[0], at[-1], set(at[1:-1])
    if upper == lower:
        return "above"
    if lower > upper + 1 or any(step.j1 == step.j2 for step in steps[upper : lower + 1]):
        return None
    if steps[upper].keeps and blanks <= {upper} and edit.new_lines[steps[lower].j1].strip():
        return "above"
    if steps[lower].keeps and blanks <= {lower} and edit.new_lines[steps[upper].j2 - 1].strip():
        return "below"
    return None


def _edge(file: FileLines, found: list[list[int]], quoted: range, number: int, step: int) -> bool:
    """Match the blank lines at an edge of the quote; whether the file has all of them."""
    for line in quoted:
        number += step
        if not 0 <= number < len(file.lines) or file.lines[number].strip():
            return False
        found[line] = [number]
    return True


# --- indentation ---------------------------------------------------------------------------------


def _fitted(file: FileLines, edit: Edit, place: Place) -> list[str]:
    """The new lines of an edit, indented and written as the file's."""
    quoted = [line for line in edit.old_lines if line.strip()]
    there = [file.lines[number] for number in place.numbers]
    indents = _Indents(
        [(_indent(a), _indent(b)) for a, b in zip(quoted, there, strict=True) if same_words(a, b)]
    )
    lines = [indents.of_file(line) for line in edit.new_lines]
    if any(line != line.rstrip() for line in edit.old_lines) and there == [line.rstrip() for line in there]:
        lines = [line.rstrip() for line in lines]
    if place.apart_from == "typography":
        used = {char for a, b in zip(quoted, there, strict=True) for char in set(a) - set(b)}
        used -= set("".join(there))
        used |= set(_QUOTES) if used & set(_QUOTES) else set()
        lines = ["".join(plain(char) if char in used else char for char in line) for line in lines]
    return lines


class _Indents:
    """How the indentation in an answer becomes the file's."""

    def __init__(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Compare the common lines. Raises Misfit if no single shift or unit explains how they differ."""
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
        )


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
