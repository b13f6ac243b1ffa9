"""Edit: one replacement in a file, as a model's answer states it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Edit:
    """One replacement in a file.

    Attributes:
        path: The file; empty where the answer names none.
        before: The lines that are replaced; empty for a new file.
        after: The lines that replace them.
        deletes: Whether the whole file goes.
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
