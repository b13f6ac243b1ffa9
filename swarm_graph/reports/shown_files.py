"""The files of a session, and its change of a repository, as data for its report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, cast

from swarm_graph.errors import SwarmError
from swarm_graph.reports.file_diffs import Change, change_in
from swarm_graph.reports.highlight import CodeLines, Highlighter
from swarm_graph.sessions.change_summary import PATCH_FILE, SHORT_ID, diff_text, made_commits
from swarm_graph.state import ChangeState, SwarmState

MAX_FILES, MAX_CHARACTERS = 200, 500_000
"""Files in a saved report, and characters of all of them together."""
MAX_DIFF_CHARACTERS = 200_000
NOT_OWN = "The diff is not shown: git reads no folder that another user's session names."


class ShownFile(NamedTuple):
    """A file of a session.

    Attributes:
        path: Its path in the session's folder.
        bytes: Its size.
        code: Its text; None if it is not shown here.
    """

    path: str
    bytes: int
    code: CodeLines | None = None


@dataclass(frozen=True)
class ShownChange:
    """What a session changed in a repository.

    Attributes:
        branch: The session's branch.
        repository: The folder of the repository.
        commits: The beginnings of the ids of its commits.
        change: The change; None if there is none to show.
        note: What is not shown, and why; empty if everything is.
    """

    branch: str
    repository: str
    commits: list[str]
    change: Change | None
    note: str = ""


def shown_file(path: str, text: str, highlighter: Highlighter) -> ShownFile:
    """A file with its text, highlighted."""
    return ShownFile(path, _size(text), highlighter.file(path, text))


def listed_files(files: Mapping[str, str]) -> list[ShownFile]:
    """Files without their texts."""
    return [ShownFile(path, _size(text)) for path, text in files.items()]


def saved_files(files: Mapping[str, str], highlighter: Highlighter) -> list[ShownFile]:
    """Files for a saved report: with their texts, as far as these fit."""
    left, shown = MAX_CHARACTERS, list[ShownFile]()
    for path, text in files.items():
        fits = len(text) <= left and len(shown) < MAX_FILES
        left -= len(text) if fits else 0
        shown.append(shown_file(path, text, highlighter) if fits else ShownFile(path, _size(text)))
    return shown


def _size(text: str) -> int:
    return len(text.encode(errors="replace"))


def shown_change(state: SwarmState, *, trusted: bool) -> ShownChange | None:
    """What a session changed in a repository; None if it changes none.

    Args:
        state: The session's state.
        trusted: Whether the session is the user's own, so that git may read in the repository that it names.
    """
    repo = cast("ChangeState", state).get("repo")
    if not repo or not repo["branch"]:
        return None
    commits = [commit[:SHORT_ID] for commit in made_commits(state)]
    diff, note = "", "" if trusted else NOT_OWN
    try:
        diff = diff_text(state) if trusted else ""
    except SwarmError as error:  # the repository is gone
        note = str(error)
    if (more := len(diff) - MAX_DIFF_CHARACTERS) > 0:
        diff, note = diff[:MAX_DIFF_CHARACTERS], f"{more:,} more characters of the diff are in {PATCH_FILE}"
    return ShownChange(repo["branch"], repo["path"], commits, change_in(diff) if diff else None, note)
