"""What `apply` would change in the user's repository, as a page shows it before the user confirms it."""

from __future__ import annotations

from hashlib import sha256
from typing import NamedTuple

from swarm_graph.errors import RepositoryError
from swarm_graph.reports.file_diffs import MAX_FILES, Change, FileDiff, file_diff
from swarm_graph.reports.highlight import NOT_READABLE
from swarm_graph.repository.apply import Write
from swarm_graph.sessions import apply
from swarm_graph.text import visible


class Preview(NamedTuple):
    """What `apply` would do.

    Attributes:
        folder: The user's repository.
        branch: The session's branch.
        change: What would change in which files.
        problem: Why it cannot be applied; empty if it can.
        is_empty: Whether the session has changed no file.
        is_approved: Whether the reviews have approved the change.
        is_applied: Whether there is an `apply` to take back.
        digest: All of it in one word.
    """

    folder: str
    branch: str
    change: Change
    problem: str
    is_empty: bool
    is_approved: bool
    is_applied: bool
    digest: str


def preview(change: apply.Change) -> Preview:
    """What `apply` would do with a change now."""
    problem, writes = "", list[Write]()
    try:
        writes = change.planned()
    except RepositoryError as error:
        problem = str(error)
    return Preview(
        change.repo["path"],
        change.repo["branch"],
        Change([_file_diff(write) for write in writes[:MAX_FILES]], max(len(writes) - MAX_FILES, 0)),
        problem,
        change.is_empty,
        change.state.get("approved") is True,
        change.is_applied,
        sha256(repr((change.repo["path"], writes)).encode()).hexdigest(),
    )


def _file_diff(write: Write) -> FileDiff:
    path, before, after = visible(write.path), write.before, write.after
    try:
        old, new = (content.data.decode() if content else None for content in (before, after))
    except UnicodeDecodeError:
        status = "changed" if before and after else "added" if after else "removed"
        found = FileDiff(path, status, 0, 0, [], NOT_READABLE)
    else:
        found = file_diff(path, old, new)
    if before and after and before.mode != after.mode:
        return found._replace(status=f"changed, mode {before.mode} to {after.mode}")
    return found
