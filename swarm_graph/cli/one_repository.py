"""The repository that the command line names, and the note on uncommitted changes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from swarm_graph.cli.console import say
from swarm_graph.cli.options import SessionOptions
from swarm_graph.errors import InputError
from swarm_graph.state import OUTPUT_DIR

if TYPE_CHECKING:
    from swarm_graph.config import SwarmConfig
    from swarm_graph.repository.git import Git
    from swarm_graph.settings import RepositorySettings


def with_given_repository(config: SwarmConfig, options: SessionOptions) -> SwarmConfig:
    """A configuration with the repository that the options of a new session name.

    Raises:
        InputError: There is no repository to which they belong.
        ConfigError: They do not go together.
    """
    if options.diff == "":  # of a script whose variable is empty
        raise InputError("--diff is empty; name the range to review, as in --diff main...")
    given = {
        "path": options.repo,
        "base": options.base,
        "only": list(options.only_files),
        "read_only": list(options.read_only_files),
        "with_changes": options.with_changes,
        "diff": options.diff,
    }
    given = {name: value for name, value in given.items() if value}
    if not given:
        return config
    from swarm_graph.config import repository_settings

    if not options.repo and config.repo is None:
        option = {"read_only": "read-only-files"}.get(name := next(iter(given)), name.replace("_", "-"))
        raise InputError(f"--{option} needs a repository: add --repo DIR")
    # Another repository has nothing of the one that is configured.
    configured = config.repo.model_dump() if config.repo and not options.repo else {}
    repo = repository_settings({**configured, **given})
    assert repo is not None
    return config.with_repo(repo)


def moved_repository(options: SessionOptions) -> RepositorySettings | None:
    """The repository of a resumed session, at the place that --repo names."""
    from swarm_graph.config import repository_settings

    return repository_settings(options.repo or None)


def tell_of_repository(repo: RepositorySettings, data_dir: str) -> None:
    """Say what the user may not expect: uncommitted changes that are not part of a session, an idle `only`.

    Args:
        repo: The repository.
        data_dir: The data folder, which is no change of the user's; neither is the default output folder.

    Raises:
        InputError: There is no such repository.
    """
    from swarm_graph.repository.changed_files import names_newer_commit
    from swarm_graph.repository.worktree import is_dirty
    from swarm_graph.workflows.repository import open_repository

    git = open_repository(repo.path)
    if not repo.with_changes and not names_newer_commit(repo.diff):
        _tell_uncommitted(is_dirty(git, [Path(data_dir), Path(OUTPUT_DIR)]))
    if repo.only:
        _tell_idle(repo, git)


def _tell_uncommitted(changed: Sequence[str]) -> None:
    from swarm_graph.text import format_count

    if changed:
        them = "it" if len(changed) == 1 else "them"
        count = format_count(len(changed), "uncommitted change")
        say(f"note: the session leaves out your {count}; --with-changes includes {them}")


def _tell_idle(repo: RepositorySettings, git: Git) -> None:
    """Say which globs of `only` match no file: a slip, or a place for new files."""
    from swarm_graph.repository.globs import matches
    from swarm_graph.repository.snapshot import snapshot

    if git.try_run("rev-parse", "--verify", "--quiet", "HEAD").exit_code:
        return  # a repository without a commit is refused when the session begins
    files = snapshot(git.folder, git.commit_of(repo.base)).files
    for glob in repo.only:
        if not any(matches(path, [glob]) for path in files):
            say(f"note: --only {quote(glob)} matches no file of {repo.base}, so it allows new files alone")
