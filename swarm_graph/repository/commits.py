"""The commits of a session: the same state gives the same commits, on the branch of the session."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from swarm_graph.errors import RepositoryError
from swarm_graph.repository.editable import unsafe
from swarm_graph.repository.files import RepositoryFiles
from swarm_graph.repository.git import Git
from swarm_graph.state import Repository

BRANCHES = "swarm/"
"""All branches of sessions begin with this; no other branch is ever written."""
SESSION_TRAILER = "Swarm-Session"
MAX_SUBJECT_CHARACTERS = 72
_TRIES = 3


def message(subject: str, *, session: str, verdict: str, round: int) -> str:
    """The message of a commit: one line, and the session, its verdict and the round as trailers."""
    words = "".join(character if character.isprintable() else " " for character in subject).split()
    line = " ".join(words) or "Changes"
    if len(line) > MAX_SUBJECT_CHARACTERS:
        line = line[: MAX_SUBJECT_CHARACTERS - 1].rstrip() + "…"
    trailers = {SESSION_TRAILER: session, "Swarm-Verdict": verdict, "Swarm-Round": str(round)}
    return "\n".join(
        [line, "", *(f"{name}: {' '.join(value.split())}" for name, value in trailers.items()), ""]
    )


def commit(
    repo: Repository,
    session: str,
    *,
    parent: str,
    written: Mapping[str, str],
    deleted: Collection[str],
    message: str,
    date: float,
) -> str:
    """Commit the files of a session to its branch.

    The same arguments give the same commit. The branch ends at that commit. The working tree and the index
    of the user are not touched.

    Args:
        repo: The repository.
        session: The session; the message names it as `Swarm-Session`.
        parent: The id of the commit before: the base, or the session's last one.
        written: All files that differ from the base: path to text.
        deleted: The paths of the base that are deleted.
        message: The message, as `message` makes it.
        date: Seconds since the epoch, for author and committer.

    Returns:
        The id of the commit; that of the parent if nothing differs from it.

    Raises:
        RepositoryError: Git failed, a text does not fit the encoding of its file, or the branch has commits
            that the session did not make.
        InputError: The repository lacks the parent.
    """
    files = RepositoryFiles(repo, written, deleted)
    git, made = files.base.git, files.base.git.commit_of(parent)
    tree = _write_tree(files)
    if tree != git.text("rev-parse", f"{made}^{{tree}}"):
        made = commit_tree(git, tree, made, message, date)
    move_branch(git, repo["branch"], session, to=made, parent=parent)
    return made


def commit_tree(git: Git, tree: str, parent: str, message: str, date: float, *more_parents: str) -> str:
    """Make a commit of a tree, by the author of the repository; returns its id. Moves no branch."""
    parents = [option for each in (parent, *more_parents) for option in ("-p", each)]
    environment = identity(git, date)
    made = git.run("commit-tree", tree, *parents, data=message.encode(), environment=environment)
    return made.decode().strip()


def identity(git: Git, date: float) -> dict[str, str]:
    """The author and committer as git's variables: the repository's own setting, else swarm@localhost."""
    found: dict[str, str] = {}
    for part, default in {"name": "swarm", "email": "swarm@localhost"}.items():
        given = git.try_run("config", "--get", f"user.{part}").stdout.decode(errors="replace").strip()
        usable = re.sub(r"[\0-\x1f<>]", "", given).strip(" .,:;\"\\'")
        for person in ("AUTHOR", "COMMITTER"):
            found[f"GIT_{person}_{part.upper()}"] = usable or default
            found[f"GIT_{person}_DATE"] = f"@{int(date)} +0000"
    return found


# --- trees ---------------------------------------------------------------------------------------


def _write_tree(files: RepositoryFiles) -> str:
    """The tree of the base commit with the files of the session; modes and links stay."""
    encoded = files.encoded()
    for path in (*encoded, *files.deleted):
        if why := unsafe(path):
            raise RepositoryError(f"'{path}' cannot be committed: {why}")
    git = files.base.git
    blobs = write_blobs(git, encoded.values())
    entries = [(files.mode(path), blob, path) for path, blob in zip(encoded, blobs, strict=True)]
    return changed_tree(git, files.base.commit, entries, files.deleted)


def changed_tree(
    git: Git, commit: str, entries: Iterable[tuple[str, str, str]], deleted: Iterable[str]
) -> str:
    """The id of a commit's tree with some files replaced: the mode, blob and path of each."""
    nothing = "0" * len(commit)
    lines = [f"0 {nothing}\t{path}" for path in deleted]  # first: a folder may stand in the place of a file
    lines += [f"{mode} {blob}\t{path}" for mode, blob, path in entries]
    with temporary_index() as index:
        git.run("read-tree", commit, environment=index)
        data = b"".join(os.fsencode(line) + b"\0" for line in lines)
        git.run("update-index", "-z", "--index-info", data=data, environment=index)
        return git.text("write-tree", environment=index)


def write_blobs(git: Git, contents: Iterable[bytes]) -> list[str]:
    """Write contents as objects, as they are; returns their ids."""
    with tempfile.TemporaryDirectory() as folder:
        names = ""
        for number, data in enumerate(contents):
            Path(folder, str(number)).write_bytes(data)
            names += f"{folder}/{number}\n"
        return (
            git.run("hash-object", "-w", "--no-filters", "--stdin-paths", data=names.encode())
            .decode()
            .split()
        )


