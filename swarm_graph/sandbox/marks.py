"""What the test files define and assert, read from their source, and marks that tell when they do it.

A mark is a call that is added to a test file's syntax tree: after each assertion, and where a test ends.
The judge (`inside.py`) knows the token of each mark; the judged process (`judged.py`) compiles the marked
tree. So the judge can tell a test that ran its assertions from one that was only reported as passed.

Runs inside a sandbox: Python 3.9, no import of swarm_graph.
"""

from __future__ import annotations

import ast
import builtins
import os
import random
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import PurePosixPath
from types import CodeType
from typing import Any, NamedTuple

RAN, VALUE, METHOD, CONTEXT, RAISED, LOADED = (os.urandom(8) for _ in range(6))
"""Stand for the functions that the marks call, until `compile_marked` puts the functions in their place."""

CHANCE = random.SystemRandom()
BYTE_ORDER_MARK = "\ufeff"
MAX_LITERAL_CHARACTERS = 300
ASSERTING = re.compile(r"assert", re.IGNORECASE)
"""Functions with such a name raise when something is wrong: `assertEqual`, `assert_called_once`."""
IDENTITY = re.compile(r"assert(Not)?Is")
"""Functions of unittest with such a name do not ask whether objects are equal."""
RAISING = frozenset({"raises", "warns", "deprecated_call", "RaisesGroup", "RaisesExc"})
"""pytest's context managers that fail if their block raises or warns nothing."""
UNITTEST_RAISING = frozenset(
    f"assert{name}" for name in ("Raises", "RaisesRegex", "Warns", "WarnsRegex", "Logs", "NoLogs")
)
"""The same of unittest."""
SELECTING = re.compile(r"deselected|collect_ignore|ignore_collect|items\[:\]|items\.(remove|clear|pop)\b")
"""How a conftest.py leaves tests out."""
TEST_TOOLS = frozenset({"pytest", "unittest"})
STEADY_FUNCTIONS = (
    abs,
    all,
    any,
    chr,
    divmod,
    hash,
    isinstance,
    len,
    max,
    min,
    ord,
    pow,
    repr,
    round,
    sorted,
    sum,
)
STEADY_CLASSES = (
    bool,
    bytes,
    dict,
    enumerate,
    float,
    frozenset,
    int,
    list,
    object,
    range,
    reversed,
    set,
    str,
    tuple,
    zip,
)
STEADY_BUILTINS = frozenset(
    name
    for name, value in vars(builtins).items()
    if value in (*STEADY_FUNCTIONS, *STEADY_CLASSES)
    or (isinstance(value, type) and issubclass(value, BaseException))
)
"""Builtins whose result depends on their arguments alone."""
Node = ast.AST


class TestFunction(NamedTuple):
    """A test function of a test file."""

    end: str
    """The token of the mark at its end."""
    required: frozenset[str]
    """The tokens of the assertions that it cannot leave out."""
    is_plain: bool
    """Whether pytest certainly calls it: no decorator that we do not know may replace it."""
    may_skip: bool
    """Whether it may skip itself or expect to fail."""
    is_deferred: bool
    """Whether a call alone runs nothing of it: it is async, or a generator."""


class MarkedFile(NamedTuple):
    """A Python file of the tests."""

    tree: ast.Module
    functions: dict[str, list[TestFunction]]
    """By test id, such as `tests/test_a.py::TestA::test_b`; a name may be defined twice."""
    assertions: frozenset[str]
    """The tokens of the assertions that judge something, not only constants."""
    mentions: frozenset[str]
    """The words of its imports and its short strings."""
    named: frozenset[str]
    """The names that it reads, imports or writes in a short string."""
    replaced: frozenset[str]
    """The names that it may give another value while tests run."""
    plugins: frozenset[str]
    """The words of its `pytest_plugins`."""
    parametrized: bool
    selects: bool
    """Whether it may leave tests out."""
    may_skip: bool
    """Whether something outside its test functions may skip a test, such as a fixture."""


def new_token(size: int = 8) -> str:
    """A random name that nothing else has."""
    return os.urandom(size).hex()


def is_test_file(path: str) -> bool:
    """Whether pytest collects a file by default."""
    name = PurePosixPath(path).name
    return name.endswith(".py") and (name.startswith("test_") or name.endswith("_test.py"))


