"""Conditions of tasks, as in `T002.verdict == 'revise'`: a small language without calls, by simpleeval."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from swarm_graph.errors import InputError

LONGEST = 500
FORM = "expected a comparison of tasks, as in T002.verdict == 'revise'"
ALLOWED = (
    ast.Expression, ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.USub, ast.Compare, ast.Eq,
    ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.In, ast.NotIn, ast.Is, ast.IsNot, ast.BinOp, ast.Add,
    ast.Sub, ast.Mult, ast.Div, ast.Mod, ast.Name, ast.Load, ast.Attribute, ast.Subscript, ast.Constant,
    ast.List, ast.Tuple,
)  # fmt: skip
"""What a condition may be made of: no calls, no loops, no powers."""


class Condition:
    """A condition that can be read. ValueError when it cannot.

    `names`: the tasks that it looks at. One whose id is no Python name is written `tasks['T-1']`.
    `values`: what it asks of them, as pairs of a task and the name of a value.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        if len(text) > LONGEST:
            raise ValueError(f"the condition is longer than {LONGEST} characters")
        try:
            tree = ast.parse(text.strip(), mode="eval")
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise ValueError(f"the condition {text!r} cannot be read; {FORM}") from error
        nodes = list(ast.walk(tree))
        if odd := [node for node in nodes if not isinstance(node, ALLOWED)]:
            raise ValueError(f"the condition {text!r} may not use {type(odd[0]).__name__.lower()}; {FORM}")
        self.names = list(dict.fromkeys(name for node in nodes if (name := _task(node))))
        if not self.names:
            raise ValueError(f"the condition {text!r} looks at no task; {FORM}")
        asked = {id(node.value): node.attr for node in nodes if isinstance(node, ast.Attribute)}
        self.values = [(name, asked.get(id(node))) for node in nodes if (name := _task(node))]
        if whole := [name for name, value in self.values if value is None]:
            raise ValueError(f"the condition {text!r} asks for no value of {whole[0]}; {FORM}")

    def holds(self, tasks: Mapping[str, Mapping[str, Any]]) -> bool:
        """Whether it holds for tasks by their ids, each with its values by name. InputError if it fails."""
        from simpleeval import EvalWithCompoundTypes

        views = {name: _view(tasks[name]) for name in self.names}
        evaluator = EvalWithCompoundTypes(names={**views, "tasks": views}, functions={})
        try:
            return bool(evaluator.eval(self.text.strip()))
        except Exception as error:
            known = "; ".join(f"{name} has {', '.join(tasks[name])}" for name in self.names)
            raise InputError(f"the condition {self.text!r} fails: {error}; {known}") from error


def _task(node: ast.AST) -> str | None:
    match node:
        case ast.Name("tasks") | ast.Name("True") | ast.Name("False") | ast.Name("None"):
            return None
        case ast.Name(name):
            return name
        case ast.Subscript(ast.Name("tasks"), ast.Constant(str(name))):
            return name
    return None


def _view(value: Any) -> Any:
    """Plain data with its keys as attributes."""
    if isinstance(value, Mapping):
        return SimpleNamespace(**{str(key): _view(inner) for key, inner in value.items()})
    return [_view(inner) for inner in value] if isinstance(value, list) else value
