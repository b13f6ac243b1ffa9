"""Where the lines of an edit stand in a file, exactly or apart from what models get wrong in copying."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from difflib import SequenceMatcher
from functools import cached_property
from itertools import islice
from typing import NamedTuple

from swarm_graph.roles.edit import Edit, operations
from swarm_graph.roles.edit_sections import lines_below
from swarm_graph.roles.nearest_lines import nearest_start
from swarm_graph.text import format_count

_DOTS = re.compile(r"(?:(?:#+|//+|/\*+|--|<!--) ?)?(?:\.{3}|…).*")
_PLAIN = str.maketrans({
    "\u201c": '"', "\u201d": '"', "\u201e": '"', "\u2018": "'", "\u2019": "'", "\u2013": "-", "\u2014": "-",
    "\u2212": "-", "\u2026": "...", "\u00a0": " ", "\u202f": " ", "\u200b": "", "\ufeff": "",
})  # fmt: skip
"""Characters of typography that models and chat pages put in the place of plain ones."""
_WORD = re.compile(r"\w+")
_MANY = 50
_MIN_RATIO, _MIN_LEAD = 0.9, 0.1
_MIN_LINES, _MIN_WORDS = 3, 3
_MAX_RATED, _MAX_WINDOW_LINES = 20_000, 100_000


class Place(NamedTuple):
    """Where an edit fits.

    Attributes:
        numbers: For each line of the edit with text, the line of the file that it stands for, from 0.
        apart_from: What was disregarded, in words; empty if the lines stand there exactly.
    """

    numbers: Sequence[int]
    apart_from: str = ""


class Misfit(Exception):
    """An edit has no place in a file, or several; the message ends a sentence about the edit."""

    def __init__(self, why: str, *, several: bool = False) -> None:
        super().__init__(why)
        self.several = several


class FileLines:
    """The lines of a file, indexed for the search of places."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines

    @cached_property
    def filled(self) -> list[int]:
        """The numbers of the lines that hold more than blanks."""
        return [number for number, line in enumerate(self.lines) if line.strip()]

    @cached_property
    def words(self) -> list[str]:
        """The lines that hold more than blanks, without the blanks around them."""
        return [line.strip() for line in self.lines if line.strip()]


def place_of(file: FileLines, edit: Edit, expected: int = -1, *, counts_right: bool = False) -> Place:
    """Where the lines that an edit replaces stand.

    The rules, in their order; the first that finds the lines decides:

    1. The lines stand there exactly, once. If they also stand elsewhere apart from blanks, that is no
       decision: models drop indentation and blank lines when they copy, so either may be meant.
    2. Of several such places, the only one below the headings that a diff names. Of several there, or without
       headings, the one that stands exactly at the line that the diff states; without headings only if an
       earlier hunk stood at its line, too. Models get line numbers wrong, so that one alone proves nothing.
    3. They stand there once apart from blanks: at line ends, in the indentation, as blank lines.
    4. They stand there once apart from typography, such as quotation marks.
    5. One region is alike (0.9 and more), clearly more than any other, and differs only in lines that the
       edit keeps: what it deletes or replaces is never text that it does not quote.

    Args:
        file: The file as it stands.
        edit: The edit; some of the lines that it replaces hold text.
        expected: The line, from 0, at which a diff says that the lines begin.
        counts_right: Whether earlier hunks of the diff stood at the lines that it states.

    Raises:
        Misfit: The lines stand nowhere, or in several places of which none is plainly meant.
    """
    before = edit.old_lines
    exact = [
        _Window([at + number for number, line in enumerate(before) if line.strip()], at)
        for at in _windows(file.lines, before)
    ]
    alike = [_Window(file.filled[at : at + _filled(before)]) for at in _windows(file.words, _words(before))]
    if len(exact) == len(alike) == 1:
        return Place(exact[0].numbers)
    if exact or alike:
        return _chosen(file, edit, exact, alike, expected, counts_right=counts_right)
    if dots := next((line.strip() for line in before if _DOTS.fullmatch(line.strip())), ""):
        raise Misfit(f"leaves lines out at {dots[:40]!r}, and only lines that stand in the file can be found")
    return _by_typography(file, before) or _by_likeness(file, edit)


