"""The change of a session for people: figures, patch and diff, made from git's objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, cast

from swarm_graph.state import ChangeState
from swarm_graph.text import format_change

PATCH_FILE, STAT_FILE = "changes.patch", "changes.stat"
"""The files of a session that changes a repository."""
SHORT_ID = 12
"""How many characters of a commit's id people see."""


class ChangeSummary(NamedTuple):
    """The figures of a change, from the base to the last commit of the branch."""

    repository: str
    branch: str
    base: str
    commits: list[str]
    files: int
    added: int
    deleted: int

    @property
    def text(self) -> str:
        """The numbers as one line."""
        return format_change(self.files, self.added, self.deleted)


def made_commits(state: Mapping[str, Any]) -> list[str]:
    """The commits of a session, oldest first; empty if it changes no repository."""
    return list(state.get("commits") or []) if state.get("repo") else []


def change_summary(state: Mapping[str, Any]) -> ChangeSummary | None:
    """The change of a session; None if it has made no commit.

    Raises:
        RepositoryError: Git failed.
        InputError: The repository is gone.
    """
    commits = made_commits(state)
    if not commits:
        return None
    from swarm_graph.workflows.commit import commit_figures

    repo = cast("ChangeState", state)["repo"]
    figures = commit_figures(repo, repo["base"], commits[-1])
    numbers = (figures.files, figures.added, figures.deleted)
    return ChangeSummary(repo["path"], repo["branch"], repo["base"], commits, *numbers)


def change_files(state: Mapping[str, Any]) -> dict[str, bytes]:
    """The patch of a session's commits, and its statistics; empty before the first commit.

    Raises:
        RepositoryError: Git failed.
        InputError: The repository is gone.
    """
    commits = made_commits(state)
    if not commits:
        return {}
    from swarm_graph.repository.patch import patch, stat

    repo = cast("ChangeState", state)["repo"]
    figures = stat(repo, repo["base"], commits[-1])
    return {PATCH_FILE: patch(repo, commits), STAT_FILE: figures.encode(errors="surrogateescape")}


def diff_text(state: Mapping[str, Any]) -> str:
    """The whole change as one unified diff; empty before the first commit.

    Raises:
        RepositoryError: Git failed.
        InputError: The repository is gone.
    """
    commits = made_commits(state)
    if not commits:
        return ""
    from swarm_graph.repository.patch import unified_diff

    repo = cast("ChangeState", state)["repo"]
    return unified_diff(repo, repo["base"], commits[-1])
