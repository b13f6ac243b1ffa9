"""Files that a form brings: kept in a private folder while they are read, under names of our own."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from starlette.datastructures import UploadFile

from swarm_graph.errors import InputError, StorageError
from swarm_graph.sessions.input_files import InputFile
from swarm_graph.text import cut

MAX_NAME_CHARACTERS = 100
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,10}$")
_ODD = re.compile(r"[^\w .,()+-]")


@contextmanager
def kept(files: Sequence[UploadFile], max_bytes: int) -> Iterator[list[InputFile]]:
    """The files that a form brought, on the disk; they are removed at the end.

    Args:
        files: As the form has them; fields without a file are left out.
        max_bytes: Of one file.

    Raises:
        InputError: A file is too large.
        StorageError: The files cannot be kept.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="swarm-upload-") as folder:
            yield _written(files, Path(folder), max_bytes)
    except OSError as error:
        raise StorageError(f"cannot keep the uploaded files: {error.strerror or error}") from error


def _written(files: Sequence[UploadFile], folder: Path, max_bytes: int) -> list[InputFile]:
    found: list[InputFile] = []
    for number, given in enumerate(files, 1):
        if not given.filename:
            continue
        name = shown_name(given.filename)
        if (given.size or 0) > max_bytes:
            raise InputError(f"'{name}' has {given.size:,} bytes; at most {max_bytes:,} are allowed")
        suffix = _SUFFIX.search(given.filename)
        file = folder / f"{number}{suffix[0].lower() if suffix else ''}"
        with file.open("xb") as target:
            shutil.copyfileobj(given.file, target)
        found.append(InputFile(name, file))
    return found


def shown_name(name: str) -> str:
    """The name of a sent file for people and models: its last part, with `_` for odd characters."""
    last = re.split(r"[/\\]", name)[-1]
    return cut(_ODD.sub("_", last), MAX_NAME_CHARACTERS).strip(" .") or "file"
