"""A change as its reviewers see it: a diff with the line numbers of the new files, and the code around it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from swarm_graph.errors import InputError
from swarm_graph.repository.changed_files import (
    ABSENT,
    ChangedFile,
    Hunk,
    changed_files,
    hunks,
)
from swarm_graph.repository.git import Git
from swarm_graph.repository.outline import Definition
from swarm_graph.repository.repo_map import read_outlines
from swarm_graph.repository.snapshot import EXECUTABLE, LINK, MAX_FILE_BYTES, SUBMODULE, Entry, snapshot
from swarm_graph.repository.source_text import decode
from swarm_graph.state import Repository
from swarm_graph.text import format_count, shortened

MAX_LINES = 100_000
"""Changed lines of a range that is reviewed: more than the context of any model holds."""
MAX_CHANGED_LINE, _MAX_LINE = 4_000, 400
"""Characters of a changed line, and of one around it, that are shown."""


class Around(NamedTuple):
    """How much code is shown around a change: its function up to a length in lines, otherwise some lines."""

    function: int
    lines: int


LEVELS = (Around(80, 12), Around(40, 6), Around(0, 0))
"""From the usual one to that of a small context."""

_RISKY = re.compile(
    r"auth|crypt|secret|token|passw|login|session|permission|access|admin|payment|sql|exec|shell|sandbox|deploy"
    r"|security|migrat|upload|dockerfile|\.github|\.gitlab|jenkins|(?:^|/)ci(?:/|$)",
    re.IGNORECASE,
)
_GENERATED = re.compile(
    r"(?:^|/)(?:vendor|node_modules|third_party|dist|build|golden|snapshots?|__snapshots__)/|\.lock$|\.min\.\w+$"
    r"|(?:^|/)(?:package-lock\.json|go\.sum|pnpm-lock\.yaml)$|\.(?:svg|map|csv|ipynb)$",
    re.IGNORECASE,
)
_TEST = re.compile(r"(?:^|/)(?:tests?|specs?|__tests__)/|(?:^|/)test_[^/]*$|[._-](?:test|spec)\.\w+$")
_PROSE = (".md", ".rst", ".txt", ".adoc")


def changes_for_review(repo: Repository) -> list[str]:
    """What reviewers see of the change between `compared_with` and `base` of a repository: `review_texts`.

    Raises:
        RepositoryError: Git failed.
    """
    return review_texts(Git(repo["path"]), repo["compared_with"], repo["base"])


def review_texts(git: Git, old: str, new: str) -> list[str]:
    """A change as a diff, the files with the largest risk first: one text for each of LEVELS.

    Each line of the newer commit begins with its number, so that a finding can say `path:line`; removed
    lines have none. Changes are shown with their whole function or some lines around them. Nothing of the
    change is left out but what `not_shown` names.

    Args:
        git: Git in the repository.
        old: The full id of the older commit.
        new: The full id of the newer commit.

    Raises:
        RepositoryError: Git failed.
    """
    files = sorted(changed_files(git, old, new), key=_order)
    lines = f"+{sum(file.added for file in files)} -{sum(file.removed for file in files)} lines"
    head = f"{format_count(len(files), 'file')} changed, {lines}\n"
    read = _read(git, old, new, [file for file in files if _has_lines(file)])
    return [head + "".join(_block(file, read, around) for file in files) for around in LEVELS]


def not_shown(git: Git, old: str, new: str) -> list[str]:
    """What no reviewer sees of a change, as `path (reason)`: contents that are no text, and very long lines.

    Args:
        git: Git in the repository.
        old: The full id of the older commit.
        new: The full id of the newer commit.

    Raises:
        InputError: There is nothing to review, or more than a review can hold.
        RepositoryError: Git failed.
    """
    files = changed_files(git, old, new)
    if not files:
        raise InputError(f"no file differs between the commits {old[:12]} and {new[:12]}; name another range")
    shown = [file for file in files if _has_lines(file)]
    if (lines := sum(file.added + file.removed for file in shown)) > MAX_LINES:
        raise InputError(
            f"the range changes {lines:,} lines, and a review holds at most {MAX_LINES:,}; review its "
            "commits one by one, as in HEAD^!"
        )
    return [*_unread(git, old, new, files), *_long_lines(git, old, new, shown)]


def _unread(git: Git, old: str, new: str, files: Sequence[ChangedFile]) -> Iterator[str]:
    """The changed files whose new content is not shown."""
    nothing = Entry(ABSENT, "", 0)
    before, after = snapshot(git.folder, old).entries, snapshot(git.folder, new).entries
    for file in files:
        was = before[file.old_path] if file.old_mode != ABSENT else nothing
        if not file.is_text and file.new_mode != ABSENT and was.blob != after[file.path].blob:
            yield f"{visible(file.path)} ({_kind(was, after[file.path])})"


def _kind(old: Entry, new: Entry) -> str:
    if new.mode in (LINK, SUBMODULE):
        return "a link" if new.mode == LINK else "a submodule"
    return "larger than 1 MB" if max(old.size, new.size) > MAX_FILE_BYTES else "binary"


def _long_lines(git: Git, old: str, new: str, files: Sequence[ChangedFile]) -> Iterator[str]:
    """The added lines of which only the beginning is shown."""
    texts = snapshot(git.folder, new).read_many(file.path for file in files)
    for path, changed in hunks(git, old, new, files).items():
        lines = _lines(texts[path])
        added = (at for hunk in changed for at in range(hunk.new_start, hunk.new_start + hunk.added))
        for number in added:
            if (length := len(lines[number - 1])) > MAX_CHANGED_LINE:
                yield f"{visible(path)}:{number} (the end of a line of {length:,} characters)"


def _has_lines(file: ChangedFile) -> bool:
    """Whether lines of a file are shown; a deleted file is only named."""
    return file.is_text and file.status != "deleted" and file.added + file.removed > 0


def _order(file: ChangedFile) -> tuple[int, int, str]:
    """The order of reading: code that protects or destroys, other code, tests, prose, generated files."""
    if _GENERATED.search(file.path):
        kind = 4
    elif file.path.endswith(_PROSE):
        kind = 3
    elif _TEST.search(file.path):
        kind = 2
    else:
        kind = 0 if _RISKY.search(file.path) else 1
    return kind, -(file.added + file.removed), file.path


@dataclass(frozen=True)
class _ChangedText:
    """The two texts of a changed file, its hunks and its definitions."""

    old: list[str]
    new: list[str]
    hunks: list[Hunk]
    definitions: Sequence[Definition]


def _read(git: Git, old: str, new: str, files: Sequence[ChangedFile]) -> dict[str, _ChangedText]:
    """The changed files by path."""
    before = [file.old_path for file in files if file.old_mode != ABSENT]
    old_texts = snapshot(git.folder, old).read_many(before)
    new_texts = snapshot(git.folder, new).read_many(file.path for file in files)
    outlines, replaced = read_outlines(new_texts), hunks(git, old, new, files)
    return {
        file.path: _ChangedText(
            _lines(old_texts.get(file.old_path, b"")),
            _lines(new_texts[file.path]),
            replaced[file.path],
            outlines[file.path].definitions,
        )
        for file in files
    }


def _lines(content: bytes) -> list[str]:
    """The lines of a file, as git counts them."""
    text = decode(content)
    if text is None or text.count("\n") != content.count(b"\n"):  # a lone carriage return is no line for git
        text = content.decode(errors="replace")
    return text.removesuffix("\n").split("\n") if text else []


def _block(file: ChangedFile, texts: Mapping[str, _ChangedText], around: Around) -> str:
    """The text that shows a file."""
    heading = _heading(file)
    if not _has_lines(file):
        return f"{heading}\n"
    text = texts[file.path]
    parts = [_part(text, first, last) for first, last in _ranges(text, around)]
    return "".join([heading, *parts, "\n"])


def _heading(file: ChangedFile) -> str:
    old = "/dev/null" if file.status == "added" else visible(file.old_path)
    new = "/dev/null" if file.status == "deleted" else visible(file.path)
    notes = [*_notes(file)]
    return f"--- {old}\n+++ {new}\n" + (f"({'; '.join(notes)})\n" if notes else "")


def _notes(file: ChangedFile) -> Iterator[str]:
    """Facts that the lines of a file do not show."""
    if file.status == "renamed":
        yield f"renamed, {file.similarity} % alike"
    if file.status == "deleted":
        yield f"the whole file is deleted: {format_count(file.removed, 'line')}"
    elif file.new_mode in (LINK, SUBMODULE):
        yield "a link" if file.new_mode == LINK else "a submodule"
    elif not file.is_text:
        yield "no text, or larger than 1 MB; not shown"
    if ABSENT not in (file.old_mode, file.new_mode) and file.old_mode != file.new_mode:
        yield f"mode {file.old_mode} → {file.new_mode}"
    if file.old_mode == ABSENT and file.new_mode == EXECUTABLE:
        yield "executable"


def _ranges(text: _ChangedText, around: Around) -> list[tuple[int, int]]:
    """The first and last lines of the new file that are shown, in order and apart from each other."""
    ranges: list[tuple[int, int]] = []
    for first, last in sorted(_range(text, hunk, around) for hunk in text.hunks):
        if ranges and first <= ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], max(last, ranges[-1][1]))
        else:
            ranges.append((first, last))
    return ranges


def _range(text: _ChangedText, hunk: Hunk, around: Around) -> tuple[int, int]:
    first, last = hunk.new_start, hunk.new_start + max(hunk.added, 1) - 1
    inside = [one for one in text.definitions if one.line <= first and last <= one.end]
    whole = [one for one in inside if one.end - one.line < around.function]
    if not whole:
        return max(first - around.lines, 1), min(last + around.lines, len(text.new))
    innermost = max(whole, key=lambda one: (one.line, -one.end))
    return max(innermost.line, 1), min(innermost.end, len(text.new))


def _part(text: _ChangedText, first: int, last: int) -> str:
    """Some lines of the new file, with the removed ones between them."""
    there = [hunk for hunk in text.hunks if first - 1 <= hunk.new_start <= last]
    shift = sum(
        hunk.removed - hunk.added for hunk in text.hunks if hunk.new_start < first and hunk not in there
    )
    added = sum(hunk.added for hunk in there)
    removed = sum(hunk.removed for hunk in there)
    count = last - first + 1
    old_count = count - added + removed
    old_first = first + shift if old_count else first + shift - 1
    head = f"@@ -{old_first},{old_count} +{first},{count} @@{_place(text, first)}\n"
    return head + "".join(_numbered(text, there, first, last))


def _place(text: _ChangedText, line: int) -> str:
    """The function in which a part begins, unless the part shows its head."""
    inside = [one for one in text.definitions if one.line < line <= one.end]
    return f" {visible(inside[-1].signature)}" if inside else ""


def _numbered(text: _ChangedText, there: Sequence[Hunk], first: int, last: int) -> Iterator[str]:
    # Removed lines stand before the lines that replace them, or behind the line after which they stood.
    before = {hunk.new_start: hunk for hunk in there if hunk.added}
    behind = {hunk.new_start: hunk for hunk in there if not hunk.added}
    new = {line for hunk in there for line in range(hunk.new_start, hunk.new_start + hunk.added)}
    yield from _removed(text, behind.get(first - 1))
    for number in range(first, last + 1):
        yield from _removed(text, before.get(number))
        mark, most = ("+", MAX_CHANGED_LINE) if number in new else (" ", _MAX_LINE)
        yield f"{number:>5} {mark}{visible(shortened(text.new[number - 1], most))}\n"
        yield from _removed(text, behind.get(number))


def _removed(text: _ChangedText, hunk: Hunk | None) -> Iterator[str]:
    if hunk:
        lines = text.old[hunk.old_start - 1 : hunk.old_start - 1 + hunk.removed]
        yield from (f"{'':>5} -{visible(shortened(line, MAX_CHANGED_LINE))}\n" for line in lines)


def visible(text: str) -> str:
    """A text whose invisible characters can be seen: they may make code look like other code.

    `\\u202e` stands for a character that turns the direction of the text. Tabs stay.
    """
    return "".join(
        one if one == "\t" or one.isprintable() else one.encode("unicode_escape").decode() for one in text
    )
