"""Globs that name paths of a repository, as in `--only 'src/**'`."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from functools import lru_cache


def matches(path: str, globs: Iterable[str]) -> bool:
    """Whether a path of a repository matches one of the globs.

    The meaning is that of a line in a .gitignore file, without `!`: a glob without a slash matches names in
    any folder (`*.md`); one with a slash counts from the top folder (`src/*.py`, `/setup.py`); `**` stands
    for any number of folders; a glob that matches a folder matches everything in it (`docs`, `docs/`).
    """
    return any(_pattern(glob).fullmatch(path) for glob in globs)


@lru_cache(maxsize=256)
def _pattern(glob: str) -> re.Pattern[str]:
    is_folder = glob.endswith("/")
    body = glob.removeprefix("./").rstrip("/")
    anchored = "/" in body
    parts = body.strip("/").split("/")
    below = "/.+" if is_folder else "(?:/.+)?"
    return re.compile(("" if anchored else "(?:.+/)?") + _parts(parts) + below, re.DOTALL)


def _parts(parts: list[str]) -> str:
    """The expression for the parts of a path; `**` is any number of parts, also none."""
    if parts == ["**"]:
        return ".+"
    pattern = "".join("(?:.+/)?" if part == "**" else f"{_part(part)}/" for part in parts[:-1])
    return pattern + (".+" if parts[-1] == "**" else _part(parts[-1]))


def _part(part: str) -> str:
    """The expression for one part: `*` and `?` match no slash."""
    pieces = re.findall(r"\[!?\]?[^]]*\]|\*+|\?|[^*?[]+|\[", part)
    return "".join(_piece(piece) for piece in pieces)


def _piece(piece: str) -> str:
    if piece[0] == "*":
        return "[^/]*"
    if piece == "?":
        return "[^/]"
    if piece[0] == "[" and len(piece) > 1:
        return f"(?!/){fnmatch.translate(piece).removeprefix('(?s:').rpartition(')')[0]}"
    return re.escape(piece)
