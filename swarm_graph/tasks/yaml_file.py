"""A task file in YAML 1.2: its tasks as plain data, and the user's own data as it is written.

PyYAML reads YAML 1.1, where NO is false, 010 is 8 and 12:30 is 750. This module uses its parser with the core
schema of YAML 1.2. Even there, 010 is 10 and 1.10 is 1.1. So `metadata` keeps each value as text that JSON
would write in another way, and a field of a task that is text keeps every value as text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from swarm_graph.errors import InputError
from swarm_graph.text import MAX_VALUES

TAG = "tag:yaml.org,2002:"
TEXT, NULL, BOOL, INT, FLOAT, MERGE = (
    f"{TAG}{name}" for name in ("str", "null", "bool", "int", "float", "merge")
)
KINDS = {NULL: "null", BOOL: "a truth value", INT: "a number", FLOAT: "a number"}
TYPED_FIELDS = ("priority", "expands", "parameters", "answer")
"""The fields of a task that are no text; YAML's own types hold in them."""
_CANONICAL = re.compile(r"null|true|false|0|-?[1-9]\d{0,17}")
"""A null, a truth value or an integer as JSON writes it."""
_DECIMAL = re.compile(r"-?\d+\.\d+")
CORE_SCHEMA = (
    (NULL, r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    (BOOL, r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    (INT, r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        FLOAT,
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
    (MERGE, r"<<", ["<"]),  # of YAML 1.1, but task files use it
)
"""Tag, pattern and first characters of the plain values that are no text."""


class _Loader(yaml.SafeLoader):
    """PyYAML's loader of plain data with the core schema of YAML 1.2."""

    yaml_implicit_resolvers: Any = {}  # noqa: RUF012

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._merged = 0

    def flatten_mapping(self, node: Any) -> None:
        """Merge the mappings under `<<`; of equal keys the last one stays, so that merges cannot explode."""
        if not any(key.tag == MERGE for key, _ in node.value):
            return
        super().flatten_mapping(node)
        node.value = [*{_key(key): (key, value) for key, value in node.value}.values()]
        self._merged += len(node.value)
        if self._merged > MAX_VALUES:
            raise yaml.MarkedYAMLError(
                problem=f"the mappings under '<<' come to more than {MAX_VALUES} values",
                problem_mark=node.start_mark,
            )


def _key(node: Any) -> Any:
    return node.value if isinstance(node, yaml.ScalarNode) else id(node)


def _int(loader: Any, node: Any) -> int:
    text = loader.construct_scalar(node)
    return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))


def _float(loader: Any, node: Any) -> float:
    return float(loader.construct_scalar(node).lower().replace(".inf", "inf").replace(".nan", "nan"))


for _tag, _pattern, _first in CORE_SCHEMA:
    _Loader.add_implicit_resolver(_tag, re.compile(rf"(?:{_pattern})\Z"), _first)
_Loader.add_constructor(INT, _int)
_Loader.add_constructor(FLOAT, _float)


def parse_yaml(path: Path, text: str) -> Any:
    """What a task file in YAML holds.

    Raises:
        InputError: It is not valid YAML, a key occurs twice, or an id is not text.
    """
    try:
        loader = _Loader(text)
        if (root := loader.get_single_node()) is None:
            return None
        _check_keys(root)
        _keep_text(path, root)
        return loader.construct_document(root)
    except yaml.MarkedYAMLError as error:
        raise InputError(f"{path} is not valid YAML: {_problem(error)}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise InputError(f"{path} is nested too deep") from error


def _problem(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    line = f"line {mark.line + 1}: " if mark else ""
    what = " ".join(" ".join(filter(None, (error.context, error.problem))).split())
    return line + what + ("; indent with blanks" if r"'\t'" in what else "")


def _check_keys(root: Any) -> None:
    """Raises an error for a key that occurs twice: PyYAML lets the last one win, which would drop a task."""
    for node in _nodes(root):
        found = set()
        for key, _ in _pairs(node):
            if key.tag != MERGE and _key(key) in found:
                raise yaml.MarkedYAMLError(
                    problem=f"the key '{key.value}' occurs twice", problem_mark=key.start_mark
                )
            found.add(_key(key))


def _nodes(root: Any) -> Iterator[Any]:
    """A node and all nodes in it, each once: an alias is the node of its anchor."""
    seen, pending = set(), [root]
    while pending:
        node = pending.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        yield node
        pending += [*(part for pair in _pairs(node) for part in pair), *_items(node)]


# --- text stays as it is written -----------------------------------------------------------------


def _keep_text(path: Path, root: Any) -> None:
    """Make text of the request, of the tasks' text fields, and of data that JSON would write otherwise."""
    tasks = root
    for key, value in _pairs(root):
        if key.value == "request":
            _to_text(value)
        elif key.value == "tasks":
            tasks = value
    for key, _ in _pairs(tasks):
        _check_id(path, key)
    listed = [value for _, value in _pairs(tasks)] or _items(tasks)
    for key, value in _fields(listed):
        if key.value == "task_id":
            _check_id(path, value)
        elif key.value == "metadata":
            _as_written(value)
        elif key.value not in TYPED_FIELDS:
            _to_text(value)


def _pairs(node: Any) -> list[tuple[Any, Any]]:
    return node.value if isinstance(node, yaml.MappingNode) else []


def _items(node: Any) -> list[Any]:
    return node.value if isinstance(node, yaml.SequenceNode) else []


def _fields(tasks: list[Any]) -> Iterator[tuple[Any, Any]]:
    """Keys and values of tasks and of the mappings that they merge, each once."""
    seen, pending = set(), [*tasks]
    while pending:
        task = pending.pop()
        if id(task) in seen:
            continue
        seen.add(id(task))
        for key, value in _pairs(task):
            if key.tag == MERGE:
                pending += _items(value) or [value]
            else:
                yield key, value


def _check_id(path: Path, node: Any) -> None:
    if kind := KINDS.get(node.tag) if node.value else None:
        raise InputError(
            f"{path}, line {node.start_mark.line + 1}: the task_id {node.value} is {kind}, and ids are text; "
            f'quote it: "{node.value}"'
        )


def _to_text(root: Any) -> None:
    for node in _nodes(root):
        if node.tag in (BOOL, INT, FLOAT):
            node.tag = TEXT


def _as_written(root: Any) -> None:
    keys = {id(key) for node in _nodes(root) for key, _ in _pairs(node)}
    for node in _nodes(root):
        if node.tag in KINDS and (id(node) in keys or not _is_canonical(node)):
            node.tag = TEXT


def _is_canonical(node: Any) -> bool:
    """Whether JSON would write a value as it is written here."""
    if node.tag == FLOAT and _DECIMAL.fullmatch(node.value):
        return json.dumps(float(node.value)) == str(node.value)
    return bool(_CANONICAL.fullmatch(node.value))
