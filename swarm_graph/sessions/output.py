"""The output folder of a session: text files of the roles, state JSON, notes, results, and the project."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cached_property
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from swarm_graph.checkpoints.places import UNMOVED, Places
from swarm_graph.errors import InputError, StorageError
from swarm_graph.roles.answered_document import DOCUMENT_FILE
from swarm_graph.roles.registry import Roles
from swarm_graph.sessions.artifacts import project_files, text_files
from swarm_graph.sessions.candidates import CANDIDATES_DIR, candidate_files
from swarm_graph.sessions.change_summary import PATCH_FILE, STAT_FILE
from swarm_graph.sessions.findings_files import FINDINGS_FILES, findings_files
from swarm_graph.state import SwarmState, TaskRecord
from swarm_graph.tasks.results import RESULTS_DIR, result_file, result_files, result_text
from swarm_graph.text import file_name, to_json

PROJECT_DIR = "project"
"""The folder in the output folder that holds the project's files."""


def session_files(state: SwarmState, roles: Roles, places: Places = UNMOVED) -> dict[str, str]:
    """The files of a state, path to text: all but the state JSON and the patch of a change.

    Args:
        state: The state.
        roles: The roles of the session.
        places: Where its input files are now.
    """
    texts = {**text_files(state, roles), **findings_files(state), **result_files(state, roles, places)}
    project = {f"{PROJECT_DIR}/{path}": text for path, text in project_files(state, roles).items()}
    return {**texts, **project, **candidate_files(state)}


class Ledger(Protocol):
    """Records the artifacts of sessions before they are written; the catalogue is a ledger."""

    def recorded_folder(self, session: str, folder: str) -> str: ...
    def artifacts(self, session: str, folder: str) -> set[str]: ...
    def wrote_into(self, folder: str) -> bool: ...
    def put_artifacts(self, session: str, folder: str, files: Mapping[str, str | bytes]) -> None: ...
    def remove_artifacts(self, session: str, folder: str, paths: Iterable[str]) -> None: ...


