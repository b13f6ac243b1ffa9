"""Files of a repository in a task graph: `repo:PATH` names a file of a commit; tasks read a copy of it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from swarm_graph.errors import InputError
from swarm_graph.repository.editable import unsafe
from swarm_graph.repository.git import Git
from swarm_graph.repository.globs import matches
from swarm_graph.repository.snapshot import Snapshot, snapshot
from swarm_graph.repository.worktree import changes_commit
from swarm_graph.settings import RepositorySettings
from swarm_graph.tasks.spec import REPOSITORY, TaskSpec, names_repository

COPIES = "repository-files"
"""The folder in the data folder with the copies: a folder for each commit, whose files never change."""


class RepositoryCopies:
    """Copies of the files of commits.

    Attributes:
        configured: The repository of paths that name none themselves; None if there is none.
        data_dir: The data folder.
    """

    def __init__(self, configured: RepositorySettings | None, data_dir: Path) -> None:
        if configured and (configured.only or configured.read_only or configured.diff):
            raise InputError(
                "--only, --read-only-files and --diff are for workflows with roles; a task graph changes no "
                "repository, it reads the files that its tasks name as repo:PATH"
            )
        self.configured, self.data_dir = configured, data_dir
        self._snapshots: dict[str, Snapshot] = {}

    def task(self, spec: TaskSpec) -> TaskSpec:
        """A task that reads copies in place of the files that it names as `repo:PATH`.

        Raises:
            InputError: There is no such file, or no repository.
        """
        if not names_repository(spec):
            return spec
        return spec.model_copy(update={"files": [self._file(name, spec.task_id) for name in spec.files]})

    def inputs(self, names: Iterable[str]) -> list[str]:
        """The inputs of a batch, in which `repo:GLOB` stands for copies of all files that match.

        Raises:
            InputError: No file matches.
        """
        return [path for name in names for path in self._matching(name)]

    def _matching(self, name: str) -> list[str]:
        if not name.startswith(REPOSITORY):
            return [name]
        files, glob = self._snapshot_of(name)
        if found := [path for path in files.files if matches(path, [glob])]:
            return [self._copy(files, path) for path in found]
        raise InputError(f"no file of the repository '{files.git.folder}' matches '{glob}'")

    def _file(self, name: str, task: str) -> str:
        if not name.startswith(REPOSITORY):
            return name
        files, path = self._snapshot_of(name)
        if path not in files.files:
            raise InputError(
                f"task '{task}': the repository '{files.git.folder}' has no file '{path}' in commit "
                f"{files.commit[:12]}"
            )
        return self._copy(files, path)

    def _snapshot_of(self, name: str) -> tuple[Snapshot, str]:
        """The files that a name refers to, and the path or glob in it."""
        folder, _, path = name.removeprefix(REPOSITORY).rpartition("//")
        if folder not in self._snapshots:
            self._snapshots[folder] = self._open(folder, name)
        return self._snapshots[folder], path

    def _open(self, folder: str, name: str) -> Snapshot:
        settings = RepositorySettings(path=folder) if folder else self.configured
        if settings is None:
            raise InputError(f"'{name}' names no repository; add --repo DIR, or `repo: DIR` to the task file")
        git = Git(settings.path)
        commit = git.commit_of(settings.base)
        return snapshot(git.folder, changes_commit(git, commit) if settings.with_changes else commit)

    def _copy(self, files: Snapshot, path: str) -> str:
        """The copy of a file, written if it is not there."""
        if why := unsafe(path):
            raise InputError(f"'{path}' of the repository '{files.git.folder}' is not read: {why}")
        target = self.data_dir.absolute() / COPIES / files.commit / path
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            whole = target.with_name(f".{target.name[:200]}.new")
            whole.write_bytes(files.read(path))
            whole.replace(target)
        return str(target)
