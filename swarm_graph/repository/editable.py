"""Which paths of a repository a session may write: source files of people, inside of what the user allows."""

from __future__ import annotations

import os
import re
import tempfile
import unicodedata
from collections.abc import Collection, Iterator
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from swarm_graph.errors import RepositoryError
from swarm_graph.repository.globs import matches
from swarm_graph.repository.snapshot import LINK, SUBMODULE, Snapshot
from swarm_graph.repository.source_text import decode
from swarm_graph.state import Repository

MAX_FILE_BYTES = 1_000_000
"""Larger files are neither shown nor written."""
MAX_PATH_CHARACTERS = 250
VENDORED = frozenset(
    {
        "node_modules",
        "bower_components",
        "vendor",
        "third_party",
        "thirdparty",
        "site-packages",
        ".venv",
        "venv",
        ".tox",
        ".nox",
        "__pycache__",
        ".eggs",
    }
)
"""Folders whose files come from elsewhere."""
LOCK_FILES = frozenset(
    {
        "bun.lock",
        "cargo.lock",
        "composer.lock",
        "deno.lock",
        "flake.lock",
        "gemfile.lock",
        "go.sum",
        "gradle.lockfile",
        "mix.lock",
        "npm-shrinkwrap.json",
        "package-lock.json",
        "package.resolved",
        "packages.lock.json",
        "pdm.lock",
        "pipfile.lock",
        "pnpm-lock.yaml",
        "podfile.lock",
        "poetry.lock",
        "pubspec.lock",
        "uv.lock",
        "yarn.lock",
    }
)
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?", re.IGNORECASE)
_GENERATED = re.compile(
    rb"@generated\b|\bDO NOT (?:EDIT|MODIFY)\b|(?i:\b(?:auto(?:matically)?[- ]?)?generated\b.*\bdo not)"
)
_COMMENT = re.compile(rb"\s*(?:#|//|/\*|\*|--|;|<!--|%|\"\"\"|'|\(\*)")
_HEAD_BYTES = 2_000
_LONG_LINE = 2_000
"""Bytes a line on average from which a script or style sheet counts as minified."""
_LFS = b"version https://git-lfs.github.com/spec/"


def why_not(path: str, repo: Repository, files: Snapshot, deleted: Collection[str] = ()) -> str:
    """Why a session must not write, create or delete a path, as in `it is a binary file`; empty if it may.

    Args:
        path: A path from the top folder, as a model has given it.
        repo: What the user allows.
        files: The files of the base commit, which alone decide what is ignored, generated and so on.
        deleted: The paths that the session deletes.
    """
    return (
        unsafe(path)
        or _outside(path, repo)
        or _foreign(path, repo)
        or _occupied(path, files, deleted)
        or (_unfit(path, files) if path in files.entries else _unfit_name(path, files))
    )


def unsafe(path: str) -> str:
    """Why a path can name something outside of the working tree, or inside `.git`; empty if it cannot."""
    if not path or "\0" in path or len(path) > MAX_PATH_CHARACTERS:
        return f"a path has 1 to {MAX_PATH_CHARACTERS} characters" + (" and no NUL" if "\0" in path else "")
    if path.startswith("~") or re.match(r"[A-Za-z]:", path):
        return "it is not a path from the top folder of the repository"
    if "\\" in path:
        return "it has a backslash; the parts of a path are separated by '/'"
    return leads_away(path)


def leads_away(path: str) -> str:
    """Why a path in a commit leads out of the working tree, or into `.git`; empty if it does not."""
    parts = path.split("/")
    if path.startswith("/"):
        return "it is not a path from the top folder of the repository"
    if any(part in ("", ".", "..") for part in parts):
        return "it is not a plain path: it has an empty part, '.' or '..'"
    return "it belongs to git itself" if any(_is_git(part) for part in parts) else ""


def too_large(size: int) -> str:
    """Why a file of so many bytes is not written; empty if it may be."""
    return f"it has {size:,} bytes, more than {MAX_FILE_BYTES:,}" if size > MAX_FILE_BYTES else ""


def _is_git(part: str) -> bool:
    """Whether a part of a path is `.git` to some file system: in any case, by its short name, as a stream."""
    visible = "".join(character for character in part if unicodedata.category(character) != "Cf")
    name = visible.casefold().partition(":")[0].rstrip(". ")
    return name == ".git" or re.fullmatch(r"git~\d+", name) is not None


def _outside(path: str, repo: Repository) -> str:
    if repo["only"] and not matches(path, repo["only"]):
        return f"only {', '.join(repo['only'])} may be changed"
    return "the user made it read-only" if matches(path, repo["read_only"]) else ""


