"""The copy of a repository that its tests run on: a commit's files, changed, as an archive for the sandbox.

It is made from git's objects, so the user's working tree plays no part. It has no `.git`: in a worktree that
would be a file that points into the user's repository.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import PurePosixPath
from tempfile import TemporaryFile
from typing import IO, NamedTuple

from swarm_graph.repository.snapshot import EXECUTABLE, LINK, REGULAR, SUBMODULE, Snapshot
from swarm_graph.repository.test_commands import BaseFiles
from swarm_graph.sandbox.protocol import MIB
from swarm_graph.text import printable

MAX_BYTES = 1 << 30
"""The largest copy: most sandboxes hold it in memory."""
BATCH_BYTES = 32 << 20
"""The most bytes of a repository in memory at once."""
PAGE_BYTES = 4096
PIECE_BYTES = 1 << 20


class CopiedFile(NamedTuple):
    """A file or a link of the copy.

    Attributes:
        mode: As in git: REGULAR, EXECUTABLE or LINK.
        size: In bytes.
        content: What the change wrote; None for the content of the commit.
    """

    mode: str
    size: int
    content: bytes | None = None


class ProjectCopy:
    """A repository's files with a change.

    Attributes:
        base: The files of the commit.
        files: Every file and link of the copy by path. No path leads through a link.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        changed: Mapping[str, bytes],
        deleted: Collection[str],
        modes: Mapping[str, str],
    ) -> None:
        """Lay the change over the commit; `problem` says whether it can be copied.

        Args:
            snapshot: The commit.
            changed: The files that the change wrote.
            deleted: The paths that it deleted.
            modes: The modes of changed files that differ from what the commit has.
        """
        self._snapshot, self.base = snapshot, BaseFiles(snapshot)
        self.files = {
            path: CopiedFile(entry.mode, entry.size)
            for path, entry in snapshot.entries.items()
            if entry.mode != SUBMODULE and path not in deleted
        }
        for path, content in changed.items():
            self._put(path, content, modes.get(path))

    @property
    def problem(self) -> str:
        """Why it cannot be copied; empty if it can."""
        if odd := next((path for path in self.files if not is_safe(path)), ""):
            return f"the repository has the path '{printable(odd)}', which git itself would not write"
        if self.size > MAX_BYTES:
            return (
                f"the repository has {self.size // MIB} MiB of files; at most {MAX_BYTES // MIB} are copied"
            )
        return ""

    @property
    def size(self) -> int:
        """The bytes that the copy takes on a disk, or in memory."""
        return sum(file.size + PAGE_BYTES for file in self.files.values())

    def link(self, path: str, target: str) -> None:
        """Add a link, unless the copy has something of that name."""
        if not any(name == path or name.startswith(f"{path}/") for name in self.files):
            self.files[path] = CopiedFile(LINK, len(target), target.encode())

    def archive(self) -> IO[bytes]:
        """The copy as a tar archive in a temporary file without a name.

        Raises:
            RepositoryError: Git cannot read an object.
        """
        file = TemporaryFile()  # noqa: SIM115 - the caller closes it
        with tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT) as archive:
            for path, content in self._contents():
                add_file(archive, path, self.files[path].mode, content)
        file.seek(0)
        return file

    def _put(self, path: str, content: bytes, mode: str | None) -> None:
        """Write a file as git does: a file or link in the place of one of its folders is replaced."""
        for parent in map(str, PurePosixPath(path).parents):
            self.files.pop(parent, None)
        old = self.files.get(path)
        own_mode = old.mode if old and old.mode != LINK else REGULAR
        self.files[path] = CopiedFile(mode or own_mode, len(content), content)

    def _contents(self) -> Iterator[tuple[str, bytes]]:
        """Every path with its content; the commit's are read in batches."""
        batch: list[str] = []
        waiting = 0
        for path, file in self.files.items():
            if file.content is not None:
                yield path, file.content
                continue
            batch.append(path)
            waiting += file.size
            if waiting > BATCH_BYTES:
                yield from self._snapshot.read_many(batch).items()
                batch, waiting = [], 0
        yield from self._snapshot.read_many(batch).items()


def pieces(file: IO[bytes]) -> Iterator[bytes]:
    """The content of an open file, in pieces."""
    while piece := file.read(PIECE_BYTES):
        yield piece


def is_safe(path: str) -> bool:
    """Whether a path stays in the folder of the copy, and out of git's own."""
    parts = path.split("/")
    return not {"", ".", ".."} & set(parts) and not any(part.lower() == ".git" for part in parts)


def add_file(archive: tarfile.TarFile, path: str, mode: str, content: bytes) -> None:
    """Add a file or link, its mode as in git; the content of a link is its target."""
    member = tarfile.TarInfo(path)
    if mode == LINK:
        member.type, member.linkname = tarfile.SYMTYPE, content.decode(errors="surrogateescape")
        archive.addfile(member)
        return
    member.mode, member.size = 0o755 if mode == EXECUTABLE else 0o644, len(content)
    archive.addfile(member, io.BytesIO(content))
