"""The files of a task as text, whole or in parts."""

from __future__ import annotations

import re
import stat
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from swarm_graph.checkpoints.places import Places, is_below
from swarm_graph.errors import InputError
from swarm_graph.inputs.document import UNITS, Document
from swarm_graph.inputs.parts import Part, split
from swarm_graph.models.context_window import estimated_tokens
from swarm_graph.prompts.template import is_path
from swarm_graph.settings import DocumentSettings
from swarm_graph.tasks.spec import TaskSpec

_CONTROL = re.compile("[\\x00-\\x1f\\x7f\\x85\\u2028\\u2029]")
"""Characters that would break the line that shows a file's name."""


class Piece(NamedTuple):
    """A part of one of a task's files, with the name of the file."""

    file: str
    part: Part


@dataclass(frozen=True)
class TaskFiles:
    """The files of a task.

    Attributes:
        texts: Name to text.
        notes: What was assumed or left out of which file.
        marks: The names of the pages, slides and sheets that its files have, by the word of their marks.
    """

    texts: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    marks: dict[str, list[str]] = field(default_factory=dict)

    @property
    def characters(self) -> int:
        """Of all texts."""
        return sum(map(len, self.texts.values()))

    @property
    def bytes(self) -> int:
        """Of all texts in UTF-8."""
        return sum(len(text.encode(errors="replace")) for text in self.texts.values())

    @property
    def estimated_tokens(self) -> int:
        """Of all texts; at least 1."""
        return max(sum(map(estimated_tokens, self.texts.values())), 1)

    def place(self, pieces: Sequence[Piece]) -> str:
        """Where pieces stand in the files."""
        if len(self.texts) == 1:
            return pieces[0].part.place
        return "; ".join(f"{piece.file}: {piece.part.place}" for piece in pieces)

    def parts(self, limit: int) -> list[list[Piece]]:
        """The files in parts of at most `limit` characters; files that are short share one."""
        parts: list[list[Piece]] = []
        for name, text in self.texts.items():
            for part in split(text, limit):
                last = parts[-1] if parts else []
                room = limit - sum(len(piece.part.shown) for piece in last)
                if not last or last[-1].file == name or len(part.shown) > room:
                    parts.append([])
                parts[-1].append(Piece(name, part))
        return parts


NO_FILES = TaskFiles()


def read_task_files(spec: TaskSpec, places: Places, limits: DocumentSettings) -> TaskFiles:
    """The files of a task as text; a long document takes seconds.

    Args:
        spec: The task.
        places: Where its files lie now.
        limits: What reading a document may take.

    Raises:
        InputError: A file cannot be read.
    """
    files = TaskFiles()
    names = Counter(Path(path).name for path in spec.files)
    for recorded in spec.files:
        name = _CONTROL.sub("_", Path(recorded).name if names[Path(recorded).name] == 1 else recorded)
        document = _read(spec, places.input_file(recorded), limits)
        files.texts[name] = document.text
        of_it = f"{name}: " if len(spec.files) > 1 else ""
        files.notes.extend(f"{of_it}{note}" for note in document.notes)
        for mark in document.marks:
            if mark.kind in UNITS:
                files.marks.setdefault(mark.kind, []).append(mark.name)
    return files


def _read(spec: TaskSpec, path: str, limits: DocumentSettings) -> Document:
    try:
        if stat.S_ISFIFO(Path(path).stat().st_mode):  # reading it would wait for a writer
            raise InputError(f"{spec.task_id}: its file '{path}' is a FIFO; expected a document")
    except OSError as error:
        is_gone = isinstance(error, FileNotFoundError)
        raise InputError(
            f"{spec.task_id}: cannot read its file '{path}': {error.strerror}"
            + ("; if it has moved, `resume --inputs DIR` says where it lies" if is_gone else "")
        ) from error
    from swarm_graph.inputs.read_document import read_document  # tasks without files need no reader

    try:
        return read_document(path, limits)
    except InputError as error:
        raise InputError(f"{spec.task_id}: {error}") from error


def refuse_files_outside(spec: TaskSpec, folder: Path, places: Places) -> None:
    """Raise InputError for a file, or a prompt's file, that a task names outside of a folder."""
    prompts = [places.present(spec.prompt)] if spec.prompt and is_path(spec.prompt) else []
    for path in [*map(places.input_file, spec.files), *prompts]:
        if not is_below(path, folder):
            raise InputError(
                f"{spec.task_id}: its file '{path}' is not in the folder '{folder}', and you did not begin "
                "this session; --trust-session (in Python trust_session=True) lets it read that file"
            )
