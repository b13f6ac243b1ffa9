"""Conditions of tasks, as in `T002.verdict == 'revise'`: a small language without calls, by simpleeval."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from swarm_graph.errors import InputError

MAX_CHARACTERS = 500
EXPECTED = "expected a comparison of task values, as in T002.verdict == 'revise'"
ALLOWED = (
    ast.Expression, ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.USub, ast.Compare, ast.Eq,
    ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.In, ast.NotIn, ast.Is, ast.IsNot, ast.BinOp, ast.Add,
    ast.Sub, ast.Mult, ast.Div, ast.Mod, ast.Name, ast.Load, ast.Attribute, ast.Subscript, ast.Constant,
    ast.List, ast.Tuple,
)  # fmt: skip
"""The syntax of a condition: no calls, no loops, no powers, which could run for ever or fill the memory."""


class Condition:
    """A parsed condition.

    Attributes:
        text: The condition as written.
        names: The ids of the tasks in it. An id that is no Python name is written `tasks['T-1']`.
        values: Pairs of a task's id and the name of a value that the condition reads.
    """

    def __init__(self, text: str) -> None:
        """Parse a condition.

        Raises:
            ValueError: It is too long, cannot be parsed, uses other syntax, or reads no value of a task.
        """
        self.text = text
        if len(text) > MAX_CHARACTERS:
            raise ValueError(f"the condition is longer than {MAX_CHARACTERS} characters")
        try:
            tree = ast.parse(text.strip(), mode="eval")
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise ValueError(f"the condition {text!r} cannot be parsed; {EXPECTED}") from error
        nodes = list(ast.walk(tree))
        if forbidden := [node for node in nodes if not isinstance(node, ALLOWED)]:
            syntax = type(forbidden[0]).__name__.lower()
            raise ValueError(f"the condition {text!r} may not use {syntax}; {EXPECTED}")
        self.names = list(dict.fromkeys(name for node in nodes if (name := _task_id(node))))
        if not self.names:
            raise ValueError(f"the condition {text!r} names no task; {EXPECTED}")
        attributes = {id(node.value): node.attr for node in nodes if isinstance(node, ast.Attribute)}
        values = [(name, attributes.get(id(node))) for node in nodes if (name := _task_id(node))]
        if bare := [name for name, value in values if value is None]:
            raise ValueError(f"the condition {text!r} names no value of {bare[0]}; {EXPECTED}")
        self.values = [(name, str(value)) for name, value in values]

    def holds(self, tasks: Mapping[str, Mapping[str, Any]]) -> bool:
        """Whether the condition holds.

        Args:
            tasks: The values of each task by name, by the task's id.

        Raises:
            InputError: The evaluation fails, as for a value that a task does not have.
        """
        from simpleeval import EvalWithCompoundTypes

        namespaces = {name: _namespace(tasks[name]) for name in self.names}
        evaluator = EvalWithCompoundTypes(names={**namespaces, "tasks": namespaces}, functions={})
        try:
            return bool(evaluator.eval(self.text.strip()))
        except Exception as error:  # simpleeval raises whatever the operators raise
            available = "; ".join(f"{name} has {', '.join(tasks[name])}" for name in self.names)
            raise InputError(f"the condition {self.text!r} fails: {error}; {available}") from error


def _task_id(node: ast.AST) -> str | None:
    match node:
        case ast.Name("tasks") | ast.Name("True") | ast.Name("False") | ast.Name("None"):
            return None
        case ast.Name(name):
            return name
        case ast.Subscript(ast.Name("tasks"), ast.Constant(str(name))):
            return name
    return None


def _namespace(value: Any) -> Any:
    """JSON-like data with its keys as attributes."""
    if isinstance(value, Mapping):
        return SimpleNamespace(**{str(key): _namespace(inner) for key, inner in value.items()})
    return [_namespace(inner) for inner in value] if isinstance(value, list) else value
