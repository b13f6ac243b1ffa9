"""Tasks from files: a graph in YAML, JSON or CSV, and one task per document or row for `batch`."""

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
from swarm_graph.roles.answers import unique_keys
from swarm_graph.state import AgentRole
from swarm_graph.tasks.spec import TaskSpec, absolute, task_specs

LISTS = ("dependencies", "files")
OBJECTS = ("parameters", "answer", "metadata")
TRUE, FALSE = ("true", "yes", "1"), ("false", "no", "0", "")


def read_tasks(path: str | Path) -> tuple[str, list[TaskSpec]]:
    """The request (often empty) and the tasks of a file; the paths in it are relative to its folder.

    YAML and JSON: a list of tasks, or an object with `tasks` and `request`. CSV, also with semicolons or
    tabs: a task a row; lists are separated by spaces, other columns are the task's metadata. InputError
    for what cannot be read.
    """
    path = Path(path)
    text = _read(path)
    is_csv = path.suffix.lower() == ".csv"
    given: Any = _rows_of_csv(path, text) if is_csv else _parsed(path, text)
    request = ""
    if isinstance(given, Mapping) and "tasks" in given:
        if unknown := [key for key in given if key not in ("tasks", "request", "$schema")]:
            raise InputError(f"{path}: unknown key '{unknown[0]}'; expected tasks, and request if you like")
        request, given = str(given.get("request") or ""), given["tasks"]
    try:
        specs = task_specs([_from_row(row) for row in given] if is_csv else given)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return request, [absolute(spec, path.parent) for spec in specs]


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
    raise InputError(f"{path}: a task file ends in .yaml, .json or .csv")


@cache
def _yaml_loader() -> Any:
    """Loads plain data only: a date stays the text that it is, and a key may stand once."""
    import yaml

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            written = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            unique_keys([(key, None) for key in written if key != "<<"])
            return super().construct_mapping(node, deep)

    Loader.yaml_implicit_resolvers = {
        first: [(tag, form) for tag, form in resolvers if not tag.endswith(":timestamp")]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    return Loader


def _rows_of_csv(path: Path, text: str) -> list[dict[str, str]]:
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))
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
            f"{path}: expected a first line with a different name for each column, and rows below"
        )
    for number, row in enumerate(rows, 1):
        if None in row or None in row.values():
            raise InputError(f"{path}: row {number} has not as many cells as there are columns")
    return rows


def _from_row(row: Mapping[str, str]) -> dict[str, Any]:
    """A task from cells of text; empty ones are left out."""
    task: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    for column, cell in row.items():
        name, text = column.strip(), cell.strip()
        if name in TaskSpec.model_fields:
            task |= {name: _cell(name, text)} if text else {}
        elif meant := closest_match(name, list(TaskSpec.model_fields)):
            raise InputError(f"unknown column '{name}'; did you mean '{meant}'? Give data another name")
        else:
            metadata[name] = cell
    own = task.get("metadata", {})
    return {**task, "metadata": {**metadata, **own} if isinstance(own, dict) else own}


def _cell(name: str, text: str) -> Any:
    if name in LISTS:
        return text.replace(";", " ").replace(",", " ").split()
    if name == "priority" and re.fullmatch(r"-?\d+", text):
        return int(text)
    if name == "expands" and text.lower() in TRUE + FALSE:
        return text.lower() in TRUE
    if name in OBJECTS:
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text
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

    `inputs`: files, folders and patterns such as `docs/*.txt`. A task is named after its file, or after the
    row's cell in `id_column`, else its number. InputError for an input that is not there or holds nothing.
    """
    common = {"assigned_role": role, "prompt": prompt, "answer": answer, "model": model, "task_type": "batch"}
    taken: set[str] = set()
    tasks = []
    for path in _files(inputs):
        for name, own in _work_in(path, id_column):
            tasks.append({**common, **own, "task_id": _unique(name, taken)})
    specs = [absolute(spec, Path()) for spec in task_specs(tasks)]
    _check_shown(prompt, specs)
    return specs


def _check_shown(prompt: str, specs: Iterable[TaskSpec]) -> None:
    """InputError for a prompt whose data part shows nothing of a document or row."""
    text = template.read(prompt)
    holes = {*template.Holes(text).get_identifiers()}
    if not text.partition("\n---\n")[2].strip():
        return  # the data part is ours, which shows everything
    for spec in specs:
        wanted = ["files"] if spec.files else [*spec.metadata, "metadata"]
        if not holes & {*wanted}:
            known = ", ".join(f"${name}" for name in wanted[:5])
            raise InputError(f"{prompt} shows nothing of {spec.task_id}; below its line '---' write {known}")


def _files(inputs: Iterable[str]) -> Iterator[Path]:
    seen: set[Path] = set()
    for given in inputs:
        try:
            found = _expanded(given)
        except (OSError, ValueError, NotImplementedError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise InputError(f"cannot read the input {given!r}: {reason}") from error
        for path in found:
            if (place := path.resolve()) not in seen:
                seen.add(place)
                yield path


def _expanded(given: str) -> list[Path]:
    if not given:
        raise InputError("an INPUT is empty; expected a file, a folder or a pattern")
    path = Path(given)
    if path.is_file():
        return [path]
    if path.is_dir():
        found = list(path.iterdir())
    elif has_magic(given):
        root = Path(path.anchor)
        found = list(root.glob(str(path.relative_to(root))))
    else:
        raise InputError(f"there is no file or folder '{given}'")
    hidden = path.name.startswith(".")
    files = [one for one in found if one.is_file() and (hidden or not one.name.startswith("."))]
    if not files:
        raise InputError(f"'{given}' names no file")
    return sorted(files, key=_by_number)


def _by_number(path: Path) -> list[tuple[int, str]]:
    """Sorts doc_2 before doc_10."""
    parts = re.findall(r"\d+|\D+", str(path))
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def _work_in(path: Path, id_column: str | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """The tasks that an input makes: a name for each, and what it has of its own."""
    if path.suffix.lower() not in (".csv", ".jsonl"):
        yield path.stem, {"files": [str(path)]}
        return
    text = _read(path)
    rows = _rows_of_csv(path, text) if path.suffix.lower() == ".csv" else _rows_of_jsonl(path, text)
    for number, row in enumerate(rows, 1):
        if id_column and id_column not in row:
            raise InputError(f"{path}: row {number} has no '{id_column}'; it has {', '.join(row)}")
        yield str(row[id_column]) if id_column else f"{path.stem}_{number:05d}", {"metadata": row}


def _rows_of_jsonl(path: Path, text: str) -> list[dict[str, Any]]:
    rows = []
    for number, line in enumerate(text.split("\n"), 1):
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
    """A task id made of a name that any file may have."""
    clean = re.sub(r"[^A-Za-z0-9._-]+", "_", name).lstrip("._-")[:80] or "task"
    number, unique = 1, clean
    while unique.lower() in taken:
        number += 1
        unique = f"{clean}_{number}"
    taken.add(unique.lower())
    return unique