def make_folder(folder: Path) -> None:
    """Create an output folder if it is missing.

    Raises:
        InputError: It cannot be created or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            f"cannot write to the output folder '{folder}': {error.strerror}; name another folder"
        ) from error


def _artifact_names(roles: Roles, *, with_candidates: bool) -> list[str]:
    """The files and folders that a session may write into its output folder, besides its state JSON."""
    text_files = dict.fromkeys(role.text_file for role in roles.all() if role.text_file)
    tables = ("results.csv", "results.jsonl")
    change = (PATCH_FILE, STAT_FILE)
    return [
        PROJECT_DIR,
        *([CANDIDATES_DIR] if with_candidates else []),
        DOCUMENT_FILE,
        RESULTS_DIR,
        *tables,
        *text_files,
        "notes.md",
        *change,
        *FINDINGS_FILES,
    ]


class Output:
    """The output folder of one session. Only changed files are written, each one whole or not at all."""

    def __init__(
        self,
        folder: str | Path,
        session_id: str,
        roles: Roles,
        ledger: Ledger | None = None,
        places: Places = UNMOVED,
    ) -> None:
        """Write nothing yet.

        Args:
            folder: The output folder.
            session_id: The session.
            roles: Its roles.
            ledger: Knows the files of earlier runs. Without it, files of an earlier run stay when the session
                deletes them.
            places: Where the input files of the session are now.
        """
        self._places, self._roles = places, roles
        self.folder, self.session_id, self.ledger = Path(folder), session_id, ledger
        self._state_name = f"swarm_state_{file_name(session_id)}.json"
        self._written: dict[str, str | bytes] = {}
        self._earlier: set[str] | None = None

    @cached_property
    def _recorded_folder(self) -> str:
        """The name of the folder in the ledger."""
        folder = str(self.folder.absolute())
        return self.ledger.recorded_folder(self.session_id, folder) if self.ledger else folder

    def check_free(self, *, with_candidates: bool = False) -> None:
        """Raises InputError when the session would overwrite files that no session wrote.

        Args:
            with_candidates: Whether it may write candidates.
        """
        names = _artifact_names(self._roles, with_candidates=with_candidates)
        taken = [name for name in names if (self.folder / name).exists()]
        # Asked last: the more sessions there are, the longer it takes.
        if self.ledger and taken and not self.ledger.wrote_into(str(self.folder.absolute())):
            raise InputError(
                f"the output folder '{self.folder}' holds '{taken[0]}', which no session of this database "
                "wrote; name another folder, or move it away"
            )

    def update(self, state: SwarmState) -> None:
        """Write the files of a state, and delete those of the project and of candidates that are gone.

        Raises:
            StorageError: A file cannot be written or deleted.
        """
        files = session_files(state, self._roles, self._places)
        folders = (f"{PROJECT_DIR}/", f"{CANDIDATES_DIR}/")
        existing = [path for path in self._existing() if path.startswith(folders)]
        if deleted := [path for path in existing if path not in files]:
            self._delete(deleted)  # first, because a file may have become a folder, or a folder a file
        self._write(files)

    def write_change(self, files: Mapping[str, bytes]) -> None:
        """Write the patch of a session that changes a repository, and its statistics."""
        self._write(files)

    def write_result(self, task: TaskRecord) -> None:
        """Write the result of a custom task."""
        self._write({result_file(task): result_text(task)})

    def write_state(self, document: dict[str, Any]) -> None:
        """Write the state JSON."""
        self._write({self._state_name: to_json(document)})

    def files(self) -> list[str]:
        """The session's files, relative to the folder and sorted, the document first.

        The state JSON is always among them.
        """
        return sorted({*self._written, self._state_name}, key=lambda name: (name != DOCUMENT_FILE, name))

    def _existing(self) -> set[str]:
        """The files that this run or an earlier one wrote."""
        if self._earlier is None:
            ledger = self.ledger
            self._earlier = ledger.artifacts(self.session_id, self._recorded_folder) if ledger else set()
        return self._earlier | self._written.keys()

    def _write(self, files: Mapping[str, str] | Mapping[str, bytes]) -> None:
        changed = {name: text for name, text in files.items() if not self._is_written(name, text)}
        # Recorded first: after a kill in between, the next run knows that a session wrote the files.
        if changed and self.ledger:
            self.ledger.put_artifacts(self.session_id, self._recorded_folder, changed)
        for name, text in changed.items():
            write_file(self.folder, name, text)
            self._written[name] = text

    def _is_written(self, name: str, text: str | bytes) -> bool:
        return self._written.get(name) == text and (self.folder / name).exists()

    def _delete(self, names: list[str]) -> None:
        for name in names:
            target = _target(self.folder, name)
            try:
                target.unlink(missing_ok=True)
            except OSError as error:
                raise StorageError(f"cannot delete '{target}': {error.strerror}") from error
            self._remove_empty_parents(target)
            self._written.pop(name, None)
        if self.ledger:
            self.ledger.remove_artifacts(self.session_id, self._recorded_folder, names)
        self._earlier = self._existing() - {*names}

    def _remove_empty_parents(self, file: Path) -> None:
        """Remove the folders that a deleted file leaves empty."""
        with suppress(OSError):  # the first folder that is not empty ends the loop
            for folder in file.relative_to(self.folder).parents[:-1]:
                (self.folder / folder).rmdir()


def write_file(folder: Path, name: str, content: str | bytes) -> None:
    """Write a file through a temporary file and a rename, without following a symlink below the folder.

    Args:
        folder: The folder.
        name: The path in it, with `/`; missing folders are created.
        content: Text, written as UTF-8, or bytes.

    Raises:
        StorageError: The file cannot be written, the path leaves the folder, or a folder in it is a symlink.
    """
    target = _target(folder, name)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".swarm-{sha256(target.name.encode()).hexdigest()[:16]}")
        temporary.unlink(missing_ok=True)  # left by a process that was killed here
        try:
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _mode(target))
            with os.fdopen(handle, "wb") as file:
                file.write(content.encode(errors="replace") if isinstance(content, str) else content)
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise StorageError(
            f"cannot write '{target}': {error.strerror}; finished work is in the database, "
            "so fix this and resume"
        ) from error


def _mode(target: Path) -> int:
    """The mode of the file that is replaced, else that of any new file; the umask narrows either."""
    with suppress(OSError):
        found = target.lstat().st_mode
        if stat.S_ISREG(found):
            return stat.S_IMODE(found) & 0o777
    return 0o666


def _target(folder: Path, name: str) -> Path:
    parts = PurePosixPath(name).parts
    if not parts or ".." in parts or name.startswith("/"):
        raise StorageError(f"the path '{name}' leaves the output folder; it was not written")
    target = folder
    for part in parts[:-1]:
        target = target / part
        if target.is_symlink():
            raise StorageError(f"'{target}' is a symlink, which is never followed; remove it")
    return target / parts[-1]
