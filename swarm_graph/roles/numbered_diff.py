"""A change as a unified diff whose lines have the numbers of the new files, for findings at path:line."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator, Mapping

CONTEXT = 3
_HUNK = re.compile(r"@@ -\d+(?:,\d+)? \+(\d+)")


def numbered_diff(old: Mapping[str, str], new: Mapping[str, str], deleted: Collection[str] = ()) -> str:
    """The change from the old files to the new ones.

    Args:
        old: The files before the change; only those that change are read.
        new: Path to text of the files that the change writes.
        deleted: The paths that it deletes; one that gave a new file most of its lines counts as renamed.
    """
    moved = dict(_moves(old, new, deleted))
    parts = [
        _file(moved.get(path, path), path, old.get(moved.get(path, path)), text) for path, text in new.items()
    ]
    gone = [path for path in deleted if path not in moved.values()]
    parts += [
        f"--- {path}\n+++ /dev/null\n(the whole file is deleted: {_count(old.get(path))})" for path in gone
    ]
    return "\n\n".join(parts)


def _count(text: str | None) -> str:
    return "it is no text" if text is None else f"{len(lines_of(text))} lines"


def lines_of(text: str) -> list[str]:
    """The lines of a text as git counts them."""
    return text.removesuffix("\n").split("\n") if text else []


def _moves(
    old: Mapping[str, str], new: Mapping[str, str], deleted: Collection[str]
) -> Iterator[tuple[str, str]]:
    """New and old path of each renamed file."""
    left = {path: text for path in deleted if (text := old.get(path))}
    for path, text in new.items():
        if path in old:
            continue
        lines = {*lines_of(text)} - {""}
        for before, earlier in left.items():
            theirs = {*lines_of(earlier)} - {""}
            if len(lines & theirs) * 2 > max(len(lines), len(theirs)):
                yield path, before
                del left[before]
                break


def _file(old_path: str, path: str, old: str | None, new: str) -> str:
    before = "/dev/null" if old is None else old_path
    lines = difflib.unified_diff(lines_of(old or ""), lines_of(new), n=CONTEXT, lineterm="")
    body = [*_numbered(lines)] or ["(the text is the same)"]
    return "\n".join([f"--- {before}", f"+++ {path}", *body])


def _numbered(lines: Iterator[str]) -> Iterator[str]:
    """The lines of a diff's hunks, each with its number in the new file; removed ones have none.

    Invisible characters, which may make code look like other code, are shown as escapes.
    """
    from swarm_graph.repository.diff import visible  # other kinds of sessions need no git

    number = -1
    for line in lines:
        if hunk := _HUNK.match(line):
            number = int(hunk[1])
            yield line
        elif number >= 0:  # below the names of the files
            is_removed = line.startswith("-")
            yield f"{'' if is_removed else number:>5} {line if line.isprintable() else visible(line)}"
            number += not is_removed
