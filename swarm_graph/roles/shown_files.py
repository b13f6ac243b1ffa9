"""Files of a repository as prompts show them: whole, or the relevant parts of long ones."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

from swarm_graph.errors import UnreadableAnswer
from swarm_graph.roles.file_blocks import fenced, language_of, project_path
from swarm_graph.roles.numbered_diff import lines_of
from swarm_graph.text import longer_fence

MAX_FILES = 20
"""The most files in a prompt; files that the chooser ranks lower seldom matter."""
MIN_PART = 1_500
"""The fewest characters of a file worth showing."""
PART_HEAD = 100
"""About how many characters a part needs for its line numbers, path and fence."""
MAX_HIDDEN = 500
"""The most characters that name what the lines of a file define that are not shown."""
MAX_BLOCK_LINES = 60
"""The most lines of a part, so that one long function does not take all the room."""

_WORD = re.compile(r"[A-Za-z_]\w{3,}")
_DEFINITION = re.compile(
    r"\s{0,4}(?:(?:export|default|pub|public|static|async)\s+)*"
    r"(?:def|class|func|function|fn|struct|interface|trait|impl|enum)\s+[\w.$]{1,80}"
)
_MAX_NAMED = 8


class Clues(NamedTuple):
    """The clues to which parts of a long file matter.

    Attributes:
        words: Words of the request, the plan and the findings.
        lines: The lines that findings and test runs name, by path.
    """

    words: Collection[str] = ()
    lines: Mapping[str, Collection[int]] = {}


NO_CLUES = Clues()


class ShownFiles(NamedTuple):
    """The files in a prompt.

    Attributes:
        text: The files as Markdown.
        shown: Their paths.
        in_part: The paths of those of which only parts are shown.
        left_out: The paths of those for which there was no room.
    """

    text: str
    shown: list[str]
    in_part: list[str]
    left_out: list[str]


def show_files(
    files: Mapping[str, str],
    order: Iterable[str],
    *,
    room: int,
    long: int,
    clues: Clues = NO_CLUES,
    first: Collection[str] = (),
    only_whole: Collection[str] = (),
) -> ShownFiles:
    """The first files that fit.

    Args:
        files: Path to text.
        order: The paths, the most important one first.
        room: The characters for all files together.
        long: A file of more characters is long. It is marked, because its answer should be edits and not the
            whole file again.
        clues: Clues to which parts of a file matter, if there is no room for all of it.
        first: The paths that are known to matter: one of them may take most of the room, any other one a
            sixth.
        only_whole: The paths of which no parts are shown.
    """
    blocks: list[str] = []
    shown: list[str] = []
    in_part: list[str] = []
    left_out: list[str] = []
    for_first, for_other = max(room * 3 // 4, MIN_PART), max(room // 6, MIN_PART)
    for path in order:
        text = files.get(path)
        if text is None or not is_plain(path):
            continue
        limit = min(room, for_first if path in first else for_other)
        block, is_part = _block(path, text, limit, long, clues) if len(shown) < MAX_FILES else ("", True)
        if block and not (is_part and path in only_whole):
            blocks.append(block)
            shown.append(path)
            in_part += [path] if is_part else []
            room -= len(block)
        else:
            left_out.append(path)
    return ShownFiles("\n\n".join(blocks), shown, in_part, left_out)


def is_plain(path: str) -> bool:
    """Whether a path can stand in a prompt and in an answer: it has no line end, quote or other markup."""
    try:
        return project_path(path) == path and "`" not in path
    except UnreadableAnswer:
        return False


def named(paths: Sequence[str]) -> str:
    """Paths for a sentence: the first ones, and how many more there are."""
    more = f" and {len(paths) - _MAX_NAMED} more" if len(paths) > _MAX_NAMED else ""
    return ", ".join(path for path in paths[:_MAX_NAMED] if is_plain(path)) + more


def words_in(*texts: str) -> set[str]:
    """The words of texts that may be names in code."""
    return {word.lower() for text in texts for word in _WORD.findall(text)}


def _block(path: str, text: str, room: int, long: int, clues: Clues) -> tuple[str, bool]:
    """A file within a number of characters, empty if too little of it fits, and whether it is a part."""
    lines = len(lines_of(text))
    head = (
        f"{path} is long ({lines} lines): change it with SEARCH/REPLACE blocks.\n\n"
        if len(text) > long
        else ""
    )
    whole = f"{head}{fenced({path: text})}"
    if len(whole) <= room:
        return whole, False
    if room < MIN_PART:
        return "", True
    head = f"{path} ({lines} lines): only parts of it are shown; change it with SEARCH/REPLACE blocks."
    room -= len(head) + PART_HEAD + MAX_HIDDEN
    parts = [*_parts(text, room, clues.words, clues.lines.get(path, ()))]
    fence, language = longer_fence(text), language_of(path)
    shown = [
        f"Lines {first}-{last} of {path}:\n\n{fence}{language}\n{body}{fence}" for first, last, body in parts
    ]
    return "\n\n".join(filter(None, [head, *shown, _hidden(text, parts)])), True


def _hidden(text: str, parts: Sequence[_Part]) -> str:
    """What the lines that are not shown define: a plan that names it brings it into the next prompts."""
    found = [
        f"line {number} {match[0].strip()}"
        for number, line in enumerate(lines_of(text), 1)
        if not any(part.first <= number <= part.last for part in parts)
        if (match := _DEFINITION.match(line))
    ]
    sizes = accumulate(len(one) + 2 for one in found)
    kept = [one for one, size in zip(found, sizes, strict=True) if size <= MAX_HIDDEN - 40]
    more = f" and {len(found) - len(kept)} more" if len(found) > len(kept) else ""
    return f"(Not shown: {', '.join(kept)}{more}.)" if kept else ""


class _Part(NamedTuple):
    first: int
    last: int
    text: str


def _parts(text: str, room: int, words: Collection[str], lines: Collection[int]) -> Iterator[_Part]:
    """The parts of a text that fit: its beginning, those around lines, those with rare ones of the words."""
    blocks = [*_blocks(text)]
    found = [words_in(block.text) & {*words} for block in blocks]
    counts = Counter(word for some in found for word in some)
    scores = [
        sum(1000 for line in lines if block.first <= line <= block.last)
        + sum(1 / counts[word] for word in some)
        for block, some in zip(blocks, found, strict=True)
    ]
    chosen: set[int] = set()
    for number in sorted(range(len(blocks)), key=lambda number: (number != 0, -scores[number], number)):
        size = len(blocks[number].text) + PART_HEAD
        if size <= room and (number == 0 or scores[number]):
            chosen.add(number)
            room -= size
    yield from _joined(blocks, sorted(chosen))


def _joined(blocks: list[_Part], numbers: Sequence[int]) -> Iterator[_Part]:
    """The blocks of these numbers, neighbours as one."""
    run: list[_Part] = []
    for at, number in enumerate(numbers):
        run.append(blocks[number])
        if at + 1 == len(numbers) or numbers[at + 1] != number + 1:
            yield _Part(run[0].first, run[-1].last, "".join(block.text for block in run))
            run = []


def _blocks(text: str) -> Iterator[_Part]:
    """A text cut before lines without indentation that follow an empty line, or after MAX_BLOCK_LINES."""
    lines = [f"{line}\n" for line in lines_of(text)]
    start = 0
    for number in range(1, len(lines) + 1):
        at_end = number == len(lines)
        begins = not at_end and not lines[number - 1].strip() and not lines[number][0].isspace()
        if at_end or begins or number - start >= MAX_BLOCK_LINES:
            yield _Part(start + 1, number, "".join(lines[start:number]))
            start = number
