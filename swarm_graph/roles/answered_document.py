"""Documents in a model's answer: Markdown in a fence of its own, or the whole answer where it has headings.

A document may hold fenced blocks itself. Weak models wrap it into a fence no longer than those, or into none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

from swarm_graph.errors import UnreadableAnswer
from swarm_graph.roles.answered_files import read_answered_files
from swarm_graph.roles.edit_blocks import holds_edits
from swarm_graph.roles.fences import NAMED_FILE, parse
from swarm_graph.roles.file_blocks import Files, deleted_in, files, project_path
from swarm_graph.roles.placeholders import extension_of, placeholder
from swarm_graph.roles.visible_text import says_something, visible_text

DOCUMENT_FILE = "generated_document.md"
"""The result of a session that makes a document."""
DEFAULT_PATH = "docs/document.md"
"""The path of a document that is the only one and has none."""
TEXTS = ("md", "markdown", "txt")
"""The file extensions of documents."""
TABLES = ("csv",)
"""The file extensions of what may lie beside a document."""
BOLD_LEVEL = 7
"""The level of a heading that is only a line in bold."""
LOST_SHARE = 0.5
"""A new version that is shorter than this share of the old one has probably lost something."""

_FENCE = re.compile(r" {0,3}(?P<fence>`{3,}|~{3,})[ \t]*(?P<info>[^`]*)")
_HEADING = re.compile(
    r" {0,3}(?:(?P<marks>#{1,6})[ \t]+(?P<title>\S.*?)[ \t#]*|\*\*(?P<bold>[^*|]*[^*|\s][^*|]*)\*\*:?[ \t]*)"
)
_UNDERLINE = re.compile(r"={3,}[ \t]*")
_DASHES = re.compile(r"-{3,}[ \t]*")
_TITLE = re.compile(r"\w[^|]{0,78}[^|.;:!?,\s]\s*")
_MARKDOWN = re.compile(r"(?:markdown|md)\b", re.IGNORECASE)
_PREFACE = re.compile(
    r"(?:sure|certainly|okay|ok|of course|here (?:is|are)|here's|below is|the following is)\b.{0,200}[:.!]",
    re.IGNORECASE,
)


class Documents(Files):
    """The documents in an answer, as files."""


class Heading(NamedTuple):
    """A heading of a document.

    Attributes:
        number: Its line, from 1.
        level: From 1; a line in bold counts as the lowest level.
        title: Its words, without markup.
    """

    number: int
    level: int
    title: str


@dataclass(frozen=True)
class _Wrapped:
    """A document in a fence. `path` is empty where the fence names none."""

    path: str
    text: str


def read_documents(text: str, old: Mapping[str, str]) -> Files:
    """The documents in a model's answer.

    A fence that names the path of a document, or Markdown as its language, holds one. Without such a fence
    the whole answer is the document if it has a heading. A document without a path replaces the only old
    one, or is `docs/document.md`. SEARCH/REPLACE blocks change the old documents.

    Args:
        text: The final message of the answer.
        old: The documents as they are: path to text.

    Raises:
        UnreadableAnswer: There is no document, it is empty, it leaves something out, or it is a program.
    """
    text = text.replace("\r\n", "\n")
    answer = read_answered_files(text, old) if old and _is_edit(text) else _whole_documents(text, old)
    for path, body in answer.written.items():
        _check(path, body, old.get(path, ""))
    return answer


def _whole_documents(text: str, old: Mapping[str, str]) -> Files:
    found, outside = _split(text)
    return files({project_path(path): body for path, body in _with_paths(found, old)}, deleted_in(outside))


def _is_edit(text: str) -> bool:
    """Whether an answer edits documents, and holds none."""
    if holds_edits(text):
        return True
    in_a_block = any(holds_edits(block.text) for block in parse(text).blocks)
    return in_a_block and not any(headings(text)) and not _wrapped(text)[0]


def headings(text: str) -> Iterator[Heading]:
    """The headings of a Markdown text, outside of its fenced blocks."""
    lines = text.split("\n")
    for number, line in lines_outside_fences(text):
        below = lines[number] if number < len(lines) else ""
        if match := _HEADING.fullmatch(line):
            level = len(match["marks"]) if match["marks"] else BOLD_LEVEL
            yield Heading(number, level, (match["title"] or match["bold"]).strip(" *_`:"))
        elif line.strip() and _UNDERLINE.fullmatch(below):
            yield Heading(number, 1, line.strip(" *_`:"))
        elif _DASHES.fullmatch(below) and _may_be_title(lines, number - 1):
            yield Heading(number, 2, line.strip(" *_`:"))


def _may_be_title(lines: Sequence[str], index: int) -> bool:
    """Whether a line above dashes is a heading: no paragraph, list or table, and no front matter."""
    stands_alone = index > 0 and not lines[index - 1].strip()
    return stands_alone and bool(_TITLE.fullmatch(lines[index]))


def lines_outside_fences(text: str) -> Iterator[tuple[int, str]]:
    """The lines of a Markdown text that are not in a fenced block, with their numbers from 1."""
    fence = ""
    for number, line in enumerate(text.split("\n"), 1):
        found = _FENCE.fullmatch(line)
        if not fence and found:
            fence = found["fence"]
        elif fence and found and found["fence"].startswith(fence) and not found["info"]:
            fence = ""
        elif not fence:
            yield number, line


def is_document(path: str) -> bool:
    """Whether a file is a document, by its extension."""
    return extension_of(path).lower() in TEXTS


def lost_text(written: Mapping[str, str], old: Mapping[str, str]) -> str:
    """Which new version is much shorter than the old one, for a question; empty if none is."""
    shrunk = [
        path for path, text in written.items() if len(text) < LOST_SHARE * len(old.get(path, "").rstrip())
    ]
    if not shrunk:
        return ""
    which = ", ".join(f"'{path}'" for path in shrunk)
    return f"{which} has lost most of its text: write the whole document, or the same again if meant"


def _split(text: str) -> tuple[list[_Wrapped], str]:
    """The documents of an answer, and the text outside of them."""
    wrapped, outside = _wrapped(text)
    named = [document for document in wrapped if document.path]
    unnamed = [document for document in wrapped if not document.path]
    if any(is_document(document.path) for document in named):
        return named, outside
    if unnamed and sum(len(document.text) for document in unnamed) >= len(outside.strip()):
        return unnamed, outside
    if named and not any(headings(text)):
        return named, outside
    return [_Wrapped("", _without_preface(text))], ""


def _wrapped(text: str) -> tuple[list[_Wrapped], str]:
    """The files in fences of their own, the blocks of Markdown, and the text outside of both.

    A block without a language is Markdown if it has a heading, and the text around it has none.
    """
    lines = text.rstrip().split("\n")
    fences = _Fences(lines)
    has_headings = any(headings(text))
    found: list[_Wrapped] = []
    outside: list[str] = []
    number = 0
    while number < len(lines):
        fence = fences.at[number]
        number += 1
        if fence is None:
            outside.append(lines[number - 1])
            continue
        path = _path_of(fence["info"])
        end = fences.end(number, fence["fence"])
        body = "".join(f"{line}\n" for line in lines[number:end])
        is_plain = not (fence["info"] or has_headings or holds_edits(body)) and any(headings(body))
        if path or is_plain or _MARKDOWN.match(fence["info"]):
            found.append(_Wrapped(path, body))
        else:
            outside += lines[number - 1 : end + 1]
        number = end + (not fences.names_document(end))
    return found, "\n".join(outside)


def _path_of(info: str) -> str:
    """The path that an opening fence names, as in `markdown path=docs/procedure.md`."""
    match = NAMED_FILE.search(info)
    if match:
        return match["double"] or match["single"] or match["bare"]
    words = info.replace(":", " ").split()
    return next((word for word in words if is_document(word) and "." in word), "")


class _Fences:
    """The fences of a text, and where the documents in them end.

    Attributes:
        at: The fence of each line; None where a line is none.
    """

    def __init__(self, lines: Sequence[str]) -> None:
        self._lines = lines
        self.at = [_FENCE.fullmatch(line) if "```" in line or "~~~" in line else None for line in lines]
        bare = (fence is not None and not fence["info"] for fence in reversed(self.at))
        self._bare_from = [0, *accumulate(bare)][::-1]

    def names_document(self, number: int) -> bool:
        """Whether a line is a fence that opens a document with a path."""
        fence = self.at[number] if number < len(self.at) else None
        return fence is not None and is_document(_path_of(fence["info"]))

    def end(self, start: int, opening: str) -> int:
        """The line that ends a block which begins at `start`; the number of lines if none does.

        A bare fence right above text opens a block inside the document, if enough fences are left to close
        both. A fence that names another document ends a block that was never closed.
        """
        inner = ""
        for number in range(start, len(self.at)):
            fence = self.at[number]
            if fence is None or (not inner and not fence["fence"].startswith(opening)):
                continue
            is_bare = not fence["info"]
            if inner:
                inner = "" if is_bare and fence["fence"].startswith(inner) else inner
            elif self._opens_block(number) if is_bare else not self.names_document(number):
                inner = fence["fence"]
            else:
                return number
        return len(self.at)

    def _opens_block(self, number: int) -> bool:
        """Whether a bare fence opens a block: text follows it at once, and two more bare fences later."""
        below = self._lines[number + 1] if number + 1 < len(self._lines) else ""
        return bool(below.strip()) and not self.at[number + 1] and self._bare_from[number + 1] > 1


def _without_preface(text: str) -> str:
    """A text without a first line such as "Here is the procedure:" above its first heading."""
    first, _, rest = text.lstrip().partition("\n")
    body = rest.lstrip("\n") if _PREFACE.fullmatch(first.strip()) else text
    return body.strip() + "\n"


def _with_paths(found: Sequence[_Wrapped], old: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The path and the text of each document."""
    olds = [path for path in old if is_document(path)]
    default = olds[0] if len(olds) == 1 else DEFAULT_PATH
    if sum(not document.path for document in found) > 1:
        raise UnreadableAnswer(
            "the answer holds several documents without a path: write each as in "
            "````markdown path=docs/procedure.md"
        )
    for document in found:
        yield document.path or default, document.text


def _check(path: str, text: str, old: str) -> None:
    """Raises UnreadableAnswer for a file that is no document, or no whole one."""
    if not is_document(path):
        if extension_of(path).lower() in TABLES and text.strip():
            return
        raise UnreadableAnswer(
            f"'{path}' is no document: write Markdown, as in ````markdown path=docs/procedure.md"
        )
    shown = visible_text(text)
    titles = {heading.number for heading in headings(shown)}
    body = ["" if number in titles else line for number, line in enumerate(shown.split("\n"), 1)]
    if not titles or not says_something(body):
        raise UnreadableAnswer(
            "the answer holds no document: write it in Markdown, with headings and with text below them"
        )
    if line := placeholder(path, text, old):
        raise UnreadableAnswer(f"'{path}' is not complete: {line!r} stands for omitted text; write all of it")
