"""Edit: one replacement in a file, as a model's answer states it."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import NamedTuple

_MAX_COMPARED = 2_000_000


@dataclass(frozen=True)
class Edit:
    """One replacement in a file.

    Attributes:
        path: The file; empty where the answer names none.
        before: The lines that are replaced; empty for a new file.
        after: The lines that replace them.
        deletes: Whether the whole file is deleted.
        new_path: The path that the file gets; empty where it keeps its path.
        creates: Whether the answer says that there is no such file yet.
        line: The line, from 1, at which a diff says that `before` begins; 0 where it says none.
        sections: The headings behind `@@` that a diff names, the outer one first.
    """

    path: str
    before: str = ""
    after: str = ""
    deletes: bool = False
    new_path: str = ""
    creates: bool = False
    line: int = 0
    sections: tuple[str, ...] = ()

    @property
    def old_lines(self) -> list[str]:
        """The lines that are replaced, without their line ends."""
        return lines_of(self.before)

    @property
    def new_lines(self) -> list[str]:
        """The lines that replace them, without their line ends."""
        return lines_of(self.after)

    @property
    def first_words(self) -> str:
        """The first line with text, cut, for a message."""
        return next((line.strip()[:80] for line in self.old_lines if line.strip()), "")


def lines_of(text: str) -> list[str]:
    """The lines of a text without their line ends."""
    return text.removesuffix("\n").split("\n") if text else []


class Operation(NamedTuple):
    """A step of an edit: its old lines from `i1` to `i2` become its new lines from `j1` to `j2`."""

    keeps: bool
    i1: int
    i2: int
    j1: int
    j2: int


def operations(edit: Edit) -> list[Operation]:
    """The steps of an edit. Blanks at line ends do not count; a very long edit is one step."""
    before, after = ([line.rstrip() for line in lines] for lines in (edit.old_lines, edit.new_lines))
    if len(before) * len(after) > _MAX_COMPARED:
        return [Operation(False, 0, len(before), 0, len(after))]
    codes = SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
    return [Operation(what == "equal", *places) for what, *places in codes]
