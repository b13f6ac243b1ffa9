"""The change that a session made to a repository: found, brought into the user's tree, and cleaned up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from filelock import FileLock, Timeout

from swarm_graph.checkpoints.locks import is_running
from swarm_graph.checkpoints.records import Session
from swarm_graph.checkpoints.signatures import is_own
from swarm_graph.checkpoints.swarm_saver import SwarmSaver
from swarm_graph.errors import InputError, StorageError, SwarmError
from swarm_graph.repository.apply import (
    Applied,
    Write,
    apply_to_tree,
    merge_into_branch,
    planned_writes,
    undo,
)
from swarm_graph.repository.files import RepositoryFiles
from swarm_graph.repository.git import Git
from swarm_graph.repository.patch import patch
from swarm_graph.repository.worktree import remove_worktree, worktree_folder
from swarm_graph.settings import RepositorySettings
from swarm_graph.state import ChangeState, Repository, changed_texts
from swarm_graph.text import file_name
from swarm_graph.workflows.repository import find_again

APPLIED = "applied"
"""The folder in the data folder with the records of what `apply` changed."""
LOCK_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Change:
    """The change of one session.

    Attributes:
        session: The session.
        repo: The repository; its path is the folder to work in.
        state: The session's last state.
        record: The file that says what `apply` changed.
    """

    session: str
    repo: Repository
    state: ChangeState
    record: Path

    def apply(self, *, merge: bool = False) -> Applied:
        """Bring the change into the user's working tree, or merge its branch. Raises SwarmError."""
        with _alone(self.record.parent):
            return merge_into_branch(self.repo, self.record) if merge else self._apply_to_tree()

    def _apply_to_tree(self) -> Applied:
        return apply_to_tree(self._files, self.record)

    @property
    def _files(self) -> RepositoryFiles:
        return RepositoryFiles(self.repo, changed_texts(self.state), self.state.get("deleted") or ())

    def planned(self) -> list[Write]:
        """What `apply` would write into the user's working tree; nothing is written. Raises SwarmError."""
        return planned_writes(self._files)

    @property
    def is_empty(self) -> bool:
        """Whether the session has changed no file."""
        return not (changed_texts(self.state) or self.state.get("deleted"))

    @property
    def is_applied(self) -> bool:
        """Whether there is an `apply` to take back."""
        return self.record.is_file()

    def undo(self) -> Applied:
        """Take the last `apply` back. Raises SwarmError."""
        with _alone(self.record.parent):
            return undo(Git(self.repo["path"]), self.record)

    def patch(self) -> bytes:
        """The commits as mails, as `git am` takes them. Raises SwarmError."""
        return patch(self.repo, self.state.get("commits") or [])


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let no other process change a working tree meanwhile, as the record of one would not fit any more.

    Args:
        folder: The folder of the records.

    Raises:
        StorageError: The lock cannot be written, or another process holds it for too long.
    """
    file = folder / ".lock"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = FileLock(file, timeout=LOCK_TIMEOUT_S, mode=0o600, fallback_to_soft=False)
        lock.acquire()
    except Timeout as error:
        raise StorageError(f"another `apply` holds '{file}'; wait until it has ended") from error
    except OSError as error:
        raise StorageError(f"cannot lock '{file}': {error.strerror or error}") from error
    try:
        yield
    finally:
        lock.release()


def change_of(saver: SwarmSaver, session: Session, folder: str | None) -> Change:
    """The change of a session.

    Args:
        saver: The database.
        session: The session.
        folder: The user's repository; None for the one that the session recorded.

    Raises:
        InputError: The session changes no repository, or runs, or somebody else began it and no folder is
            given, or the folder is no repository with the commit that the session began at.
    """
    state, name = state_of(saver, session.session), session.session
    recorded = state.get("repo")
    if not recorded or not recorded.get("branch"):
        raise InputError(
            f"session '{name}' changes no repository; `swarm-graph run --repo DIR` begins one that does"
        )
    if is_running(saver.catalogue, name):
        raise InputError(f"session '{name}' is running; wait until it has ended")
    if folder is None and not is_own(saver.catalogue, session):
        raise InputError(
            f"session '{name}' was not started by you on this machine; name your repository with --repo DIR"
        )
    here = RepositorySettings(path=folder) if folder else None
    present: Repository = {**recorded, "path": saver.catalogue.places(name).present(recorded["path"])}
    repo = find_again(present, name, here, is_own=True)
    repo = {**repo, "base": Git(repo["path"]).commit_of(repo["base"])}
    return Change(name, repo, state, _record(saver, name))


def remove_change(saver: SwarmSaver, session: Session) -> list[str]:
    """Remove the worktree and the branch of a session that is cleaned up, and nothing that others made.

    Returns:
        Notes on what stays, and why.
    """
    recorded = state_of(saver, session.session).get("repo")
    if not recorded or not recorded.get("branch"):
        return []
    folder = worktree_folder(saver.database.folder, recorded["branch"])
    if not is_own(saver.catalogue, session):
        return [f"the branch and worktree of session '{session.session}' stay: you did not start it here"]
    path = saver.catalogue.places(session.session).present(recorded["path"])
    try:
        notes = remove_worktree({**recorded, "path": path}, session.session, folder)
        _record(saver, session.session).unlink(missing_ok=True)
    except (SwarmError, OSError) as error:
        return [f"the branch and worktree of session '{session.session}' stay: {error}"]
    return notes


def _record(saver: SwarmSaver, session_id: str) -> Path:
    return saver.database.folder / APPLIED / f"{file_name(session_id)}.json"


def state_of(saver: SwarmSaver, session_id: str) -> ChangeState:
    """The last state of a session; empty if there is none."""
    saved = saver.get_tuple({"configurable": {"thread_id": session_id}})
    values: Mapping[str, Any] = saved.checkpoint["channel_values"] if saved else {}
    return cast("ChangeState", values)
