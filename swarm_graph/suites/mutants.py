"""Mutants: a program with one small bug, made by one change to its syntax tree."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from swarm_graph.suites.case import Planted


@dataclass(frozen=True)
class Mutant:
    """A program with one bug.

    Attributes:
        files: Path to text of the whole program.
        planted: The bug.
        identity: Names the mutation, the same for the same program: its file, place and kind.
    """

    files: Mapping[str, str]
    planted: Planted
    identity: str


@dataclass(frozen=True)
class _Edit:
    """A change of one node: the text in its place, or None to remove its lines."""

    node: ast.expr | ast.stmt
    kind: str
    text: str | None
    change: str


_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
_OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.FloorDiv: ast.Div, ast.Div: ast.Mult,
    ast.Mod: ast.FloorDiv,
}  # fmt: skip
_OPPOSITES = {"min": "max", "max": "min", "any": "all", "all": "any"}
"""Functions that are mistaken for each other."""


def mutants(files: Mapping[str, str]) -> list[Mutant]:
    """All mutants of a program, in the order of their places. Each parses and differs from the program.

    Args:
        files: Path to text; only Python is changed.
    """
    return [mutant for path in sorted(files) if path.endswith(".py") for mutant in _of_file(path, files)]


def _of_file(path: str, files: Mapping[str, str]) -> Iterator[Mutant]:
    text = files[path]
    tree = ast.parse(text)
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    for edit in sorted(_edits(tree, parents), key=_place):
        changed = _changed(text, edit)
        if changed == text or not _parses(changed):
            continue
        planted = Planted(path, _lines(edit, changed), _symbol(edit.node, parents), edit.change)
        place = ":".join(map(str, _place(edit)))
        yield Mutant({**files, path: changed}, planted, f"{path}:{place}")


def _place(edit: _Edit) -> tuple[int, int, int, int, str]:
    node = edit.node
    return node.lineno, node.col_offset, node.end_lineno or 0, node.end_col_offset or 0, edit.kind


def _edits(tree: ast.Module, parents: Mapping[ast.AST, ast.AST]) -> Iterator[_Edit]:
    inside_texts = {
        part for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node not in inside_texts:  # before Python 3.12 their places are wrong
            for kind, edits in _KINDS.items():
                if isinstance(node, kind):
                    yield from edits(node, parents)


_Parents = Mapping[ast.AST, ast.AST]


def _comparison(node: ast.Compare, _: _Parents) -> Iterator[_Edit]:
    if len(node.ops) == 1:
        old, other = node.ops[0], _COMPARISONS[type(node.ops[0])]()
        changed = ast.Compare(node.left, [other], node.comparators)
        yield _edit(node, "compare", changed, f"{_sign(old)} became {_sign(other)}")


def _sign(operator: ast.cmpop) -> str:
    text = ast.unparse(ast.Compare(ast.Name("a"), [operator], [ast.Name("b")]))
    return text.removeprefix("a ").removesuffix(" b")


def _boolean(node: ast.BoolOp, _: _Parents) -> Iterator[_Edit]:
    is_or = isinstance(node.op, ast.Or)
    other = ast.BoolOp(ast.And() if is_or else ast.Or(), node.values)
    yield _edit(node, "boolean", other, "or became and" if is_or else "and became or")


def _negation(node: ast.UnaryOp, _: _Parents) -> Iterator[_Edit]:
    if isinstance(node.op, ast.Not):
        yield _edit(node, "negation", node.operand, "not was removed")


def _arithmetic(node: ast.BinOp, _: _Parents) -> Iterator[_Edit]:
    is_format = isinstance(node.left, ast.Constant) and isinstance(node.left.value, str)
    if type(node.op) in _OPERATORS and not is_format:
        other = ast.BinOp(node.left, _OPERATORS[type(node.op)](), node.right)
        yield _edit(node, "arithmetic", other, f"{ast.unparse(node)} became {ast.unparse(other)}")


def _constant(node: ast.Constant, parents: _Parents) -> Iterator[_Edit]:
    if isinstance(node.value, bool):
        yield _edit(node, "constant", ast.Constant(not node.value), f"{node.value} became {not node.value}")
    elif isinstance(node.value, (int, float)) and not isinstance(parents.get(node), ast.Expr):
        yield _edit(node, "constant", ast.Constant(node.value + 1), f"{node.value} became {node.value + 1}")


def _call(node: ast.Call, _: _Parents) -> Iterator[_Edit]:
    if isinstance(node.func, ast.Name) and (opposite := _OPPOSITES.get(node.func.id)):
        other = ast.Call(ast.Name(opposite), node.args, node.keywords)
        yield _edit(node, "call", other, f"{node.func.id} became {opposite}")
    is_plain = not any(isinstance(argument, ast.Starred) for argument in node.args)
    if is_plain and len(node.args) == 2 and ast.dump(node.args[0]) != ast.dump(node.args[1]):
        swapped = ast.Call(node.func, node.args[::-1], node.keywords)
        yield _edit(node, "arguments", swapped, f"the arguments of {ast.unparse(node.func)} were swapped")


def _guard(node: ast.If, parents: _Parents) -> Iterator[_Edit]:
    leaves = len(node.body) == 1 and isinstance(node.body[0], (ast.Raise, ast.Return, ast.Continue))
    if leaves and not node.orelse and _has_siblings(node, parents):
        yield _Edit(node, "guard", None, f"the check 'if {ast.unparse(node.test)}' was removed")


def _return(node: ast.Return, _: _Parents) -> Iterator[_Edit]:
    if node.value is not None:
        yield _Edit(node, "return", ast.unparse(node.value), "return was removed")


def _change_of_state(node: ast.AugAssign | ast.Assign, parents: _Parents) -> Iterator[_Edit]:
    """Remove a statement that changes an attribute or an item; without others its block would be empty."""
    target = node.target if isinstance(node, ast.AugAssign) else node.targets[0]
    if isinstance(target, (ast.Attribute, ast.Subscript)) and _has_siblings(node, parents):
        yield _Edit(node, "update", None, f"the line '{ast.unparse(node)}' was removed")


_KINDS: dict[type[ast.AST] | tuple[type[ast.AST], ...], Callable[..., Iterator[_Edit]]] = {
    ast.Compare: _comparison,
    ast.BoolOp: _boolean,
    ast.UnaryOp: _negation,
    ast.BinOp: _arithmetic,
    ast.Constant: _constant,
    ast.Call: _call,
    ast.If: _guard,
    ast.Return: _return,
    (ast.AugAssign, ast.Assign): _change_of_state,
}


def _edit(node: ast.expr, kind: str, other: ast.expr, change: str) -> _Edit:
    return _Edit(node, kind, ast.unparse(other), " ".join(change.split()))


def _has_siblings(node: ast.stmt, parents: _Parents) -> bool:
    """Whether other statements stand in the same block; a docstring counts as none."""
    blocks = [
        value for _, value in ast.iter_fields(parents[node]) if isinstance(value, list) and node in value
    ]
    others = [other for block in blocks for other in block if other is not node]
    return any(
        not isinstance(other, ast.Expr) or not isinstance(other.value, ast.Constant) for other in others
    )


def _changed(text: str, edit: _Edit) -> str:
    """The text after an edit; nothing else changes."""
    lines = text.splitlines(keepends=True)
    node = edit.node
    first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
    before = lines[first].encode()[: node.col_offset].decode()
    after = lines[last].encode()[node.end_col_offset :].decode()
    if edit.text is not None:
        return "".join([*lines[:first], before + edit.text + after, *lines[last + 1 :]])
    is_alone = not before.strip() and (not after.strip() or after.strip().startswith("#"))
    return "".join([*lines[:first], *lines[last + 1 :]]) if is_alone else text


def _parses(text: str) -> bool:
    try:
        compile(text, "<mutant>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        return False
    return True


def _lines(edit: _Edit, changed: str) -> tuple[int, int]:
    """The first and the last line of what an edit has written; after a removal, the line that follows."""
    first = min(edit.node.lineno, len(changed.splitlines()))
    return first, first + (edit.text or "").count("\n")


def _symbol(node: ast.AST, parents: _Parents) -> str:
    """The function or class around a node, in the functions and classes around it."""
    names: list[str] = []
    while found := parents.get(node):
        if isinstance(found, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.append(found.name)
        node = found
    return ".".join(reversed(names))
