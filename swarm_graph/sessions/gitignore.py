"""Make git ignore our folders in a user's repository, so that they are no changes of the user's."""

from __future__ import annotations

from pathlib import Path

from swarm_graph.checkpoints.places import is_below
from swarm_graph.sessions.output import write_file

IGNORE = ".gitignore"


def keep_out_of_git(folder: Path, repository: str) -> None:
    """Make git ignore a folder of ours, as tools do with their caches, if it lies in a repository.

    Args:
        folder: The folder, which may be missing; a file `.gitignore` in it stays as it is.
        repository: The top folder of the repository.

    Raises:
        StorageError: It cannot be written.
    """
    is_top = folder.resolve() == Path(repository).resolve()
    if not is_top and is_below(str(folder.absolute()), Path(repository)) and not (folder / IGNORE).exists():
        write_file(folder, IGNORE, "*\n")
