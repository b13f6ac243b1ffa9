"""Bring the change of a session into the user's working tree or branch, and take it back.

All files are checked before the first is written. What was there before is recorded first, so that a change
can be taken back, also after a kill in the middle.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from swarm_graph.errors import InputError, RepositoryError
from swarm_graph.repository.commits import branch_tip, changed_tree, commit_tree, identity, write_blobs
from swarm_graph.repository.editable import leads_away
from swarm_graph.repository.files import RepositoryFiles
from swarm_graph.repository.git import Git
from swarm_graph.repository.snapshot import EXECUTABLE, REGULAR, SUBMODULE, Snapshot
from swarm_graph.repository.three_way import Conflict, is_same, merged
from swarm_graph.repository.tree_files import Content, content, in_the_way, remove_file, write_whole
from swarm_graph.state import Repository
from swarm_graph.text import first_names

_IN_WORK = ".swarm-in-work"
_BEGUN = {
    "MERGE_HEAD": "merge",
    "CHERRY_PICK_HEAD": "cherry-pick",
    "REVERT_HEAD": "revert",
    "rebase-apply": "rebase or `git am`",
    "rebase-merge": "rebase",
    "sequencer": "cherry-pick or revert",
}
"""The files that git has while the user is in the middle of something."""


class Write(NamedTuple):
    """A file of the working tree that changes.

    Attributes:
        path: Its path.
        before: What is there; None if nothing is.
        after: What will be there; None if it is deleted.
    """

    path: str
    before: Content | None
    after: Content | None


class Applied(NamedTuple):
    """What was done to the user's working tree.

    Attributes:
        written: The paths that were written.
        deleted: The paths that were deleted.
        commit: The commit that the branch is at now; empty if it did not move.
    """

    written: list[str]
    deleted: list[str]
    commit: str = ""


def apply_to_tree(files: RepositoryFiles, record: Path) -> Applied:
    """Write a session's change into the user's working tree, uncommitted; index and branch stay.

    A file that the user's commits have changed since the base is merged line by line.

    Args:
        files: The files of the session; its repository has the user's folder.
        record: The file that says what was there before, for `undo`.

    Raises:
        RepositoryError: A file does not fit, has uncommitted changes, or cannot be written; nothing was
            changed.
    """
    git = files.base.git
    finish_undo(git, record)
    return _perform(git, planned_writes(files), record)


def planned_writes(files: RepositoryFiles) -> list[Write]:
    """What `apply_to_tree` would write.

    Args:
        files: The files of the session; its repository has the user's folder.

    Raises:
        RepositoryError: A file does not fit, or has uncommitted changes.
    """
    git = files.base.git
    head = Snapshot(git, git.commit_of("HEAD"))
    plan, problems = [], []
    for path, ours in _session_files(files).items():
        try:
            plan.append(_planned(git, path, _committed(files.base, path), _committed(head, path), ours))
        except Conflict as conflict:
            problems.append(f"'{path}': {conflict}")
    _refuse(git, problems)
    return [write for write in plan if not is_same(write.before, write.after)]


def merge_into_branch(repo: Repository, record: Path) -> Applied:
    """Merge a session's branch into the branch that the user has checked out, as a commit or fast-forward.

    Args:
        repo: The repository; its path is the user's folder.
        record: The file that says what was there before, for `undo`.

    Raises:
        RepositoryError: A file does not fit or has uncommitted changes, or git failed; nothing was changed.
        InputError: The session has no branch, or the branch has been merged, or none is checked out.
    """
    git = Git(repo["path"])
    finish_undo(git, record)
    tip, head = branch_tip(git, repo["branch"]), git.commit_of("HEAD")
    branch = _branch(git)
    if not tip:
        raise InputError(f"the repository '{git.folder}' has no branch '{repo['branch']}' to merge")
    if not branch:
        raise InputError(f"no branch is checked out in '{git.folder}'; check one out, or leave --merge out")
    if begun := _unfinished(git):
        raise InputError(f"a {begun} is not finished in '{git.folder}'; end it first, or leave --merge out")
    new = _merge_commit(git, repo["branch"], head, tip)
    if new == head:
        raise InputError(f"'{branch.removeprefix('refs/heads/')}' already contains '{repo['branch']}'")
    old_files, new_files = Snapshot(git, head), Snapshot(git, new)
    plan, problems = [], []
    for path in _differing(old_files, new_files):
        try:
            plan.append(_checked_out(git, path, old_files, new_files))
        except Conflict as conflict:
            problems.append(f"'{path}': {conflict}")
    _refuse(git, problems)
    move = {"branch": branch, "from": head, "to": new}
    return _perform(git, plan, record, move)


def undo(git: Git, record: Path) -> Applied:
    """Take the last `apply` of a session back.

    Args:
        git: Git in the user's repository.
        record: The file that says what was there before; it is removed.

    Raises:
        InputError: Nothing is recorded, or for another folder.
        RepositoryError: A file or the branch has changed since; nothing was changed.
    """
    recorded = _read_record(record)
    if recorded.get("folder") != str(git.folder):
        raise InputError(f"there is no applied change to undo in '{git.folder}'")
    _check_unchanged(git, recorded)
    move = recorded["move"]
    if move and git.commit_of("HEAD") == move["to"]:
        _move_head(git, move["to"], git.commit_of(move["from"]), "swarm: undo")
    writes = [_undoing(git, file) for file in recorded["files"]]
    _write_all(git, writes)
    if move:
        _set_index(git, move["from"], [write.path for write in writes])
    record.unlink()
    return _applied(writes, move["from"] if move else "")


def finish_undo(git: Git, record: Path) -> None:
    """Take back what a killed `apply` has left half done. Raises RepositoryError."""
    if record.exists() and not _read_record(record)["done"]:
        undo(git, record)


# --- what is to be written -----------------------------------------------------------------------


def _session_files(files: RepositoryFiles) -> dict[str, Content | None]:
    """The files of a session as they are to be; None for those that it deletes."""
    written = {path: Content(files.mode(path), data) for path, data in files.encoded().items()}
    return {**written, **dict.fromkeys(files.deleted)}


def _committed(files: Snapshot, path: str) -> Content | None:
    entry = files.entries.get(path)
    if entry is None:
        return None
    return Content(entry.mode, entry.blob.encode() if entry.mode == SUBMODULE else files.read(path))


def _planned(git: Git, path: str, base: Content | None, head: Content | None, ours: Content | None) -> Write:
    """How a file of the working tree changes. Raises Conflict."""
    there = _there(git, path, head)
    if not (is_same(there, ours) or is_same(there, base) or is_same(there, head)):
        raise Conflict("it has uncommitted changes" if head else "there is another file with this name")
    return Write(path, there, merged(git, base, there, ours))


def _checked_out(git: Git, path: str, old: Snapshot, new: Snapshot) -> Write:
    """How a file of the working tree changes when another commit is checked out. Raises Conflict."""
    before, after = _committed(old, path), _committed(new, path)
    there = _there(git, path, before)
    staged = git.try_run("diff-index", "--cached", "--quiet", old.commit, "--", path).exit_code
    if not is_same(there, before) or staged:
        raise Conflict("it has uncommitted changes" if before else "there is another file with this name")
    return Write(path, there, merged(git, before, there, after))


def _there(git: Git, path: str, committed: Content | None) -> Content | None:
    """What the working tree has at a path. Raises Conflict if the path leads out of it.

    A file system that cannot say whether a file can be run leaves that to the commit.
    """
    if why := leads_away(path):
        raise Conflict(why)
    try:
        blocked, found = in_the_way(git.folder, path), content(git.folder / path)
    except OSError as error:
        raise Conflict(f"it cannot be read ({error.strerror})") from error
    if blocked:
        raise Conflict(f"'{blocked}' is in its way")
    if found and committed and {found.mode, committed.mode} == {REGULAR, EXECUTABLE} and not _has_modes(git):
        return found._replace(mode=committed.mode)
    return found


def _has_modes(git: Git) -> bool:
    return git.try_run("config", "--type=bool", "--get", "core.fileMode").stdout != b"false\n"


def _refuse(git: Git, problems: list[str]) -> None:
    if problems:
        raise RepositoryError(
            f"the change does not fit '{git.folder}', which stays as it is: {first_names(problems)}; "
            "commit or stash your own changes, or merge the session's branch by hand"
        )


# --- the merge commit ----------------------------------------------------------------------------


def _merge_commit(git: Git, branch: str, head: str, tip: str) -> str:
    """The commit that has both; one of the two if that has the other one's."""
    base = git.try_run("merge-base", head, tip).stdout.decode().strip()
    if not base:
        raise RepositoryError(f"'{branch}' and the checked-out branch have no commit in common")
    if base in (head, tip):
        return tip if base == head else head
    trees = [Snapshot(git, commit) for commit in (base, head, tip)]
    files, problems = {}, []
    for path in _differing(trees[0], trees[2]):
        try:
            files[path] = merged(git, *(_committed(tree, path) for tree in trees))
        except Conflict as conflict:
            problems.append(f"'{path}': {conflict}")
    _refuse(git, problems)
    kept = {path: file for path, file in files.items() if file is not None}
    blobs = write_blobs(git, (file.data for file in kept.values()))
    entries = [(file.mode, blob, path) for (path, file), blob in zip(kept.items(), blobs, strict=True)]
    deleted = [path for path, file in files.items() if file is None and path in trees[1].entries]
    tree = changed_tree(git, head, entries, deleted)
    return commit_tree(git, tree, head, f"Merge branch '{branch}'\n", time.time(), tip)