def mark(path: str, text: str) -> MarkedFile:
    """Read a Python file of the tests and mark it."""
    tree = ast.parse(text.lstrip(BYTE_ORDER_MARK))
    mentions, replaced = frozenset(words(tree)), frozenset(replaced_names(tree))
    named = frozenset(_read_names(tree))
    plugins = frozenset(_plugin_words(tree))
    may_skip = _may_skip(tree, outside_tests=True)
    marker = _Marker(path, tree)
    marker.mark()
    return MarkedFile(
        tree,
        marker.functions,
        frozenset(marker.assertions),
        mentions,
        named,
        replaced,
        plugins,
        parametrized="parametrize" in text,
        selects=bool(SELECTING.search(text)),
        may_skip=may_skip,
    )


def compile_marked(
    tree: ast.Module,
    place: str,
    functions: dict[bytes, Callable[..., Any]],
    rewrite: Callable[[ast.Module], None],
) -> CodeType:
    """Compile a marked tree; its marks call `functions` as constants, which no name leads to.

    Args:
        tree: The tree; it is changed.
        place: The file's path, for tracebacks.
        functions: What stands in place of `RAN`, `VALUE` and so on.
        rewrite: pytest's rewriting of assert statements.
    """
    rewrite(tree)
    _mark_compared_values(tree)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python warns of a call of a constant
        code = compile(tree, place, "exec", dont_inherit=True)
    return _with_functions(code, functions)


def _with_functions(code: CodeType, functions: dict[bytes, Callable[..., Any]]) -> CodeType:
    constants = tuple(
        _with_functions(constant, functions)
        if isinstance(constant, CodeType)
        else functions.get(constant, constant)
        if isinstance(constant, bytes)
        else constant
        for constant in code.co_consts
    )
    return code.replace(co_consts=constants)


def _mark_compared_values(tree: ast.Module) -> None:
    """Mark the values that an assert statement compares; pytest's rewriting gives them names."""
    for body in _bodies(tree):
        for index in reversed(range(len(body))):
            statement = body[index]
            if (
                isinstance(statement, ast.Assign)
                and isinstance(statement.value, ast.Compare)
                and isinstance(statement.targets[0], ast.Name)
                and statement.targets[0].id.startswith("@py_assert")
            ):
                is_identity = all(
                    isinstance(operator, (ast.Is, ast.IsNot)) for operator in statement.value.ops
                )
                if is_identity or not _is_for_its_truth(statement.targets[0].id, body[index + 1 :]):
                    continue
                compared = [statement.value.left, *statement.value.comparators]
                names = [ast.Name(node.id, ast.Load()) for node in compared if isinstance(node, ast.Name)]
                body.insert(index, _statement(statement, VALUE, *names))


def _is_for_its_truth(name: str, later: list[ast.stmt]) -> bool:
    """Whether an assertion looks at the truth of a comparison, and not at an object that it builds.

    A query builder's `field == 5` builds a condition, which may be the argument of a function.

    Args:
        name: The name that pytest's rewriting gives to the comparison.
        later: The statements after it.
    """
    for statement in later:
        is_mark = isinstance(statement, ast.Expr)
        if not is_mark and any(
            isinstance(node, ast.Name) and node.id == name for node in ast.walk(statement)
        ):
            value = statement.test if isinstance(statement, ast.If) else getattr(statement, "value", None)
            is_identity = isinstance(value, ast.Compare) and isinstance(value.ops[0], (ast.Is, ast.IsNot))
            return is_identity or isinstance(value, (ast.Name, ast.UnaryOp, ast.BoolOp))
    return False


def _bodies(tree: Node) -> Iterator[list[ast.stmt]]:
    """Every list of statements in a tree."""
    for node in ast.walk(tree):
        for _, value in ast.iter_fields(node):
            if isinstance(value, list) and value and isinstance(value[0], ast.stmt):
                yield value


def _call(like: Node, function: bytes, *arguments: ast.expr) -> ast.Call:
    """A call at the place of a node."""
    call = ast.Call(ast.Constant(function), list(arguments), [])
    for node in ast.walk(call):
        if "lineno" in node._attributes and not hasattr(node, "lineno"):
            ast.copy_location(node, like)
    return call


def _statement(like: ast.stmt, function: bytes, *arguments: ast.expr) -> ast.stmt:
    return ast.copy_location(ast.Expr(_call(like, function, *arguments)), like)


