"""Hidden tests of a function or class, wherever in the session's files it stands."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import indent

SOLUTION = "solution.py"
"""The file that requests ask for."""
TEST = "test_hidden.py"

_FINDER = '''
import ast as _ast
import importlib as _importlib
from pathlib import Path as _Path


def _of_session(name):
    """What the session's files define under a name: solution.py does, else the one file that does."""
    files = [path for path in sorted(_Path().rglob("*.py")) if not path.name.startswith("test_")]
    found = [path for path in files if _defines(path, name)]
    chosen = [path for path in found if path.name == "solution.py"] or found
    if len(chosen) != 1:
        raise ImportError(f"{len(chosen)} files define {name}; expected one")
    parts = chosen[0].with_suffix("").parts
    module = _importlib.import_module(".".join(parts[1:] if parts[0] == "src" and len(parts) > 1 else parts))
    return getattr(module, name)


def _defines(path, name):
    body = _ast.parse(path.read_text(encoding="utf-8-sig")).body
    targets = [target for node in body if isinstance(node, _ast.Assign) for target in node.targets]
    names = [getattr(node, "name", "") for node in body]
    return name in [*names, *(getattr(target, "id", "") for target in targets)]
'''


def function_tests(names: Sequence[str], checks: str) -> dict[str, str]:
    """A pytest file that finds functions in the session's files and passes the first one to `check`.

    Args:
        names: The functions, and classes; `check` may use each by its name, too.
        checks: Python that defines `check(candidate)`.
    """
    assigned = "".join(f'    {name} = _of_session("{name}")\n' for name in names)
    test = f"def test_{names[0]}():\n    global {', '.join(names)}\n{assigned}    check({names[0]})\n"
    return {TEST: f"{checks.strip()}\n\n{_FINDER}\n\n{test}"}


def statement_tests(names: Sequence[str], imports: str, statements: Sequence[str]) -> dict[str, str]:
    """A pytest file whose statements use functions and classes of the session's files by their names.

    Args:
        names: The functions and classes.
        imports: Python at the top of the file.
        statements: Python, each without a `from … import *`; they run in their order, in one test.
    """
    found = [f'{name} = _of_session("{name}")' for name in names]
    body = indent("\n".join([*found, *statements]), "    ")
    return {TEST: f"{imports.strip()}\n{_FINDER}\n\ndef test_hidden():\n{body}\n"}


def class_tests(name: str, tests: str) -> dict[str, str]:
    """A pytest file whose tests find a class of the session's files under its name.

    Args:
        name: The class.
        tests: Test cases of unittest that use it.
    """
    return {TEST: f'{_FINDER}\n\n{name} = _of_session("{name}")\n\n\n{tests.strip()}\n'}
