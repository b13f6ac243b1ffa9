"""Diffs in a model's answer: unified diffs, git's, and patches as of `apply_patch`, read into edits."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from swarm_graph.errors import UnreadableAnswer
from swarm_graph.roles.edit import Edit

NO_FILE = "/dev/null"
PATCH_BEGIN, PATCH_END = "*** Begin Patch", "*** End Patch"

_OLD_FILE = re.compile(r"--- (?P<path>\S.*)")
_NEW_FILE = re.compile(r"\+\+\+ (?P<path>\S.*)")
_GIT_FILE = re.compile(r'diff --git (?P<old>"?a/.+"?) (?P<new>"?b/.+"?)')
_RENAME = re.compile(r"rename (?P<side>from|to) (?P<path>\S.*)")
_IGNORED = re.compile(
    r"(?:index|new file mode|deleted file mode|old mode|new mode|similarity index|dissimilarity index"
    r"|\*\*\* (?:Begin Patch|End Patch|End of File)\b).*"
)
"""Lines of a diff that change no text. A mode is not changed: the file keeps the one that it has."""
_PATCH_FILE = re.compile(r"\*\*\* (?P<what>Update|Add|Delete) File: *(?P<path>\S.*)")
_MOVE = re.compile(r"\*\*\* Move to: *(?P<path>\S.*)")
_HUNK = re.compile(r"@@(?: -(?P<line>\d+)(?:,(?P<old>\d+))? \+\d+(?:,(?P<new>\d+))? ?@@)?(?P<section>.*)")


def is_diff(lines: Sequence[str]) -> bool:
    """Whether lines begin a diff: after git's own lines, with the names of a file or with a hunk."""
    lines = [line for line in lines if line.strip() and not _IGNORED.fullmatch(line)]
    first, second = [*lines, "", ""][:2]
    names_file = _OLD_FILE.fullmatch(first) and _NEW_FILE.fullmatch(second)
    is_git = _GIT_FILE.fullmatch(first) or _RENAME.fullmatch(first) or _PATCH_FILE.fullmatch(first)
    return bool(names_file or is_git or _HUNK.match(first))


def edits_of_diff(lines: Sequence[str], path: str) -> list[Edit]:
    """The edits that the lines of a diff state.

    Args:
        lines: The diff.
        path: The file that it changes, where the diff does not say it.

    Raises:
        UnreadableAnswer: A line is no part of a diff.
    """
    return [edit for file in _files(lines, path) for edit in file.edits()]


def unfenced_diffs(text: str) -> list[list[str]]:
    """The diffs and patches that stand in a text outside of code blocks, each as its lines.

    A patch ends at `*** End Patch`. A diff ends where its last hunk has as many lines as its `@@` line says;
    otherwise it goes on to the end of the text, so that no line of it is lost in silence.
    """
    lines = text.split("\n")
    found: list[list[str]] = []
    number = 0
    while number < len(lines):
        end = number
        if lines[number].startswith(PATCH_BEGIN):
            end = next((k for k in range(number, len(lines)) if lines[k].startswith(PATCH_END)), len(lines))
        elif _begins_diff(lines, number):
            end = _end_of_diff(lines, number)
        if end > number:
            found.append(lines[number:end])
        number = max(end, number + 1)
    return found


def lines_of_diffs(lines: Sequence[str]) -> Iterator[int]:
    """The numbers of the lines inside patches and diffs, also in a block that is one.

    Where a diff does not say how long it is, it ends above the first line that none of its lines can be.
    """
    number = 0
    while number < len(lines):
        line, end = lines[number], number
        if line.startswith((PATCH_BEGIN, "```diff", "```patch")) or _begins_diff(lines, number):
            end = _foreign_line(lines, number + 1)
            yield from range(number + 1, end)
        number = max(end, number + 1)


def _foreign_line(lines: Sequence[str], start: int) -> int:
    forms = (_GIT_FILE, _RENAME, _IGNORED)
    for number in range(start, len(lines)):
        line = lines[number]
        if line and line[0] not in " +-@*\\" and not any(form.fullmatch(line) for form in forms):
            return number
    return len(lines)


def _begins_diff(lines: Sequence[str], number: int) -> bool:
    below = [*lines[number + 1 : number + 3], "", ""]
    if _GIT_FILE.fullmatch(lines[number]):
        return True
    names_file = _OLD_FILE.fullmatch(lines[number]) and _NEW_FILE.fullmatch(below[0])
    return bool(names_file and _HUNK.match(below[1]))


def _end_of_diff(lines: Sequence[str], start: int) -> int:
    number = start
    while number < len(lines):
        line = lines[number]
        if hunk := _HUNK.match(line):
            size = _stated_size(hunk, lines, number + 1)
            if size is None:
                return len(lines)
            number += 1 + size
        elif _is_head(line):
            number += 1
        else:
            following = next((k for k in range(number, len(lines)) if lines[k].strip()), number)
            if following == number or not (_is_head(lines[following]) or _HUNK.match(lines[following])):
                return number
            number = following
    return number


def _names_one_file(lines: Sequence[str], number: int) -> bool:
    """Whether two lines name one file, above a hunk, so that they are no lines which a hunk changes."""
    if not _begins_diff(lines, number) or not (old := _OLD_FILE.fullmatch(lines[number])):
        return False
    new = lines[number + 1].removeprefix("+++ ")
    return NO_FILE in (_path(old["path"]), _path(new)) or _path(old["path"]) == _path(new)


def _is_head(line: str) -> bool:
    forms = (_OLD_FILE, _NEW_FILE, _GIT_FILE, _RENAME, _IGNORED)
    return line.startswith("\\ ") or any(form.fullmatch(line) for form in forms)