def is_there(file: FileLines, edit: Edit, place: Place | None = None) -> bool:
    """Whether a file already has what an edit makes of it, as when a model repeats an edit.

    With a place, the new lines have to stand around it. Without one, they have to stand in the file once,
    where it is most like the lines that the edit quotes.
    """
    after = edit.new_lines
    if place:
        adds = any(
            line.strip() for step in operations(edit) if not step.keeps for line in after[step.j1 : step.j2]
        )
        first, last = place.numbers[0], place.numbers[-1]
        return adds and any(at <= first and last < at + len(after) for at in _windows(file.lines, after))
    filled = [[line.rstrip() for line in lines if line.strip()] for lines in (file.lines, after)]
    found = _windows(*filled) if _shows_its_result(edit) else []
    if len(found) != 1 or len(_WORD.findall("\n".join(after))) < _MIN_WORDS:
        return False
    nearest = nearest_start(file.words, _words(edit.old_lines))
    return nearest is not None and found[0] - _filled(edit.old_lines) < nearest < found[0] + _filled(after)


def _shows_its_result(edit: Edit) -> bool:
    """Whether each step of an edit writes words, or deletes lines between words that it keeps.

    Of a deletion at the edge, or between braces, the lines that are left say nothing about those that go.
    """
    steps = operations(edit)
    says = [any(map(_WORD.search, edit.new_lines[step.j1 : step.j2])) for step in steps]
    between = [*(a and b for a, b in zip([False, *says], [*says[1:], False], strict=False)), False]
    return any(not step.keeps for step in steps) and all(
        step.keeps or said or kept for step, said, kept in zip(steps, says, between, strict=False)
    )


class _Window(NamedTuple):
    """The lines of a file that may be meant; `begin` is -1 where they stand there only apart from blanks."""

    numbers: Sequence[int]
    begin: int = -1


def _chosen(
    file: FileLines,
    edit: Edit,
    exact: Sequence[_Window],
    alike: Sequence[_Window],
    expected: int,
    *,
    counts_right: bool,
) -> Place:
    """The intended one of several places, or the only similar one."""
    section = lines_below(file.lines, edit.sections) if len(alike) > 1 else range(0)
    below = [window for window in alike if window.numbers[0] in section]
    windows = below or alike
    if len(alike) >= _limit(edit.old_lines):
        raise Misfit("fits in very many places", several=True)
    if len(windows) > 1 and (below or counts_right):
        at_line = [window for window in exact if window.begin == expected]
        windows = [window for window in at_line if not below or _among(window, below)] or windows
    if len(windows) != 1:
        raise Misfit(f"fits in several places ({_line_numbers(windows)})", several=True)
    (window,) = windows
    return Place(window.numbers, "" if _among(window, exact) else "blanks")


def _among(window: _Window, windows: Sequence[_Window]) -> bool:
    return any(list(window.numbers) == list(other.numbers) for other in windows)


def _line_numbers(windows: Sequence[_Window]) -> str:
    numbers = ", ".join(str(window.numbers[0] + 1) for window in windows[:5])
    more = ", …" if len(windows) > 5 else ""
    return f"lines {numbers}{more}"


# --- equal lines ---------------------------------------------------------------------------------


