"""The built-in tools that look at the files of a session: project.list, project.read, project.search.

A search is linear in the size of the files, whatever the model asks for: there are no regular expressions. A
text is looked for as it stands; when no line holds it, `|` separates alternatives and `.*` stands for any
characters of a line; when that finds nothing either, lines with all of its words are shown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from langchain_core.tools import StructuredTool

from swarm_graph.errors import InputError
from swarm_graph.repository.globs import matches
from swarm_graph.repository.words import words
from swarm_graph.text import cut, format_count
from swarm_graph.tool_settings import ToolLimits
from swarm_graph.tools.tool import GetProject, Project, Tool

MAX_LISTED = 200
"""Lines of a list; if there are more files, folders stand for their files, with the number of them."""
MAX_LINES = 1000
"""Lines of one project.read."""
MAX_LINE = 400
"""Characters of a line that project.read shows, and half of them for a line that was found."""
MAX_MATCHES, MAX_MATCHES_IN_FILE = 60, 12
"""Lines that one search shows, and those of one file."""
MAX_SEARCHED = 150_000_000
"""Characters that one search reads."""
MAX_TEXT, MAX_GLOB, MAX_PATH = 300, 200, 250
"""Characters of arguments."""
_LIST_MARGIN = 200
"""Characters of a result that its head and its note may take."""

_GLOB = {
    "type": "string",
    "maxLength": MAX_GLOB,
    "description": "Only these paths, as in .gitignore: *.py, src/**",
}
_LIST = {"type": "object", "properties": {"glob": _GLOB}, "additionalProperties": False}
_READ = {
    "type": "object",
    "properties": {
        "path": {
            "type": "string",
            "maxLength": MAX_PATH,
            "description": "The path of a file, such as src/app.py",
        },
        "first_line": {"type": "integer", "minimum": 1, "default": 1},
        "lines": {"type": "integer", "minimum": 1, "maximum": MAX_LINES, "description": "How many lines"},
    },
    "required": ["path"],
    "additionalProperties": False,
}
_SEARCH = {
    "type": "object",
    "properties": {
        "text": {
            "type": "string",
            "minLength": 1,
            "maxLength": MAX_TEXT,
            "description": "What a line holds, in any case; not a regular expression",
        },
        "glob": _GLOB,
    },
    "required": ["text"],
    "additionalProperties": False,
}


def project_tools(project: GetProject, characters: int = ToolLimits().characters) -> list[Tool]:
    """The tools that list, read and search the files of a session.

    Args:
        project: Returns the files as they are now.
        characters: The longest result; a longer one ends at a whole line, and says how to see the rest.
    """

    def list_files(glob: str = "") -> str:
        return listed(project(), glob, characters)

    def read_file(path: str, first_line: int = 1, lines: int = MAX_LINES) -> str:
        path = plain_path(path)
        return numbered(path, project().text(path), first_line, lines, characters)

    def search(text: str, glob: str = "") -> str:
        return found_lines(project(), text, glob, characters)

    return [
        _tool("project.list", list_files, _LIST, "List the files of the project."),
        _tool("project.read", read_file, _READ, "Read a text file of the project, with line numbers."),
        _tool("project.search", search, _SEARCH, "Find the lines of the project's files that hold a text."),
    ]


def _tool(name: str, function: Callable[..., str], schema: dict[str, Any], description: str) -> Tool:
    tool = StructuredTool.from_function(function, name=name, description=description, args_schema=schema)
    return Tool(name, tool, schema, description, read_only=True)


def plain_path(path: str) -> str:
    """A path as the project names it. A path that leads elsewhere stays, and is no file of the project."""
    return path.strip().replace("\\", "/").removeprefix("./")


def _chosen(project: Project, glob: str) -> list[str]:
    """The paths that a glob names; an empty glob names all."""
    paths = project.paths()
    glob = glob.strip().removeprefix("./")
    return (
        [path for path in paths if matches(path, [glob])] if glob not in ("", ".", "/", "*", "**") else paths
    )


def listed(project: Project, glob: str, characters: int) -> str:
    """The paths that a glob names, a line each; if there are too many, folders with their counts."""
    paths = _chosen(project, glob)
    if not paths:
        return _no_file(project, glob)
    room = max(characters - _LIST_MARGIN, 80)
    lines = next(
        (lines for depth in (None, 5, 4, 3, 2, 1) if _fit(lines := _entries(paths, depth), room)), []
    )
    head = f"{format_count(len(paths), 'file')}:"
    if lines:
        more = "" if len(lines) == len(paths) else "\n(Name a folder as glob to see its files.)"
        return "\n".join([head, *lines]) + more
    lines = _first_that_fit(_entries(paths, 1)[:MAX_LISTED], room)
    return "\n".join([head, *lines, "(The first ones only; give a narrower glob.)"])


def _entries(paths: Sequence[str], depth: int | None) -> list[str]:
    """Paths; below `depth` parts, the folder with its number of files."""
    if depth is None:
        return [*paths]
    counts: dict[str, int] = {}
    for path in paths:
        parts = path.split("/")
        name = path if len(parts) <= depth else "/".join(parts[:depth]) + "/"
        counts[name] = counts.get(name, 0) + 1
    return [
        f"{name} ({format_count(n, 'file')})" if name.endswith("/") else name for name, n in counts.items()
    ]


def _fit(lines: Sequence[str], room: int) -> bool:
    return len(lines) <= MAX_LISTED and sum(len(line) + 1 for line in lines) <= room


def _first_that_fit(lines: Iterable[str], room: int) -> list[str]:
    """The first lines that fit into so many characters; at least one."""
    kept: list[str] = []
    for line in lines:
        room -= len(line) + 1
        if kept and room < 0:
            break
        kept.append(line)
    return kept


def numbered(path: str, text: str, first_line: int, lines: int, characters: int) -> str:
    """Lines of a file with their numbers, as many as fit."""
    every = text.split("\n")
    every = every[:-1] if every[-1] == "" else every
    if not every:
        return f"{path} is empty."
    if first_line > len(every):
        raise InputError(f"'{path}' has only {format_count(len(every), 'line')}")
    wanted = every[first_line - 1 : first_line - 1 + lines]
    rows = [f"{number}: {cut(line, MAX_LINE)}" for number, line in enumerate(wanted, first_line)]
    rows = _first_that_fit(rows, max(characters - _LIST_MARGIN, 80))
    last = first_line + len(rows) - 1
    note = f"\n(Read on with first_line={last + 1}.)" if last < len(every) else ""
    return f"{path}, lines {first_line} to {last} of {len(every)}:\n" + "\n".join(rows) + note


class _Way(NamedTuple):
    """A way to look for a text.

    Attributes:
        heading: How the result says what its lines hold.
        place: Where a line in lower case holds it; -1 if it does not.
    """

    heading: str
    place: Callable[[str], int]


class _Found:
    """The lines that one way finds: the first ones, and how many there are."""

    def __init__(self, way: _Way) -> None:
        self.way, self.lines, self.total, self.files = way, list[str](), 0, 0

    def search(self, path: str, text: str, lower: str) -> None:
        """Look for it in one file."""
        if self.way.place(lower) < 0:
            return
        before = self.total
        originals = text.split("\n")
        for number, line in enumerate(lower.split("\n")):
            if (place := self.way.place(line)) >= 0:
                self.total += 1
                if len(self.lines) < MAX_MATCHES and self.total - before <= MAX_MATCHES_IN_FILE:
                    self.lines.append(f"{path}:{number + 1}: {_around(originals[number], place)}")
        self.files += self.total > before

    def text(self, characters: int, note: str) -> str:
        kept = _first_that_fit(self.lines, max(characters - _LIST_MARGIN - len(note), 80))
        more = self.total - len(kept)
        rest = f"\n({format_count(more, 'more line')}; give a longer text or a glob.)" if more else ""
        where = f"{format_count(self.total, 'line')} in {format_count(self.files, 'file')}"
        return "\n".join([f"{where} with {self.way.heading}:", *kept]) + rest + note


def found_lines(project: Project, text: str, glob: str, characters: int) -> str:
    """The lines of the files that hold a text, as `path:line: text`; the module says in which ways."""
    paths = _chosen(project, glob)
    if not paths:
        return _no_file(project, glob)
    every = [_Found(way) for way in _ways(text)]
    read = searched = 0
    for path, content in project.texts(paths):
        if read > MAX_SEARCHED:
            break
        read, searched = read + len(content), searched + 1
        lower = content.lower()
        for found in every:
            found.search(path, content, lower)
            if found.total:
                every = every[: every.index(found) + 1]
                break
    note = f"\n(Only {searched} of {len(paths)} files were read; give a glob.)" if read > MAX_SEARCHED else ""
    best = next((found for found in every if found.total), None)
    if best is None:
        return f"No line holds {text!r} (in {format_count(searched, 'file')}).{note}"
    return best.text(characters, note)


def _ways(text: str) -> list[_Way]:
    """The ways to look for a text, the strictest first."""
    lower = text.lower()
    ways = [_Way(repr(text), lambda line: line.find(lower))]
    alternatives = [_pieces(part) for part in _unescaped(lower).split("|")]
    alternatives = [pieces for pieces in alternatives if pieces]
    if alternatives and alternatives != [[lower]]:
        heading = f"{text!r}, where | separates alternatives and .* stands for anything"
        ways.append(_Way(heading, lambda line: _any_place(alternatives, line)))
    wanted = [*dict.fromkeys(words(text))]
    if len(wanted) > 1:
        ways.append(_Way(f"all of the words {', '.join(wanted)}", lambda line: _all_words(wanted, line)))
    return ways


def _unescaped(text: str) -> str:
    """A text without the backslashes and anchors with which models write regular expressions."""
    return re.sub(r"\\([^\w\s])", r"\1", re.sub(r"\\b|^\^|\$$", "", text))


def _pieces(part: str) -> list[str]:
    return [piece for piece in re.split(r"\.[*+]\??|\\s[*+]?", part) if piece]


def _any_place(alternatives: Sequence[Sequence[str]], line: str) -> int:
    """Where a line holds one of some sequences of pieces; -1 if nowhere."""
    return next((place for pieces in alternatives if (place := _in_order(pieces, line)) >= 0), -1)


def _in_order(pieces: Sequence[str], line: str) -> int:
    """Where a line holds the first of some pieces, if the others follow it."""
    first = place = line.find(pieces[0])
    for before, piece in pairwise(pieces):
        if place < 0:
            return -1
        place = line.find(piece, place + len(before))
    return first if place >= 0 else -1


def _all_words(wanted: Sequence[str], line: str) -> int:
    return line.find(wanted[0]) if all(word in line for word in wanted) else -1


def _around(line: str, place: int) -> str:
    """The part of a line around a place; the whole line if it is short."""
    size = MAX_LINE // 2
    if len(line) <= size:
        return line.strip()
    start = max(min(place - size // 3, len(line) - size), 0)
    return (
        f"{'…' if start else ''}{line[start : start + size].strip()}{'…' if start + size < len(line) else ''}"
    )


def _no_file(project: Project, glob: str) -> str:
    number = len(project.paths())
    return (
        f"No file matches {glob!r} (of {format_count(number, 'file')})." if number else "There are no files."
    )
