"""Globs that name paths of a repository, as in `--only 'src/**'`.

A model may write a glob, too, so its expression takes no exponential time: of the places where a part between
two stars fits, the first is as good as any other, and an atomic group `(?>…)` tries no other.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from functools import lru_cache
from itertools import groupby


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
    parts = body.strip("/").split("/")
    below = "/.+" if is_folder else "(?:/.+)?"
    return re.compile(_parts(parts if "/" in body or parts == ["**"] else ["**", *parts]) + below, re.DOTALL)


def _parts(parts: list[str]) -> str:
    """The expression for the parts of a path; `**` is any number of parts, also none."""
    if parts == ["**"]:
        return ".+"
    groups = [(is_gap, [*map(_part, group)]) for is_gap, group in groupby(parts, lambda part: part == "**")]
    pattern, after_gap = "", False
    for number, (is_gap, group) in enumerate(groups):
        is_last = number == len(groups) - 1
        if is_gap:
            pattern += ".+" if is_last else ""
        elif is_last:
            pattern += (r"(?:[^/]+/)*" if after_gap else "") + "/".join(group)
        else:
            fixed = "".join(f"{part}/" for part in group)
            pattern += rf"(?>(?:[^/]+/)*?{fixed})" if after_gap else fixed
        after_gap = is_gap
    return pattern


def _part(part: str) -> str:
    """The expression for one part: `*` and `?` match no slash."""
    pieces = re.findall(r"\[!?\]?[^]]*\]|\*+|\?|[^*?[]+|\[", part)
    fixed = ["".join(map(_piece, group)) for is_star, group in groupby(pieces, _is_star) if not is_star]
    if not any(map(_is_star, pieces)):
        return "".join(fixed)
    first = fixed.pop(0) if not _is_star(pieces[0]) else ""
    last = fixed.pop() if fixed and not _is_star(pieces[-1]) else ""
    return first + "".join(f"(?>[^/]*?{piece})" for piece in fixed) + f"[^/]*{last}"


def _is_star(piece: str) -> bool:
    return piece[0] == "*"


def _piece(piece: str) -> str:
    if piece == "?":
        return "[^/]"
    if piece[0] == "[" and len(piece) > 1:
        return f"(?!/){fnmatch.translate(piece).removeprefix('(?s:').rpartition(')')[0]}"
    return re.escape(piece)
