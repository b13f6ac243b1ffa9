"""The text files of a repository as a session has changed them, read when they are needed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from difflib import SequenceMatcher
from functools import lru_cache

from swarm_graph.errors import RepositoryError
from swarm_graph.repository import editable
from swarm_graph.repository.snapshot import MAX_FILE_BYTES, REGULAR, Snapshot, snapshot
from swarm_graph.repository.source_text import decode, encode
from swarm_graph.state import Repository

MAX_DELETED_COMPARED = 50
"""How many deleted files a new file is compared with, to find out whether it is a renamed one."""
_ALIKE = 0.5
"""A new file that shares this part of its lines with a deleted one counts as renamed, as in git."""


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
        self._sources: dict[str, str | None] = {}

    def __getitem__(self, path: str) -> str:
        if path in self._written:
            return self._written[path]
        text = None if path in self._deleted else _base_text(self.base, path)
        if text is None:
            raise KeyError(path)
        return text

    def __iter__(self) -> Iterator[str]:
        yield from self._written
        for path, entry in self.base.files.items():
            is_shown = entry.size <= MAX_FILE_BYTES
            if is_shown and path not in self._written and path not in self._deleted:
                yield path

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def read_many(self, paths: Iterable[str]) -> dict[str, str]:
        """The texts of files by path: one call of git for all. Paths without a text are left out."""
        names = list(dict.fromkeys(paths))
        base = [path for path in names if path not in self._written and path not in self._deleted]
        found = {**self.read_base(base), **self._written}
        return {path: found[path] for path in names if path in found}

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

    def encoded(self) -> dict[str, bytes]:
        """The bytes of each file that the session wrote: with the encoding and line ends that it had.

        Raises:
            RepositoryError: The encoding of a file lacks a character of its text.
        """
        return {path: self._encoded(path, text) for path, text in self._written.items()}

    def mode(self, path: str) -> str:
        """The mode of a file that the session wrote: the one that it had, also under another name."""
        source = self._source(path, self._written.get(path, ""))
        return self.base.entries[source].mode if source else REGULAR

    @property
    def deleted(self) -> list[str]:
        """The paths of the base commit that the session deletes."""
        return [path for path in self.base.entries if path in self._deleted]

    @property
    def renamed(self) -> dict[str, str]:
        """Old path to new path of each deleted file that the session wrote again under another name."""
        sources = {self._source(path, text): path for path, text in self._written.items()}
        return {path: sources[path] for path in self.deleted if path in sources}

    def _why_not_text(self, path: str, text: str) -> str:
        try:
            return editable.too_large(len(self._encoded(path, text)))
        except RepositoryError as error:
            return str(error).partition(": ")[2]

    def _encoded(self, path: str, text: str) -> bytes:
        source = self._source(path, text)
        try:
            return encode(text, self.base.read(source) if source else None)
        except RepositoryError as error:
            raise RepositoryError(f"'{path}': {error}") from error

    def _source(self, path: str, text: str) -> str | None:
        """The file of the base commit that a file was: itself, or a deleted one that is much like it."""
        if path in self.base.files:
            return path
        if path not in self._sources:
            deleted = self.read_base(self.deleted[:MAX_DELETED_COMPARED])
            self._sources[path] = _most_alike(text, deleted)
        return self._sources[path]

    def read_base(self, paths: Iterable[str]) -> dict[str, str]:
        """The texts of files in the base commit; paths without a text are left out."""
        readable = [path for path in paths if _is_readable(self.base, path)]
        texts = {path: decode(data) for path, data in self.base.read_many(readable).items()}
        return {path: text for path, text in texts.items() if text is not None}


def _is_readable(base: Snapshot, path: str) -> bool:
    entry = base.entries.get(path)
    return entry is not None and entry.is_readable


@lru_cache(maxsize=1024)
def _base_text(base: Snapshot, path: str) -> str | None:
    return decode(base.read(path)) if _is_readable(base, path) else None


def _most_alike(text: str, others: Mapping[str, str]) -> str | None:
    """The path of the text that shares most lines with a text; None if none shares half of them."""
    lines = text.splitlines()
    best, most = None, _ALIKE
    for path, other in others.items():
        matcher = SequenceMatcher(None, other.splitlines(), lines)
        if matcher.quick_ratio() >= most and (ratio := matcher.ratio()) >= most:
            best, most = path, ratio
    return best
