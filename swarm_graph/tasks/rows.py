"""Rows from files: tables, JSON Lines (.jsonl, .ndjson), and .json files with an array of objects."""

from __future__ import annotations

import codecs
import json
from pathlib import Path
from typing import Any

from swarm_graph.errors import InputError
from swarm_graph.inputs.kinds import JSON_LINES, TABLES
from swarm_graph.roles.json_objects import unique_keys
from swarm_graph.tasks.tables import table_rows


def rows_of(path: Path, delimiter: str | None = None) -> list[dict[str, Any]] | None:
    """The rows of a file with rows; None if the file is a document.

    Rows are in .csv and .tsv files, in JSON Lines (.jsonl, .ndjson), and in a .json file that holds an array
    of objects.

    Args:
        path: The file. The ending of its name says what it holds.
        delimiter: What separates the cells of a table; without it, the table itself shows it.

    Raises:
        InputError: The file cannot be read or holds no rows.
    """
    suffix = path.suffix.lower()
    if suffix in TABLES:
        return [*table_rows(path, read_text(path, utf16=True), delimiter)]
    if suffix in JSON_LINES:
        return _lines(path)
    return _array(path) if suffix == ".json" else None


def read_text(path: Path, *, utf16: bool = False) -> str:
    """The text of a UTF-8 file, without its byte order mark.

    Args:
        path: The file.
        utf16: Whether the file may also be UTF-16 with a byte order mark, as Excel saves it.

    Raises:
        InputError: The file cannot be read, or is not text in this encoding.
    """
    try:
        content = path.read_bytes()
        is_utf16 = utf16 and content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        text = content.decode("utf-16" if is_utf16 else "utf-8-sig")
    except OSError as error:
        raise InputError(f"cannot read the file '{path}': {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"the file '{path}' is not UTF-8 text; save it as UTF-8") from error
    if utf16 and "\0" in text:
        raise InputError(f"the file '{path}' is not UTF-8 text: it holds zero bytes; save it as UTF-8")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _lines(path: Path) -> list[dict[str, Any]]:
    """The rows of JSON Lines; a line without any text is none."""
    rows = []
    # Not splitlines(), which would also split at U+2028 in a string.
    for number, line in enumerate(read_text(path, utf16=True).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, object_pairs_hook=unique_keys)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}, line {number}: not valid JSON: {error}") from error
        if not isinstance(row, dict):
            raise InputError(f"{path}, line {number}: expected a JSON object")
        rows.append(row)
    if not rows:
        raise InputError(f"{path} holds no rows; expected a JSON object per line")
    return rows


def _array(path: Path) -> list[dict[str, Any]] | None:
    """The objects of a .json file that holds an array of them; None for any other .json file."""
    try:
        text = read_text(path)
    except InputError:  # a document; its task says what is wrong with it
        return None
    if not text.lstrip().startswith("["):
        return None
    try:
        items = json.loads(text, object_pairs_hook=unique_keys)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid JSON: {error}") from error
    rows = [item for item in items if isinstance(item, dict)]
    if rows and len(rows) < len(items):
        number = next(number for number, item in enumerate(items, 1) if not isinstance(item, dict))
        raise InputError(
            f"{path}: item {number} is not an object, but others are; expected one object per row"
        )
    return rows or None
