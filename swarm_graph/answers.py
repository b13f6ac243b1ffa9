"""Reading what models write: JSON amid prose, files in fenced blocks, plain Markdown.

`read(text, kind)` gives the answer or raises Unreadable, whose text tells the model what was wrong.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ValidationError

A = TypeVar("A")
M = TypeVar("M", bound=BaseModel)


class Unreadable(Exception):
    """An answer that cannot be used as it is; the text says why, for the model that gave it."""


@dataclass(frozen=True)
class Files:
    """Files of an answer: path to text, and the paths that it says to delete."""

    written: dict[str, str] = field(default_factory=dict)
    deleted: tuple[str, ...] = ()

    def over(self, old: dict[str, str]) -> dict[str, str]:
        """The old files with these written over them."""
        return {path: text for path, text in {**old, **self.written}.items() if path not in self.deleted}


def read(text: str, kind: type[A]) -> A:
    """The answer in a text: a pydantic model from JSON, Files from fenced blocks, or str as it stands."""
    text = without_thoughts(text).strip()
    if not text:
        raise Unreadable("the answer is empty")
    if kind is Files:
        return cast("A", read_files(text))
    if issubclass(kind, BaseModel):
        return cast("A", _read_json(text, kind))
    return cast("A", _unwrapped(text))


def without_thoughts(text: str) -> str:
    """A reasoning model's text without its `<think>` block, also one whose opening tag is missing."""
    text = re.sub(r"<think(?:ing)?>.*?</think(?:ing)?>", "", text, flags=re.DOTALL)
    opened = re.match(r"\s*<think(?:ing)?>", text)
    if opened:
        return ""
    head, closed, rest = text.partition("</think>")
    return rest if closed and "```" not in head else text


def _unwrapped(text: str) -> str:
    """Markdown without the one fence that some models put around the whole of it."""
    match = re.fullmatch(r"(`{3,}|~{3,})(?:markdown|md)?[ \t]*\n(.*)\n\1", text, flags=re.DOTALL)
    return match[2] if match and f"\n{match[1]}" not in match[2] else text


# --- typed answers -------------------------------------------------------------------------------


def _read_json(text: str, model: type[M]) -> M:
    problem = "the answer holds no JSON object"
    for candidate in _objects(text):
        try:
            return model.model_validate(candidate)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            problem = f"the JSON object does not fit: {where}: {first['msg']}"
    raise Unreadable(problem)


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """The outermost JSON objects in a text, in order."""
    decoder = json.JSONDecoder()
    position = text.find("{")
    while position >= 0:
        try:
            value, end = decoder.raw_decode(text, position)
        except (ValueError, RecursionError):
            end = position + 1
        else:
            if isinstance(value, dict):
                yield value
        position = text.find("{", end)


# --- files ---------------------------------------------------------------------------------------

_FENCE = re.compile(r"^ {0,3}(?P<fence>`{3,}|~{3,})(?P<info>[^\n]*)$")
_NAMED = re.compile(r"""(?:path|file|filename|title|name)\s*[=:]\s*["'`]?(?P<path>[^\s"'`]+)""")
_PATH = re.compile(r"^[\w.@+-]+(?:/[\w.@+ -]+)*$")
_COMMENT = re.compile(
    r"^\s*(?:#|//|--|;|/\*|<!--)+\s*(?:(?:file|path|filename)\s*:\s*)?(?P<path>\S+?)\s*(?:\*/|-->)?\s*$"
)
_HEADING = re.compile(
    r"^\s*(?:#{1,6}\s+|\d+[.)]\s+|[-*]\s+)?(?:file(?:name)?\s*:?\s*|path\s*:\s*)?(?:\*\*|__)?`?"
    r"(?P<path>[^\s`*]+)`?(?:\*\*|__)?\s*:?\s*(?:\*\*)?\s*$",
    re.IGNORECASE,
)
_DELETE = re.compile(r"^\s*DELETE\s+`?(?P<path>[^\s`]+)`?\s*$", re.MULTILINE)
_EXTENSIONS = {
    "python": "py", "py": "py", "javascript": "js", "js": "js", "typescript": "ts", "ts": "ts", "bash": "sh",
    "sh": "sh", "shell": "sh", "c": "c", "cpp": "cpp", "c++": "cpp", "java": "java", "go": "go", "rust": "rs",
    "sql": "sql", "html": "html", "css": "css", "json": "json", "yaml": "yaml", "yml": "yaml", "toml": "toml",
    "markdown": "md", "md": "md", "xml": "xml", "csharp": "cs", "ruby": "rb",
}  # fmt: skip


