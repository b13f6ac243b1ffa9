"""The files of a session: the seed's text files, its state JSON, notes, and the code as real files."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any, Protocol
from urllib.parse import quote

from swarm_graph.errors import InputError, StorageError
from swarm_graph.nodes.registry import all_roles
from swarm_graph.sessions.artifacts import project_files, text_files
from swarm_graph.state import SwarmState, TaskRecord
from swarm_graph.tasks.results import RESULTS_DIR, result_file, result_files, result_text
from swarm_graph.text import to_json

PROJECT = "project"


def file_name(session: str) -> str:
    """A session id as a file name; ids of others (`a/b`) are quoted."""
    return quote(session, safe="")


class Ledger(Protocol):
    """Where an output's files are recorded before they are written; the catalogue is one."""

    def artifacts(self, session: str, folder: str) -> set[str]: ...
    def wrote_into(self, folder: str) -> bool: ...
    def put_artifacts(self, session: str, folder: str, files: Mapping[str, str]) -> None: ...
    def remove_artifacts(self, session: str, folder: str, paths: Iterable[str]) -> None: ...


def make_folder(folder: Path) -> None:
    """Make an output folder.

    Raises:
        InputError: It cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            f"cannot write to the output folder '{folder}': {error.strerror}; name another one"
        ) from error


def _artifact_names() -> list[str]:
    """The files and folders that a session may write into its folder, besides its state JSON."""
    text_files = dict.fromkeys(role.text_file for role in all_roles() if role.text_file)
    return [PROJECT, RESULTS_DIR, "results.csv", "results.jsonl", *text_files, "notes.md"]


class Output:
    """The output folder of one session. Files are written whole or not at all, and only when changed.

    With a `ledger` files of the project that an earlier run wrote go too when the session deletes them.
    """

    def __init__(self, folder: str | Path, session: str, ledger: Ledger | None = None) -> None:
        self.folder, self.session, self.ledger = Path(folder), session, ledger
        self._place = str(self.folder.absolute())
        self._state_name = f"swarm_state_{file_name(session)}.json"
        self._written: dict[str, str] = {}
        self._earlier: set[str] | None = None

    def check_free(self) -> None:
        """InputError when the folder holds files of a person's that the session would write over."""
        if self.ledger is None or self.ledger.wrote_into(self._place):
            return
        if taken := [name for name in _artifact_names() if (self.folder / name).exists()]:
            raise InputError(
                f"the output folder '{self.folder}' holds '{taken[0]}', which no session here has written; "
                "name another folder, or move it away"
            )

    def update(self, state: SwarmState) -> None:
        """Writes what a state holds, text files, notes and the project's files; removes what is gone."""
        project = {f"{PROJECT}/{path}": text for path, text in project_files(state).items()}
        if gone := [path for path in self._known() if path.startswith(f"{PROJECT}/") and path not in project]:
            self._delete(gone)  # first: a file may have become a folder, or a folder a file
        self._write({**text_files(state), **result_files(state), **project})

    def write_result(self, task: TaskRecord) -> None:
        """Writes what one task of a custom session came to."""
        self._write({result_file(task): result_text(task)})

    def write_state(self, document: dict[str, Any]) -> None:
        self._write({self._state_name: to_json(document)})

    def files(self) -> list[str]:
        """The session's files, relative to the folder, sorted; its state JSON is always one."""
        return sorted({*self._written, self._state_name})

    def _known(self) -> set[str]:
        """What this run or an earlier one has written."""
        if self._earlier is None:
            self._earlier = self.ledger.artifacts(self.session, self._place) if self.ledger else set()
        return self._earlier | self._written.keys()

    def _write(self, files: Mapping[str, str]) -> None:
        changed = {name: text for name, text in files.items() if not self._is_written(name, text)}
        if changed and self.ledger:
            self.ledger.put_artifacts(self.session, self._place, changed)
        for name, text in changed.items():
            write_file(self.folder, name, text)
            self._written[name] = text

    def _is_written(self, name: str, text: str) -> bool:
        return self._written.get(name) == text and (self.folder / name).exists()

    def _delete(self, names: list[str]) -> None:
        for name in names:
            target = _target(self.folder, name)
            try:
                target.unlink(missing_ok=True)
            except OSError as error:
                raise StorageError(f"cannot remove '{target}': {error.strerror}") from error
            self._remove_emptied(target)
            self._written.pop(name, None)
        if self.ledger:
            self.ledger.remove_artifacts(self.session, self._place, names)
        self._earlier = self._known() - {*names}

    def _remove_emptied(self, file: Path) -> None:
        """Removes the folders that held nothing but a file that is gone."""
        with suppress(OSError):
            for folder in file.relative_to(self.folder).parents[:-1]:
                (self.folder / folder).rmdir()


def write_file(folder: Path, name: str, content: str | bytes) -> None:
    """Writes a file inside a folder through a temporary file and a rename, following no symlink.

    Raises StorageError when it cannot be written or when the path leaves the folder.
    """
    target = _target(folder, name)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".swarm-{sha256(target.name.encode()).hexdigest()[:16]}")
        temporary.unlink(missing_ok=True)  # of a process that was killed here
        try:
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            with os.fdopen(handle, "wb") as file:
                file.write(content.encode(errors="replace") if isinstance(content, str) else content)
            temporary.chmod(0o644)
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise StorageError(
            f"cannot write '{target}': {error.strerror}; finished work is in the database, resume goes on"
        ) from error


def _target(folder: Path, name: str) -> Path:
    parts = PurePosixPath(name).parts
    if not parts or ".." in parts or name.startswith("/"):
        raise StorageError(f"the path '{name}' leaves the session's folder; it was not written")
    target = folder
    for part in parts[:-1]:
        target = target / part
        if target.is_symlink():
            raise StorageError(f"'{target}' is a symlink; nothing is written through it")
    return target / parts[-1]
