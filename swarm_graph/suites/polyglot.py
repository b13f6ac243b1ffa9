"""The Python exercises of aider's polyglot benchmark, which are Exercism's: a folder for each exercise."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Any

from swarm_graph.errors import InputError
from swarm_graph.inputs.find_files import shown
from swarm_graph.suites.case import Case, Suite
from swarm_graph.suites.case_folder import MAX_BYTES, MAX_CASES, NAME
from swarm_graph.suites.data_files import check_digest, read_text
from swarm_graph.suites.requests import fenced

EXERCISES = ("python/exercises/practice", "exercises/practice")
TEXTS = ("introduction.md", "instructions.md", "instructions.append.md")
_QUESTION = (
    "Follow these instructions and complete the files below. Keep their names, and those of the functions "
)
_QUESTION += "and classes in them: tests import them. Use the standard library only."


def load_polyglot(path: Path, sha256: str) -> Suite:
    """The Python exercises in a checkout of the benchmark.

    Args:
        path: The checkout, or its folder `python`.
        sha256: What the suite must hash to; empty for any.

    Raises:
        InputError: It holds no exercises, one is of another form, or the hash differs.
    """
    folder = next((path / place for place in EXERCISES if (path / place).is_dir()), None)
    if folder is None:
        raise InputError(f"'{shown(path)}' holds no exercises; expected the folder {' or '.join(EXERCISES)}")
    places = sorted(place for place in folder.iterdir() if place.is_dir() and not place.name.startswith("."))
    if not 0 < len(places) <= MAX_CASES:
        raise InputError(f"'{shown(folder)}' holds {len(places)} exercises; expected 1 to {MAX_CASES}")
    cases = tuple(_case(place) for place in places)
    digest = Suite("polyglot", "", cases).digest
    check_digest(path, digest, sha256)
    return Suite("polyglot", f"{shown(path)}, sha256 {digest}", cases)


def _case(folder: Path) -> Case:
    if not NAME.fullmatch(folder.name):
        raise InputError(f"'{shown(folder)}' cannot name a case")
    files = _files_of(folder)
    stubs, tests = _read(folder, files["solution"]), _read(folder, [*files["editor"], *files["test"]])
    examples = _read(folder, files["example"])
    if len(examples) != len(stubs):
        raise InputError(
            f"'{shown(folder)}': .meta/config.json has {len(examples)} examples of {len(stubs)} files"
        )
    texts = [folder / ".docs" / name for name in TEXTS]
    instructions = [read_text(text, MAX_BYTES).strip() for text in texts if text.exists()]
    shown_files = [fenced(path, text) for path, text in stubs.items()]
    return Case(
        suite="polyglot",
        name=folder.name,
        request="\n\n".join([_QUESTION, *instructions, *shown_files]) + "\n",
        hidden=tests,
        solution=dict(zip(stubs, examples.values(), strict=True)),
        seconds=60.0,
    )


def _files_of(folder: Path) -> dict[str, list[str]]:
    """The files of an exercise by what they are, from its `.meta/config.json`."""
    path = folder / ".meta" / "config.json"
    try:
        found: Any = json.loads(read_text(path, MAX_BYTES))["files"]
        files = {kind: list(found.get(kind, [])) for kind in ("solution", "test", "example", "editor")}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"'{shown(path)}': expected an object with files.solution, test and example"
        ) from error
    for kind in ("solution", "test", "example"):
        if not files[kind]:
            raise InputError(f"'{shown(path)}': files.{kind}: expected at least one file")
    return files


def _read(folder: Path, names: list[Any]) -> dict[str, str]:
    """Path to text of files of an exercise; none leaves its folder, by name or by link."""
    for name in names:
        path = PurePosixPath(str(name))
        if (
            not isinstance(name, str)
            or path.is_absolute()
            or ".." in path.parts
            or "\\" in name
            or "\0" in name
        ):
            raise InputError(
                f"'{shown(folder)}': .meta/config.json: {name!r} leaves the folder of the exercise"
            )
        if any((folder / parent).is_symlink() for parent in path.parents):
            raise InputError(f"'{shown(folder / name)}' lies behind a symbolic link")
    return {name: read_text(folder / name, MAX_BYTES) for name in names}
