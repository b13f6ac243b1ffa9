"""The worktree of a session: its branch as files, for people; and the user's uncommitted changes as a commit.

The files are written here from git's objects, so no filter and no hook of the repository runs. A worktree
that a killed process left half-made is mended when it is opened again.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from time import sleep
from typing import NamedTuple

from swarm_graph.errors import RepositoryError
from swarm_graph.repository.commits import (
    BRANCHES,
    branch_tip,
    commit_tree,
    delete_branch,
    git_folder,
    is_own_commit,
    move_branch,
    temporary_index,
)
from swarm_graph.repository.editable import leads_away
from swarm_graph.repository.git import Git
from swarm_graph.repository.snapshot import REGULAR, SUBMODULE, Entry, Snapshot, snapshot
from swarm_graph.repository.tree_files import Content, content, in_the_way, remove_file, write_whole
from swarm_graph.state import Repository
from swarm_graph.text import first_names

WORKTREES = "worktrees"
"""The folder of all worktrees, in the data folder."""
_WRITTEN = "swarm-written"
"""A file in git's entry of a worktree: the last commit whose files were all written."""
_BATCH_BYTES = 64_000_000
_IN_WORK = ".swarm-in-work"
"""The name of the file that is being written, in the top folder of the worktree."""
_BEGUN = "initializing"
"""What git writes into the lock of a worktree that it is making."""
_HALF_MADE = "/commondir: "
"""What git's message holds when it reads the entry of another worktree that is not yet complete."""
PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Seconds between the attempts to add a worktree."""
_REMOVED = ".removed"
"""The suffix of a worktree's folder while it is being removed."""
_KEPT = ".files"
"""The suffix of the folder that keeps the files while git makes the entry of a worktree again."""


def worktree_folder(data_dir: Path, branch: str) -> Path:
    """The folder of the worktree of a session's branch."""
    return data_dir / WORKTREES / branch.removeprefix(BRANCHES)


def open_worktree(repo: Repository, session: str, folder: Path) -> list[str]:
    """Make the worktree of a session, or mend it, and write the files of its branch into it.

    If the branch does not exist, it is made at the base.

    Args:
        repo: The repository.
        session: The session.
        folder: The folder of the worktree; its parents are made.

    Returns:
        Notes for people: files that somebody changed in the worktree, which stay as they are.

    Raises:
        RepositoryError: Git failed, or the worktree's folder holds something else.
    """
    git = Git(repo["path"])
    if not branch_tip(git, repo["branch"]):
        move_branch(git, repo["branch"], session, to=repo["base"], parent=repo["base"])
    folder = Path(os.path.realpath(folder))
    kept = folder.with_name(f".{folder.name}{_KEPT}")
    if not _is_whole(git, repo["branch"], folder):
        _make(git, repo["branch"], folder, kept)
    if kept.exists():
        _move_back(kept, folder)
    return update_worktree(repo, session, folder)


def update_worktree(repo: Repository, session: str, folder: Path) -> list[str]:
    """Bring the files of an open worktree to the last commit of its branch; only what differs is written.

    A file that equals neither a commit of the branch nor the base was edited by somebody: it stays.

    Args:
        repo: The repository.
        session: The session.
        folder: The folder of the worktree.

    Returns:
        Notes for people, a line each; empty if the worktree has all files of the branch.

    Raises:
        RepositoryError: The folder is no worktree of the branch, or a file cannot be written.
    """
    git, folder = Git(repo["path"]), Path(os.path.realpath(folder))
    entry = _entry(git, folder)
    if entry is None:
        raise RepositoryError(f"'{folder}' is not the worktree of session '{session}'; resume makes it anew")
    tip = branch_tip(git, repo["branch"])
    for left in (entry / "index.lock", folder / _IN_WORK):  # by a killed process of this session
        with suppress(OSError):
            left.unlink()
    before = _read(entry / _WRITTEN)
    if before == tip:
        return []
    writer = _Writer(git, folder, [tip, before] if before else [tip, *_commits(git, repo, tip)])
    try:
        notes = writer.write(is_new=not before)
    except OSError as error:
        raise RepositoryError(f"cannot write the worktree '{folder}': {error.strerror}") from error
    environment = {"GIT_DIR": str(entry), "GIT_WORK_TREE": str(folder)}
    git.run("read-tree", "--reset", tip, environment=environment)
    git.try_run("update-index", "-q", "--refresh", environment=environment)
    write_whole(entry / _WRITTEN, tip.encode(), REGULAR, entry / _IN_WORK)
    return notes


