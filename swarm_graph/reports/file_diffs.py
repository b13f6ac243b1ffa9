"""Changes of files as data for a page: the lines of a unified diff, each added, removed or the same."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from swarm_graph.reports.highlight import NOT_READABLE, is_binary, readable_line
from swarm_graph.text import format_change

CONTEXT = 3
MAX_DIFF_LINES = 400
"""Lines of a file's diff that are shown."""
MAX_COMPARED_LINES, MAX_PAIRS = 4_000, 100_000
"""Lines of a file that are compared, and pairs of equal lines in it: comparing takes a long time beyond."""
MAX_FILES = 100
"""Files of one change."""
_HUNK = re.compile(r"@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@")
_SIGNS = {"+": "added", "-": "removed", " ": "same"}
_POPULAR_LINES = 200
"""From so many lines on, difflib leaves out the lines that come often."""


class DiffLine(NamedTuple):
    """A line of a diff.

    Attributes:
        kind: `added`, `removed`, `same`, or `hunk` for the line above some of them.
        old: Its number before; None if it was not there.
        new: Its number after; None if it is not there.
        text: The line, without its sign.
    """

    kind: str
    old: int | None
    new: int | None
    text: str

    @property
    def sign(self) -> str:
        """`+`, `-` or a space."""
        return {"added": "+", "removed": "-"}.get(self.kind, " ")


class FileDiff(NamedTuple):
    """What changed in a file.

    Attributes:
        path: Its path.
        status: `added`, `removed` or `changed`.
        added: How many lines were added.
        removed: How many lines were removed.
        lines: The lines of the diff.
        note: What is not shown, and why; empty if everything is.
    """

    path: str
    status: str
    added: int
    removed: int
    lines: list[DiffLine]
    note: str = ""


class Change(NamedTuple):
    """What changed in several files.

    Attributes:
        files: The files.
        more: How many further files changed.
    """

    files: list[FileDiff]
    more: int = 0

    @property
    def total(self) -> int:
        """How many files changed."""
        return len(self.files) + self.more

    @property
    def figures(self) -> str:
        """The numbers of the change in words."""
        added, removed = sum(file.added for file in self.files), sum(file.removed for file in self.files)
        return format_change(self.total, added, removed)


def change_between(before: Mapping[str, str], after: Mapping[str, str]) -> Change:
    """The change from some files to others, path to text."""
    paths = [path for path in sorted({**before, **after}) if before.get(path) != after.get(path)]
    files = [file_diff(path, before.get(path), after.get(path)) for path in paths[:MAX_FILES]]
    return Change(files, len(paths) - len(files))


def change_in(diff: str) -> Change:
    """The change that a unified diff of git says."""
    sections = re.split(r"^(?=diff --git )", diff, flags=re.MULTILINE)
    sections = [section for section in sections if section.strip()]
    files = [_section(section) for section in sections[:MAX_FILES]]
    return Change(files, len(sections) - len(files))


def file_diff(path: str, old: str | None, new: str | None) -> FileDiff:
    """What changed in a file.

    Args:
        path: Its path.
        old: Its text before; None if it was not there.
        new: Its text after; None if it is not there.
    """
    status = "added" if old is None else "removed" if new is None else "changed"
    if is_binary(old or "") or is_binary(new or ""):
        return FileDiff(path, status, 0, 0, [], NOT_READABLE)
    before, after = _lines(old), _lines(new)
    if not old or not new:
        sign = "+" if new else "-"
        only = after or before
        head = f"@@ -{int(not new)},{len(before)} +{int(bool(new))},{len(after)} @@"
        return _shown(path, status, [head, *(f"{sign}{line}" for line in only)])
    if why := _too_much(before, after):
        return FileDiff(path, status, 0, 0, [], why)
    return _shown(path, status, difflib.unified_diff(before, after, n=CONTEXT, lineterm=""))


def _lines(text: str | None) -> list[str]:
    return text.removesuffix("\n").split("\n") if text else []


def _too_much(before: Sequence[str], after: Sequence[str]) -> str:
    """Why two texts are not compared; empty if they are."""
    if max(len(before), len(after)) > MAX_COMPARED_LINES:
        return f"not compared: {len(before):,} lines before, {len(after):,} after"
    counts = Counter(after)
    most = len(after) // 100 + 1 if len(after) >= _POPULAR_LINES else len(after)
    pairs = sum(counts[line] for line in before if counts[line] <= most)
    return "not compared: most of its lines are the same" if pairs > MAX_PAIRS else ""


def _section(section: str) -> FileDiff:
    """The diff of one file as git writes it."""
    lines = section.split("\n")
    names = {line[:4]: line[4:] for line in lines[: _first_hunk(lines)] if line[:4] in ("--- ", "+++ ")}
    old, new = names.get("--- ", ""), names.get("+++ ", "")
    named = old if new == "/dev/null" else new
    path = re.sub(r"^[ab]/", "", named) or lines[0].rpartition(" b/")[2]
    status = "added" if old == "/dev/null" else "removed" if new == "/dev/null" else "changed"
    return _shown(path, status, lines, "" if names else "; ".join(filter(None, lines[1:5])))


def _first_hunk(lines: Sequence[str]) -> int:
    return next((number for number, line in enumerate(lines) if line.startswith("@@")), len(lines))


def _shown(path: str, status: str, lines: Iterable[str], note: str = "") -> FileDiff:
    found = [*_diff_lines(lines)]
    counts = Counter(line.kind for line in found)
    more = len(found) - MAX_DIFF_LINES
    note = f"{more:,} more lines of the diff are not shown" if more > 0 else note
    return FileDiff(path, status, counts["added"], counts["removed"], found[:MAX_DIFF_LINES], note)


def _diff_lines(lines: Iterable[str]) -> Iterator[DiffLine]:
    """The lines of a diff's hunks."""
    old = new = 0
    for line in lines:
        if hunk := _HUNK.match(line):
            old, new = int(hunk[1]), int(hunk[2])
            yield DiffLine("hunk", None, None, readable_line(line))
        elif (old or new) and line[:1] in _SIGNS:
            kind, text = _SIGNS[line[0]], readable_line(line[1:])
            yield DiffLine(kind, None if kind == "added" else old, None if kind == "removed" else new, text)
            old, new = old + (kind != "added"), new + (kind != "removed")
