"""The repository of a session: resolved when the session begins, found again when it continues."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from langgraph.checkpoint.base import CheckpointTuple
from pydantic import TypeAdapter, ValidationError

from swarm_graph.checkpoints.places import UNMOVED, Places
from swarm_graph.checkpoints.records import new_session_id
from swarm_graph.config import repository_settings
from swarm_graph.config_source import first_problem, one_line
from swarm_graph.errors import NEEDS_REPOSITORY, InputError
from swarm_graph.repository.changed_files import revisions
from swarm_graph.repository.commits import BRANCHES, check_branch
from swarm_graph.repository.diff import not_shown
from swarm_graph.repository.git import Git
from swarm_graph.repository.worktree import changes_commit
from swarm_graph.settings import RepositorySettings
from swarm_graph.state import Repository

NAME_REPOSITORY = "name yours with --repo DIR (in Python repo=DIR)"
"""The cure where a repository is not found."""


def branch_name(session: str) -> str:
    """The branch of a session. A thread id may be any text, so characters that git forbids are quoted."""
    name = quote(session, safe="").replace("..", "%2E%2E").replace("~", "%7E")
    for end in (".lock", "."):
        if name.endswith(end):
            name = f"{name.removesuffix(end)}%2E{end[1:]}"
    return BRANCHES + (f"%2E{name[1:]}" if name.startswith(".") else name)


def resolve(settings: RepositorySettings) -> Repository:
    """The repository that the settings name, with the full ids of its commits; its branch is still empty.

    Raises:
        InputError: There is no such repository, or no such commit in it.
        RepositoryError: Git failed.
    """
    git = open_repository(settings.path)
    base = _base(git, settings)
    if settings.diff:
        old, new = revisions(git, settings.diff, base)
        return {**_repository(git, settings, new, old), "not_shown": not_shown(git, old, new)}
    return _repository(git, settings, base)


def _repository(git: Git, settings: RepositorySettings, base: str, compared_with: str = "") -> Repository:
    return Repository(
        path=str(git.folder),
        start=settings.base,
        base=base,
        branch="",
        only=settings.only,
        read_only=settings.read_only,
        compared_with=compared_with,
    )


def open_repository(folder: str) -> Git:
    """Git in the repository that the user has named. Raises InputError with the cure."""
    try:
        return Git(folder)
    except InputError as error:
        raise InputError(f"{error}; {NAME_REPOSITORY}") from error


def _base(git: Git, settings: RepositorySettings) -> str:
    if settings.base == "HEAD" and git.try_run("rev-parse", "--verify", "--quiet", "HEAD").exit_code:
        raise InputError(f"the repository '{git.folder}' has no commit yet; commit its files first")
    base = git.commit_of(settings.base)
    return changes_commit(git, base) if settings.with_changes else base


def given_repository(given: Any, configured: RepositorySettings | None) -> Repository | None:
    """The repository of a new request, resolved; None if none is named.

    Args:
        given: What the input has as `repo`: a folder, settings, or a Repository that was resolved before.
        configured: The repository of the configuration, which is used if the input names none.

    Raises:
        ConfigError: It cannot be used.
        InputError: There is no such repository, or no such commit in it.
    """
    if given is None:
        return resolve(configured) if configured else None
    if isinstance(given, Mapping) and "start" in given:
        return _checked(given)
    settings = repository_settings(given if isinstance(given, Mapping | RepositorySettings) else str(given))
    assert settings is not None
    return resolve(settings)


def _checked(given: Mapping[str, Any]) -> Repository:
    """A Repository that a run recorded, or that a caller took out of a state."""
    try:
        return TypeAdapter(Repository).validate_python(dict(given))
    except ValidationError as error:
        path, message = first_problem(error)
        raise InputError(one_line(f"{'.'.join(('repo', *path))}: {message}")) from error


@dataclass(frozen=True)
class SessionRepository:
    """Finds the repository of one session when a run of it opens.

    Attributes:
        session: The thread id.
        here: The repository that the configuration names.
        is_own: Whether the user began the session, or has trusted it.
        writes_files: Whether a role of the graph writes files, so that the session has a branch.
        places: Where the files of the session lie now.
    """

    session: str
    here: RepositorySettings | None
    is_own: bool
    writes_files: bool
    places: Places = UNMOVED

    def of_request(
        self, request: Mapping[str, Any], saved: CheckpointTuple | None, *, is_new: bool
    ) -> Repository:
        """The repository of a request. A follow-up has that of its session: its base and its branch stay.

        Args:
            request: The request.
            saved: The latest checkpoint of the session.
            is_new: Whether the user has made the request now; else a run that was killed left it.

        Raises:
            InputError: There is none, or it cannot be used.
            RepositoryError: The session cannot have its branch.
        """
        known = saved.checkpoint["channel_values"].get("repo") if saved else None
        given: Repository | None = request.get("repo")
        if known:
            place = RepositorySettings(path=given["path"]) if given and is_new else self.here
            return self._find_again(known, place)
        if given is None:
            raise InputError(NEEDS_REPOSITORY)
        repo = given if is_new else self._find_again(given, self.here)
        _check_diff(repo, writes_files=self.writes_files)
        if not self.writes_files:
            return {**repo, "branch": ""}
        name = self.session or new_session_id()  # without a thread the branch needs a name all the same
        check_branch(Git(repo["path"]), branch_name(name), name, repo["base"])
        return {**repo, "branch": branch_name(name)}

    def moved(self, values: Mapping[str, Any]) -> Repository | None:
        """The repository of a session that is resumed, if it lies elsewhere now. Raises InputError."""
        repo: Repository | None = values.get("repo")
        if repo is None:
            return None
        found = self._find_again(repo, self.here)
        return found if found["path"] != repo["path"] else None

    def _find_again(self, repo: Repository, here: RepositorySettings | None) -> Repository:
        present: Repository = {**repo, "path": self.places.present(repo["path"])}
        return find_again(present, self.session, here, is_own=self.is_own)


def _check_diff(repo: Repository, *, writes_files: bool) -> None:
    """Raises InputError for a range outside of a review, and for a review without a range."""
    if repo["compared_with"] and writes_files:
        raise InputError(
            "a diff is for reviews: add --workflow review_only, or leave --diff out (in Python `diff` of "
            "repo)"
        )
    if not repo["compared_with"] and not writes_files:
        raise InputError(
            "a review of a repository needs the range to review, as in --diff main... (in Python `diff` of "
            "repo)"
        )


def find_again(
    repo: Repository, session: str, here: RepositorySettings | None, *, is_own: bool
) -> Repository:
    """The repository of a session that continues, at its present place.

    Args:
        repo: The repository as the state has it.
        session: The session.
        here: Where the user says that it lies now; None: where it lay.
        is_own: Whether the user began the session, or has trusted it. The path that another session recorded
            is not used.

    Raises:
        InputError: It is not there, lacks the session's commits, or may not be used.
    """
    if here is None and not is_own:
        raise InputError(
            one_line(
                f"session '{session}' was not started by you, so its recorded repository is not used: "
                f"'{repo['path']}'; {NAME_REPOSITORY}, or accept it with "
                "--trust-session (trust_session=True)"
            )
        )
    try:
        git = Git(here.path if here else repo["path"])
    except InputError as error:
        raise InputError(f"session '{session}': {error}; {NAME_REPOSITORY}") from error
    for commit in filter(None, (repo["base"], repo["compared_with"])):
        if git.try_run("cat-file", "-e", f"{commit}^{{commit}}").exit_code:
            raise InputError(
                f"the repository '{git.folder}' lacks the commit {commit[:12]}, at which session '{session}' "
                f"began; {NAME_REPOSITORY}"
            )
    return {**repo, "path": str(git.folder)}
