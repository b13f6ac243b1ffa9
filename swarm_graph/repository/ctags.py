"""The outlines of files in other languages than Python, by Universal Ctags where it is installed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from swarm_graph.repository.outline import MAX_DEFINITIONS, MAX_SIGNATURE, Definition, Outline
from swarm_graph.repository.parser_process import parsed

NOT_INSTALLED = Outline(problem="Universal Ctags is not installed")

_NAMES = ("universal-ctags", "ctags-universal", "ctags")
"""Its name differs between systems; on some, `ctags` is another program."""
_EXTENSIONS = frozenset({
    ".bash", ".c", ".cc", ".cjs", ".clj", ".cpp", ".cs", ".cxx", ".d", ".dart", ".el", ".erl", ".ex", ".exs",
    ".f90", ".go", ".h", ".hh", ".hpp", ".hxx", ".java", ".jl", ".js", ".jsx", ".kt", ".lisp", ".lua", ".m",
    ".mjs", ".ml", ".mm", ".php", ".pl", ".pm", ".proto", ".r", ".rb", ".rs", ".scala", ".scm", ".sh", ".sql",
    ".swift", ".tcl", ".ts", ".tsx", ".v", ".vhd", ".zig", ".zsh",
})  # fmt: skip
_INNER = frozenset({"func", "function", "method", "procedure", "singletonMethod", "subroutine"})
"""Kinds of tags whose inner definitions are private."""
_KINDS = _INNER | {
    "class", "enum", "implementation", "interface", "macro", "message", "module", "namespace", "object",
    "protocol", "rpc", "service", "struct", "table", "trait", "type", "typedef", "union",
}  # fmt: skip
"""The kinds of tags that an outline shows; no variables, constants and members."""

_FEATURES_SECONDS = 20
"""A program that does not say in this time what it can do is not used."""


class Source(NamedTuple):
    """A file to parse."""

    path: str
    content: bytes


def is_language(path: str) -> bool:
    """Whether a file name belongs to a language that Universal Ctags may know."""
    name = PurePosixPath(path)
    return name.suffix.lower() in _EXTENSIONS


@cache
def program() -> tuple[str, ...]:
    """The command that starts Universal Ctags; empty if it is not installed, or cannot print JSON."""
    for name in _NAMES:
        if not (path := shutil.which(name)):
            continue
        try:
            listed = subprocess.run(
                [path, "--options=NONE", "--list-features"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_FEATURES_SECONDS,
                check=False,
            ).stdout
        except (OSError, subprocess.TimeoutExpired):
            continue
        features = {line.split()[0] for line in listed.splitlines() if line.strip()}
        if {"json", "interactive"} <= features:
            # In its sandbox it reads stdin and nothing else.
            mode = "sandbox" if "sandbox" in features else "default"
            return (path, "--options=NONE", f"--_interactive={mode}", "--fields=+neS")
    return ()


def ctags_outlines(sources: Sequence[Source]) -> list[Outline]:
    """The outlines of files, in their order.

    No option file is read, neither the user's nor one of the repository.
    """
    if not program():
        return [NOT_INSTALLED] * len(sources)
    lines = {number: source.content.split(b"\n") for number, source in enumerate(sources)}
    found = parsed(program(), [_request(source) for source in sources], _read)
    return [_with_source_lines(outline, lines[number]) for number, outline in enumerate(found)]


def _request(source: Source) -> bytes:
    # The name decides the language; it is no path, and holds nothing but an extension that we know.
    name = f"file{PurePosixPath(source.path).suffix}"
    head = {"command": "generate-tags", "filename": name, "size": len(source.content)}
    return json.dumps(head).encode() + b"\n" + source.content + b"\n"


def _read(output: bytes) -> list[Outline]:
    outlines: list[Outline] = []
    found: list[Definition] = []
    for line in output.split(b"\n"):
        try:
            answer = json.loads(line.decode(errors="replace"))
        except ValueError:
            continue
        if answer.get("_type") == "completed":
            outlines.append(Outline(tuple(sorted(found, key=lambda one: one.line)[:MAX_DEFINITIONS])))
            found = []
        elif answer.get("_type") == "tag" and _is_shown(answer):
            found.append(_definition(answer))
    return outlines


def _is_shown(tag: dict[str, Any]) -> bool:
    return (
        tag.get("kind") in _KINDS
        and tag.get("scopeKind") not in _INNER
        and not str(tag["name"]).startswith("__anon")
        and isinstance(tag.get("line"), int)
    )


def _definition(tag: dict[str, Any]) -> Definition:
    name = str(tag["name"])
    signature = f"{tag['kind']} {name}{tag.get('signature', '')}"
    depth = 1 if tag.get("scopeKind") in _KINDS - {"module", "namespace"} else 0
    return Definition(name, signature, depth, tag["line"], max(tag["line"], tag.get("end", tag["line"])))


def _with_source_lines(outline: Outline, lines: list[bytes]) -> Outline:
    """The outline with each definition as the file writes it, if one line holds its whole head."""
    shown = []
    for one in outline.definitions:
        written = lines[one.line - 1] if 0 < one.line <= len(lines) else b""
        signature = _head(written[: 2 * MAX_SIGNATURE].decode(errors="replace"), one)
        shown.append(one._replace(signature=signature[:MAX_SIGNATURE]))
    return outline._replace(definitions=tuple(shown))


def _head(written: str, definition: Definition) -> str:
    """A line up to the brace that opens the body; the signature from ctags if the head has more lines."""
    head = re.split(r"\s*\{|;\s*$|\s*$", written.strip(), maxsplit=1)[0]
    is_whole = definition.name in head and head.count("(") == head.count(")") and len(head) < MAX_SIGNATURE
    return head if is_whole else definition.signature