def _differing(old: Snapshot, new: Snapshot) -> list[str]:
    paths = sorted({*old.entries, *new.entries})
    return [path for path in paths if old.entries.get(path) != new.entries.get(path)]


def _branch(git: Git) -> str:
    """The full name of the branch that is checked out; empty if none is."""
    return os.fsdecode(git.try_run("symbolic-ref", "--quiet", "HEAD").stdout).strip()


def _unfinished(git: Git) -> str:
    """What the user has begun with git and not ended, such as a merge: the next commit is a part of it."""
    return next((name for file, name in _BEGUN.items() if (git.own / file).exists()), "")


# --- writing -------------------------------------------------------------------------------------


def _perform(git: Git, writes: list[Write], record: Path, move: Mapping[str, str] | None = None) -> Applied:
    """Write files, all or none, and move the checked-out branch. Raises RepositoryError."""
    if not writes and not move:
        return Applied([], [])
    _save_record(git, record, writes, move, done=False)
    try:
        _write_all(git, writes)
        if move:
            _set_index(git, move["to"], [write.path for write in writes])
            _move_head(git, move["from"], move["to"], "swarm: merge")
    except RepositoryError:
        undo(git, record)
        raise
    _save_record(git, record, writes, move, done=True)
    return _applied(writes, move["to"] if move else "")


