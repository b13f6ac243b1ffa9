"""The input files of a request that comes over a network: in the folder of the operator, or sent along.

What somebody sends is data: its name is shown, and is never a path.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, count
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from swarm_graph.errors import InputError
from swarm_graph.inputs.document import Document
from swarm_graph.inputs.read_document import read_document
from swarm_graph.roles.file_blocks import fenced
from swarm_graph.settings import DocumentSettings
from swarm_graph.text import cut

MAX_INPUTS = 20


class InputFile(NamedTuple):
    """An input file.

    Attributes:
        name: As the request and messages name it.
        file: Where it lies.
    """

    name: str
    file: Path


class WholeRequest(NamedTuple):
    """A request with its input files, and what was assumed or left out of them."""

    request: str
    notes: list[str]


def with_inputs(
    request: str, files: Sequence[InputFile], limits: DocumentSettings, *, is_code: bool
) -> WholeRequest:
    """A request with the texts of its input files, each in a fenced block with its name.

    A name that another file has, too, gets a number: `2-notes.txt`.

    Args:
        request: The request.
        files: The files.
        limits: The limits of documents.
        is_code: Whether HTML is read as source code, not as a page.

    Raises:
        InputError: A file cannot be read, or there are too many.
    """
    if len(files) > MAX_INPUTS:
        raise InputError(f"{len(files)} input files are too many; name at most {MAX_INPUTS}")
    found: dict[str, Document] = {}
    for one in files:
        numbered = (f"{number}-{one.name}" for number in count(2))
        name = next(name for name in chain([one.name], numbered) if name not in found)
        found[name] = _document(one, limits, is_code)
    texts = fenced({name: document.text for name, document in found.items()})
    notes = [f"{name}: {note}" for name, document in found.items() for note in document.notes]
    return WholeRequest("\n\n".join(part for part in (request.strip(), texts) if part), notes)


def _document(one: InputFile, limits: DocumentSettings, is_code: bool) -> Document:
    try:
        return read_document(one.file, limits, html_as_source=is_code)
    except InputError as error:  # it names the file as this machine does
        raise InputError(str(error).replace(str(one.file), one.name)) from error


def files_in(folder: Path | None, names: Sequence[str]) -> list[InputFile]:
    """Files of the operator's folder, each once.

    Args:
        folder: The folder; None if no file may be named.
        names: Paths in it.

    Raises:
        InputError: A file lies elsewhere, or there are too many.
    """
    if len(names) > MAX_INPUTS:
        raise InputError(f"{len(names)} input files are too many; name at most {MAX_INPUTS}")
    return [InputFile(name, file_in(folder, name)) for name in dict.fromkeys(names)]


def file_in(folder: Path | None, name: str) -> Path:
    """A file of the operator's folder, links resolved.

    Args:
        folder: The folder; None if no file may be named.
        name: A path in it.

    Raises:
        InputError: There is no such file in it.
    """
    if folder is None:
        raise InputError(
            "this server reads no files; put the text into the request, or start it with --folder DIR"
        )
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
