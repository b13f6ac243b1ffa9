"""A change as its reviewers see it: a diff with the line numbers of the new files, and the code around it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from swarm_graph.repository.changed_files import ABSENT, ChangedFile, Hunk, changed_files, hunks
from swarm_graph.repository.git import Git
from swarm_graph.repository.outline import Definition
from swarm_graph.repository.repo_map import read_outlines
from swarm_graph.repository.snapshot import EXECUTABLE, LINK, SUBMODULE, snapshot
from swarm_graph.repository.source_text import decode
from swarm_graph.state import Repository
from swarm_graph.text import format_count, shortened

MAX_FILES = 200
"""Files whose lines are read; a larger change shows the others by name."""
_MAX_LINE = 400
_NAMED = 40
"""Files that are named one by one when they are left out."""
_TOO_SMALL = 300
"""Characters below which no part of a file is shown."""


class Around(NamedTuple):
    """How much code is shown around a change: its function up to a length in lines, otherwise some lines."""

    function: int
    lines: int


LEVELS = (Around(80, 12), Around(40, 6), Around(0, 3), Around(0, 0))
"""The first level at which the whole change fits is used."""

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


def changes_for_review(repo: Repository, characters: int) -> str:
    """What reviewers see of the change between `compared_with` and `base` of a repository.

    Args:
        repo: The repository of a review.
        characters: The most characters.

    Raises:
        RepositoryError: Git failed.
    """
    return review_text(Git(repo["path"]), repo["compared_with"], repo["base"], characters)


def review_text(git: Git, old: str, new: str, characters: int) -> str:
    """A change as a diff, the files with the largest risk first.

    Each line of the newer commit begins with its number, so that a finding can say `path:line`; removed
    lines have none. Changes are shown with their whole function or some lines around them. Whatever is left
    out is named.

    Args:
        git: Git in the repository.
        old: The full id of the older commit.
        new: The full id of the newer commit.
        characters: The most characters.

    Raises:
        RepositoryError: Git failed.
    """
    files = sorted(changed_files(git, old, new), key=_order)
    lines = f"+{sum(file.added for file in files)} -{sum(file.removed for file in files)} lines"
    head = f"{format_count(len(files), 'file')} changed, {lines}\n"
    room = characters - len(head)
    read = _read(git, old, new, [file for file in files if _has_lines(file)][:MAX_FILES])
    for around in LEVELS:
        blocks = {file.path: _block(file, read, around) for file in files}
        if sum(map(len, blocks.values())) <= room and len(read) == sum(map(_has_lines, files)):
            return head + "".join(blocks.values())
    return (head + _cut(files, blocks, room))[: max(characters, 0)]


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
    outlines = read_outlines(new_texts)
    return {
        file.path: _ChangedText(
            _lines(old_texts.get(file.old_path, b"")),
            _lines(new_texts[file.path]),
            hunks(git, old, new, file),
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
    """The text that shows a file; empty if its lines were not read."""
    heading = _heading(file)
    if not _has_lines(file):
        return f"{heading}\n"
    if file.path not in texts:
        return ""
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
        yield f"{number:>5} {'+' if number in new else ' '}{_shown_line(text.new[number - 1])}\n"
        yield from _removed(text, behind.get(number))


def _removed(text: _ChangedText, hunk: Hunk | None) -> Iterator[str]:
    if hunk:
        lines = text.old[hunk.old_start - 1 : hunk.old_start - 1 + hunk.removed]
        yield from (f"{'':>5} -{_shown_line(line)}\n" for line in lines)


def _shown_line(line: str) -> str:
    return visible(shortened(line, _MAX_LINE))


def visible(text: str) -> str:
    """A text whose invisible characters can be seen: they may make code look like other code.

    `\\u202e` stands for a character that turns the direction of the text. Tabs stay.
    """
    return "".join(
        one if one == "\t" or one.isprintable() else one.encode("unicode_escape").decode() for one in text
    )


def _cut(files: Sequence[ChangedFile], blocks: Mapping[str, str], characters: int) -> str:
    """As many files as fit, and the names of the others."""
    room = characters - _room_for_names(files, characters)
    most = room // 2 if len(files) > 1 else room
    shown: list[str] = []
    left_out: list[str] = []
    for file in files:
        block = _shortened_block(blocks[file.path], min(room, most))
        shown += [block] if block else []
        left_out += [] if block else [visible(file.path)]
        room -= len(block)
    return "".join(shown) + _left_out(left_out, characters - sum(map(len, shown)))


def _room_for_names(files: Sequence[ChangedFile], characters: int) -> int:
    names = sum(len(file.path) + 2 for file in files[:_NAMED])
    return min(names + 60, characters // 4)


def _shortened_block(block: str, room: int) -> str:
    """A block, or its first lines with the number of the others; empty if there is no room for a part."""
    if len(block) <= room:
        return block
    if room < _TOO_SMALL:
        return ""
    kept = block[: room - 60].rpartition("\n")[0]
    more = block.count("\n") - kept.count("\n") - 1
    return f"{kept}\n(… {format_count(more, 'more line')} of this file left out for lack of room)\n\n"


def _left_out(names: Sequence[str], room: int) -> str:
    """The names of files that are not shown, as many as there is room for."""
    for count in range(min(len(names), _NAMED), 0, -1):
        more = f" and {len(names) - count} more" if len(names) > count else ""
        text = f"Left out for lack of room: {', '.join(names[:count])}{more}.\n"
        if len(text) <= room:
            return text
    return f"{format_count(len(names), 'file')} left out for lack of room.\n" if names else ""