@contextmanager
def temporary_index() -> Iterator[dict[str, str]]:
    """The environment variable that gives git a temporary index."""
    with tempfile.TemporaryDirectory() as folder:
        yield {"GIT_INDEX_FILE": f"{folder}/index"}


# --- the branch ----------------------------------------------------------------------------------


def move_branch(git: Git, branch: str, session: str, *, to: str, parent: str) -> None:
    """Move a session's branch to a commit, or make it.

    It is moved from the parent, from a commit before that, or from another commit of this session, and only
    if no other process moves it meanwhile.

    Raises:
        RepositoryError: The branch has commits that the session did not make, or cannot be written.
    """
    git_folder(git)
    for attempt in range(_TRIES):
        tip = branch_tip(git, branch)
        if tip == to:
            return
        if why := _why_not_movable(git, branch, session, tip, parent):
            raise RepositoryError(f"{why}, then resume")
        try:
            _update_ref(git, branch, to, tip or "0" * len(to))
            return
        except RepositoryError:
            if attempt == _TRIES - 1:
                raise


def check_branch(git: Git, branch: str, session: str, base: str) -> None:
    """Check that a session can have its branch, before it begins.

    Args:
        git: Git in the repository.
        branch: The branch of the session; it may be missing.
        session: The session.
        base: The commit that the branch begins at.

    Raises:
        RepositoryError: A branch of the user's is in its place, or it cannot be written.
    """
    objects = git_folder(git) / "objects"
    if not os.access(objects, os.W_OK):
        raise RepositoryError(
            f"cannot write to '{objects}', where the commits of the session belong; make it writable, or "
            "name a clone of the repository"
        )
    below = git.text("for-each-ref", "--format=%(refname:short)", f"{_ref(branch)}/").split("\n")[0]
    top = BRANCHES.rstrip("/")
    has_top = not git.try_run("show-ref", "--verify", "--quiet", f"refs/heads/{top}").exit_code
    if other := top if has_top else below:
        raise RepositoryError(
            f"the session needs the branch '{branch}', which git allows only without a branch '{other}'; "
            f"rename that with `git branch -m {other} OTHER-NAME`"
        )
    if why := _why_not_movable(git, branch, session, branch_tip(git, branch), base):
        raise RepositoryError(why)


def _why_not_movable(git: Git, branch: str, session: str, tip: str, parent: str) -> str:
    """Why a session may not move its branch, with the cure; empty if it may."""
    if tip and not (_is_ancestor(git, tip, parent) or is_own_commit(git, tip, session)):
        return (
            f"the branch '{branch}' has a commit {tip[:12]} that the session did not make; keep it with "
            f"`git branch -m {branch} OTHER-NAME`"
        )
    if git.try_run("symbolic-ref", "--quiet", "HEAD").stdout.decode(errors="replace").strip() == _ref(branch):
        return f"the branch '{branch}' is checked out in '{git.folder}'; check out another one there"
    return ""


def branch_tip(git: Git, branch: str) -> str:
    """The commit of a session's branch; empty if there is no such branch."""
    found = git.try_run("rev-parse", "--verify", "--quiet", f"{_ref(branch)}^{{commit}}")
    return found.stdout.decode().strip()


def delete_branch(git: Git, branch: str, tip: str) -> None:
    """Delete a session's branch, if it still is at a commit. Raises RepositoryError."""
    git.run("update-ref", "--no-deref", "-d", _ref(branch), tip)


def is_own_commit(git: Git, commit: str, session: str) -> bool:
    """Whether a session made a commit, and nobody changed it: amending changes the committer's date."""
    head, _, text = git.run("cat-file", "commit", commit).decode(errors="replace").partition("\n\n")
    people = [
        line.partition(" ")[2] for line in head.split("\n") if line.startswith(("author ", "committer "))
    ]
    return f"{SESSION_TRAILER}: {session}" in text.split("\n") and len({*people}) == 1


def git_folder(git: Git) -> Path:
    """The folder with the refs and worktrees of a repository.

    Raises:
        RepositoryError: A link in it would lead what a session writes elsewhere.
    """
    for name in ("refs/heads/swarm", "logs/refs/heads/swarm", "worktrees", "objects"):
        folder = git.common / name
        inside = folder.iterdir() if folder.is_dir() else ()
        for place in (*inside, folder, *folder.parents):
            if place == git.common:
                break
            if place.is_symlink():
                raise RepositoryError(f"'{place}' is a symbolic link; a session does not write through one")
    return git.common


def _update_ref(git: Git, branch: str, to: str, old: str) -> None:
    """Move a branch that is still at its old commit. A lock of a killed process of the session is removed."""
    ref = _ref(branch)
    # Only this session writes its branch, and no two processes run one session.
    with suppress(OSError):
        (git_folder(git) / f"{ref}.lock").unlink()
    environment = identity(git, 0)
    del environment["GIT_COMMITTER_DATE"]
    git.run("update-ref", "--no-deref", "-m", "swarm: commit", ref, to, old, environment=environment)


def _ref(branch: str) -> str:
    """The full name of a session's branch. Raises RepositoryError for any other branch."""
    name = branch.removeprefix(BRANCHES)
    if name == branch or not re.fullmatch(r"[A-Za-z0-9%._-]+", name):
        raise RepositoryError(f"'{branch}' is no branch of a session; expected {BRANCHES}<session>")
    return f"refs/heads/{branch}"


def _is_ancestor(git: Git, commit: str, of: str) -> bool:
    return git.try_run("merge-base", "--is-ancestor", commit, of).exit_code == 0
