"""The existing files that the architect's plan names, so that the coder and the reviewers see them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from swarm_graph.roles.answered_change import current_files, nearest_text, repository_of
from swarm_graph.state import SwarmState

HEADING = "Files to read"
"""The section of a plan that lists files to see."""
MAX_WANTED = 12
"""The most files that count; the more there are, the less of each is shown."""

_HEADING = re.compile(r"(?:#{1,6} +|\*\*)(?P<title>[^*#\n]+?)[ :#*]*")
_ITEM = re.compile(r"[ \t]*(?:[-*+]|\d+[.)])[ \t]+(?P<text>\S.*)")
_CODE = re.compile(r"`([^`\n]+)`")
_LINES = re.compile(r":\d[\d,:-]*$")


def wanted_files(design: str, state: SwarmState) -> list[str]:
    """The existing files that a plan names: in backticks anywhere, or in its section `Files to read`.

    Args:
        design: The plan.
        state: The state that it was written for.

    Returns:
        At most MAX_WANTED paths: first the files that change, then those of the section.
    """
    if repository_of(state) is None:
        return []
    files = current_files(state)
    listed = _listed(design)
    named = dict.fromkeys([*(_path(code) for code in _CODE.findall(design)), *listed])
    first = [path for path in named if path not in listed]
    return [path for path in [*first, *listed] if _is_readable(path, files)][:MAX_WANTED]


def wrongly_wanted(design: str, state: SwarmState) -> str:
    """The problem with the files that a plan asks to see, for a question to the architect; empty if none."""
    if repository_of(state) is None:
        return ""
    files, listed = current_files(state), _listed(design)
    problems = [_problem(path, files) for path in listed[:MAX_WANTED] if not _is_readable(path, files)]
    if len(listed) > MAX_WANTED:
        problems.append(f"it names {len(listed)} files under '{HEADING}'; name at most {MAX_WANTED}")
    return "; ".join(problems)


def _problem(path: str, files: Mapping[str, str]) -> str:
    if path in files:
        return f"'{path}' under '{HEADING}' is no text"
    return f"'{path}' under '{HEADING}' is no file of the repository{nearest_text(path, files)}"


def _is_readable(path: str, files: Mapping[str, str]) -> bool:
    return path in files and files.get(path) is not None


def _listed(design: str) -> list[str]:
    """The paths in the section `Files to read`, without repetitions."""
    return [*dict.fromkeys(path for path in map(_path, _items(design)) if _looks_like_path(path))]


def _items(design: str) -> Iterator[str]:
    """What begins each item of that section: the text in backticks, else the first word."""
    inside = False
    for line in design.split("\n"):
        if heading := _HEADING.fullmatch(line.strip()):
            inside = heading["title"].strip().lower() == HEADING.lower()
        elif inside and (item := _ITEM.fullmatch(line)):
            code = _CODE.search(item["text"])
            yield code[1] if code else item["text"].split()[0].rstrip(":,;")


def _path(word: str) -> str:
    """A word of a plan as a path: without `./` in front and line numbers behind."""
    return _LINES.sub("", word.strip()).removeprefix("./")


def _looks_like_path(word: str) -> bool:
    return word.isprintable() and ("/" in word or "." in word.strip("."))