def remove_worktree(repo: Repository, session: str, folder: Path) -> list[str]:
    """Remove the worktree and the branch of a session, and nothing that somebody else made.

    Args:
        repo: The repository.
        session: The session.
        folder: The folder of the worktree.

    Returns:
        Notes for people: what stays, and why; empty if both are gone.

    Raises:
        RepositoryError: Git failed, or the folder cannot be removed.
    """
    git, folder = Git(repo["path"]), Path(os.path.realpath(folder))
    tip = branch_tip(git, repo["branch"])
    if tip and not (tip == repo["base"] or is_own_commit(git, tip, session)):
        return [f"'{repo['branch']}' stays: its commit {tip[:12]} is not the session's"]
    entry = _entry(git, folder)
    if place := _checked_out(git, repo["branch"], entry):
        return [f"'{repo['branch']}' stays: it is checked out in '{place}'"]
    if entry and tip:
        update_worktree(repo, session, folder)  # a killed process may have left it in the middle
    if entry and (changed := _changed_by_hand(git, entry, folder, tip)):
        return [f"'{folder}' stays, as somebody changed it: {first_names(changed)}"]
    removed = folder.with_name(f".{folder.name}{_REMOVED}")
    if entry:
        folder.rename(removed)  # whole: what a kill leaves of it is found again
    _remove_folder(removed)
    if not folder.exists():
        _forget(git, repo["branch"], folder)
    if tip:
        delete_branch(git, repo["branch"], tip)
    return []


def _changed_by_hand(git: Git, entry: Path, folder: Path, tip: str) -> list[str]:
    """The files of a worktree that differ from its last commit, and those that git does not know.

    Without the branch, which somebody has deleted, the worktree's index stands for the last commit. Where git
    was killed while it made the worktree, its HEAD is all zeros, and nothing is checked out.
    """
    if not _read(entry / "HEAD").strip("0"):
        return [path.name for path in folder.iterdir() if path.name != ".git"]
    lines = _status(git, {"GIT_DIR": str(entry), "GIT_WORK_TREE": str(folder)})
    return [line[3:] for line in lines if tip or line[1] != " "]


# --- the user's uncommitted changes --------------------------------------------------------------


def is_dirty(git: Git, without: Collection[Path] = ()) -> list[str]:
    """The paths with uncommitted changes in the user's working tree; new files count, ignored ones do not.

    Args:
        git: Git in the repository.
        without: Folders that do not count, such as the session's own.
    """
    return [line[3:] for line in _changes(git, without)]


def changes_commit(git: Git, base: str, without: Collection[Path] = ()) -> str:
    """Commit the user's uncommitted changes and new files, on no branch; index and working tree stay.

    Args:
        git: Git in the repository.
        base: The commit that is checked out.
        without: Folders that do not count, such as the session's own.

    Returns:
        The id of the commit; the base if there are no changes.

    Raises:
        RepositoryError: Git failed, or a merge is not finished.
    """
    changes = _changes(git, without)
    if unmerged := [line[3:] for line in changes if "U" in line[:2] or line[:2] in ("AA", "DD")]:
        raise RepositoryError(
            f"'{unmerged[0]}' has a merge conflict; resolve it before its changes are taken along"
        )
    paths = [line[3:] for line in changes if not line.endswith("/")]  # a folder is a repository of its own
    if not paths:
        return base
    with temporary_index() as index:
        own = Path(git.text("rev-parse", "--path-format=absolute", "--git-path", "index"))
        if own.exists():
            shutil.copyfile(own, index["GIT_INDEX_FILE"])
        data = b"".join(os.fsencode(path) + b"\0" for path in paths)
        options = ("--all", "--force", "--pathspec-from-file=-", "--pathspec-file-nul")
        git.run("add", *options, data=data, environment=index)
        tree = git.text("write-tree", environment=index)
    date = float(git.text("log", "-1", "--format=%ct", base))
    return commit_tree(git, tree, base, "Uncommitted changes at the start of the session\n", date)


