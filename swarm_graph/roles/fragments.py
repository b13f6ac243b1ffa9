"""Fragments that pass for files: lost definitions, line numbers, tool calls and commands."""

from __future__ import annotations

import ast
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence

from swarm_graph.roles.placeholders import PROGRAMS, extension_of

_NUMBERED = re.compile(r"\s*(\d+)(?:[\s:|)→]|\. |$)")
_MODIFIERS = (
    r"(?:export |default |pub(?:\([a-z]+\))? |public |private |protected |internal |static |async |abstract "
    r"|final |override |open |virtual |inline |unsafe )*"
)
_DEFINITION = re.compile(
    rf"^{_MODIFIERS}(?:def|class|function\*?|func|fun|fn|struct|enum|interface|trait|impl|type|const|sub|proc|object"
    rf"|record) +(\w+)|^func \([^()\n]*\) *(\w+)|^[ \t]+{_MODIFIERS}(?:def|fun|func|fn) +(?:self\.)?(\w+)",
    re.MULTILINE,
)
_FUNCTION = re.compile(
    r"^(?P<indent>[ \t]*)(?P<head>[A-Za-z_#~][^\n(;={}\"']*)\((?P<rest>[^\n;]*)$(?P<next>\n[ \t]*\{)?",
    re.MULTILINE,
)
"""A line that may open a function in a language with braces: `int add(int a, int b) {`, `add(a, b) {`."""
_WITH_BRACES = (
    "js", "jsx", "ts", "tsx", "c", "h", "cpp", "hpp", "cs", "java", "kt", "go", "rs", "php", "swift", "dart",
)  # fmt: skip
_STATEMENTS = {
    "if", "else", "for", "foreach", "while", "do", "switch", "match", "catch", "return", "new", "throw",
    "await", "case", "lock", "using", "synchronized", "function", "func", "fn", "fun", "unsafe", "let",
    "guard", "loop", "when", "try", "defer", "select",
}  # fmt: skip
"""Words that begin a line like the head of a function that is none."""
_COMMANDS = (
    "bash", "sh", "shell", "console", "zsh", "powershell", "ps1", "cmd", "bat", "terminal", "shellsession",
)  # fmt: skip
_CALL_KEYS = (
    ({"name", "tool", "function"}, {"arguments", "parameters", "args", "input", "function"}),
    (
        {"path", "file", "filename", "file_path"},
        {"content", "contents", "code", "search", "replace", "diff", "op"},
    ),
)
"""The keys of calls, and of files and edits in JSON: what they are about, and what is to happen."""
_CALLS = ("tool_call", "tool_code", "tool", "function_call")
_COMMAND_LINE = re.compile(
    r"\$ |(?:sudo )?(?:python3?|pip3?|pytest|uv|npm|npx|node|cargo|go|make|docker|git|cd|curl) "
)
_CALL_TAG = re.compile(r"\s*<(?:tool_call|function_call|function=|invoke|tool_use|tool_code)\b")


def has_line_numbers(path: str, text: str) -> bool:
    """Whether every line of a code file begins with its number."""
    if extension_of(path) not in PROGRAMS:
        return False
    lines = [line for line in text.split("\n") if line.strip()]
    numbers = [int(match[1]) for match in map(_NUMBERED.match, lines) if match]
    return (
        len(lines) > 1 and len(numbers) == len(lines) and all(a < b for a, b in itertools.pairwise(numbers))
    )


def not_a_file(language: str, text: str) -> str:
    """What a block without a path is if it is no file, such as a command; empty if it may be one."""
    if language in _COMMANDS and not text.startswith("#!"):
        return "a shell command"
    if not language and all(map(_COMMAND_LINE.match, filter(str.strip, text.split("\n")))):
        return "a shell command"
    if language in _CALLS or _CALL_TAG.match(text) or _is_call(text):
        return "a tool call"
    return ""