class _Marker:
    """Adds marks to the tree of one file."""

    def __init__(self, path: str, tree: ast.Module) -> None:
        self.path, self.tree = path, tree
        self.functions: dict[str, list[TestFunction]] = {}
        self.assertions: set[str] = set()
        self.steady = steady_names(tree.body, set(), STEADY_BUILTINS)
        self.own = {name for node in ast.walk(tree) for name in _defined_name(node)}
        """The functions that the file defines; one may be named like a tool of pytest."""
        self.aliases = frozenset(name for node in ast.walk(tree) for name in _alias(node))
        """Other names for assertions: `eq = self.assertEqual`."""

    def mark(self) -> None:
        if is_test_file(self.path):
            self._mark_tests(self.tree.body, self.path)
            for node in self.tree.body:
                if isinstance(node, ast.ClassDef):
                    self._mark_tests(node.body, f"{self.path}::{node.name}")
        self._mark_body(self.tree, self.steady)

    def _mark_tests(self, body: list[ast.stmt], prefix: str) -> None:
        """Mark the ends of the test functions in a body, and their assertions."""
        for node in body:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and is_test(node):
                token = new_token()
                may_skip = _may_skip(node)
                returns = [inner for inner in _own_nodes(node) if isinstance(inner, ast.Return)]
                required = self._mark_function(node, self.steady)
                for statement in returns:
                    value = [statement.value] if statement.value else []
                    statement.value = _call(statement, RAN, ast.Constant(token), *value)
                node.body.append(_statement(node.body[-1], RAN, ast.Constant(token)))
                found = TestFunction(
                    token,
                    frozenset(() if returns else required),
                    _is_plain(node),
                    may_skip,
                    is_deferred=isinstance(node, ast.AsyncFunctionDef) or _is_generator(node),
                )
                self.functions.setdefault(f"{prefix}::{node.name}", []).append(found)

    def _mark_function(self, node: Any, steady: frozenset[str]) -> list[str]:
        """Mark a function's assertions and return the tokens of those that it cannot leave out."""
        node.is_marked = True
        arguments = node.args
        given = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        given += [argument for argument in (arguments.vararg, arguments.kwarg) if argument]
        unsteady = {argument.arg for argument in given}
        return self._mark_body(node, steady_names(node.body, unsteady, steady))

    def _mark_body(self, node: Node, steady: frozenset[str]) -> list[str]:
        """Mark the assertions below a node; the tokens of those in its own body are returned."""
        tokens: list[str] = []
        for name, value in ast.iter_fields(node):
            if not isinstance(value, list) or not value:
                continue
            if isinstance(value[0], ast.stmt):
                marked = [inner for child in value for inner in self._marked(child, steady, tokens)]
                setattr(node, name, marked)
            else:  # the handlers of a try statement, the cases of a match statement
                for child in value:
                    if isinstance(child, ast.AST) and hasattr(child, "body"):
                        self._mark_body(child, steady)
        return tokens

    def _marked(self, child: ast.stmt, steady: frozenset[str], tokens: list[str]) -> Iterator[ast.stmt]:
        """A statement with its marks."""
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            if not hasattr(child, "is_marked"):
                self._mark_function(child, steady)
            yield child
            return
        judged = list(_judged_parts(child, self.aliases))
        self._mark_body(child, steady)
        yield child
        if isinstance(child, (ast.Import, ast.ImportFrom)) and not _is_future(child):
            yield _statement(child, LOADED)
        if not judged:
            return
        token = new_token()
        if not _is_steady(judged, steady) and not _is_always_true(child):
            self.assertions.add(token)
        is_block = isinstance(child, (ast.With, ast.AsyncWith))
        if not is_block or self._certainly_raises(child):
            tokens.append(token)
        _mark_values(child, token)
        yield _statement(child, RAISED if is_block else RAN, ast.Constant(token))

    def _certainly_raises(self, statement: Any) -> bool:
        """Whether a block is one of `pytest.raises` or `self.assertRaises`, not of a helper with its name."""
        contexts = [item.context_expr for item in statement.items if isinstance(item.context_expr, ast.Call)]
        return any(
            isinstance(context.func, ast.Attribute)
            and _is_tool(context.func.value)
            and context.func.attr in (RAISING | UNITTEST_RAISING) - self.own
            for context in contexts
        )


