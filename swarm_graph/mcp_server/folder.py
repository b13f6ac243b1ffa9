"""The input files that clients may name: those in the folder of the operator, and no others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from swarm_graph.errors import InputError
from swarm_graph.inputs.document import Document
from swarm_graph.inputs.read_document import read_document
from swarm_graph.roles.file_blocks import fenced
from swarm_graph.settings import DocumentSettings
from swarm_graph.text import cut

MAX_INPUTS = 20


class WholeRequest(NamedTuple):
    """A request with its input files, and what was assumed or left out of them."""

    request: str
    notes: list[str]


def with_inputs(
    request: str, names: Sequence[str], folder: Path | None, limits: DocumentSettings, *, is_code: bool
) -> WholeRequest:
    """A request with the texts of its input files, each in a fenced block with its path.

    Args:
        request: The request.
        names: Paths in the folder.
        folder: The folder; None if no file may be named.
        limits: The limits of documents.
        is_code: Whether HTML is read as source code, not as a page.

    Raises:
        InputError: A file lies elsewhere, or cannot be read.
    """
    if len(names) > MAX_INPUTS:
        raise InputError(f"{len(names)} input files are too many; name at most {MAX_INPUTS}")
    found = {name: _document(name, folder, limits, is_code) for name in dict.fromkeys(names)}
    files = fenced({name: document.text for name, document in found.items()})
    notes = [f"{name}: {note}" for name, document in found.items() for note in document.notes]
    return WholeRequest("\n\n".join(part for part in (request.strip(), files) if part), notes)


def _document(name: str, folder: Path | None, limits: DocumentSettings, is_code: bool) -> Document:
    if folder is None:
        raise InputError(
            "this server reads no files; put the text into the request, or start it with --folder DIR"
        )
    file = _file_in(folder, name)
    try:
        return read_document(file, limits, html_as_source=is_code)
    except InputError as error:  # it names the file as this machine does
        raise InputError(str(error).replace(str(file), name)) from error


def _file_in(folder: Path, name: str) -> Path:
    """A file of the folder, links resolved. Raises InputError if it is none."""
    shown = repr(cut(name, 200))
    if not name or "\0" in name or PurePosixPath(name).is_absolute():
        raise InputError(f"the input {shown} is not allowed; name a path relative to the server's folder")
    try:
        root = folder.resolve(strict=True)
        file = (root / name).resolve(strict=True)
        is_inside = file.is_relative_to(root) and file.is_file()
    except (OSError, RuntimeError, ValueError):
        is_inside = False
    if not is_inside:
        raise InputError(f"there is no file {shown} in the server's folder")
    return file
