"""The files of one commit, read from git's objects: the working tree plays no part."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from functools import cached_property, lru_cache
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from swarm_graph.errors import RepositoryError
from swarm_graph.repository.git import Git
from swarm_graph.text import without_lone_surrogates

REGULAR, EXECUTABLE, LINK, SUBMODULE = "100644", "100755", "120000", "160000"
MAX_FILE_BYTES = 1_000_000
"""A larger file is data, or generated: it is neither searched, shown nor written."""
_GROUP_BYTES = 16_000_000


class Entry(NamedTuple):
    """One path of a commit.

    Attributes:
        mode: REGULAR, EXECUTABLE, LINK or SUBMODULE.
        blob: The id of its content.
        size: In bytes; 0 for a submodule, and for a file that a partial clone lacks.
    """

    mode: str
    blob: str
    size: int

    @property
    def is_file(self) -> bool:
        """Whether it is a file, not a link or a submodule."""
        return self.mode in (REGULAR, EXECUTABLE)

    @property
    def is_readable(self) -> bool:
        """Whether it is a file of at most MAX_FILE_BYTES."""
        return self.is_file and self.size <= MAX_FILE_BYTES


class Snapshot:
    """The files of one commit.

    Attributes:
        git: Git in the repository.
        commit: The full id of the commit.
        entries: Each path with its mode, content id and size, in git's order.
        lock: For threads that make the same thing of all its files: the first one makes it, the others wait.
    """

    def __init__(self, git: Git, commit: str) -> None:
        """List the files. Raises RepositoryError if there is no such commit."""
        self.git, self.commit, self.lock = git, commit, Lock()
        self.entries: dict[str, Entry] = {}
        for line in git.run("ls-tree", "-r", "-z", "--long", "--full-tree", commit).split(b"\0"):
            if line:
                meta, _, path = line.partition(b"\t")
                mode, _kind, blob, size = meta.decode().split()
                self.entries[os.fsdecode(path)] = Entry(mode, blob, int(size) if size.isdigit() else 0)

    @cached_property
    def files(self) -> dict[str, Entry]:
        """The files that can be named in a text: no links, no submodules, no name that is not UTF-8."""
        return {path: entry for path, entry in self.entries.items() if entry.is_file and is_utf_8(path)}

    def read(self, path: str) -> bytes:
        """The content of a file, as committed. Raises KeyError if there is no such file."""
        return self.read_many([path])[path]

    def read_many(self, paths: Iterable[str]) -> dict[str, bytes]:
        """The contents of files by path: one call of git for all.

        Raises:
            KeyError: One of them is not in the commit.
            RepositoryError: Git failed.
        """
        wanted = {path: self.entries[path].blob for path in paths}
        blobs = list(dict.fromkeys(wanted.values()))
        if not blobs:
            return {}
        output = self.git.run("cat-file", "--batch", data="".join(f"{blob}\n" for blob in blobs).encode())
        contents: dict[str, bytes] = {}
        at = 0
        for blob in blobs:
            end = output.index(b"\n", at)
            head = output[at:end].split()
            if len(head) < 3:  # "<id> missing": a partial clone, or a damaged one
                raise RepositoryError(f"the repository '{self.git.folder}' lacks the object {blob}")
            size = int(head[2])
            contents[blob] = output[end + 1 : end + 1 + size]
            at = end + 1 + size + 1
        return {path: contents[blob] for path, blob in wanted.items()}

    def read_in_groups(self, paths: Iterable[str]) -> Iterator[dict[str, bytes]]:
        """The contents of many files, in groups that fit into memory. Raises as `read_many`."""
        group: list[str] = []
        size = 0
        for path in paths:
            if group and size + self.entries[path].size > _GROUP_BYTES:
                yield self.read_many(group)
                group, size = [], 0
            group.append(path)
            size += self.entries[path].size
        yield self.read_many(group)


def is_utf_8(path: str) -> bool:
    """Whether git has the name of a file in UTF-8; models, reports and databases hold no other."""
    return path.isascii() or without_lone_surrogates(path) == path


def snapshot(folder: Path | str, commit: str) -> Snapshot:
    """The snapshot of a commit; a commit never changes, so it is listed once a process.

    Sessions that begin at once get the same one, and with it the same outlines and index.
    """
    with _LOCK:
        return _snapshot(str(folder), commit)


_LOCK = Lock()


@lru_cache(maxsize=8)
def _snapshot(folder: str, commit: str) -> Snapshot:
    return Snapshot(Git(folder), commit)
