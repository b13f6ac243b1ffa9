"""The repository that the command line names, and the note on uncommitted changes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from swarm_graph.cli.console import say
from swarm_graph.cli.options import SessionOptions
from swarm_graph.errors import InputError
from swarm_graph.state import OUTPUT_DIR

if TYPE_CHECKING:
    from swarm_graph.config import SwarmConfig
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


def tell_uncommitted(repo: RepositorySettings, data_dir: str) -> None:
    """Say that the uncommitted changes of the working tree are not part of a session.

    Args:
        repo: The repository.
        data_dir: The data folder, which is no change of the user's; neither is the default output folder.

    Raises:
        InputError: There is no such repository.
    """
    from swarm_graph.repository.git import Git
    from swarm_graph.repository.worktree import is_dirty
    from swarm_graph.text import format_count

    own = [Path(data_dir), Path(OUTPUT_DIR)]
    if repo.with_changes or not (changed := is_dirty(Git(repo.path), own)):
        return
    them = "it" if len(changed) == 1 else "them"
    count = format_count(len(changed), "uncommitted change")
    say(f"note: the session leaves out your {count}; --with-changes includes {them}")
