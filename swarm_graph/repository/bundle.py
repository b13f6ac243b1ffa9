"""Commits as git's bundle, a file for a repository on another machine."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from swarm_graph.repository.git import Git

_SENT = "refs/swarm-sent/"
_NEW = {"HEAD": "ref: refs/heads/main\n", "config": "[core]\n\trepositoryformatversion = 0\n\tbare = false\n"}


def write_bundle(git: Git, commits: Collection[str], file: Path, without: str = "") -> None:
    """Write commits with their history into a bundle.

    Args:
        git: Git in the repository.
        commits: Full ids.
        file: The bundle.
        without: A commit whose history the other repository has.

    Raises:
        RepositoryError: Git failed.
    """
    names = [f"{_SENT}{commit}" for commit in commits]
    for name, commit in zip(names, commits, strict=True):  # a bundle holds names alone
        git.run("update-ref", name, commit)
    try:
        git.run("bundle", "create", "--quiet", str(file), *names, *([f"^{without}"] if without else []))
    finally:
        for name in names:
            git.run("update-ref", "-d", name)


def read_bundle(git: Git, file: Path) -> list[str]:
    """Take the commits of a bundle into a repository, and keep them; returns their ids.

    Raises:
        RepositoryError: Git failed, or the repository lacks what they are based on.
    """
    lines = git.text("bundle", "unbundle", str(file)).splitlines()
    commits = [line.split()[0] for line in lines]
    for commit in commits:
        git.run("update-ref", f"{_SENT}{commit}", commit)
    return commits


def new_repository(folder: Path) -> Git:
    """Git in a new repository without a commit, and without anything that the user has configured."""
    for name in ("objects", "refs/heads"):
        (folder / ".git" / name).mkdir(parents=True, exist_ok=True)
    for name, text in _NEW.items():
        (folder / ".git" / name).write_text(text, encoding="utf-8")
    return Git(folder)
