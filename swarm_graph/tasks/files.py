"""Tasks from files: a task graph in YAML, JSON or CSV, and one task per document or row for `batch`."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from glob import has_magic
from pathlib import Path
from typing import Any

from swarm_graph.config_source import closest_match
from swarm_graph.errors import InputError
from swarm_graph.prompts import template
from swarm_graph.roles.json_objects import unique_keys
from swarm_graph.state import AgentRole
from swarm_graph.tasks.spec import TaskSpec, task_specs, with_absolute_paths

LIST_COLUMNS = ("dependencies", "files")
JSON_COLUMNS = ("parameters", "answer", "metadata")
TRUE, FALSE = ("true", "yes", "1"), ("false", "no", "0", "")


def read_tasks(path: str | Path) -> tuple[str, list[TaskSpec]]:
    """The request and the tasks of a task file.

    YAML and JSON hold a list of tasks, or an object with `tasks` and `request`. CSV, separated by commas,
    semicolons or tabs, holds a task per row: lists are separated by spaces, and columns that are not fields
    of a task become its metadata.

    Args:
        path: The file. The paths in it are relative to its folder.

    Returns:
        The request, empty if the file has none, and the tasks with absolute paths.

    Raises:
        InputError: The file cannot be read, or a task is invalid.
    """
    path = Path(path)
    text = _read(path)
    is_csv = path.suffix.lower() == ".csv"
    tasks: Any = _csv_rows(path, text) if is_csv else _parsed(path, text)
    request = ""
    if isinstance(tasks, Mapping) and "tasks" in tasks:
        if unknown := [key for key in tasks if key not in ("tasks", "request", "$schema")]:
            raise InputError(f"{path}: unknown key '{unknown[0]}'; expected tasks, and optionally request")
        request, tasks = str(tasks.get("request") or ""), tasks["tasks"]
    try:
        specs = task_specs([_from_row(row) for row in tasks] if is_csv else tasks)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return request, [with_absolute_paths(spec, path.parent) for spec in specs]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"cannot read the file '{path}': {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"the file '{path}' is not UTF-8 text") from error


def _parsed(path: Path, text: str) -> Any:
    if path.suffix.lower() in (".yaml", ".yml"):
        import yaml

        try:
            return yaml.load(text, _yaml_loader())
        except (yaml.YAMLError, ValueError) as error:
            raise InputError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
        except RecursionError as error:
            raise InputError(f"{path} is nested too deep") from error
    if path.suffix.lower() == ".json":
        try:
            return json.loads(text, object_pairs_hook=unique_keys)
        except RecursionError as error:
            raise InputError(f"{path} is nested too deep") from error
        except ValueError as error:
            raise InputError(f"{path} is not valid JSON: {error}") from error
    raise InputError(f"{path}: the name of a task file must end in .yaml, .json or .csv")


@cache
def _yaml_loader() -> Any:
    """A loader of plain data: dates stay text, and a key must not be repeated."""
    import yaml

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            # PyYAML lets the last of equal keys win, which would drop a task without a word.
            keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            unique_keys([(key, None) for key in keys if key != "<<"])
            return super().construct_mapping(node, deep)

    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    return Loader


def _csv_rows(path: Path, text: str) -> list[dict[str, str]]:
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))  # a cell may hold a whole document
    first_line = text.partition("\n")[0]
    delimiter = max(",;\t", key=first_line.count)
    reader = csv.DictReader(io.StringIO(text), strict=True, delimiter=delimiter)
    try:
        rows = list(reader)
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: not valid CSV: {error}") from error
    names = reader.fieldnames or []
    if not rows or not all(names) or len(set(names)) < len(names):
        raise InputError(
            f"{path}: expected a header with a different name for each column, and at least one row below"
        )
    for number, row in enumerate(rows, 1):
        if None in row or None in row.values():
            raise InputError(f"{path}: row {number} does not have one cell per column")
    return rows


def _from_row(row: Mapping[str, str]) -> dict[str, Any]:
    """A task from a row of text; empty cells are left out."""
    task: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    for column, cell in row.items():
        name, text = column.strip(), cell.strip()
        if name in TaskSpec.model_fields:
            task |= {name: _cell(name, text)} if text else {}
        elif meant := closest_match(name, list(TaskSpec.model_fields)):
            raise InputError(f"unknown column '{name}'; did you mean '{meant}'? If it is data, rename it")
        else:
            metadata[name] = cell
    own = task.get("metadata", {})
    return {**task, "metadata": {**metadata, **own} if isinstance(own, dict) else own}


def _cell(name: str, text: str) -> Any:
    if name in LIST_COLUMNS:
        return text.replace(";", " ").replace(",", " ").split()
    if name == "priority" and re.fullmatch(r"-?\d+", text):
        return int(text)
    if name == "expands" and text.lower() in TRUE + FALSE:
        return text.lower() in TRUE
    if name in JSON_COLUMNS:
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text  # the check of the field explains what is wrong
    return text


# --- batch ---------------------------------------------------------------------------------------


def batch_tasks(
    inputs: Iterable[str],
    role: AgentRole,
    prompt: str,
    *,
    answer: dict[str, Any] | None = None,
    model: str | None = None,
    id_column: str | None = None,
) -> list[TaskSpec]:
    """One task per document, or per row of a .csv or .jsonl file.

    A task is named after its file, or after its row's cell in `id_column`, or after its file and row number.

    Args:
        inputs: Files, folders and patterns such as `docs/*.txt`.
        role: The role of all tasks.
        prompt: The prompt of all tasks: a name or a file.
        answer: The JSON Schema of a typed answer.
        model: An entry of `model_config.multi_model`.
        id_column: The column or key that names the tasks.

    Raises:
        InputError: An input is missing or empty, or the prompt shows nothing of it.
    """
    common = {"assigned_role": role, "prompt": prompt, "answer": answer, "model": model, "task_type": "batch"}
    taken: set[str] = set()
    tasks = []
    for path in _files(inputs):
        for name, data in _items(path, id_column):
            tasks.append({**common, **data, "task_id": _unique(name, taken)})
    specs = [with_absolute_paths(spec, Path()) for spec in task_specs(tasks)]
    _check_prompt_shows_input(prompt, specs)
    return specs


def _check_prompt_shows_input(prompt: str, specs: Iterable[TaskSpec]) -> None:
    """Raises InputError when the user message of a prompt shows nothing of a document or row."""
    text = template.read(prompt)
    holes = {*template.Holes(text).get_identifiers()}
    if not text.partition("\n---\n")[2].strip():
        return  # without a user message of its own, the prompt gets ours, which shows everything
    for spec in specs:
        expected = ["files"] if spec.files else [*spec.metadata, "metadata"]
        if not holes & {*expected}:
            names = ", ".join(f"${name}" for name in expected[:5])
            raise InputError(
                f"{prompt} shows nothing of {spec.task_id}; below its line '---' use one of {names}"
            )


def _files(inputs: Iterable[str]) -> Iterator[Path]:
    """The files of all inputs, each once."""
    seen: set[Path] = set()
    for name in inputs:
        try:
            paths = _expanded(name)
        except (OSError, ValueError, NotImplementedError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise InputError(f"cannot read the input {name!r}: {reason}") from error
        for path in paths:
            if (resolved := path.resolve()) not in seen:
                seen.add(resolved)
                yield path


def _expanded(name: str) -> list[Path]:
    """The files of an input: itself, or those in a folder or of a pattern, hidden ones left out."""
    if not name:
        raise InputError("an INPUT is empty; expected a file, a folder or a pattern")
    path = Path(name)
    if path.is_file():
        return [path]
    if path.is_dir():
        entries = list(path.iterdir())
    elif has_magic(name):
        root = Path(path.anchor)
        entries = list(root.glob(str(path.relative_to(root))))
    else:
        raise InputError(f"there is no file or folder '{name}'")
    with_hidden = path.name.startswith(".")
    files = [path for path in entries if path.is_file() and (with_hidden or not path.name.startswith("."))]
    if not files:
        raise InputError(f"no files found for the input '{name}'")
    return sorted(files, key=_natural_order)


def _natural_order(path: Path) -> list[tuple[int, str]]:
    """A sort key that puts doc_2 before doc_10."""
    parts = re.findall(r"\d+|\D+", str(path))
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def _items(path: Path, id_column: str | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """The document or the rows of a file: a name for each, and the task fields that hold it."""
    if path.suffix.lower() not in (".csv", ".jsonl"):
        yield path.stem, {"files": [str(path)]}
        return
    text = _read(path)
    rows = _csv_rows(path, text) if path.suffix.lower() == ".csv" else _jsonl_rows(path, text)
    for number, row in enumerate(rows, 1):
        if id_column and id_column not in row:
            raise InputError(f"{path}: row {number} has no '{id_column}'; it has {', '.join(row)}")
        yield str(row[id_column]) if id_column else f"{path.stem}_{number:05d}", {"metadata": row}


def _jsonl_rows(path: Path, text: str) -> list[dict[str, Any]]:
    rows = []
    for number, line in enumerate(text.split("\n"), 1):  # splitlines() would also split at U+2028 in a string
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}, line {number}: not valid JSON: {error}") from error
        if not isinstance(row, dict):
            raise InputError(f"{path}, line {number}: expected an object")
        rows.append(row)
    if not rows:
        raise InputError(f"{path} holds no rows")
    return rows


def _unique(name: str, taken: set[str]) -> str:
    """A task id from any file name, which differs from all taken ones even if case is ignored."""
    clean = re.sub(r"[^A-Za-z0-9._-]+", "_", name).lstrip("._-")[:80] or "task"
    number, unique = 1, clean
    while unique.lower() in taken:
        number += 1
        unique = f"{clean}_{number}"
    taken.add(unique.lower())
    return unique
