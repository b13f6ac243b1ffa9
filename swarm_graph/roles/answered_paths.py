"""The paths in a model's answer: completed where it is plain which file is meant, and checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from swarm_graph.errors import UnreadableAnswer
from swarm_graph.roles.edit import Edit
from swarm_graph.roles.file_blocks import Files, project_path
from swarm_graph.roles.fragments import definitions
from swarm_graph.roles.path_lines import PathLine


def deletions(lines: Iterable[PathLine], old: Mapping[str, str], notes: list[str]) -> list[str]:
    """The paths that lines delete, completed."""
    paths = [project_path(line.path) for line in lines if not line.new_path]
    meant = {path: with_folders(path, old) for path in paths}
    notes += [f"{path} taken for {known}" for path, known in meant.items() if known]
    return [known or path for path, known in meant.items()]


def with_paths(
    edits: Iterable[Edit], old: Mapping[str, str], whole: Mapping[str, str], notes: list[str]
) -> list[Edit]:
    """Edits with checked paths; one that has lost its folders is completed, unless the answer makes it."""
    edits = [
        replace(
            edit,
            path=edit.path and project_path(edit.path),
            new_path=edit.new_path and project_path(edit.new_path),
        )
        for edit in edits
    ]
    made = {*whole, *(edit.new_path for edit in edits), *(edit.path for edit in edits if _makes(edit))}
    meant = {edit.path: with_folders(edit.path, old) for edit in edits if edit.path not in made}
    notes += [f"{path} taken for {known}" for path, known in meant.items() if path and known]
    return [replace(edit, path=meant.get(edit.path) or edit.path) for edit in edits]


def _makes(edit: Edit) -> bool:
    """Whether an edit makes a new file."""
    return edit.creates or not (edit.deletes or edit.new_path or edit.before.strip())


def with_folders(path: str, old: Mapping[str, str]) -> str:
    """The only old file that a path without its folders can mean: `src/calc.py` for `calc.py`; else empty."""
    found = [known for known in old if known.endswith(f"/{path}")] if path and path not in old else []
    return found[0] if len(found) == 1 else ""


def without_folders(
    written: Mapping[str, str], old: Mapping[str, str], deleted: Sequence[str]
) -> dict[str, str]:
    """The written paths that have lost their folders, with the old files that they plainly rewrite."""
    found = {path: with_folders(path, old) for path in written}
    return {
        path: known
        for path, known in found.items()
        if known
        and known not in (*written, *deleted)
        and definitions(path, written[path]) & definitions(known, old[known])
    }


def check_allowed(answer: Files, old: Mapping[str, str], why_not: Callable[[str], str]) -> None:
    """Raises UnreadableAnswer if the answer changes a path that must not be changed."""
    written = (path for path, text in answer.written.items() if path not in old or old[path] != text)
    for path in dict.fromkeys([*written, *answer.deleted]):
        if reason := why_not(path):
            raise UnreadableAnswer(f"'{path}' must not be changed: {reason}; leave it as it is")


def check_places(answer: Files, old: Mapping[str, str]) -> None:
    """Raises UnreadableAnswer when a file needs the place of an old one that is not deleted."""
    kept = set(old).difference(answer.deleted)
    for path in answer.written:
        for parent in map(str, PurePosixPath(path).parents):
            if parent in kept:
                raise UnreadableAnswer(
                    f"'{path}' cannot be written: '{parent}' is a file; choose another path, or write "
                    f"`DELETE {parent}` on a line of its own"
                )
        if path not in kept and any(known.startswith(f"{path}/") for known in kept):
            raise UnreadableAnswer(f"'{path}' cannot be written: it is a folder; choose another path")
