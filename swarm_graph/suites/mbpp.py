"""MBPP (Austin and others, 2021): short Python tasks, from `mbpp.jsonl` or `sanitized-mbpp.json`.

The published prompt shows all tests of a task. Here the request shows the first one as an example, and only
the others decide, so the figures are not those of published tables.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path
from textwrap import indent
from typing import Any

from swarm_graph.errors import InputError
from swarm_graph.inputs.find_files import shown
from swarm_graph.suites.case import Case, Suite
from swarm_graph.suites.data_files import read_rows, text_of, texts_of
from swarm_graph.suites.function_tests import SOLUTION, statement_tests

SECONDS = 20.0


def load_mbpp(path: Path, sha256: str) -> Suite:
    """The cases of a file of MBPP.

    Args:
        path: JSON Lines or a JSON array.
        sha256: What it must hash to; empty for any.

    Raises:
        InputError: It cannot be read, is of another form, or the hash differs.
    """
    rows, digest = read_rows(path, sha256)
    cases = tuple(_case(row, f"'{shown(path)}', case {number}") for number, row in enumerate(rows, 1))
    return Suite("mbpp", f"{shown(path)}, sha256 {digest}", cases)


def _case(row: Mapping[str, Any], place: str) -> Case:
    number = row.get("task_id")
    if not isinstance(number, int) or isinstance(number, bool):
        raise InputError(f"{place}: task_id: expected a number")
    code = text_of(row, "code", place)
    tests = [_statement(test, place) for test in texts_of(row, "test_list", place)]
    tests += [_statement(test, place) for test in texts_of(row, "challenge_test_list", place)]
    tests = [*dict.fromkeys(tests)]  # a few tasks repeat a test: the example would be the hidden one
    setup = _setup(row, place)
    names = _tested(code, tests, setup, place)
    example, hidden = (tests[:1], tests[1:]) if len(tests) > 1 else ([], tests)
    question = text_of(row, "prompt" if "prompt" in row else "text", place).strip()
    imports = "\n".join(texts_of(row, "test_imports", place))
    return Case(
        suite="mbpp",
        name=f"MBPP-{number}",
        request=_request(question, [signature(code, name) for name in names], setup, example),
        hidden=_hidden(statement_tests(names, imports, [*setup, *hidden]), place),
        solution={SOLUTION: code.replace("\r\n", "\n")},
        seconds=SECONDS,
    )


def _request(question: str, signatures: list[str], setup: list[str], example: list[str]) -> str:
    parts = [f"{question} Write it in the file `{SOLUTION}`, which defines:", _indented(signatures)]
    parts += ["Tests begin with:", _indented(setup)] if setup else []
    parts += ["Example:", _indented(example)] if example else []
    return "\n\n".join(parts) + "\n"


def _indented(statements: list[str]) -> str:
    return indent("\n".join(statements), "    ")


def _statement(test: str, place: str) -> str:
    """A test in one line."""
    return "; ".join(_statements(test, f"{place}: test_list"))


def _setup(row: Mapping[str, Any], place: str) -> list[str]:
    """What runs before the tests, after the names of the solution are known: it may use them."""
    return _statements(str(row.get("test_setup_code") or ""), f"{place}: test_setup_code")


def _statements(text: str, place: str) -> list[str]:
    try:
        return [ast.unparse(statement) for statement in ast.parse(text.strip()).body]
    except (SyntaxError, ValueError) as error:
        raise InputError(f"{place}: not valid Python: {error}") from error


def _hidden(tests: dict[str, str], place: str) -> dict[str, str]:
    try:
        for path, text in tests.items():
            compile(text, path, "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        raise InputError(f"{place}: the tests make no valid Python: {error}") from error
    return tests


def _tested(code: str, tests: list[str], setup: list[str], place: str) -> list[str]:
    """The functions and classes of the reference that the tests use, in the order of the reference."""
    if not tests:
        raise InputError(f"{place}: test_list: expected at least one test")
    tree = ast.parse("\n".join([*setup, *tests]))
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    try:
        body = ast.parse(code).body
    except (SyntaxError, ValueError) as error:
        raise InputError(f"{place}: code: not valid Python: {error}") from error
    names = [name for name in dict.fromkeys(name for node in body for name in _defined(node)) if name in used]
    if not names:
        raise InputError(f"{place}: the tests use nothing that the code defines")
    return names


def _defined(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.Assign):
        return [target.id for target in node.targets if isinstance(target, ast.Name)]
    return [node.name] if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) else []


def signature(code: str, name: str) -> str:
    """The first line of a function or class of a program."""
    for node in ast.parse(code).body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name == name:
            return f"def {name}({ast.unparse(node.args)})"
        if isinstance(node, ast.ClassDef) and node.name == name:
            made = next((part for part in node.body if getattr(part, "name", "") == "__init__"), None)
            arguments = ast.unparse(made.args) if isinstance(made, ast.FunctionDef) else ""
            return f"class {name}, made with ({arguments.removeprefix('self').removeprefix(', ')})"
    return name
