"""Figures of the source code: `python benchmarks/structure.py [FOLDER]`, a checkout of any version.

Modules, imports between them, lengths of files and functions, docstrings, comments, bare tuples.
It only reads the code.
"""

from __future__ import annotations

import ast
import io
import json
import sys
import tokenize
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from math import ceil
from pathlib import Path
from statistics import median

FOLDERS = ("swarm_graph", "nodes", "prompts", "checkpoints")
Function = ast.FunctionDef | ast.AsyncFunctionDef


def sources(root: Path) -> dict[str, Path]:
    """Every module below swarm_graph by its dotted name; the top-level folders count as its rooms."""
    found = {}
    for folder in FOLDERS:
        base = root / folder
        for path in sorted(base.rglob("*.py")):
            parts = path.relative_to(base).with_suffix("").parts
            if folder == "swarm_graph" and parts[0] in FOLDERS:
                continue  # the links to the top-level folders
            name = ".".join(parts if folder == "swarm_graph" else (folder, *parts))
            found[name.removesuffix(".__init__")] = path
    return found


def imports(tree: ast.Module, known: dict[str, Path]) -> set[str]:
    """The modules of the package that a module imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Import(names):
                targets = [alias.name for alias in names]
            case ast.ImportFrom(module=str(module), names=names):
                targets = [f"{module}.{alias.name}" for alias in names] + [module]
            case _:
                continue
        found |= {target.removeprefix("swarm_graph.") for target in targets} & known.keys()
    return found


def floors(graph: dict[str, set[str]]) -> int | str:
    """The length of the longest chain of imports."""
    depth: dict[str, int] = {}
    try:
        for name in TopologicalSorter(graph).static_order():
            depth[name] = 1 + max((depth[below] for below in graph[name]), default=0)
    except CycleError as error:
        return f"a circle: {error.args[1]}"
    return max(depth.values())


def functions(tree: ast.Module) -> Iterator[Function]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


def public_functions(tree: ast.Module) -> Iterator[Function]:
    """Functions of a module, and methods of its classes, without a leading underscore."""
    for node in tree.body:
        inner = node.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_") else [node]
        for one in inner:
            if isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef)) and not one.name.startswith("_"):
                yield one


def returns_bare_tuple(function: Function) -> bool:
    """Whether a function returns several things as a tuple, not a sequence of any length."""
    annotation = function.returns
    if not isinstance(annotation, ast.Subscript) or ast.unparse(annotation.value) != "tuple":
        return False
    return "..." not in ast.unparse(annotation.slice)


def comment_lines(source: str) -> int:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return sum(token.type == tokenize.COMMENT and not _is_pragma(token.string) for token in tokens)


def _is_pragma(comment: str) -> bool:
    return comment.startswith(("# type:", "# noqa", "# fmt:", "# ---"))


def explanations(tree: ast.Module) -> int:
    """The docstrings below constants and fields."""
    bodies = [node.body for node in ast.walk(tree) if isinstance(node, (ast.Module, ast.ClassDef))]
    pairs = [pair for body in bodies for pair in pairwise(body)]
    return sum(isinstance(first, (ast.Assign, ast.AnnAssign)) and _is_text(second) for first, second in pairs)


def _is_text(node: ast.stmt) -> bool:
    value = node.value if isinstance(node, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def spread(values: list[int]) -> str:
    ordered = sorted(values)
    return f"median {median(ordered):g}, p90 {ordered[ceil(0.9 * len(ordered)) - 1]}, longest {ordered[-1]}"


def figures(root: Path) -> dict[str, object]:
    """All figures of a checkout."""
    modules = sources(root)
    texts = {name: path.read_text(encoding="utf-8") for name, path in modules.items()}
    trees = {name: ast.parse(text) for name, text in texts.items()}
    graph = {name: imports(tree, modules) - {name} for name, tree in trees.items()}
    edges = [(name, below) for name, all_below in graph.items() for below in all_below]
    rooms = {
        name: name.partition(".")[0] if "." in name or name in graph.keys() & {*FOLDERS} else "hall"
        for name in graph
    }
    packages = {path.parent.name for path in modules.values() if path.stem == "__init__"}
    rooms = {name: room if room in packages else "hall" for name, room in rooms.items()}
    lines = {name: text.count("\n") for name, text in texts.items()}
    every = [one for tree in trees.values() for one in functions(tree)]
    public = [one for tree in trees.values() for one in public_functions(tree)]
    docs = [ast.get_docstring(one) or "" for one in public]
    arguments = sum("Args:" in doc for doc in docs)
    return {
        "modules": len(modules),
        "modules in swarm_graph/ itself": len(list((root / "swarm_graph").glob("*.py"))),
        "rooms": len({*rooms.values()} - {"hall"}),
        "floors": floors(graph),
        "imports between modules": len(edges),
        "imports between rooms": sum(rooms[name] != rooms[below] for name, below in edges),
        "pairs of rooms that import": len({(rooms[a], rooms[b]) for a, b in edges if rooms[a] != rooms[b]}),
        "lines": sum(lines.values()),
        "lines a file": spread(list(lines.values())),
        "lines a function": spread([(one.end_lineno or 0) - one.lineno + 1 for one in every]),
        "functions": len(every),
        "public functions with a docstring": f"{sum(bool(doc) for doc in docs)} of {len(public)}",
        "… with Args": arguments,
        "… with Raises": sum("Raises" in doc or "Error" in doc for doc in docs),
        "… with a section Raises": sum("Raises:" in doc for doc in docs),
        "comments per 100 lines": round(
            100 * sum(map(comment_lines, texts.values())) / sum(lines.values()), 2
        ),
        "constants and fields with an explanation below": sum(map(explanations, trees.values())),
        "functions that return a bare tuple": sum(map(returns_bare_tuple, every)),
    }


def main() -> None:
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1]
    print(json.dumps(figures(root), indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()