def _applied(writes: Iterable[Write], commit: str) -> Applied:
    written = [write.path for write in writes if write.after]
    return Applied(written, [write.path for write in writes if not write.after], commit)


def _write_all(git: Git, writes: list[Write]) -> None:
    """Write files, the deletions first. Raises RepositoryError."""
    path = ""
    try:
        for path, before, after in sorted(writes, key=lambda write: write.after is not None):
            target = git.folder / path
            with suppress(OSError):
                target.with_name(_IN_WORK).unlink()
            if in_the_way(git.folder, path):
                raise RepositoryError(f"'{path}' cannot be written: a link or folder is in its way")
            if after:
                target.parent.mkdir(parents=True, exist_ok=True)
                write_whole(target, after.data, after.mode, target.with_name(_IN_WORK))
            elif before:
                remove_file(git.folder, path)
    except OSError as error:
        raise RepositoryError(f"cannot write '{git.folder / path}': {error.strerror}") from error


def _set_index(git: Git, commit: str, paths: list[str]) -> None:
    """Set the user's index to a commit, at these paths. Raises RepositoryError."""
    entries = Snapshot(git, commit).entries
    nothing = f"0 {'0' * len(commit)}"
    lines = [f"{nothing}\t{path}" for path in paths if path not in entries]
    lines += [f"{entries[path].mode} {entries[path].blob}\t{path}" for path in paths if path in entries]
    git.run("update-index", "-z", "--index-info", data=b"".join(os.fsencode(line) + b"\0" for line in lines))
    git.try_run("update-index", "-q", "--refresh")


def _move_head(git: Git, old: str, new: str, reason: str) -> None:
    git.run("update-ref", "-m", reason, "HEAD", new, old, environment=identity(git, time.time()))


# --- the record ----------------------------------------------------------------------------------


def _save_record(
    git: Git, record: Path, writes: list[Write], move: Mapping[str, str] | None, *, done: bool
) -> None:
    """Save what was there before, for `undo`. Raises RepositoryError."""
    files = [
        {"path": path, "before": _saved(before), "after": _digest(after)} for path, before, after in writes
    ]
    document = {"folder": str(git.folder), "done": done, "move": move, "files": files}
    new = record.with_suffix(".new")
    try:
        record.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(document, file)
        new.replace(record)
    except OSError as error:
        raise RepositoryError(f"cannot write '{record}': {error.strerror}") from error


def _read_record(record: Path) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
        return {key: document[key] for key in ("folder", "done", "move", "files")}
    except FileNotFoundError as error:
        raise InputError("there is no applied change to undo") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"'{record}' cannot be read; it says what was applied") from error


def _saved(file: Content | None) -> dict[str, str] | None:
    return file and {"mode": file.mode, "data": base64.b64encode(file.data).decode()}


def _digest(file: Content | None) -> str:
    """A file in one word; empty for none."""
    return hashlib.sha256(file.mode.encode() + b" " + file.data).hexdigest() if file else ""


def _undoing(git: Git, file: Mapping[str, Any]) -> Write:
    """The write that restores a file."""
    before = file["before"]
    content_before = Content(before["mode"], base64.b64decode(before["data"])) if before else None
    return Write(file["path"], content(git.folder / file["path"]), content_before)


def _check_unchanged(git: Git, recorded: Mapping[str, Any]) -> None:
    """Refuse to take back what somebody has changed since. Raises RepositoryError."""
    changed = []
    for file in recorded["files"]:
        path, before = file["path"], _undoing(git, file).after
        try:
            there = _digest(_there(git, path, None))
        except Conflict:
            there = "in the way"
        if there not in (file["after"], _digest(before)):
            changed.append(f"'{path}'")
    move = recorded["move"]
    if move and (_branch(git) != move["branch"] or git.commit_of("HEAD") not in (move["from"], move["to"])):
        changed.append("the checked-out branch")
    if changed:
        raise RepositoryError(f"cannot be taken back: changed since it was applied: {first_names(changed)}")
