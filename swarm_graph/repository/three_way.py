"""Merge a file that a session and the user have both changed: line by line, or a conflict."""

from __future__ import annotations

import tempfile
from pathlib import Path

from swarm_graph.errors import RepositoryError
from swarm_graph.repository.git import Git
from swarm_graph.repository.snapshot import LINK, SUBMODULE
from swarm_graph.repository.source_text import decode, encode
from swarm_graph.repository.tree_files import Content


class Conflict(Exception):
    """Internal: a change does not fit; the message is a clause that says why. Caught in `apply`."""


def is_same(one: Content | None, other: Content | None) -> bool:
    """Whether two files are the same, whatever their line ends."""
    if one is None or other is None or one.mode != other.mode:
        return one is other
    return one.data == other.data or (decode(one.data) == decode(other.data) is not None)


def merged(git: Git, base: Content | None, theirs: Content | None, ours: Content | None) -> Content | None:
    """The file that has both changes; None if it is deleted.

    Args:
        git: Git, for the merge of lines.
        base: The file that both began from; None if there was none.
        theirs: The user's file; its line ends and encoding stay.
        ours: The session's file.

    Raises:
        Conflict: The changes do not fit together.
        RepositoryError: Git failed.
    """
    if is_same(theirs, ours) or is_same(base, ours):
        return theirs
    if is_same(base, theirs):
        return ours and _like(theirs, ours)
    if base is None:
        raise Conflict("there is another file with this name")
    if theirs is None:
        raise Conflict("it was deleted there")
    if ours is None:
        raise Conflict("the session deletes it, and it has changed there")
    if {LINK, SUBMODULE} & {base.mode, theirs.mode, ours.mode}:
        raise Conflict("a link or submodule has changed there")
    mode = theirs.mode if ours.mode == base.mode else ours.mode
    return Content(mode, _merged_lines(git, base.data, theirs.data, ours.data))


def _like(theirs: Content | None, ours: Content) -> Content:
    """The session's file with the line ends that the user's file has."""
    text = decode(ours.data)
    if theirs is None or text is None or decode(theirs.data) is None:
        return ours
    return Content(ours.mode, encode(text, theirs.data))


def _merged_lines(git: Git, base: bytes, theirs: bytes, ours: bytes) -> bytes:
    texts = [decode(data) for data in (theirs, base, ours)]
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, name) for name in ("theirs", "base", "ours")]
        for path, text in zip(paths, texts, strict=True):
            if text is None:
                raise Conflict("it is a binary file that has changed there")
            path.write_bytes(text.encode())
        result = git.try_run("merge-file", "--stdout", *map(str, paths))
    if result.exit_code > 127:
        raise RepositoryError(f"git cannot merge: {result.stderr.strip()}")
    if result.exit_code:
        raise Conflict("the same lines have changed there")
    return encode(result.stdout.decode(), theirs)