def definitions(path: str, text: str) -> set[str]:
    """The names that a program defines: functions, classes and, as `Class.method`, methods of Python's."""
    if tree := _python(path, text):
        return set(_definitions_of(tree))
    if extension_of(path) not in PROGRAMS:
        return set()
    names = {name for names in _DEFINITION.findall(text) for name in names if name}
    return names | set(_functions(path, text)) if extension_of(path) in _WITH_BRACES else names


def lost_definitions(old: Mapping[str, str], written: Mapping[str, str]) -> Iterator[tuple[str, list[str]]]:
    """The files that keep only a part of their old definitions and add none, with the names that they lost.

    A name that another written file defines has moved and is not lost. A function of Python whose body became
    `...` or `pass` is lost.

    Args:
        old: The old files.
        written: The files that an answer writes.
    """
    elsewhere = {path: definitions(path, text) for path, text in written.items()}
    for path, text in written.items():
        before, now = definitions(path, old.get(path, "")), elsewhere[path]
        names = set().union(*(names for other, names in elsewhere.items() if other != path))
        moved = {_last(name) for name in names}
        lost = {name for name in before - now if _last(name) not in moved} if now < before else set()
        lost |= (_stubs(path, text) & before) - _stubs(path, old.get(path, ""))
        if lost and text.strip():
            yield path, sorted(lost)


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _python(path: str, text: str) -> ast.Module | None:
    if extension_of(path) not in ("py", "pyi"):
        return None
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _definitions_of(tree: ast.Module) -> dict[str, ast.stmt]:
    """The functions and classes of a module, and the methods of its classes, by their names."""
    found: dict[str, ast.stmt] = {}
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found[node.name] = node
        for method in node.body if isinstance(node, ast.ClassDef) else ():
            if isinstance(method, (ast.FunctionDef, ast.AsyncFunctionDef)):
                found[f"{node.name}.{method.name}"] = method  # type: ignore[attr-defined]
    return found


def _stubs(path: str, text: str) -> set[str]:
    """The functions of a Python file that do nothing."""
    tree = _python(path, text)
    return {
        name
        for name, node in (_definitions_of(tree) if tree else {}).items()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and all(
            isinstance(part, ast.Pass)
            or (isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant))
            for part in node.body
        )
    }


def _functions(path: str, text: str) -> Iterator[str]:
    """The names of the functions that begin as in C: a type or modifiers, a name, and parentheses."""
    may_have_no_type = extension_of(path) in ("js", "jsx", "ts", "tsx", "dart")
    for match in _FUNCTION.finditer(text):
        words = re.findall(r"\w+", match["head"])
        rest = match["rest"].rstrip()
        opens = (rest.endswith("{") or match["next"]) and rest.count(")") == rest.count("(") + 1
        has_type = len(words) > 1 or (may_have_no_type and match["indent"])
        if opens and has_type and words[0] not in _STATEMENTS and "=>" not in rest:
            yield words[-1]


def writes_files(text: str) -> bool:
    """Whether a text is the JSON of files or edits, as in `{"file": "a.py", "search": "x"}`."""
    return _holds(text, _CALL_KEYS[1:])


def _is_call(text: str) -> bool:
    """Whether a text is the JSON of calls, or of files or edits."""
    return _holds(text, _CALL_KEYS)


def _holds(text: str, forms: Sequence[tuple[set[str], set[str]]]) -> bool:
    """Whether a text is JSON of one or several objects, each with keys of one of these forms."""
    if text.lstrip()[:1] not in ("{", "["):
        return False
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return False
    if isinstance(value, dict) and len(value) == 1:
        value = next(
            (value[key] for key in ("files", "edits", "changes", "tool_calls") if key in value), value
        )
    calls = value if isinstance(value, list) else [value]
    return bool(calls) and all(
        isinstance(call, dict) and any(call.keys() & names and call.keys() & what for names, what in forms)
        for call in calls
    )