def _foreign(path: str, repo: Repository) -> str:
    """Why a file is not written by people, as its path says. A glob that names a vendored folder opens it."""
    *folders, name = PurePosixPath(path).parts
    opened = {part for glob in repo["only"] for part in glob.split("/")}
    if vendored := next((part for part in folders if part in VENDORED - opened), ""):
        return f"the files in '{vendored}' come from elsewhere"
    if name.casefold() in LOCK_FILES:
        return "a tool writes this lock file"
    if re.search(r"\.min\.(?:js|css|mjs)$|\.(?:js|css)\.map$", name.casefold()):
        return "a tool generates it"
    return "it lists the submodules" if name == ".gitmodules" else ""


def _occupied(path: str, files: Snapshot, deleted: Collection[str]) -> str:
    """Why no file can be at a path: a link, a submodule, a file or a folder is in its way."""
    names = _names(files)
    for place in (*_folders(path), path):
        entry = files.entries.get(place)
        if entry and entry.mode in (LINK, SUBMODULE):
            kind = "a symbolic link" if entry.mode == LINK else "a submodule"
            return f"it is {kind}" if place == path else f"'{place}' is {kind}"
        if entry and place != path and place not in deleted:
            return f"'{place}' is a file, not a folder"
        same = names.by_case.get(place.casefold(), place)
        if place not in names.all and same not in deleted and same != place:
            return f"its name differs from '{same}' only in upper and lower case"
    inside = path in names.all and path not in files.entries
    return "it is a folder" if inside else ""


def _unfit(path: str, files: Snapshot) -> str:
    """Why a file that exists must not be changed, as its content says."""
    if why := too_large(files.entries[path].size):
        return why
    return _unfit_content(path, files)


@lru_cache(maxsize=1024)
def _unfit_content(path: str, files: Snapshot) -> str:
    data = files.read(path)
    if data.startswith(_LFS):
        return "it is kept in Git LFS"
    if decode(data) is None:
        return "it is a binary file"
    head = [line for line in data[:_HEAD_BYTES].splitlines() if _COMMENT.match(line)]
    if any(_GENERATED.search(line) for line in head):
        return "it is generated, as its first lines say"
    if path.endswith((".js", ".mjs", ".css")) and len(data) > _LONG_LINE * (data.count(b"\n") + 1):
        return "it is minified"
    return ""


def _unfit_name(path: str, files: Snapshot) -> str:
    """Why a new file must not have this path."""
    for part in path.split("/"):
        if _RESERVED.fullmatch(part) or part.endswith((".", " ")) or re.search(r'[<>:"|?*\0-\x1f\x7f]', part):
            return f"Windows does not allow the name {part!a}"
        if part != part.strip() or any(unicodedata.category(character) == "Cf" for character in part):
            return f"the name {part!a} has blanks at an end, or invisible characters"
    return "git ignores it" if _is_ignored(path, files) else ""


class _Names(NamedTuple):
    """The files and folders of a commit, and the same by their names in lower case."""

    all: frozenset[str]
    by_case: dict[str, str]


@lru_cache(maxsize=8)
def _names(files: Snapshot) -> _Names:
    found = {place for path in files.entries for place in (path, *_folders(path))}
    return _Names(frozenset(found), {place.casefold(): place for place in sorted(found)})


def _folders(path: str) -> Iterator[str]:
    """The folders that a path lies in, the topmost first."""
    parts = path.split("/")
    return ("/".join(parts[:count]) for count in range(1, len(parts)))


@lru_cache(maxsize=1024)
def _is_ignored(path: str, files: Snapshot) -> bool:
    """Whether the .gitignore files of the commit, or `.git/info/exclude`, name a path.

    Git itself decides, in a folder that has nothing but these files: the user's working tree may differ.
    """
    rules = [f"{folder}/.gitignore" for folder in _folders(path)]
    found = files.read_many(name for name in (".gitignore", *rules) if name in files.files)
    with tempfile.TemporaryDirectory() as folder:
        for name, data in found.items():
            (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
            (Path(folder) / name).write_bytes(data)
        environment = {
            "GIT_DIR": str(files.git.own),
            "GIT_WORK_TREE": folder,
            "GIT_INDEX_FILE": f"{folder}/.git-index",
            "GIT_LITERAL_PATHSPECS": "0",  # which this command does not support; new paths have no ':'
        }
        result = files.git.try_run(
            "check-ignore", "--no-index", "--stdin", "-z", data=os.fsencode(path), environment=environment
        )
    if result.exit_code not in (0, 1):
        raise RepositoryError(f"git cannot say whether it ignores '{path}': {result.stderr.strip()}")
    return result.exit_code == 0