def _judged_parts(statement: ast.stmt, aliases: frozenset[str]) -> Iterator[Node]:
    """What an assertion looks at; nothing for other statements."""
    if isinstance(statement, ast.Assert):
        yield statement.test
    elif isinstance(statement, (ast.Expr, ast.Assign)):
        value = statement.value.value if isinstance(statement.value, ast.Await) else statement.value
        if isinstance(value, ast.BoolOp) and _is_giving_up(value.values[-1]):
            yield from value.values[:-1]
        if isinstance(value, ast.Call) and is_asserting_call(value, aliases):
            yield from (value.args or [value.func])
            yield from (keyword.value for keyword in value.keywords)
            if isinstance(value.func, ast.Attribute) and not _is_tool(value.func.value):
                yield value.func.value
    elif isinstance(statement, (ast.With, ast.AsyncWith)):
        if any(_may_raise(item.context_expr) for item in statement.items):
            yield from statement.body
    elif any(_gives_up(child) for child in _branches(statement)):
        looked_at = [getattr(statement, name, None) for name in ("test", "iter", "subject")]
        yield from [node for node in looked_at if node] or statement.body  # type: ignore[attr-defined]


def _is_always_true(statement: ast.stmt) -> bool:
    """Whether an assertion holds whatever it looks at: `x or True`, `x == x`, `len(x) >= 0`."""
    if isinstance(statement, ast.Assert):
        test = statement.test
    elif isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call) and statement.value.args:
        first, *others = statement.value.args
        is_equality = list(_called_names(statement.value))[:1] == ["assertEqual"]
        test = ast.Compare(first, [ast.Eq()], others[:1]) if is_equality and others else first
    else:
        return False
    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.Or):
        return any(isinstance(value, ast.Constant) and value.value for value in test.values)
    if isinstance(test, ast.Compare) and len(test.ops) == 1:
        left, right = ast.unparse(test.left), ast.unparse(test.comparators[0])
        is_same = (
            isinstance(test.ops[0], (ast.Eq, ast.Is)) and isinstance(test.left, ast.Name) and left == right
        )
        is_size = isinstance(test.ops[0], ast.GtE) and left.startswith("len(") and right == "0"
        return is_same or is_size
    return False


def _branches(statement: ast.stmt) -> Iterator[ast.stmt]:
    """The statements directly in the branches of an `if`, `try`, `match` or loop."""
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return
    for _, value in ast.iter_fields(statement):
        for child in value if isinstance(value, list) else []:
            if isinstance(child, ast.stmt):
                yield child
            else:  # a handler of a try statement, a case of a match statement
                yield from getattr(child, "body", [])


def _called_names(node: Node) -> Iterator[str]:
    """The names in a call such as `self.assertEqual(…)` or `assert_that(…).is_equal_to(…)`."""
    while True:
        if isinstance(node, ast.Call):
            node = node.func
        elif isinstance(node, ast.Attribute):
            yield node.attr
            node = node.value
        else:
            if isinstance(node, ast.Name):
                yield node.id
            return


def is_asserting_call(call: ast.Call, aliases: frozenset[str]) -> bool:
    """Whether a call raises if something is wrong: an `assert…`, or `pytest.raises` with a function."""
    names = list(_called_names(call))
    if any(ASSERTING.match(name) for name in names) or (names[:1] == ["raises"] and len(call.args) > 1):
        return True
    return isinstance(call.func, ast.Name) and call.func.id in aliases


def _alias(node: Node) -> Iterator[str]:
    """The other name that a statement gives to an assertion."""
    if (
        isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Attribute)
        and ASSERTING.match(node.value.attr)
    ):
        yield from (target.id for target in node.targets if isinstance(target, ast.Name))


def _is_tool(node: Node) -> bool:
    return isinstance(node, ast.Name) and (node.id in TEST_TOOLS or node.id in ("self", "cls"))


def _may_raise(context: ast.expr) -> bool:
    """Whether a context manager may be one that fails if its block raises nothing."""
    if isinstance(context, ast.Call):
        names = list(_called_names(context))[:1]
        return any(name in RAISING or ASSERTING.match(name) for name in names)
    return isinstance(context, (ast.Name, ast.Subscript, ast.Attribute))


def _gives_up(statement: ast.stmt) -> bool:
    """Whether a statement fails the test: `pytest.fail()`, `self.fail()`, `raise AssertionError`."""
    if isinstance(statement, ast.Raise) and statement.exc:
        failures = ("AssertionError", "failureException", "Exception")
        return any(name in failures for name in _called_names(statement.exc))
    return isinstance(statement, ast.Expr) and _is_giving_up(statement.value)