def _stated_size(hunk: re.Match[str], lines: Sequence[str], start: int) -> int | None:
    """The number of lines of a hunk that begins at `start` if it is as its `@@` line says; else None."""
    if hunk["line"] is None:
        return None
    old, new = (int(hunk[side] if hunk[side] is not None else 1) for side in ("old", "new"))
    for number in range(start, len(lines)):
        if old == new == 0:
            return number - start
        if _names_one_file(lines, number):  # counted one line too many on both sides
            return None
        line = lines[number]
        sign = line[:1] or " "
        if sign not in " +-\\" or (not line and number + 1 == len(lines)):
            return None
        old, new = old - (sign in " -"), new - (sign in " +")
        if min(old, new) < 0:
            return None
    return len(lines) - start if old == new == 0 else None


# --- the files of a diff -------------------------------------------------------------------------


@dataclass
class _File:
    """What a diff says of one file."""

    path: str
    new_path: str = ""
    creates: bool = False
    deletes: bool = False
    hunks: list[Edit] = field(default_factory=list)

    def edits(self) -> Iterator[Edit]:
        if self.deletes:
            yield Edit(self.path, deletes=True)
            return
        if self.new_path and self.new_path != self.path:
            yield Edit(self.path, new_path=self.new_path)
        path = self.new_path or self.path
        for hunk in self.hunks:
            before = "" if self.creates else hunk.before
            yield replace(hunk, path=path, before=before, creates=self.creates)


def _files(lines: Sequence[str], path: str) -> list[_File]:
    files = [_File(path)]
    number = 0
    while number < len(lines):
        line, below = lines[number], [*lines[number + 1 : number + 2], ""][0]
        number += 1
        if (old := _OLD_FILE.fullmatch(line)) and (new := _NEW_FILE.fullmatch(below)):
            _names(files, _path(old["path"]), _path(new["path"]))
            number += 1
        elif git := _GIT_FILE.fullmatch(line):
            files.append(_File(_path(git["new"])))
        elif rename := _RENAME.fullmatch(line):
            _rename(files[-1], rename["side"], _plain(rename["path"]))
        elif file := _PATCH_FILE.fullmatch(line):
            files.append(_File(file["path"].strip(), creates=file["what"] == "Add"))
            files[-1].deletes = file["what"] == "Delete"
        elif move := _MOVE.fullmatch(line):
            files[-1].new_path = move["path"].strip()
        elif _HUNK.match(line) or not (_IGNORED.fullmatch(line) or not line.strip()):
            number = _read_hunk(files[-1], lines, number - 1)
    return files


def _names(files: list[_File], old: str, new: str) -> None:
    """Note the two names of a file, which git's own line may have named already."""
    if files[-1].hunks or files[-1].path not in (old, new) or not files[-1].path:
        files.append(_File(new))
    file = files[-1]
    if new == NO_FILE:
        file.path, file.deletes = old, True
    elif old == NO_FILE:
        file.path, file.creates = new, True
    elif not file.new_path:
        file.path = new


def _rename(file: _File, side: str, path: str) -> None:
    if side == "from":
        file.path = path
    else:
        file.new_path = path


def _read_hunk(file: _File, lines: Sequence[str], start: int) -> int:
    """Read the hunk at a line into its file, and return the line behind it.

    A hunk without an `@@` line may begin a diff. Several `@@` lines one below the other name one place.
    """
    sections: list[str] = []
    line = 0
    number = start
    hunk: re.Match[str] | None = None
    while number < len(lines) and (hunk := _HUNK.match(lines[number])):
        sections += [section] if (section := hunk["section"].strip().removesuffix("@@").strip()) else []
        line = int(hunk["line"] or 0)
        number += 1
    head = _HUNK.match(lines[number - 1]) if number > start else None
    size = _stated_size(head, lines, number) if head else None
    end = number + size if size is not None else _end_of_hunk(lines, number)
    body = lines[number:end]
    if size is None:
        body = _without_blank_edges(body)
    if body:
        file.hunks.append(replace(_hunk(file.path, body), line=line, sections=tuple(sections)))
    return end


def _end_of_hunk(lines: Sequence[str], start: int) -> int:
    """Where a hunk ends that does not have the size which it states: at the next hunk, or the next file."""
    for number in range(start, len(lines)):
        line = lines[number]
        is_file = _OLD_FILE.fullmatch(line) and _NEW_FILE.fullmatch("".join(lines[number + 1 : number + 2]))
        if is_file or any(form.match(line) for form in (_HUNK, _GIT_FILE, _PATCH_FILE, _IGNORED)):
            return number
    return len(lines)


def _without_blank_edges(lines: Sequence[str]) -> list[str]:
    """Lines without the empty ones around them, which separate a hunk from the text around it."""
    return "\n".join(lines).strip("\n").split("\n") if any(lines) else []


def _hunk(path: str, body: Sequence[str]) -> Edit:
    body = [line for line in body if not line.startswith("\\")]
    wrong = [line for line in body if line and line[0] not in " +-"]
    if wrong:
        diff = f"the diff of '{path}'" if path else "a diff that names no file"
        raise UnreadableAnswer(
            f"{diff} has a line that begins with no space, + or -: {wrong[0][:60]!r}; "
            "write the edit as a SEARCH/REPLACE block, or write the whole file instead"
        )
    before = "".join(f"{line[1:]}\n" for line in body if line[:1] in ("", " ", "-"))
    after = "".join(f"{line[1:]}\n" for line in body if line[:1] in ("", " ", "+"))
    return Edit(path, before, after)


def _path(name: str) -> str:
    name = _plain(name)
    return name if name == NO_FILE else re.sub(r"^[ab]/", "", name)


def _plain(name: str) -> str:
    return name.partition("\t")[0].strip().strip('"')
