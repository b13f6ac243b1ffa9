"""The files that names, folders and patterns stand for, and a note of what is left out beside them."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator
from glob import escape, has_magic
from pathlib import Path
from shlex import quote
from typing import NamedTuple

from swarm_graph.errors import InputError
from swarm_graph.inputs.kinds import JSON_LINES, TABLES
from swarm_graph.text import first_names, format_count


class LeftOut(NamedTuple):
    """Something in the place of an input that is not read."""

    kind: str
    name: str
    pattern: str = ""
    """The INPUT that takes it; empty if none does."""


class Inputs(NamedTuple):
    """The files that inputs stand for."""

    files: list[Path]
    left_out: list[LeftOut]

    @property
    def note(self) -> str:
        """One line that counts and names what was left out; empty if nothing was."""
        kinds: dict[str, list[LeftOut]] = {}
        for item in self.left_out:
            kinds.setdefault(item.kind, []).append(item)
        return ", ".join(_counted(kind, items) for kind, items in kinds.items())


def _counted(kind: str, items: list[LeftOut]) -> str:
    patterns = [quote(pattern) for pattern in dict.fromkeys(item.pattern for item in items) if pattern]
    which = "it" if len(items) == 1 else "them"
    taken = f"; INPUT {first_names(patterns)} takes {which}" if patterns else ""
    return f"{format_count(len(items), kind)} ({first_names([item.name for item in items])}{taken})"


def shown(path: str | Path) -> str:
    """A path as text: bytes of a name that are no UTF-8 are escaped."""
    return os.fsencode(path).decode(errors="backslashreplace")


def find_inputs(inputs: Iterable[str]) -> Inputs:
    """The files of all inputs, each once, and what was left out.

    Args:
        inputs: Files, folders and patterns such as `docs/*.txt`.

    Raises:
        InputError: An input does not exist or has no files.
    """
    found = Inputs([], [])
    first_paths: dict[Path, Path] = {}
    for name in inputs:
        try:
            files, left_out = _expanded(name)
        except (OSError, ValueError, NotImplementedError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise InputError(f"cannot read the input {name!r}: {reason}") from error
        found.left_out.extend(left_out)
        for path in files:
            first = first_paths.setdefault(path.resolve(), path)
            if first is path:
                found.files.append(path)
            elif first.name != path.name:
                found.left_out.append(LeftOut("repeated file", shown(path)))
    found = Inputs(found.files, [*dict.fromkeys(found.left_out)])
    if not found.files:
        raise InputError(f"no input is a file that can be read; left out: {found.note}")
    return found


def _expanded(name: str) -> Inputs:
    """What an input names: itself, or what is in a folder or fits a pattern; hidden files are left out."""
    if not name:
        raise InputError("an INPUT is empty; expected a file, a folder or a pattern")
    path = Path(name)
    if path.is_dir():
        found = _sorted_out(path.iterdir(), hidden=path.name.startswith("."))
    elif os.path.lexists(path):
        return _sorted_out([path], hidden=True)
    elif has_magic(name):
        found = _matched(path)
    else:
        raise InputError(f"there is no file or folder '{shown(path)}'")
    if not found.files:
        beside = f"; left out: {found.note}" if found.left_out else ""
        raise InputError(f"no files found for the input '{shown(path)}'{beside}")
    return found


def _matched(pattern: Path) -> Inputs:
    """What fits a pattern."""
    start = next(number for number, part in enumerate(pattern.parts) if has_magic(part))
    base, wild = Path(*pattern.parts[:start]), pattern.parts[start:]
    in_hidden_folders = any(part.startswith(".") for part in wild[:-1])
    root = Path(pattern.anchor)
    entries = [
        path
        for path in root.glob(str(pattern.relative_to(root)))
        if in_hidden_folders or not any(part.startswith(".") for part in path.relative_to(base).parts[:-1])
    ]
    if "**" in wild:  # what is in a folder is an entry of its own
        entries = [path for path in entries if not path.is_dir()]
    found = _sorted_out(entries, hidden=pattern.name.startswith("."))
    unvisited = _unvisited(base, hidden=in_hidden_folders) if wild[0] == "**" else ()
    return Inputs(found.files, [*found.left_out, *unvisited])


def _unvisited(base: Path, *, hidden: bool) -> Iterator[LeftOut]:
    """The folders that `**` does not visit: linked, unreadable and, unless wanted, hidden ones."""
    unreadable: list[OSError] = []
    for folder, names, _ in os.walk(base, onerror=unreadable.append):
        for name in sorted(names):
            path = Path(folder, name)
            if name.startswith(".") and not hidden:
                names.remove(name)
                yield LeftOut("hidden folder", f"{shown(path)}/", _all_below(path))
            elif path.is_symlink():
                yield LeftOut("linked folder", f"{shown(path)}/", _all_below(path))
    yield from (LeftOut("unreadable folder", f"{shown(Path(error.filename))}/") for error in unreadable)


def _sorted_out(entries: Iterable[Path], *, hidden: bool) -> Inputs:
    """Entries as files and as what is left out, in their natural order."""
    found = Inputs([], [])
    for path in sorted(entries, key=_natural_order):
        if left_out := _left_out(path, hidden=hidden):
            found.left_out.append(left_out)
        else:
            found.files.append(path)
    return found


def _left_out(path: Path, *, hidden: bool) -> LeftOut | None:
    """Why an entry is left out; None if it is not."""
    kind = _kind(path)
    is_hidden = path.name.startswith(".") and not hidden
    if kind == "folder":
        adjective = "hidden " if is_hidden else "linked " if path.is_symlink() else ""
        pattern = _all_below(path if adjective else path.parent)  # `**` visits neither hidden nor linked ones
        return LeftOut(f"{adjective}folder", f"{shown(path)}/", pattern)
    if is_hidden:
        return LeftOut("hidden file", shown(path), _pattern(path.parent, ".*"))
    return LeftOut(kind, shown(path)) if kind else None


def _all_below(folder: Path) -> str:
    """The pattern of all files in a folder and below it."""
    return _pattern(folder, "**", "*")


def _pattern(folder: Path, *parts: str) -> str:
    """A pattern below a folder; empty if its name is no UTF-8, so that nobody can type it."""
    return str(Path(escape(str(folder)), *parts)) if shown(folder) == str(folder) else ""


def _kind(path: Path) -> str:
    """What a path is that cannot be read; empty for a file that can."""
    try:
        status = path.stat()
    except OSError:
        return "dangling link" if path.is_symlink() else "unreadable file"
    if stat.S_ISDIR(status.st_mode):
        return "folder"
    if not stat.S_ISREG(status.st_mode):
        return {stat.S_IFIFO: "FIFO", stat.S_IFSOCK: "socket"}.get(stat.S_IFMT(status.st_mode), "device")
    if not status.st_size and path.suffix.lower() in (*TABLES, *JSON_LINES):
        return "empty table"
    if shown(path.absolute()) != str(path.absolute()):
        return "unreadable name"
    readable = os.access(path, os.R_OK, effective_ids=os.access in os.supports_effective_ids)
    return "" if readable else "unreadable file"


def _natural_order(path: Path) -> list[tuple[int, str]]:
    """A sort key that puts doc_2 before doc_10."""
    parts = re.findall(r"\d+|\D+", str(path))
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]
