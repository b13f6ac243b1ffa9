"""Fragments that pass for files: placeholders for omitted code, line numbers, tool calls and commands."""

from __future__ import annotations

import ast
import itertools
import json
import re
from collections.abc import Iterator, Mapping

_CODE = (
    "py", "pyi", "js", "jsx", "ts", "tsx", "c", "h", "cpp", "hpp", "cs", "java", "kt", "go", "rs", "rb",
    "php", "sh",
)  # fmt: skip
_COMMENT = re.compile(
    r"\s*(?:#+|//+|--+|;+|%+|/\*+|<!--|\{/\*|\*|\(|\[)\s*(?P<words>.*?)\s*(?:\*+/\}?|-->|\)|\])?\s*"
)
_LEFT_OUT = re.compile(
    r"(?:(?:all |the |your |my |any )*"
    r"(?:rest|remainder|remaining|existing|previous|original|other|unchanged|same|old)"
    r"(?: (?:of|the|your|this|my|file|code|class|module|functions?|methods?|implementation|imports?|contents?"
    r"|tests?|lines|parts|sections|definitions|logic|body|program|script|document|as|before|above|below"
    r"|earlier|in|here|goes|go|stays?|remains?|is|are|not|shown|omitted|unchanged|same|for|brevity|and"
    r"|unmodified|untouched))*"
    r"|(?:code |lines |content |everything |nothing )?"
    r"(?:unchanged|omitted|snipped|snip|elided|truncated|no changes?)"
    r"(?: (?:from|here|above|below|code|for|brevity|lines|needed|before|in|this|part|section))*"
    r"|(?:as|same as|like) (?:before|above|earlier)"
    r"|(?:keep|leave|insert|add|include|paste|put) (?:the |all |your )?"
    r"(?:rest|existing|previous|remaining|original|other)(?: \w+){1,6})",
    re.IGNORECASE,
)
_WEAK = re.compile(
    r"(?:(?:the|all|your) )*(?:rest|remaining|existing|previous|original|other|unchanged|same|old)"
    r"(?: (?:code|file|class|module|tests?|imports?))?",
    re.IGNORECASE,
)
"""What an ordinary comment may say, such as "other tests"; only dots or brackets make it a placeholder."""
_MARKED = re.compile(r"^(?:\.{3}|…|[\[(<])|(?:\.{3}|…)$")
_MAX_LINE = 120
_NUMBERED = re.compile(r"\s*(\d+)\s?(?:[:|)→\t]|\. )")
_DEFINITION = re.compile(
    r"^(?:export |default |pub(?:\([a-z]+\))? |public |private |protected |static |async |abstract |final )*"
    r"(?:def|class|function\*?|func|fn|struct|enum|interface|trait|impl|type|const|sub|proc) +(\w+)",
    re.MULTILINE,
)
_COMMANDS = (
    "bash",
    "sh",
    "shell",
    "console",
    "zsh",
    "powershell",
    "ps1",
    "cmd",
    "bat",
    "terminal",
    "shellsession",
)
_CALLS = ("tool_call", "tool_code", "tool", "function_call", "xml")
_CALL_TAG = re.compile(r"\s*<(?:tool_call|function_call|function=|invoke|tool_use|tool_code)\b")


def placeholder(text: str, old: str) -> str:
    """The first line of a file that stands for code left out; empty when there is none.

    Args:
        text: The file.
        old: The file before; a line that stands there already is no placeholder.
    """
    known = set(map(str.strip, old.split("\n")))
    return next(
        (line.strip() for line in text.split("\n") if _is_placeholder(line) and line.strip() not in known), ""
    )


def has_line_numbers(path: str, text: str) -> bool:
    """Whether every line of a code file begins with its number."""
    if path.rpartition(".")[2] not in _CODE:
        return False
    lines = [line for line in text.split("\n") if line.strip()]
    numbers = [int(match[1]) for match in map(_NUMBERED.match, lines) if match]
    return (
        len(lines) > 1 and len(numbers) == len(lines) and all(a < b for a, b in itertools.pairwise(numbers))
    )


def not_a_file(language: str, text: str) -> str:
    """What a block without a path is if it is no file: a command or a tool call; empty if it may be one."""
    if language in _COMMANDS and not text.startswith("#!"):
        return "a shell command"
    if language in _CALLS[:-1] or _CALL_TAG.match(text) or _is_call(text):
        return "a tool call"
    return ""


def definitions(path: str, text: str) -> set[str]:
    """The names that a code file defines at its top level: functions, classes and the like."""
    if path.rpartition(".")[2] in ("py", "pyi"):
        try:
            body = ast.parse(text).body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            pass
        else:
            kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
            return {node.name for node in body if isinstance(node, kinds)}
    return set(_DEFINITION.findall(text)) if path.rpartition(".")[2] in _CODE else set()


def lost_definitions(old: Mapping[str, str], written: Mapping[str, str]) -> Iterator[tuple[str, list[str]]]:
    """The files that keep only a part of their old definitions and add none, with the names that they lost.

    A name that another written file defines has moved and is not lost.

    Args:
        old: The old files.
        written: The files that an answer writes.
    """
    elsewhere = {path: definitions(path, text) for path, text in written.items()}
    for path, text in written.items():
        before, now = definitions(path, old.get(path, "")), elsewhere[path]
        moved = set().union(*(names for other, names in elsewhere.items() if other != path))
        lost = before - now - moved
        if lost and text.strip() and now < before:
            yield path, sorted(lost)


def _is_placeholder(line: str) -> bool:
    """Whether a line says only that something was left out: in a comment, or between dots or brackets."""
    line = line.strip()
    comment = _COMMENT.fullmatch(line) if len(line) <= _MAX_LINE else None
    said = comment["words"] if comment else line
    words = said.strip(" -=#*/")
    bare = words.strip(" .…:()[]<>")
    marked = bool(_MARKED.search(words)) and (bool(comment) or " " in bare)
    if len(bare) > _MAX_LINE or not (comment or marked) or not _LEFT_OUT.fullmatch(bare):
        return False
    return marked or not (" " not in bare or _WEAK.fullmatch(bare))


def _is_call(text: str) -> bool:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return False
    calls = value if isinstance(value, list) else [value]
    return bool(calls) and all(
        isinstance(call, dict)
        and ("name" in call or "tool" in call or "function" in call)
        and bool(call.keys() & {"arguments", "parameters", "args", "input", "function"})
        for call in calls
    )