def _windows(lines: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """Where all wanted lines stand one below the other; of very many places, the first ones."""
    return list(islice(_all_windows(lines, wanted), _limit(wanted)))


def _limit(wanted: Sequence[str]) -> int:
    """The most places that are compared; if there are that many, none is chosen."""
    return max(2, _MAX_WINDOW_LINES // max(len(wanted), 1))


def _all_windows(lines: Sequence[str], wanted: Sequence[str]) -> Iterator[int]:
    text, part = "\n" + "\n".join(lines) + "\n", "\n" + "\n".join(wanted) + "\n"
    number = position = 0
    found = text.find(part)
    while found >= 0:
        number += text.count("\n", position, found)
        position = found
        yield number
        found = text.find(part, found + 1)


def _words(lines: Sequence[str]) -> list[str]:
    return [line.strip() for line in lines if line.strip()]


def _filled(lines: Sequence[str]) -> int:
    return sum(1 for line in lines if line.strip())


# --- lines that are not equal --------------------------------------------------------------------


def plain(line: str) -> str:
    """A line with plain characters in place of typography."""
    return line.translate(_PLAIN)


def same_words(line: str, other: str) -> bool:
    """Whether two lines are equal apart from blanks around them and typography."""
    return plain(line).strip() == plain(other).strip()


def _by_typography(file: FileLines, before: Sequence[str]) -> Place | None:
    """The only place that differs in typography."""
    wanted = [plain(line).strip() for line in _words(before)]
    found = _windows([plain(line).strip() for line in file.words], wanted)
    if len(found) > 1:
        windows = [_Window(file.filled[at : at + len(wanted)]) for at in found]
        raise Misfit(f"fits in several places ({_line_numbers(windows)})", several=True)
    return Place(file.filled[found[0] : found[0] + len(wanted)], "typography") if found else None


def _by_likeness(file: FileLines, edit: Edit) -> Place:
    """The place where only lines differ that the edit keeps."""
    nowhere = Misfit("does not fit the file as it stands")
    wanted = _words(edit.old_lines)
    if len(wanted) < _MIN_LINES or len("".join(wanted)) > _MAX_RATED:
        raise nowhere
    rated = sorted(
        ((_ratio(file.words[at : at + len(wanted)], wanted), at) for at in _starts(file, wanted)),
        reverse=True,
    )
    if not rated or rated[0][0] < _MIN_RATIO or (len(rated) > 1 and rated[0][0] - rated[1][0] < _MIN_LEAD):
        raise nowhere
    at = rated[0][1]
    window = file.words[at : at + len(wanted)]
    differs = [quoted != there for quoted, there in zip(wanted, window, strict=True)]
    if any(differs and not kept for differs, kept in zip(differs, _kept(edit), strict=True)):
        raise nowhere
    return Place(file.filled[at : at + len(wanted)], f"{format_count(sum(differs), 'line')} that it keeps")


def _ratio(lines: Sequence[str], wanted: Sequence[str]) -> float:
    return SequenceMatcher(None, "\n".join(lines), "\n".join(wanted), autojunk=False).ratio()


def _starts(file: FileLines, wanted: Sequence[str]) -> list[int]:
    """The most likely starts of a region like the wanted lines: most of them stand there in their order."""
    votes = _votes(file.words, wanted)
    last = len(file.words) - len(wanted)
    likely = [at for at, count in votes.most_common(_MANY) if count * 2 >= len(wanted) and 0 <= at <= last]
    return likely[:10]


def _votes(lines: Sequence[str], wanted: Sequence[str]) -> Counter[int]:
    """For each start of a region, how many of the wanted lines stand in their place; rare lines only."""
    at = _positions(lines, set(wanted).__contains__)
    return Counter(
        number - offset
        for offset, line in enumerate(wanted)
        if len(at.get(line, ())) <= _MANY
        for number in at.get(line, ())
    )


def _positions(lines: Sequence[str], counts: Callable[[str], bool]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for number, line in enumerate(lines):
        if counts(line):
            found.setdefault(line, []).append(number)
    return found


def _kept(edit: Edit) -> list[bool]:
    """For each line with text that an edit quotes, whether the edit keeps it."""
    lines = edit.old_lines
    return [step.keeps for step in operations(edit) for line in lines[step.i1 : step.i2] if line.strip()]
