"""The outline of a Python file: its definitions with signatures, by `ast`.

As a program it reads files from stdin and prints an outline for each: Python's parser needs much memory and
time on some files, and ends the process on a few, so it runs in a process of its own. Only the standard
library is imported here, so that this process starts at once.
"""

from __future__ import annotations

import ast
import gc
import json
import re
import sys
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple, TypeAlias

MAX_SIGNATURE = 160
"""Characters of a signature; more is cut."""
MAX_DEFINITIONS = 2_000
"""Definitions of one file that are kept."""
_MAX_HEAD_LINES = 40
_MAX_DEPTH = 3
_LINE_END = re.compile(r"\r\n|\r|\n")

_Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef


class Definition(NamedTuple):
    """A function, class or type of a file.

    Attributes:
        name: Its name, without that of its class.
        signature: The line that defines it, such as `def add(a: int) -> int`.
        depth: 0 at the top of the file, 1 in a class.
        line: The first line, its decorators included; from 1.
        end: The last line.
    """

    name: str
    signature: str
    depth: int
    line: int
    end: int


class Outline(NamedTuple):
    """What a file defines.

    Attributes:
        definitions: In the order of the file.
        problem: Why there are no definitions, in words; empty if the file was read or has none by its kind.
    """

    definitions: tuple[Definition, ...] = ()
    problem: str = ""

    def to_json(self) -> bytes:
        """The outline as one line."""
        return json.dumps(self, separators=(",", ":")).encode()

    @staticmethod
    def from_json(line: bytes) -> Outline:
        """The outline of a line that `to_json` made. Raises ValueError or TypeError if it is none."""
        definitions, problem = json.loads(line)
        return Outline(tuple(Definition(*one) for one in definitions), problem)


def python_outline(source: bytes) -> Outline:
    """The outline of a Python file; its problem says so if Python cannot parse it."""
    try:
        tree = ast.parse(source)
        lines = _LINE_END.split(source.decode(errors="replace"))
        definitions = [*islice(_definitions(tree.body, lines, 0), MAX_DEFINITIONS)]
    except SyntaxError as error:
        return Outline(problem=f"a syntax error in line {error.lineno or 1}")
    except (ValueError, RecursionError, MemoryError):
        return Outline(problem="it cannot be parsed")
    return Outline(tuple(definitions))


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements, and those below `if`, `try` and `with`: versions of one definition often stand there."""
    for node in body:
        yield node
        if isinstance(node, (ast.If, ast.Try, ast.With)):
            yield from _statements(node.body)
            for handler in getattr(node, "handlers", []):
                yield from _statements(handler.body)
            yield from _statements(getattr(node, "orelse", []))


def _definitions(body: list[ast.stmt], lines: list[str], depth: int) -> Iterator[Definition]:
    for node in _statements(body):
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            continue
        first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
        end = node.end_lineno or node.lineno
        yield Definition(node.name, _signature(node, lines)[:MAX_SIGNATURE], depth, first, end)
        if isinstance(node, ast.ClassDef) and depth < _MAX_DEPTH:
            yield from _definitions(node.body, lines, depth + 1)


def _signature(node: _Function | ast.ClassDef, lines: list[str]) -> str:
    line, body = lines[node.lineno - 1], node.body[0].lineno
    if body > node.lineno and line.endswith(":") and "#" not in line:
        return line.strip().removesuffix(":")
    kind = {ast.ClassDef: "class", ast.AsyncFunctionDef: "async def"}.get(type(node), "def")
    # Of a very long head only the name: `unparse` is slow.
    head_length = sum(map(len, lines[node.lineno - 1 : body]))
    if body - node.lineno > _MAX_HEAD_LINES or head_length > _MAX_HEAD_LINES * MAX_SIGNATURE:
        return f"{kind} {node.name}(…)"
    if isinstance(node, ast.ClassDef):
        bases = ", ".join(map(ast.unparse, [*node.bases, *node.keywords]))
        return f"{kind} {node.name}({bases})" if bases else f"{kind} {node.name}"
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"{kind} {node.name}({ast.unparse(node.args)}){returns}"


def main() -> None:
    """Read files from stdin, each as a line with its size and then its bytes; print an outline for each."""
    gc.disable()  # trees have no cycles, and to look for some takes a third of the time
    while size := sys.stdin.buffer.readline():
        sys.stdout.buffer.write(python_outline(sys.stdin.buffer.read(int(size))).to_json() + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
