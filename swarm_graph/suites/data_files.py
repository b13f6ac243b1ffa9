"""The bytes and texts of suites: regular files of a limited size, read as UTF-8."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from hashlib import sha256 as sha256_of
from pathlib import Path
from typing import Any

from swarm_graph.errors import InputError
from swarm_graph.inputs.find_files import shown
from swarm_graph.roles.json_objects import unique_keys

MAX_BYTES = 64 << 20
"""Of a file with a whole suite."""


def read_bytes(path: Path, max_bytes: int = MAX_BYTES) -> bytes:
    """The content of a regular file; links are not followed.

    Raises:
        InputError: It cannot be read, is no regular file, or is too large.
    """
    if path.is_symlink():
        raise InputError(f"'{shown(path)}' is a symbolic link; put the file itself there")
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise InputError(f"'{shown(path)}' is no regular file")
            content = file.read(max_bytes + 1)
    except OSError as error:
        raise InputError(f"cannot read the file '{shown(path)}': {error.strerror}") from error
    if len(content) > max_bytes:
        raise InputError(f"the file '{shown(path)}' is larger than {max_bytes // 1024} KiB")
    return content


def read_text(path: Path, max_bytes: int = MAX_BYTES) -> str:
    """The text of a UTF-8 file without a byte order mark, with its line ends as `\\n`.

    Raises:
        InputError: It cannot be read, or is no UTF-8 text.
    """
    return decoded(read_bytes(path, max_bytes), path)


def decoded(content: bytes, path: Path) -> str:
    """The text of a file's bytes.

    Raises:
        InputError: They are no UTF-8 text.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"the file '{shown(path)}' is not UTF-8 text; save it as UTF-8") from error
    if "\0" in text:
        raise InputError(f"the file '{shown(path)}' is no text: it holds zero bytes")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_rows(path: Path, sha256: str) -> tuple[list[Mapping[str, Any]], str]:
    """The JSON objects of a file, and its sha256.

    Args:
        path: JSON Lines, or JSON with an array.
        sha256: What the file must hash to; empty for any.

    Raises:
        InputError: It cannot be read, holds something else, or the hash differs.
    """
    content = read_bytes(path)
    digest = sha256_of(content).hexdigest()
    check_digest(path, digest, sha256)
    text = decoded(content, path)
    rows = _array(path, text) if text.lstrip().startswith("[") else _lines(path, text)
    if not rows:
        raise InputError(f"the file '{shown(path)}' holds no case")
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise InputError(f"'{shown(path)}', case {number}: expected a JSON object")
    return rows, digest


def check_digest(path: Path, digest: str, wanted: str) -> None:
    """Raises InputError if the data is not what was asked for."""
    if wanted and wanted.lower() != digest:
        raise InputError(f"'{shown(path)}' has the sha256 {digest}, not {wanted}")


def _array(path: Path, text: str) -> list[Any]:
    try:
        rows: list[Any] = json.loads(text, object_pairs_hook=unique_keys)
    except (ValueError, RecursionError) as error:
        raise InputError(f"'{shown(path)}' is not valid JSON: {error}") from error
    return rows


def _lines(path: Path, text: str) -> list[Any]:
    rows = []
    for number, line in enumerate(text.split("\n"), 1):  # splitlines() would also split at U+2028
        if line.strip():
            try:
                rows.append(json.loads(line, object_pairs_hook=unique_keys))
            except (ValueError, RecursionError) as error:
                raise InputError(f"'{shown(path)}', line {number}: not valid JSON: {error}") from error
    return rows


def text_of(row: Mapping[str, Any], key: str, place: str) -> str:
    """The text under a key of a row.

    Args:
        row: The row.
        key: The key.
        place: The file and the case, for messages.

    Raises:
        InputError: There is none.
    """
    value = row.get(key)
    if not isinstance(value, str):
        raise InputError(f"{place}: {key}: expected text")
    return value


def texts_of(row: Mapping[str, Any], key: str, place: str) -> list[str]:
    """The texts in the list under a key of a row; none without that key.

    Raises:
        InputError: It holds something else.
    """
    value = row.get(key) or []
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise InputError(f"{place}: {key}: expected a list of texts")
    return value
