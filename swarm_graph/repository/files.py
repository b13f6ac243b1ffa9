"""The text files of a repository as a session has changed them, read when they are needed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import lru_cache

from swarm_graph.errors import RepositoryError
from swarm_graph.repository import editable
from swarm_graph.repository.snapshot import Snapshot, snapshot
from swarm_graph.repository.source_text import decode, encode
from swarm_graph.state import Repository


class RepositoryFiles(Mapping[str, str]):
    """Path to text, line ends as `\\n`: the files of the base commit, overlaid by what the session wrote.

    A file is read when it is asked for. Iteration reads none, so it also yields binary files; for these, as
    for links, submodules and files over `MAX_FILE_BYTES`, `[]` raises KeyError and `in` is false.

    Attributes:
        repo: The repository.
        base: The files of the base commit.
    """

    def __init__(
        self, repo: Repository, written: Mapping[str, str] | None = None, deleted: Collection[str] = ()
    ) -> None:
        """Open the files of a repository.

        Args:
            repo: The repository.
            written: The files that the session wrote.
            deleted: The paths of the base commit that it deletes.

        Raises:
            RepositoryError: The repository lacks the base commit.
        """
        self.repo = repo
        self.base: Snapshot = snapshot(repo["path"], repo["base"])
        self._written = dict(written or {})
        self._deleted = frozenset(deleted) - self._written.keys()

    def __getitem__(self, path: str) -> str:
        if path in self._written:
            return self._written[path]
        text = None if path in self._deleted else _base_text(self.base, path)
        if text is None:
            raise KeyError(path)
        return text

    def __iter__(self) -> Iterator[str]:
        yield from self._written
        for path, entry in self.base.entries.items():
            is_shown = entry.is_file and entry.size <= editable.MAX_FILE_BYTES
            if is_shown and path not in self._written and path not in self._deleted:
                yield path

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def read_many(self, paths: Iterable[str]) -> dict[str, str]:
        """The texts of files by path: one call of git for all. Paths without a text are left out."""
        names = list(dict.fromkeys(paths))
        base = [path for path in names if path not in self._written and path not in self._deleted]
        readable = [path for path in base if _is_readable(self.base, path)]
        texts = {path: decode(data) for path, data in self.base.read_many(readable).items()}
        found = {**texts, **self._written}
        return {path: text for path in names if (text := found.get(path)) is not None}

    def why_not(self, path: str, text: str | None = None) -> str:
        """Why the session must not write, create or delete a path, as in `it is a binary file`.

        Args:
            path: A path as a model has given it.
            text: What is to be written, if that is known: it may be too large, or not fit the encoding.

        Returns:
            The reason as a clause; empty if the path may be written.
        """
        why = editable.why_not(path, self.repo, self.base, self._deleted)
        return why or (self._why_not_text(path, text) if text is not None else "")

    def original(self, path: str) -> bytes | None:
        """The bytes of a file in the base commit; None if there is no such file."""
        entry = self.base.entries.get(path)
        return self.base.read(path) if entry and entry.is_file else None

    def _why_not_text(self, path: str, text: str) -> str:
        try:
            return editable.too_large(len(encode(text, self.original(path))))
        except RepositoryError as error:
            return str(error)


def _is_readable(base: Snapshot, path: str) -> bool:
    entry = base.entries.get(path)
    return entry is not None and entry.is_file and entry.size <= editable.MAX_FILE_BYTES


@lru_cache(maxsize=1024)
def _base_text(base: Snapshot, path: str) -> str | None:
    return decode(base.read(path)) if _is_readable(base, path) else None