def _is_giving_up(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and list(_called_names(node))[:1] == ["fail"]


def _mark_values(statement: ast.stmt, token: str) -> None:
    """Mark the values that an assertion looks at, and its context managers."""
    if isinstance(statement, (ast.Expr, ast.Assign)):
        value = statement.value.value if isinstance(statement.value, ast.Await) else statement.value
        if not isinstance(value, ast.Call):
            return
        is_about_identity = any(IDENTITY.match(name) for name in _called_names(value))
        for index, argument in enumerate(value.args):
            is_comparison = isinstance(argument, ast.Compare)
            if _compares_with_truth(value) if is_comparison else not is_about_identity:
                value.args[index] = _marked_value(argument)
        function = value.func
        if isinstance(function, ast.Attribute) and ast.unparse(function.value) in ("self", "cls"):
            value.func = _call(function, METHOD, function.value, ast.Constant(function.attr))
    elif isinstance(statement, (ast.With, ast.AsyncWith)):
        for item in statement.items:
            if _may_raise(item.context_expr):
                item.context_expr = _call(item.context_expr, CONTEXT, ast.Constant(token), item.context_expr)


def _compares_with_truth(call: ast.Call) -> bool:
    """Whether an assertion looks at the truth of its arguments: `assertTrue(…)`, `assertIs(…, True)`."""
    is_bool = any(
        isinstance(argument, ast.Constant) and type(argument.value) is bool for argument in call.args
    )
    return is_bool or not {"assertTrue", "assertFalse", "assert_"}.isdisjoint(_called_names(call))


def _marked_value(node: ast.expr) -> ast.expr:
    if isinstance(node, ast.Compare):
        node.left = _marked_value(node.left)
        node.comparators = [_marked_value(inner) for inner in node.comparators]
        return node
    if isinstance(node, (ast.Constant, ast.Starred)):
        return node
    return _call(node, VALUE, node)


def _defined_name(node: Node) -> Iterator[str]:
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        yield node.name


def _is_future(node: ast.stmt) -> bool:
    return isinstance(node, ast.ImportFrom) and node.module == "__future__"


def _own_nodes(function: Node) -> Iterator[Node]:
    """The nodes of a function, without those of functions inside it."""
    for child in ast.iter_child_nodes(function):
        if not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            yield child
            yield from _own_nodes(child)


def _may_skip(node: Node, *, outside_tests: bool = False) -> bool:
    """Whether a name, attribute or short string below a node speaks of skipping or of an expected failure."""
    if outside_tests and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and is_test(node):
        return False
    named = [getattr(node, field, None) for field in ("id", "attr", "name", "module", "value")]
    said = [str(name)[:MAX_LITERAL_CHARACTERS].lower() for name in named if isinstance(name, str)]
    if any(word in name for name in said for word in ("skip", "xfail", "expectedfailure")):
        return True
    return any(_may_skip(child, outside_tests=outside_tests) for child in ast.iter_child_nodes(node))


def _is_generator(function: Node) -> bool:
    return any(isinstance(node, (ast.Yield, ast.YieldFrom)) for node in _own_nodes(function))


def _is_plain(function: Any) -> bool:
    names = [list(_called_names(decorator)) for decorator in function.decorator_list]
    return not _is_generator(function) and all("mark" in found or "patch" in found for found in names)


# --- What is steady: the same whatever the code does ---------------------------------------------------


def steady_names(body: list[ast.stmt], unsteady: set[str], outer: Iterable[str]) -> frozenset[str]:
    """The names whose value depends on constants alone, in a body that begins with `outer`.

    Args:
        body: The statements of a module or a function.
        unsteady: Names that are something else here, such as arguments.
        outer: Names that are steady outside.
    """
    assigned: dict[str, list[ast.expr]] = {}
    bound = set(unsteady)
    for node in (inner for statement in body for inner in ast.walk(statement)):
        if isinstance(node, ast.Assign) and all(isinstance(target, ast.Name) for target in node.targets):
            for target in node.targets:
                assigned.setdefault(target.id, []).append(node.value)  # type: ignore[attr-defined]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            assigned.setdefault(node.target.id, []).append(node.value)
        else:
            bound.update(_bound_names(node))
    steady = set(outer) - bound - set(assigned)
    while True:
        more = {
            name
            for name, values in assigned.items()
            if name not in bound and name not in steady and _is_fixed(values) and _is_steady(values, steady)
        }
        if not more:
            return frozenset(steady)
        steady |= more


def _bound_names(node: Node) -> Iterator[str]:
    """The names that a node binds in another way than by a plain assignment."""
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        yield from ((alias.asname or alias.name).split(".")[0] for alias in node.names)
    elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield node.name
    elif isinstance(node, (ast.Global, ast.Nonlocal)):
        yield from node.names
    elif isinstance(node, ast.ExceptHandler) and node.name:
        yield node.name
    targets: list[Any] = []
    if isinstance(node, (ast.For, ast.AsyncFor, ast.comprehension, ast.AugAssign, ast.NamedExpr)):
        targets = [node.target]
    elif isinstance(node, ast.withitem) and node.optional_vars:
        targets = [node.optional_vars]
    elif isinstance(node, ast.Assign):
        targets = node.targets
    for target in targets:
        yield from (inner.id for inner in ast.walk(target) if isinstance(inner, ast.Name))


def _is_fixed(nodes: Iterable[Node]) -> bool:
    """Whether the value of expressions cannot change later, as that of a list can."""
    changing = (
        ast.List,
        ast.Dict,
        ast.Set,
        ast.Call,
        ast.ListComp,
        ast.DictComp,
        ast.SetComp,
        ast.GeneratorExp,
    )
    return not any(isinstance(inner, changing) for node in nodes for inner in ast.walk(node))


def _is_steady(nodes: Iterable[Node], steady: Iterable[str]) -> bool:
    """Whether nodes read nothing but constants and steady names."""
    return all(
        inner.id in steady
        for node in nodes
        for inner in ast.walk(node)
        if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Load)
    )


