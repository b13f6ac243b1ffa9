"""A task file in YAML 1.2: its tasks as plain data, and the user's own data as it is written.

In YAML 1.2 010 is 10 and 1.10 is 1.1. So `metadata` keeps each value as text that JSON would write in another
way, and a field of a task that is text keeps every value as text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from swarm_graph import yaml12
from swarm_graph.errors import InputError
from swarm_graph.yaml12 import BOOL, FLOAT, INT, MERGE, NULL, TEXT, items, nodes, pairs

KINDS = {NULL: "null", BOOL: "a truth value", INT: "a number", FLOAT: "a number"}
TYPED_FIELDS = ("priority", "expands", "parameters", "answer", "split")
"""The fields of a task that are no text; YAML's own types hold in them."""
_CANONICAL = re.compile(r"null|true|false|0|-?[1-9]\d{0,17}")
"""A null, a truth value or an integer as JSON writes it."""
_DECIMAL = re.compile(r"-?\d+\.\d+")


def parse_yaml(path: Path, text: str) -> Any:
    """What a task file in YAML holds.

    Raises:
        InputError: It is not valid YAML, a key occurs twice, or an id is not text.
    """
    return yaml12.parse_yaml(path, text, partial(_keep_text, path))


# --- text stays as it is written -----------------------------------------------------------------


def _keep_text(path: Path, root: Any) -> None:
    """Make text of the request, of the tasks' text fields, and of data that JSON would write otherwise."""
    tasks = root
    for key, value in pairs(root):
        if key.value == "request":
            _to_text(value)
        elif key.value == "tasks":
            tasks = value
    for key, _ in pairs(tasks):
        _check_id(path, key)
    listed = [value for _, value in pairs(tasks)] or items(tasks)
    for key, value in _fields(listed):
        if key.value == "task_id":
            _check_id(path, value)
        elif key.value == "metadata":
            _as_written(value)
        elif key.value not in TYPED_FIELDS:
            _to_text(value)


def _fields(tasks: list[Any]) -> Iterator[tuple[Any, Any]]:
    """Keys and values of tasks and of the mappings that they merge, each once."""
    seen, pending = set(), [*tasks]
    while pending:
        task = pending.pop()
        if id(task) in seen:
            continue
        seen.add(id(task))
        for key, value in pairs(task):
            if key.tag == MERGE:
                pending += items(value) or [value]
            else:
                yield key, value


def _check_id(path: Path, node: Any) -> None:
    if kind := KINDS.get(node.tag) if node.value else None:
        raise InputError(
            f"{path}, line {node.start_mark.line + 1}: the task_id {node.value} is {kind}, and ids are text; "
            f'quote it: "{node.value}"'
        )


def _to_text(root: Any) -> None:
    for node in nodes(root):
        if node.tag in (BOOL, INT, FLOAT):
            node.tag = TEXT


def _as_written(root: Any) -> None:
    keys = {id(key) for node in nodes(root) for key, _ in pairs(node)}
    for node in nodes(root):
        if node.tag in KINDS and (id(node) in keys or not _is_canonical(node)):
            node.tag = TEXT


def _is_canonical(node: Any) -> bool:
    """Whether JSON would write a value as it is written here."""
    if node.tag == FLOAT and _DECIMAL.fullmatch(node.value):
        return json.dumps(float(node.value)) == str(node.value)
    return bool(_CANONICAL.fullmatch(node.value))
