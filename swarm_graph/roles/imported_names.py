"""What tests import of the code that does not exist yet: the names that each candidate has to define."""

from __future__ import annotations

import ast
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import PurePosixPath

TEST_PACKAGES = ("pytest", "_pytest", "conftest")
"""What tests import, and no code has to define, besides the standard library."""


def imported_names(tests: Mapping[str, str], packages: Collection[str] = ()) -> list[str]:
    """The statements by which tests import the code, one per name; nothing else of the tests.

    A file that does not parse has none.

    Args:
        tests: Path to text.
        packages: Further packages that the code need not define.

    Returns:
        Statements such as `from fifo_queue import Queue`, without repetitions, in the order of the tests.
    """
    own = {part for path in tests for part in _modules_of(path)}
    known = {*sys.stdlib_module_names, *TEST_PACKAGES, *packages, *own}
    found = (statement for path, text in tests.items() for statement in _imports(path, text, known))
    return list(dict.fromkeys(found))


def _modules_of(path: str) -> tuple[str, ...]:
    """The names by which a test file itself can be imported."""
    return PurePosixPath(path).stem, PurePosixPath(path).parts[0]


def _imports(path: str, text: str, known: Collection[str]) -> Iterator[str]:
    if not path.endswith(".py"):
        return
    try:
        tree = ast.parse(text.lstrip("\ufeff"))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules = [name.name for name in node.names]
            yield from (f"import {name}" for name in modules if name.partition(".")[0] not in known)
        elif isinstance(node, ast.ImportFrom) and _is_absolute(node, known):
            yield from (f"from {node.module} import {name.name}" for name in node.names)


def _is_absolute(node: ast.ImportFrom, known: Collection[str]) -> bool:
    """Whether it imports from a module that the code has to define."""
    return bool(node.module and not node.level and node.module.partition(".")[0] not in known)