# --- Names ---------------------------------------------------------------------------------------------


def defined_tests(path: str, text: str) -> Iterator[str]:
    """The ids of the tests that a test file certainly defines; each must have a result."""
    body = ast.parse(text.lstrip(BYTE_ORDER_MARK)).body
    taken_back = set(_taken_back(body))
    yield from (f"{path}::{name}" for name in _test_names(body))
    for node in body:
        if isinstance(node, ast.ClassDef) and _is_test_class(node) and node.name not in taken_back:
            yield from (f"{path}::{node.name}::{name}" for name in _test_names(node.body))


def _is_test_class(node: ast.ClassDef) -> bool:
    """Whether pytest collects a class: by its name, unless it has a constructor or sets `__test__`."""
    methods = {inner.name for inner in node.body if isinstance(inner, ast.FunctionDef)}
    opts_out = any("__test__" in ast.dump(inner) for inner in node.body if isinstance(inner, ast.Assign))
    return node.name.startswith("Test") and not methods & {"__init__", "__new__"} and not opts_out


def _test_names(body: list[ast.stmt]) -> Iterator[str]:
    taken_back = set(_taken_back(body))
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and is_test(node):
            yield from {node.name} - taken_back


def _taken_back(body: list[ast.stmt]) -> Iterator[str]:
    """The names that a body deletes or sets anew, or whose `__test__` it sets."""
    for node in body:
        targets = node.targets if isinstance(node, (ast.Assign, ast.Delete)) else []
        for target in targets:
            is_option = isinstance(target, ast.Attribute) and target.attr == "__test__"
            named = target.value if is_option else target  # type: ignore[attr-defined]
            if isinstance(named, ast.Name):
                yield named.id


def is_test(node: Any) -> bool:
    """Whether pytest takes a function for a test: by its name, unless it is a fixture."""
    is_fixture = any("fixture" in ast.dump(decorator) for decorator in node.decorator_list)
    return node.name.startswith("test") and not is_fixture