def _changes(git: Git, without: Collection[Path]) -> list[str]:
    """The lines of `git status`: two letters, a blank and the path; none of the folders to leave out."""
    top = Path(os.path.realpath(git.folder))
    skipped = [Path(os.path.realpath(folder)) for folder in without]
    return [
        line
        for line in _status(git, {})
        if not any((top / line[3:]).is_relative_to(folder) for folder in skipped)
    ]


def _status(git: Git, environment: dict[str, str]) -> list[str]:
    options = ("--porcelain", "-z", "--untracked-files=all", "--no-renames", "--ignore-submodules=all")
    output = git.run("status", *options, environment=environment)
    return [os.fsdecode(line) for line in output.split(b"\0") if line]


# --- git's entry of the worktree -----------------------------------------------------------------


def _entry(git: Git, folder: Path) -> Path | None:
    """The folder in `.git/worktrees` that belongs to a worktree; None unless both name each other."""
    place = _read(folder / ".git").removeprefix("gitdir: ")
    entry = git_folder(git) / "worktrees" / Path(place).name
    is_link = not place or (folder / ".git").is_symlink() or entry.is_symlink()
    if is_link or os.path.realpath(place) != str(entry):
        return None
    return entry if _read(entry / "gitdir") == f"{folder}/.git" else None


def _is_whole(git: Git, branch: str, folder: Path) -> bool:
    """Whether a worktree is complete, and on its branch."""
    entry = _entry(git, folder)
    if entry is None or _read(entry / "locked") == _BEGUN or not (entry / "commondir").exists():
        return False
    return _read(entry / "HEAD") == f"ref: refs/heads/{branch}" and not (entry / "HEAD.lock").exists()


def _make(git: Git, branch: str, folder: Path, kept: Path) -> None:
    """Let git make the entry of a worktree, in an empty folder; existing files are kept aside."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise RepositoryError(f"'{folder}' is not a folder; move it away, then resume")
    folder.parent.mkdir(parents=True, exist_ok=True)
    if folder.exists() and not kept.exists():
        folder.rename(kept)
    elif folder.exists():
        _move_back(folder, kept)  # a killed process had not moved all of them
    _forget(git, branch, folder)
    _add(git, branch, folder)


def _add(git: Git, branch: str, folder: Path) -> None:
    """Let git make the entry; again after a pause if git meets one that another session is just making."""
    for pause in PAUSES:
        try:
            git.run("worktree", "add", "--no-checkout", "--", str(folder), branch)
            return
        except RepositoryError as error:
            if _HALF_MADE not in str(error):
                raise
            sleep(pause)
    git.run("worktree", "add", "--no-checkout", "--", str(folder), branch)


def _move_back(source: Path, target: Path) -> None:
    """Move files into a folder, except for `.git` and for files that it has, and remove their old folder."""
    for path in source.iterdir():
        if path.name != ".git" and not os.path.lexists(target / path.name):
            path.rename(target / path.name)
    shutil.rmtree(source)


def _forget(git: Git, branch: str, folder: Path) -> None:
    """Remove git's entries of a worktree that is gone or was moved, or that was not made to its end."""
    for entry in (git_folder(git) / "worktrees").glob("*"):
        place, lock = _read(entry / "gitdir"), _read(entry / "locked")
        is_begun = not place and entry.name == folder.name and lock in ("", _BEGUN)
        is_on_branch = _read(entry / "HEAD") == f"ref: refs/heads/{branch}" and not lock
        is_lost = is_on_branch and not os.path.lexists(place)
        if not entry.is_symlink() and (place == f"{folder}/.git" or is_begun or is_lost):
            _remove_folder(entry)


def _checked_out(git: Git, branch: str, entry: Path | None) -> str:
    """Another working tree that is on a branch, besides the session's own; empty if there is none."""
    for each in (git.common, *(git_folder(git) / "worktrees").glob("*")):
        place = _read(each / "gitdir") or str(each)
        is_on_branch = _read(each / "HEAD") == f"ref: refs/heads/{branch}"
        if each != entry and is_on_branch and os.path.lexists(place):
            return place.removesuffix("/.git")
    return ""


def _remove_folder(folder: Path) -> None:
    """Remove a folder, if there is one. Raises RepositoryError."""
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        return
    except OSError as error:
        raise RepositoryError(f"cannot remove '{folder}': {error.strerror}") from error


