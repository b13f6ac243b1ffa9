"""YAML 1.2 as plain data.

PyYAML reads YAML 1.1, where NO is false, 010 is 8 and 12:30 is 750. This module uses its parser with the core
schema of YAML 1.2.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from swarm_graph.errors import InputError
from swarm_graph.text import MAX_VALUES

TAG = "tag:yaml.org,2002:"
TEXT, NULL, BOOL, INT, FLOAT, MERGE = (
    f"{TAG}{name}" for name in ("str", "null", "bool", "int", "float", "merge")
)
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


def parse_yaml(path: Path, text: str, adjust: Callable[[Any], None] = lambda _root: None) -> Any:
    """What a file in YAML holds, as plain data.

    Args:
        path: The file, for messages.
        text: Its text.
        adjust: Changes the tags of the nodes below the root before values are made of them.

    Raises:
        InputError: It is not valid YAML, or a key occurs twice.
    """
    try:
        loader = _Loader(text)
        if (root := loader.get_single_node()) is None:
            return None
        _check_keys(root)
        adjust(root)
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
    for node in nodes(root):
        found = set()
        for key, _ in pairs(node):
            if key.tag != MERGE and _key(key) in found:
                raise yaml.MarkedYAMLError(
                    problem=f"the key '{key.value}' occurs twice", problem_mark=key.start_mark
                )
            found.add(_key(key))


def nodes(root: Any) -> Iterator[Any]:
    """A node and all nodes in it, each once: an alias is the node of its anchor."""
    seen, pending = set(), [root]
    while pending:
        node = pending.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        yield node
        pending += [*(part for pair in pairs(node) for part in pair), *items(node)]


def pairs(node: Any) -> list[tuple[Any, Any]]:
    """The keys and values of a mapping; none of another node."""
    return node.value if isinstance(node, yaml.MappingNode) else []


def items(node: Any) -> list[Any]:
    """The items of a sequence; none of another node."""
    return node.value if isinstance(node, yaml.SequenceNode) else []
