"""ClassEval (Du and others, 2023): Python classes to complete, from `ClassEval_data.json`."""

from __future__ import annotations

import ast
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from swarm_graph.errors import InputError
from swarm_graph.inputs.find_files import shown
from swarm_graph.suites.case import Case, Suite
from swarm_graph.suites.case_folder import NAME
from swarm_graph.suites.data_files import read_rows, text_of, texts_of
from swarm_graph.suites.function_tests import SOLUTION, class_tests
from swarm_graph.suites.requests import fenced

_QUESTION = (
    "Complete this Python class. Write the whole class, with the imports that it needs, in the file "
    f"`{SOLUTION}`. Keep the names and parameters.\n\n"
)


DISTRIBUTIONS = {"PIL": "pillow", "bs4": "beautifulsoup4", "docx": "python-docx"}
"""The packages that references import under another name."""


def load_classeval(path: Path, sha256: str) -> Suite:
    """The cases of a file of ClassEval.

    Args:
        path: A JSON array or JSON Lines.
        sha256: What it must hash to; empty for any.

    Raises:
        InputError: It cannot be read, is of another form, or the hash differs.
    """
    rows, digest = read_rows(path, sha256)
    cases = tuple(_case(row, f"'{shown(path)}', case {number}") for number, row in enumerate(rows, 1))
    return Suite("classeval", f"{shown(path)}, sha256 {digest}", cases)


def _case(row: Mapping[str, Any], place: str) -> Case:
    name, class_name = text_of(row, "task_id", place), text_of(row, "class_name", place)
    if not NAME.fullmatch(name):
        raise InputError(f"{place}: task_id: {name!r} cannot name a case")
    if not class_name.isidentifier():
        raise InputError(f"{place}: class_name: {class_name!r} is no name")
    imports = "\n".join(texts_of(row, "import_statement", place))
    solution = text_of(row, "solution_code", place)
    if imports not in solution:
        solution = f"{imports}\n\n\n{solution}"
    return Case(
        suite="classeval",
        name=name,
        request=_QUESTION + fenced(SOLUTION, text_of(row, "skeleton", place)) + "\n",
        hidden=class_tests(class_name, f"{imports}\n{text_of(row, 'test', place)}"),
        solution={SOLUTION: solution},
        packages=_packages(solution, place),
    )


def _packages(code: str, place: str) -> tuple[str, ...]:
    """The packages that a program imports besides the standard library."""
    try:
        nodes = [*ast.walk(ast.parse(code))]
    except SyntaxError as error:
        raise InputError(f"{place}: solution_code: not valid Python: {error.msg}") from error
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom) and not node.level}
    tops = {name.partition(".")[0] for name in names}
    others = tops - {*sys.stdlib_module_names, ""}
    return tuple(sorted(DISTRIBUTIONS.get(name, name) for name in others))
