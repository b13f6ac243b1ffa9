"""Edits in a model's answer: SEARCH/REPLACE blocks, diffs and patches, applied where they fit."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from swarm_graph.errors import UnreadableAnswer

_SEARCH = re.compile(r"<{5,9} ?(?:SEARCH|ORIGINAL)\b(?P<path>.*)")
_DIVIDER = re.compile(r"={5,9}[ \t]*")
_REPLACE = re.compile(r">{5,9} ?(?:REPLACE|UPDATED)?\b.*")
_DIFF_FILE = re.compile(r"^--- (?P<old>\S.*)\n\+\+\+ (?P<new>\S.*)$", re.MULTILINE)
_HUNK = re.compile(r"^@@.*(?:\n|$)", re.MULTILINE)
_GIT_NOISE = re.compile(r"(?:diff --git|index|new file mode|deleted file mode|old mode|new mode) .*\n?")
_UNFENCED_DIFF = re.compile(r"^--- \S.*\n\+\+\+ \S.*\n@@", re.MULTILINE)
_PATCH_BEGIN, _PATCH_END = "*** Begin Patch", "*** End Patch"
_PATCH_NOISE = re.compile(r"^\*\*\* (?:Begin Patch|End Patch|End of File)[ \t]*(?:\n|$)", re.MULTILINE)
_PATCH_FILE = re.compile(r"^\*\*\* (?P<what>Update|Add|Delete) File: *(?P<path>\S.*)$", re.MULTILINE)
_MAX_HEAD = 2000
NO_FILE = "/dev/null"


@dataclass(frozen=True)
class Edit:
    """One replacement in a file.

    Attributes:
        path: The file; empty where the answer names none.
        before: The lines that are replaced; empty for a new file.
        after: The lines that replace them.
        deletes: Whether the whole file goes.
    """

    path: str
    before: str
    after: str
    deletes: bool = False


def holds_edits(text: str) -> bool:
    """Whether a text consists of edits: it begins with one, perhaps after a line that names the file."""
    head = _as_diff(text[:_MAX_HEAD]).lstrip("\n")
    lines = [line for line in _GIT_NOISE.sub("", head).split("\n") if line.strip()]
    is_diff = _DIFF_FILE.match("\n".join(lines)) or any(map(_HUNK.match, lines[:1]))
    below_path = lines[1:2] if lines and _bare_path(lines[0]) else []
    return bool(is_diff) or any(map(_SEARCH.fullmatch, [*lines[:1], *below_path]))


def edits_in(text: str, path: str) -> list[Edit]:
    """The edits that a text holds.

    Args:
        text: Text for which `holds_edits`.
        path: The file that they change, where the text does not say it.

    Raises:
        UnreadableAnswer: An edit is incomplete.
    """
    blocks, outside = _split(text)
    if any(map(_SEARCH.fullmatch, outside)):
        raise UnreadableAnswer("a SEARCH/REPLACE block is not complete: write the whole file instead")
    if not blocks:
        return list(_hunks(_GIT_NOISE.sub("", _as_diff(text)), path))
    edits: list[Edit] = []
    for block in blocks:
        path = block.path or path
        edits.append(Edit(path, block.before, block.after))
    return edits


class _Block(NamedTuple):
    """A SEARCH/REPLACE block; `path` is empty where neither its first line nor the one above names a file."""

    path: str
    before: str
    after: str


def _split(text: str) -> tuple[list[_Block], list[str]]:
    """The SEARCH/REPLACE blocks of a text, and the lines outside of them."""
    blocks: list[_Block] = []
    outside: list[str] = []
    above = ""
    lines = text.split("\n")
    number = 0
    ends = {end: _Positions(lines, end) for end in (_DIVIDER, _REPLACE)}
    while number < len(lines):
        line = lines[number]
        search = _SEARCH.fullmatch(line)
        divider = ends[_DIVIDER].after(number) if search else None
        replace = ends[_REPLACE].after(divider) if divider is not None else None
        if search and divider is not None and replace is not None:
            path = _bare_path(search["path"]) or _bare_path(above)
            before, after = lines[number + 1 : divider], lines[divider + 1 : replace]
            blocks.append(_Block(path, "".join(f"{x}\n" for x in before), "".join(f"{x}\n" for x in after)))
            above, number = "", replace + 1
            continue
        outside.append(line)
        above = line if line.strip() else above
        number += 1
    return blocks, outside


class _Positions:
    """The numbers of the lines that match a pattern."""

    def __init__(self, lines: list[str], pattern: re.Pattern[str]) -> None:
        self._numbers = [number for number, line in enumerate(lines) if pattern.fullmatch(line)]

    def after(self, number: int) -> int | None:
        """The first of them behind a line."""
        found = bisect_right(self._numbers, number)
        return self._numbers[found] if found < len(self._numbers) else None


def unfenced_edits(text: str) -> list[Edit]:
    """The edits in the text outside of code blocks: SEARCH/REPLACE blocks, or one patch or diff.

    Raises:
        UnreadableAnswer: An edit is incomplete.
    """
    if "<<<<<" in text and any(map(_SEARCH.fullmatch, text.split("\n"))):
        return edits_in(text, "")
    if (begin := text.find(_PATCH_BEGIN)) >= 0:
        end = text.find(_PATCH_END, begin)
        return edits_in(text[begin : end if end >= 0 else len(text)], "")
    diff = _UNFENCED_DIFF.search(text)
    return edits_in(text[diff.start() :], "") if diff else []


def apply_edits(edits: list[Edit], old: Mapping[str, str]) -> dict[str, str]:
    """The files that edits change: path to the new text. A deleted file is left out.

    Raises:
        UnreadableAnswer: An edit does not fit its file exactly once.
    """
    files = dict(old)
    for edit in edits:
        path = edit.path or _only_place(edit, files)
        if edit.deletes:
            files.pop(path, None)
        elif not edit.before.strip() and not files.get(path, "").strip():
            files[path] = edit.after
        else:
            files[path] = _replaced(path, edit, files)
    return {path: text for path, text in files.items() if old.get(path) != text}


def _only_place(edit: Edit, files: Mapping[str, str]) -> str:
    """The one file that an edit without a path fits."""
    places = [path for path, text in files.items() if edit.before.strip() and edit.before in f"{text}\n"]
    if len(places) != 1:
        raise UnreadableAnswer("a SEARCH/REPLACE block or diff names no file: write the path above it")
    return places[0]


def _replaced(path: str, edit: Edit, files: Mapping[str, str]) -> str:
    if path not in files:
        raise UnreadableAnswer(
            f"the edit of '{path}' cannot be applied: there is no such file; write it whole"
        )
    text = files[path]
    padded = text if text.endswith("\n") else f"{text}\n"
    places = list(_line_starts(padded, edit.before)) if edit.before.strip() else []
    if len(places) != 1:
        fits = "fits in several places" if places else "does not fit the file as it stands"
        line = next((line for line in edit.before.split("\n") if line.strip()), "")
        raise UnreadableAnswer(
            f"the edit of '{path}' that begins with {line.strip()[:80]!r} {fits}; write the whole file"
        )
    (start,) = places
    return padded[:start] + edit.after + padded[start + len(edit.before) :]


def _line_starts(text: str, lines: str) -> Iterator[int]:
    """Where whole lines stand in a text."""
    start = text.find(lines)
    while start >= 0:
        if start == 0 or text[start - 1] == "\n":
            yield start
        start = text.find(lines, start + len(lines))


def _hunks(text: str, path: str) -> Iterator[Edit]:
    """The hunks of a diff as replacements. Their line numbers do not count: models get them wrong."""
    files = list(_DIFF_FILE.finditer(text))
    if not files:
        yield from _hunks_of(path, text, new=False)
    for number, file in enumerate(files):
        end = files[number + 1].start() if number + 1 < len(files) else len(text)
        old, new = _diff_path(file["old"]), _diff_path(file["new"])
        if new == NO_FILE:
            yield Edit(old, "", "", deletes=True)
        else:
            yield from _hunks_of(new, text[file.end() : end], new=old == NO_FILE)


def _hunks_of(path: str, text: str, *, new: bool) -> Iterator[Edit]:
    for hunk in filter(str.strip, _HUNK.split(text)):
        lines = [line for line in hunk.strip("\n").split("\n") if not line.startswith("\\")]
        wrong = [line for line in lines if line and line[0] not in " +-"]
        if wrong:
            raise UnreadableAnswer(
                f"the diff of '{path}' has a line that begins with no space, + or -: {wrong[0][:60]!r}; "
                "write the whole file instead"
            )
        before = "".join(f"{line[1:]}\n" for line in lines if line[:1] in ("", " ", "-"))
        after = "".join(f"{line[1:]}\n" for line in lines if line[:1] in ("", " ", "+"))
        yield Edit(path, "" if new else before, after)


def _as_diff(text: str) -> str:
    """A text in which a patch as of `apply_patch`, with lines such as `*** Update File: a.py`, is a diff."""

    def head(file: re.Match[str]) -> str:
        old = NO_FILE if file["what"] == "Add" else file["path"]
        new = NO_FILE if file["what"] == "Delete" else file["path"]
        return f"--- {old}\n+++ {new}"

    return _PATCH_FILE.sub(head, _PATCH_NOISE.sub("", text)) if "*** " in text else text


def _diff_path(name: str) -> str:
    name = name.partition("\t")[0].strip().strip('"')
    return name if name == NO_FILE else re.sub(r"^[ab]/", "", name)


def _bare_path(line: str) -> str:
    """The path in a line that holds nothing else: perhaps a heading, bold, in backticks, or with a colon."""
    word = re.sub(r"^(?:#+|[-*]) +|[*`]|:$", "", line.strip()).strip()
    return word if re.fullmatch(r"[\w./\\+@\[\]-]+\.\w+|Makefile|Dockerfile", word) else ""