@dataclass(frozen=True)
class _Block:
    info: str
    before: str
    text: str


def read_files(text: str) -> Files:
    """The files of an answer: fenced blocks with a path in or right before them.

    One lone block without a path is `main.<ext>`. Raises Unreadable when the answer holds no file,
    several blocks that have no name, or a path that leaves the project's folder.
    """
    blocks = list(_blocks(text))
    written: dict[str, str] = {}
    unnamed = []
    for block in blocks:
        path, body = _named(block)
        if path:
            written[_inside(path)] = body
        elif body.strip():
            unnamed.append(block)
    if not written and len(unnamed) == 1:
        language = (unnamed[0].info.split() or [""])[0].lower()
        written[f"main.{_EXTENSIONS.get(language, 'txt')}"] = unnamed[0].text
    elif not written and unnamed:
        raise Unreadable(
            "the answer holds no file: its blocks have no path, as in ```python path=src/queue.py"
        )
    outside = re.sub(r"^ {0,3}(`{3,}|~{3,}).*?^ {0,3}\1`*\s*$", "", text, flags=re.DOTALL | re.MULTILINE)
    deleted = tuple(_inside(match["path"]) for match in _DELETE.finditer(outside))
    if not written and not deleted:
        raise Unreadable(
            "the answer holds no file: write each as a fenced block, as in ```python path=src/queue.py"
        )
    return Files(written, tuple(path for path in deleted if path not in written))


def _blocks(text: str) -> Iterator[_Block]:
    """The fenced blocks of a Markdown text; a fence left open ends with the text."""
    before, info, fence = "", "", ""
    lines: list[str] = []
    for line in text.splitlines():
        match = _FENCE.match(line)
        if not fence:
            if match and not (match["fence"][0] == "`" and "`" in match["info"]):
                fence, info, lines = match["fence"], match["info"].strip(), []
            elif line.strip():
                before = line
        elif match and not match["info"].strip() and match["fence"].startswith(fence):
            yield _Block(info, before, _joined(lines))
            before, fence = "", ""
        else:
            lines.append(line)
    if fence:
        yield _Block(info, before, _joined(lines))


def _joined(lines: list[str]) -> str:
    return "\n".join(lines) + "\n" if lines else ""


def _named(block: _Block) -> tuple[str | None, str]:
    """The path of a block and its text; a first line that only names the path is dropped."""
    if match := _NAMED.search(block.info):
        return match["path"].strip("\"'`{}[],"), block.text
    for word in block.info.replace(":", " ").split():
        if _looks_like_path(word):
            return word, block.text
    first, _, rest = block.text.partition("\n")
    if (match := _COMMENT.match(first)) and _looks_like_path(match["path"]):
        return match["path"], rest.lstrip("\n")
    if (match := _HEADING.match(block.before)) and _looks_like_path(match["path"]):
        return match["path"].rstrip(":"), block.text
    return None, block.text


def _looks_like_path(word: str) -> bool:
    name = word.rstrip(":").rpartition("/")[2]
    return bool(_PATH.match(word.rstrip(":").removeprefix("./").lstrip("/"))) and (
        "." in name.strip(".") or name in ("Makefile", "Dockerfile", "LICENSE")
    )


def _inside(path: str) -> str:
    """A relative path with `/`; Unreadable when it could leave the folder or is no file name."""
    clean = path.strip().replace("\\", "/").removeprefix("./")
    parts = PurePosixPath(clean).parts
    bad = (
        not parts
        or clean.startswith(("/", "~"))
        or ".." in parts
        or ":" in clean
        or len(clean) > 200
        or any(len(part.encode()) > 120 or part.startswith(".git") for part in parts)
        or any(ord(char) < 32 or 127 <= ord(char) < 160 for char in clean)
    )
    if bad:
        raise Unreadable(
            f"the path {path[:80]!r} is not allowed: write paths inside the project, as in src/queue.py"
        )
    return str(PurePosixPath(clean))


def fenced(files: dict[str, str]) -> str:
    """Files as Markdown: each a fenced block that carries its path and is longer than any fence in it."""
    return "\n\n".join(_fence(path, text) for path, text in files.items())


def _fence(path: str, text: str) -> str:
    longest = max((len(run) for run in re.findall(r"^ {0,3}(`{3,})", text, flags=re.MULTILINE)), default=2)
    fence = "`" * (longest + 1)
    extension = PurePosixPath(path).suffix.removeprefix(".")
    language = next((name for name, ext in _EXTENSIONS.items() if ext == extension), "text")
    body = text if text.endswith("\n") else text + "\n"
    return f"{fence}{language} path={path}\n{body}{fence}"
