"""Tasks from files: a task graph in YAML, JSON or CSV, and one task per document or row for `batch`."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from swarm_graph.config_source import closest_match
from swarm_graph.errors import InputError
from swarm_graph.inputs.find_files import find_inputs, shown
from swarm_graph.inputs.kinds import JSON_LINES, TABLES
from swarm_graph.prompts import template
from swarm_graph.roles.json_objects import unique_keys
from swarm_graph.state import AgentRole
from swarm_graph.tasks.prompting import HOLES
from swarm_graph.tasks.rows import read_text, rows_of
from swarm_graph.tasks.spec import REPOSITORY, TaskSpec, task_specs, with_absolute_paths, with_paths

TASK_COLUMNS = [name for name in TaskSpec.model_fields if name != "source_file"]
"""The columns of a table of tasks that are fields; `batch` sets the other one."""
LIST_COLUMNS = ("dependencies", "files")
JSON_COLUMNS = ("parameters", "answer", "metadata")
MAX_NAME_BYTES = 200
"""Of a task id from a name. Its number and the ending of its result file follow; 255 is the limit."""
TRUE, FALSE = ("true", "yes", "1"), ("false", "no", "0", "")


def read_tasks(
    path: str | Path, roles: Collection[str] | None = tuple(AgentRole)
) -> tuple[str, list[TaskSpec]]:
    """The request and the tasks of a task file.

    YAML and JSON hold a list of tasks, or an object with `tasks`, `request` and `repo`; JSON Lines hold a
    task per line. A table (.csv, .tsv) holds a task per row: lists are separated by spaces, and columns that
    are not fields of a task become its metadata.

    Args:
        path: The file. The paths in it are relative to its folder.
        roles: The names of all roles, as `SwarmConfig.role_names` has them; default the nine. None:
            they are checked later.

    Returns:
        The request, empty if the file has none, and the tasks with absolute paths.

    Raises:
        InputError: The file cannot be read, or a task is invalid.
    """
    path = Path(path)
    request, repo, specs = _tasks_in(path, roles)
    specs = [_in_repository(spec, repo, path.parent) for spec in specs]
    return request, [with_absolute_paths(spec, path.parent) for spec in specs]


def received_tasks(
    path: str | Path, roles: Collection[str], file_of: Callable[[str], Path]
) -> tuple[str, list[TaskSpec]]:
    """The request and the tasks of a task file that somebody sent: it names no place of this machine.

    Args:
        path: The file.
        roles: The names of all roles.
        file_of: Returns the file that a name in the task file stands for; raises InputError for others.

    Raises:
        InputError: The file cannot be read, a task is invalid, or it names a file that it may not.
    """
    request, repo, specs = _tasks_in(Path(path), roles)

    def placed(name: str) -> str:
        if not name.startswith(REPOSITORY):
            return str(file_of(name))
        if repo or "//" in name:
            raise InputError(
                f"'{name}' names a repository; a task file that is sent reads the chosen one, as repo:PATH"
            )
        return name

    return request, [with_paths(spec, placed) for spec in specs]


def _tasks_in(path: Path, roles: Collection[str] | None) -> tuple[str, str, list[TaskSpec]]:
    """The request, the repository and the tasks of a task file, with paths as the file has them."""
    suffix = path.suffix.lower()
    tasks: Any = rows_of(path) if suffix in (*TABLES, *JSON_LINES) else _parsed(path)
    request = repo = ""
    if isinstance(tasks, Mapping) and "tasks" in tasks:
        if unknown := [key for key in tasks if key not in ("tasks", "request", "repo", "$schema")]:
            raise InputError(
                f"{path}: unknown key '{unknown[0]}'; expected tasks, and optionally request and repo"
            )
        repo = str(tasks.get("repo") or "")
        request, tasks = str(tasks.get("request") or ""), tasks["tasks"]
    try:
        specs = task_specs([_from_row(row) for row in tasks] if suffix in TABLES else tasks, roles)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return request, repo, specs


def _in_repository(spec: TaskSpec, repo: str, folder: Path) -> TaskSpec:
    """A task whose paths `repo:PATH` name the repository of its file; `repo:DIR//PATH` names its own."""

    def whole(name: str) -> str:
        if not name.startswith(REPOSITORY):
            return name
        own, _, path = name.removeprefix(REPOSITORY).rpartition("//")
        place = own or repo
        return f"{REPOSITORY}{(folder / place).absolute()}//{path}" if place else name

    return with_paths(spec, whole)


def _parsed(path: Path) -> Any:
    text = read_text(path)
    if path.suffix.lower() in (".yaml", ".yml"):
        from swarm_graph.tasks.yaml_file import parse_yaml

        return parse_yaml(path, text)
    if path.suffix.lower() == ".json":
        try:
            return json.loads(text, object_pairs_hook=unique_keys)
        except RecursionError as error:
            raise InputError(f"{path} is nested too deep") from error
        except ValueError as error:
            raise InputError(f"{path} is not valid JSON: {error}") from error
    raise InputError(
        f"{path}: the name of a task file must end in .yaml, .json or .csv (or .yml, .jsonl, .ndjson, .tsv)"
    )


def _from_row(row: Mapping[str, str]) -> dict[str, Any]:
    """A task from a row of text; empty cells are left out."""
    task: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    for column, cell in row.items():
        name, text = column.strip(), cell.strip()
        if name in TASK_COLUMNS:
            task |= {name: _cell(name, text)} if text else {}
        elif meant := closest_match(name, TASK_COLUMNS):
            raise InputError(f"unknown column '{name}'; did you mean '{meant}'? If it is data, rename it")
        else:
            metadata[name] = cell
    own = task.get("metadata", {})
    return {**task, "metadata": {**metadata, **own} if isinstance(own, dict) else own}


def _cell(name: str, text: str) -> Any:
    if name in LIST_COLUMNS:
        return text.replace(";", " ").replace(",", " ").split()
    if name in ("priority", "split") and re.fullmatch(r"-?\d+", text):
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
    role: str,
    prompt: str,
    *,
    answer: dict[str, Any] | None = None,
    id_column: str | None = None,
    delimiter: str | None = None,
    prompts_dir: str | None = None,
    split: int | str | None = None,
    say: Callable[[str], object] = lambda _note: None,
) -> list[TaskSpec]:
    """One task per document, or per row of a file with rows (see `rows_of`).

    A task is named after its file, or after its row's cell in `id_column`, or after its file and row number.

    Args:
        inputs: Files, folders and patterns such as `docs/*.txt`.
        role: The role of all tasks.
        prompt: The prompt of all tasks: a name or a file.
        answer: The JSON Schema of a typed answer.
        id_column: The column or key that names the tasks.
        delimiter: What separates the cells of tables; by default, each table shows it.
        prompts_dir: The folder or pack in which a prompt's name is looked for first.
        split: See TaskSpec; for documents only.
        say: Is called with a note on what was left out, such as a subfolder or an unreadable file.

    Raises:
        InputError: An input is missing or empty, or the prompt shows nothing of it.
    """
    common = {"assigned_role": role, "prompt": prompt, "answer": answer, "task_type": "batch"}
    found = find_inputs(inputs)
    if found.left_out:
        say(f"left out: {found.note}")
    taken: set[str] = set()
    tasks: list[dict[str, Any]] = []
    for path in found.files:
        for name, data in _items(path, id_column, delimiter):
            if split and "files" in data:
                data["split"] = split
            tasks.append({**common, **data, "task_id": _unique(name, taken)})
    text = template.read(prompt, prompts_dir)
    _fill_optional_keys(prompt, text, [task["metadata"] for task in tasks if "metadata" in task])
    specs = [with_absolute_paths(spec, Path()) for spec in task_specs(tasks)]
    _check_prompt_shows_input(prompt, text, specs)
    return specs


def _items(path: Path, id_column: str | None, delimiter: str | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """The document or the rows of a file: a name for each, and the task fields that hold it."""
    rows = rows_of(path, delimiter)
    if rows is None:
        yield path.stem, {"files": [str(path)]}
        return
    for number, row in enumerate(rows, 1):
        if id_column and id_column not in row:
            raise InputError(f"{path}: row {number} has no '{id_column}'; it has {', '.join(row)}")
        name = str(row[id_column]) if id_column else f"{path.stem}_{number:05d}"
        yield name, {"metadata": row, "source_file": shown(path)}


def _fill_optional_keys(prompt: str, text: str, rows: list[dict[str, Any]]) -> None:
    """Add the keys that the prompt uses and only other rows have; our own holes are never without a value.

    Raises:
        InputError: The prompt uses a key that no row has.
    """
    holes = _holes(text) if rows else set()
    keys = dict.fromkeys(key for row in rows for key in row)
    if unknown := sorted(holes - keys.keys() - {*HOLES}):
        known = ", ".join(f"${name}" for name in (*filter(str.isidentifier, keys), *HOLES))
        raise InputError(f"{prompt}: unknown hole '${unknown[0]}'; expected {known}")
    optional = (holes & keys.keys()) - {*HOLES}
    for row in rows:
        row.update(dict.fromkeys(sorted(optional - row.keys())))


def _check_prompt_shows_input(prompt: str, text: str, specs: Iterable[TaskSpec]) -> None:
    """Raises InputError when the user message of a prompt shows nothing of a document or row."""
    if not text.partition("\n---\n")[2].strip():
        return  # without a user message of its own, the prompt gets ours, which shows everything
    holes = _holes(text)
    for spec in specs:
        expected = ["files"] if spec.files else [*spec.metadata, "metadata"]
        if not holes & {*expected}:
            names = ", ".join(f"${name}" for name in expected[:5])
            raise InputError(
                f"{prompt} shows nothing of {spec.task_id}; below its line '---' use one of {names}"
            )


def _holes(text: str) -> set[str]:
    return {*template.Holes(text).get_identifiers()}


def _unique(name: str, taken: set[str]) -> str:
    """A task id from any name: letters and digits of any script, and a number if the id is taken.

    The ids differ even for file systems that ignore case or the form of Unicode.
    """
    words = "".join(char if char in "._-" or _is_letter_or_digit(char) else "\0" for char in name)
    clean = re.sub("\0+", "_", words)
    start = next((place for place, char in enumerate(clean) if char.isalnum()), len(clean))
    clean = clean[start : start + 80].encode()[:MAX_NAME_BYTES].decode(errors="ignore") or "task"
    unique = _numbered(clean, _free_number(clean, taken))
    taken.add(_folded(unique))
    return unique


def _is_letter_or_digit(char: str) -> bool:
    """Whether a character is a letter, a part of one such as a vowel sign, or a digit."""
    category = unicodedata.category(char)
    return category[0] in "LM" or category in ("Nd", "Nl")


def _free_number(name: str, taken: set[str]) -> int:
    """A number for a name, found by halving: a table may have the same name in every row."""
    low, free = 0, 1
    while _folded(_numbered(name, free)) in taken:
        low, free = free, 2 * free
    while free - low > 1:
        middle = (low + free) // 2
        low, free = (middle, free) if _folded(_numbered(name, middle)) in taken else (low, middle)
    return free


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name}_{number}"


def _folded(name: str) -> str:
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", name).casefold())
