"""The files of a session or a task as the built-in tools read them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

from swarm_graph.config_source import closest_match
from swarm_graph.errors import InputError
from swarm_graph.roles.answered_change import deleted_files, repository_files, repository_of
from swarm_graph.roles.file_blocks import Files, file_blocks
from swarm_graph.state import SwarmState, changed_texts
from swarm_graph.tools.tool import Project

if TYPE_CHECKING:
    from swarm_graph.repository.files import RepositoryFiles

GROUP_FILES, GROUP_BYTES = 200, 16_000_000
"""After so many files, or bytes, another call of git reads the next files of a repository."""


def project_of_state(state: SwarmState) -> Project:
    """The files of a session as it has left them.

    In a session on a repository these are the text files of the base commit under the session's change: never
    the user's working tree, nor what git ignores. In other sessions they are code, tests and documentation,
    and the files that the request holds, such as those of `--input`.

    Raises:
        RepositoryError: The repository lacks the base commit.
    """
    if repo := repository_of(state):
        return _RepositoryProject(repository_files(repo, changed_texts(state), deleted_files(state)))
    return _TextProject(Files(changed_texts(state)).over(_files_in(state.get("request", ""))))


def project_of_files(texts: Mapping[str, str]) -> Project:
    """The files of a task: path to text."""
    return _TextProject(texts)


@lru_cache(maxsize=4)
def _files_in(request: str) -> dict[str, str]:
    """The files in a request; the caller does not change them."""
    return {block.path: block.text for block in file_blocks(request).named}


class _TextProject:
    """Files that the state holds."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self._files = files

    def paths(self) -> list[str]:
        return sorted(self._files)

    def text(self, path: str) -> str:
        if path in self._files:
            return self._files[path]
        raise missing_file(path, self.paths())

    def texts(self, paths: Iterable[str]) -> Iterator[tuple[str, str]]:
        for path in paths:
            if path in self._files:
                yield path, self._files[path]


class _RepositoryProject:
    """Files of a commit under a change, read from git's objects."""

    def __init__(self, files: RepositoryFiles) -> None:
        self._files = files

    def paths(self) -> list[str]:
        return sorted(self._files)

    def text(self, path: str) -> str:
        try:
            return self._files[path]
        except KeyError:
            pass
        known = set(self._files)
        if path in known:
            raise InputError(f"'{path}' is not a text file")
        if path in self._files.base.entries:
            raise InputError(f"'{path}' {self._why_not(path)}")
        raise missing_file(path, sorted(known))

    def texts(self, paths: Iterable[str]) -> Iterator[tuple[str, str]]:
        entries = self._files.base.entries
        group: list[str] = []
        size = 0
        for path in paths:
            group.append(path)
            size += entries[path].size if path in entries else 0
            if len(group) == GROUP_FILES or size > GROUP_BYTES:
                yield from self._files.read_many(group).items()
                group, size = [], 0
        yield from self._files.read_many(group).items()

    def _why_not(self, path: str) -> str:
        """Why a path of the base commit cannot be read."""
        if path in self._files.deleted:
            return "was deleted in this session"
        entry = self._files.base.entries[path]
        return f"is too large to read: {entry.size:,} bytes" if entry.is_file else "is a link or a submodule"


def missing_file(path: str, paths: list[str]) -> InputError:
    """The error for a path that is no file of the project; it names the path that is meant most likely."""
    name = path.rpartition("/")[2]
    same = [other for other in paths if other.rpartition("/")[2] == name]
    meant = same[0] if len(same) == 1 else closest_match(path, paths[:2000])
    return InputError(f"there is no file '{path}'{f'; did you mean {meant!r}?' if meant else ''}")