def words(tree: Node) -> Iterator[str]:
    """The words of a file's imports and short strings: `calc` for `from src.calc import add`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            texts = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            texts = [node.module or "", *(alias.name for alias in node.names)]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            texts = [node.value[:MAX_LITERAL_CHARACTERS]]
        else:
            continue
        for text in texts:
            yield from re.findall(r"\w+", text)


def _read_names(tree: Node) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.ImportFrom):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from re.findall(r"\w+", node.value[:MAX_LITERAL_CHARACTERS])


def _plugin_words(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if any(isinstance(target, ast.Name) and target.id == "pytest_plugins" for target in targets):
            yield from words(node)


def replaced_names(tree: ast.Module) -> Iterator[str]:
    """The names that a file may replace: as global names, as attributes, or in a string for `patch`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Global):
            yield from node.names
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr
        elif isinstance(node, ast.Call):
            for part in (inner for argument in node.args[:2] for inner in ast.walk(argument)):
                if isinstance(part, ast.Constant) and isinstance(part.value, str):
                    yield part.value.rpartition(".")[2]


# --- Tests that must fail ------------------------------------------------------------------------------

FALSE_CALLS = {
    "assertEqual": "(1, 2)",
    "assertNotEqual": "(1, 1)",
    "assertTrue": "(False)",
    "assertFalse": "(True)",
    "assertIs": "(1, None)",
    "assertIsNot": "(None, None)",
    "assertIsNone": "(1)",
    "assertIsNotNone": "(None)",
    "assertIn": "(1, [2])",
    "assertNotIn": "(1, [1])",
    "assertIsInstance": "(1, str)",
    "assertNotIsInstance": "(1, int)",
    "assertRaises": "(ValueError, int, '1')",
    "assertRaisesRegex": "(ValueError, 'x', int, '1')",
    "assertAlmostEqual": "(1, 2)",
    "assertNotAlmostEqual": "(1, 1)",
    "assertGreater": "(1, 2)",
    "assertGreaterEqual": "(1, 2)",
    "assertLess": "(2, 1)",
    "assertLessEqual": "(2, 1)",
    "assertRegex": "('a', 'b')",
    "assertNotRegex": "('a', 'a')",
    "assertCountEqual": "([1], [2])",
    "assertListEqual": "([1], [2])",
    "assertTupleEqual": "((1,), (2,))",
    "assertDictEqual": "({1: 1}, {1: 2})",
    "assertSetEqual": "({1}, {2})",
    "assertSequenceEqual": "([1], [2])",
    "assertMultiLineEqual": "('a', 'b')",
}
"""Calls of unittest's assertions that are false."""
FALSE_STATEMENTS = {
    "raises": "with pytest.raises(ValueError):\n        int('1')",
    "warns": "with pytest.warns(UserWarning):\n        int('1')",
    "approx": "assert 1.0 == pytest.approx(2.0)",
    "assert_called": "mock.Mock().assert_called()",
    "assert_called_once": "mock.Mock().assert_called_once()",
    "assert_called_with": "mock.Mock().assert_called_with(1)",
    "assert_called_once_with": "mock.Mock().assert_called_once_with(1)",
    "assert_not_called": "called = mock.Mock()\n    called()\n    called.assert_not_called()",
}
"""Other assertions that are false."""


class Canaries(NamedTuple):
    """A test file whose tests must fail."""

    text: str
    number: int


def canaries(tree_words: Iterable[str], names: list[str]) -> Canaries:
    """False tests in every form that the tests use, under names like theirs.

    Args:
        tree_words: The names that the tests call.
        names: Names of tests; the false ones get similar names.
    """
    used = set(tree_words)
    picked = iter(f"{CHANCE.choice(names or ['test_value'])}_{new_token(2)}" for _ in range(100))
    left, right = CHANCE.randrange(1000), 1000 + CHANCE.randrange(1000)
    lines = ["import pytest"]
    tests = [f"def {next(picked)}():\n    value = {left}\n    assert value == {right}\n"]
    statements = [FALSE_STATEMENTS[name] for name in FALSE_STATEMENTS if name in used]
    tests += [f"def {next(picked)}():\n    {statement}\n" for statement in statements]
    calls = [name + FALSE_CALLS[name] for name in FALSE_CALLS if name in used]
    lines += ["import unittest"] if calls else []
    lines += ["from unittest import mock"] if any("mock" in statement for statement in statements) else []
    if calls:
        methods = "".join(f"    def {next(picked)}(self):\n        self.{call}\n\n" for call in calls)
        tests.append(f"class Test{new_token(2)}(unittest.TestCase):\n{methods}")
    return Canaries("\n".join([*lines, "\n", *tests]), 1 + len(statements) + len(calls))


def called_words(tree: ast.Module) -> Iterator[str]:
    """The names of all functions that a file calls."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield from list(_called_names(node))[:1]
