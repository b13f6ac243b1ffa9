"""The place of a finding: turns what a model writes into `path:line` of an existing file."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

from swarm_graph.roles.placeholders import PROGRAMS, extension_of
from swarm_graph.state import Finding, Review
from swarm_graph.text import format_count

_MAX_LOCATION = 1_000
"""Characters of a location that are searched for a place."""
_NUMBERS = re.compile(
    r"(?:[:(,]\s*|#?\bL|\blines?\s+)+(?P<line>\d{1,9})(?:\s*(?:-|\u2013|to)\s*L?(?P<last>\d{1,9}))?",
    re.IGNORECASE,
)
_PLACE = re.compile(r"(?P<path>[^\n]+?):(?P<line>\d{1,9})(?:-(?P<last>\d{1,9}))?|(?P<file>[^\s:]+)")
_FILE_NAME = re.compile(r"[\w.@+-]*\w\.[A-Za-z]\w{0,5}")
_OTHERS = ("md", "rst", "txt", "json", "yaml", "yml", "toml", "cfg", "ini", "xml", "html", "css", "csv")
_NO_FILE = " (there is no such file)"
_DELETED = " (the change removes it)"
_NOTE = re.compile(
    rf"{re.escape(_NO_FILE)}$|{re.escape(_DELETED)}$| \(the file has \d+ lines?\)$| \(it is no text\)$"
)
_DRIVE = re.compile(r"^[A-Za-z]:(?=/)")


class Place(NamedTuple):
    """A place in a file.

    Attributes:
        path: The path of the file.
        line: From 1; 0 if only the file is named.
        last: The last line; the same as `line` if one line is named.
    """

    path: str
    line: int
    last: int

    def __str__(self) -> str:
        """`path`, `path:line` or `path:first-last`."""
        lines = f"{self.line}-{self.last}" if self.last > self.line else str(self.line)
        return f"{self.path}:{lines}" if self.line else self.path


def located(finding: Finding, files: Mapping[str, str], gone: Collection[str] = ()) -> Finding:
    """A finding whose location is `path`, `path:line` or `path:first-last`, if it names an existing file.

    The finding is kept in any case. If the file or line does not exist, its location says so; a location that
    is no place in a file stays as it is.

    Args:
        finding: The finding.
        files: Path to text of all existing files; at most one is read.
        gone: The paths of files that the change removes.
    """
    location = finding["location"]
    if _NOTE.search(location):
        return finding
    found = _named_files(location, files)
    if len(found) == 1:
        location = _with_line(found[0], location, files)
    elif not found and len(deleted := _named_files(location, gone)) == 1:
        location = deleted[0] + _DELETED
    elif not found and _is_meant_as_a_file(location):
        location += _NO_FILE
    return {**finding, "location": location}


def located_reviews(
    reviews: Iterable[Review], files: Mapping[str, str], gone: Collection[str] = ()
) -> list[Review]:
    """Reviews with located findings, so that two about the same line are one."""
    return [
        {**review, "findings": [located(finding, files, gone) for finding in review["findings"]]}
        for review in reviews
    ]


def place_of(location: str) -> Place | None:
    """The place that the location of a located finding names; None if it is none, or does not exist."""
    match = _PLACE.fullmatch(location)
    if _NOTE.search(location) or not match:
        return None
    if path := match["file"]:
        return Place(path, 0, 0) if _looks_like_a_file(path) else None
    line = int(match["line"])
    return Place(match["path"], line, int(match["last"] or line))


def _with_line(path: str, location: str, files: Mapping[str, str]) -> str:
    numbers = _NUMBERS.search(location[:_MAX_LOCATION])
    line = int(numbers["line"]) if numbers else 0
    if not numbers or not line:
        return path
    place = Place(path, line, int(numbers["last"] or line))
    if path not in files:
        return f"{path} (it is no text)"
    count = files[path].removesuffix("\n").count("\n") + 1
    return str(place) if line <= count else f"{place} (the file has {format_count(count, 'line')})"


def _named_files(location: str, paths: Collection[str]) -> list[str]:
    """The file that a location names; several if its name is not unique, none if it names none."""
    there = {*paths}  # also those that are no text
    for name in _names(location[:_MAX_LOCATION]):
        if name in there:
            return [name]
        if "." not in name and "/" not in name:
            continue  # a word
        if below := [path for path in paths if path.endswith(f"/{name}") or name.endswith(f"/{path}")]:
            return [max(below, key=len)] if name.startswith("/") else below
    return []


def _names(location: str) -> Iterator[str]:
    """Possible paths in a location: everything before the line number, and each word."""
    text = _DRIVE.sub("", re.sub(r"[`'\"]", "", location).replace("\\", "/").strip())
    numbers = _NUMBERS.search(text)
    for name in [text[: numbers.start()] if numbers else text, *text.split()]:
        bare = name.partition(":")[0].partition("#")[0].strip(" ,;()[]<>").rstrip(".").removeprefix("./")
        yield from dict.fromkeys([bare, re.sub(r"^[ab]/", "", bare)])


def _is_meant_as_a_file(location: str) -> bool:
    """Whether a location was meant to name a file; a tool would read `Makefile:3` as one, whatever it is."""
    return _looks_like_a_file(location) or (_PLACE.fullmatch(location) is not None and ":" in location)


def _looks_like_a_file(location: str) -> bool:
    """Whether a location was meant to name a file: `Stack.pop` is a method."""
    first = next(iter(_names(location[:_MAX_LOCATION])))
    is_known = "/" in first or extension_of(first) in (*PROGRAMS, *_OTHERS)
    return is_known and " " not in first and bool(_FILE_NAME.fullmatch(first.rpartition("/")[2]))
