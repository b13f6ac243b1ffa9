"""The differences between two commits: ranges, changed files, and the lines of each."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from swarm_graph.errors import InputError
from swarm_graph.repository.git import Git
from swarm_graph.repository.snapshot import Entry, snapshot
from swarm_graph.repository.source_text import decode

_PLAIN = ("-r", "-M", "--text", "--no-color", "--no-relative", "--diff-algorithm=myers", f"-O{os.devnull}")
"""Fixes what the repository's configuration and attributes could change in a diff. No attribute can make a
file binary: that would hide it from a review."""
_HEADS = re.compile(
    rb"^(?:index (?P<old>[0-9a-f]+)\.\.(?P<new>[0-9a-f]+)"
    rb"|@@ -(?P<from>\d+)(?:,(?P<removed>\d+))? \+(?P<to>\d+)(?:,(?P<added>\d+))? @@)",
    re.MULTILINE,
)
"""The heads of files and hunks in a diff."""
_FILES_AT_ONCE = 500
"""Files that one command of git is given: a command line has an end."""

ABSENT = "000000"
"""The mode of a file in the commit that does not have it."""
Status = Literal["added", "modified", "deleted", "renamed"]


class Revisions(NamedTuple):
    """The two commits of a comparison, by their full ids."""

    old: str
    new: str


class ChangedFile(NamedTuple):
    """A file that differs between two commits.

    Attributes:
        path: Its path in the newer commit; of a deleted file that in the older one.
        old_path: Its path in the older commit; the same if it was not renamed.
        similarity: Of a renamed file, in percent; else 100.
        old_mode: As in Entry.mode; ABSENT of an added file.
        new_mode: As in Entry.mode; ABSENT of a deleted file.
        added: Lines.
        removed: Lines.
        is_text: Whether both sides are text that can be shown: no binary file, link, submodule or file above
            MAX_FILE_BYTES.
    """

    path: str
    old_path: str
    status: Status
    similarity: int
    old_mode: str
    new_mode: str
    added: int
    removed: int
    is_text: bool


class Hunk(NamedTuple):
    """Lines that were replaced, without the lines around them.

    Attributes:
        old_start: The first removed line, from 1; if none was removed the line before the new ones.
        removed: How many lines were removed.
        new_start: The first added line, from 1; if none was added the line before the removed ones.
        added: How many lines were added.
    """

    old_start: int
    removed: int
    new_start: int
    added: int


def revisions(git: Git, text: str, head: str = "HEAD") -> Revisions:
    """The commits that a range names.

    Args:
        git: Git in the repository.
        text: `A..B`: from A to B. `A...B`: from the merge base of A and B to B. `A^!`: only the commit A.
            `A`: as `A..`. B defaults to `head`, A to HEAD.
        head: The newer commit if the text names none.

    Raises:
        InputError: There is no such commit, two commits have no common one, or both are the same.
    """
    if text.endswith("^!"):
        new = git.commit_of(text.removesuffix("^!"))
        return Revisions(_parent(git, new, text), new)
    dots = next((dots for dots in ("...", "..") if dots in text), "")
    left, _, right = text.partition(dots) if dots else (text, "", "")
    old, new = git.commit_of(left or "HEAD"), git.commit_of(right or head)
    if dots == "...":
        old = _merge_base(git, old, new, text)
    if old == new:
        raise InputError(
            f"the range '{text}' holds no change: both ends are commit {new[:12]}; name the commit before "
            "the change, as in HEAD~1, or one commit alone, as in HEAD^!"
        )
    return Revisions(old, new)


def names_newer_commit(text: str) -> bool:
    """Whether a range names its newer commit, so that HEAD and the working tree are not part of it."""
    return text.endswith("^!") or bool(".." in text and text.rpartition("..")[2])


def _parent(git: Git, commit: str, text: str) -> str:
    found = git.try_run("rev-parse", "--verify", "--quiet", f"{commit}^1")
    if found.exit_code:
        raise InputError(
            f"the range '{text}' has no older commit: it is the first one, or the clone is shallow"
        )
    return found.stdout.decode().strip()


def _merge_base(git: Git, old: str, new: str, text: str) -> str:
    found = git.try_run("merge-base", old, new)
    if found.exit_code:
        raise InputError(f"the ends of the range '{text}' have no commit in common; use two dots, as in A..B")
    return found.stdout.decode().split()[0]


def changed_files(git: Git, old: str, new: str) -> list[ChangedFile]:
    """The files that differ between two commits, by path.

    Args:
        git: Git in the repository.
        old: The full id of the older commit.
        new: The full id of the newer commit.

    Raises:
        RepositoryError: Git failed.
    """
    output = git.run("diff-tree", "--raw", "--numstat", "-z", *_PLAIN, old, new)
    fields = [os.fsdecode(field) for field in output.split(b"\0")[:-1]]
    entries, counts = _entries(iter(fields))
    old_text = _text_paths(git, old, {entry.old_path for entry in entries if entry.old_mode != ABSENT})
    new_text = _text_paths(git, new, {entry.path for entry in entries if entry.new_mode != ABSENT})
    files = [
        ChangedFile(
            *entry,
            *counts.get(entry.path, (0, 0)),
            is_text=(entry.old_mode == ABSENT or entry.old_path in old_text)
            and (entry.new_mode == ABSENT or entry.path in new_text),
        )
        for entry in entries
    ]
    return [_counted(git, old, new, file) if file.is_text else file for file in files]


def _counted(git: Git, old: str, new: str, file: ChangedFile) -> ChangedFile:
    """A text file with its lines counted: git counts none if an attribute calls the file binary."""
    if file.added or file.removed:
        return file
    found = hunks(git, old, new, [file])[file.path]
    added, removed = sum(hunk.added for hunk in found), sum(hunk.removed for hunk in found)
    return file._replace(added=added, removed=removed)


class _Entry(NamedTuple):
    path: str
    old_path: str
    status: Status
    similarity: int
    old_mode: str
    new_mode: str


def _entries(fields: Iterator[str]) -> tuple[list[_Entry], dict[str, tuple[int, int]]]:
    """The raw entries, and the counts of lines by path, of a diff in git's machine format."""
    entries: list[_Entry] = []
    counts: dict[str, tuple[int, int]] = {}
    for field in fields:
        if field.startswith(":"):
            old_mode, new_mode, _, _, letter = field[1:].split(" ")
            old_path = next(fields)
            path = next(fields) if letter[0] in "RC" else old_path
            status = _status(letter[0])
            entries.append(_Entry(path, old_path, status, int(letter[1:] or 100), old_mode, new_mode))
            continue
        added, removed, path = field.split("\t", 2)
        if not path:  # a rename: the old and the new path follow
            _, path = next(fields), next(fields)
        counts[path] = (_number(added), _number(removed))
    return entries, counts