def _read(path: Path) -> str:
    """The first line of a small file; empty if there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape").removesuffix("\n")
    except OSError:
        return ""


# --- files ---------------------------------------------------------------------------------------


class _Change(NamedTuple):
    """A path whose content in the worktree has to change; without an entry it is deleted."""

    path: str
    entry: Entry | None


class _Writer:
    """Writes the files of a commit into a worktree; follows no link, and overwrites nobody's edits."""

    def __init__(self, git: Git, folder: Path, commits: list[str]) -> None:
        """Take the commits: the one to write, and those that the worktree may have been at."""
        self._folder = folder
        self._new, *self._old = [snapshot(git.folder, commit) for commit in dict.fromkeys(commits)]

    def write(self, *, is_new: bool) -> list[str]:
        """Write what differs; the notes name what stays because somebody changed it.

        Args:
            is_new: No file was ever written to the end, so a missing file is not one that somebody deleted.
        """
        wanted = [_Change(path, self._new.entries.get(path)) for path in self._paths(is_new)]
        gone = [change for change in wanted if change.entry is None]
        notes = [note for change in gone if (note := self._delete(change.path))]
        for batch in _batches(change for change in wanted if change.entry):
            contents = self._new.read_many(change.path for change in batch if _has_content(change.entry))
            for change in batch:
                notes += self._put(change, contents.get(change.path, b""), is_new)
        return notes

    def _paths(self, is_new: bool) -> Iterator[str]:
        """The paths to check: all, or those whose content differs."""
        for path in sorted({path for files in (self._new, *self._old) for path in files.entries}):
            differs = any(self._entry(files, path) != self._entry(self._new, path) for files in self._old)
            if is_new or differs:
                yield path

    @staticmethod
    def _entry(files: Snapshot, path: str) -> tuple[str, str] | None:
        entry = files.entries.get(path)
        return (entry.mode, entry.blob) if entry else None

    def _put(self, change: _Change, data: bytes, is_new: bool) -> list[str]:
        target, entry = self._folder / change.path, change.entry
        assert entry
        if why := leads_away(change.path):
            return [f"'{change.path}' was not written: {why}"]
        if blocked := in_the_way(self._folder, change.path, is_folder=entry.mode == SUBMODULE):
            return [f"'{change.path}' was not written: '{blocked}' is in its way"]
        if entry.mode == SUBMODULE:
            target.mkdir(parents=True, exist_ok=True)
            return []
        found = content(target)
        if found == (entry.mode, data):
            return []
        if found is None and not is_new and any(change.path in files.entries for files in self._old):
            return [f"'{change.path}' was deleted by hand and stays so"]
        if found and not self._is_ours(change.path, found):
            return [f"'{change.path}' was changed by hand and stays as it is"]
        target.parent.mkdir(parents=True, exist_ok=True)
        write_whole(target, data, entry.mode, self._folder / _IN_WORK)
        return []

    def _delete(self, path: str) -> str:
        """Delete a file that the commit does not have; returns a note if it stays."""
        target = self._folder / path
        if leads_away(path) or in_the_way(self._folder, path) or (found := content(target)) is None:
            return ""
        if not self._is_ours(path, found):
            return f"'{path}' was changed by hand and stays, although the session deleted it"
        remove_file(self._folder, path)
        return ""

    def _is_ours(self, path: str, found: Content) -> bool:
        """Whether one of the commits has a file just like this one."""
        return any(
            entry.mode == found.mode and files.read(path) == found.data
            for files in (self._new, *self._old)
            if (entry := files.entries.get(path)) and entry.mode != SUBMODULE
        )


def _has_content(entry: Entry | None) -> bool:
    return entry is not None and entry.mode != SUBMODULE


def _batches(changes: Iterable[_Change]) -> Iterator[list[_Change]]:
    """The changes in parts that fit into memory."""
    batch: list[_Change] = []
    size = 0
    for change in changes:
        size += change.entry.size if change.entry else 0
        if batch and size > _BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(change)
    if batch:
        yield batch


def _commits(git: Git, repo: Repository, tip: str) -> list[str]:
    """The commits that a worktree may have been at: those of the branch, and the base."""
    return [*git.text("rev-list", "--first-parent", tip, f"^{repo['base']}").split(), repo["base"]]