def _status(letter: str) -> Status:
    names: dict[str, Status] = {"A": "added", "D": "deleted", "R": "renamed", "C": "added"}
    return names.get(letter, "modified")


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 0


def _text_paths(git: Git, commit: str, paths: Collection[str]) -> set[str]:
    """The paths whose files are text, and not too large."""
    files = snapshot(git.folder, commit)
    readable = [path for path in paths if files.entries[path].is_readable]
    groups = files.read_in_groups(readable)
    return {path for group in groups for path, content in group.items() if decode(content) is not None}


def hunks(git: Git, old: str, new: str, files: Sequence[ChangedFile]) -> dict[str, list[Hunk]]:
    """The replaced lines of files by path, from their beginning. Raises RepositoryError if git fails."""
    before, after = snapshot(git.folder, old).entries, snapshot(git.folder, new).entries
    found: dict[_Blobs, list[Hunk]] = {}
    for start in range(0, len(files), _FILES_AT_ONCE):
        some = files[start : start + _FILES_AT_ONCE]
        paths = dict.fromkeys(path for file in some for path in (file.old_path, file.path))
        found |= _hunks(
            git.run("diff-tree", "-p", "--full-index", "--unified=0", *_PLAIN, old, new, "--", *paths)
        )
    return {
        file.path: found.get(
            _Blobs(_blob(before, file.old_path, file.old_mode), _blob(after, file.path, file.new_mode)), []
        )
        for file in files
    }


class _Blobs(NamedTuple):
    """The contents of a file before and after a change by their ids; empty where there is none."""

    old: str
    new: str


def _blob(entries: Mapping[str, Entry], path: str, mode: str) -> str:
    return "" if mode == ABSENT else entries[path].blob


def _hunks(output: bytes) -> dict[_Blobs, list[Hunk]]:
    # Lines of files begin with a plus or a minus here, so none looks like a head.
    found: dict[_Blobs, list[Hunk]] = {}
    here: list[Hunk] = []
    for match in _HEADS.finditer(output):
        if match["old"]:
            old, new = (match[side].decode() if match[side].strip(b"0") else "" for side in ("old", "new"))
            here = found[_Blobs(old, new)] = []
        else:
            numbers = match.group("from", "removed", "to", "added")
            here.append(Hunk(*(1 if number is None else int(number) for number in numbers)))
    return found
