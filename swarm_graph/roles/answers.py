"""Reading what models write: JSON amid prose, files in fenced blocks, plain Markdown.

`read(text, kind)` gives the answer or raises Unreadable, whose text tells the model what was wrong.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ValidationError

from swarm_graph.text import check_plain

A = TypeVar("A")
M = TypeVar("M", bound=BaseModel)


class Unreadable(Exception):
    """An answer that cannot be used as it is; the text says why, for the model that gave it."""


class CutOff(Unreadable):
    """An answer that reached its token limit before its end."""


@dataclass(frozen=True)
class Files:
    """Files of an answer: path to text, and the paths that it says to delete."""

    written: dict[str, str] = field(default_factory=dict)
    deleted: tuple[str, ...] = ()

    def over(self, old: dict[str, str]) -> dict[str, str]:
        """The old files with these written over them. An old one goes where a new one needs its place."""
        gone = {*self.deleted, *filter(self._displaces, old)}
        return {**{path: text for path, text in old.items() if path not in gone}, **self.written}

    def _displaces(self, path: str) -> bool:
        return any(new.startswith(f"{path}/") or path.startswith(f"{new}/") for new in self.written)


def read(text: str, kind: type[A]) -> A:
    """The answer in a text: a pydantic model from JSON, Files from fenced blocks, or str as it stands."""
    text, thoughts = _parted(encodable(text).replace("\r\n", "\n"))
    if not text.strip():
        raise Unreadable("the answer is empty")
    if kind is Files:
        return cast("A", read_files(text))
    if issubclass(kind, BaseModel):
        return cast("A", _read_json(text, kind, thoughts))
    return cast("A", _read_markdown(text))


_THOUGHT = re.compile(r"\s*<think(?:ing)?>")
_THOUGHT_OPENS = re.compile(r"^[ \t]*<think(?:ing)?>", re.MULTILINE)
_THOUGHT_CLOSES = re.compile(r"^[ \t]*</think(?:ing)?>|</think(?:ing)?>[ \t]*$", re.MULTILINE)
_CLOSES = re.compile(r"</think(?:ing)?>")


def without_thoughts(text: str) -> str:
    """A reasoning model's text without its `<think>` block, also when one of the two tags is missing.

    Tags in fences and in the middle of a line are part of the answer.
    """
    return _parted(text)[0]


def _parted(text: str) -> tuple[str, str]:
    """The text without thoughts, and the thoughts whose first tag is missing: they may be none."""
    position = 0
    while opened := _THOUGHT.match(text, position):
        closed = _CLOSES.search(text, opened.end())
        position = closed.end() if closed else len(text)
    text = text[position:]
    opened, closed = _THOUGHT_OPENS.search(text), _THOUGHT_CLOSES.search(text)
    if opened and closed and closed.start() < opened.start():
        opened = None
    start = opened.start() if opened else 0
    end = closed.end() if closed else len(text) if opened else 0
    if _in_fence(text[: start or end]):
        return text, ""
    return text[:start] + text[end:], "" if opened else text[:end]


def _in_fence(head: str) -> bool:
    """Whether a text ends inside of a fenced block."""
    blocks, _ = _parts(head)
    return bool(blocks) and not blocks[-1].closed


def encodable(text: str) -> str:
    """A text without halves of characters, which no file and no database takes."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _read_markdown(text: str) -> str:
    """Markdown without the one fence that some models put around the whole of it."""
    blocks, outside = _parts(text)
    if len(blocks) == 1 and not outside.strip() and _language(blocks[0]) in ("", "markdown", "md"):
        text = blocks[0].text
    if not text.strip():
        raise Unreadable("the answer is empty")
    return text.strip()


# --- typed answers -------------------------------------------------------------------------------


def _read_json(text: str, model: type[M], thoughts: str) -> M:
    def check(candidate: dict[str, Any]) -> M:
        try:
            return model.model_validate(candidate)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise _misfit(first["loc"], first["msg"]) from error

    return _only_one(text, check, set(model.model_fields), thoughts)


def read_typed(text: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """The one JSON object of an answer that fits a JSON schema. Raises Unreadable."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match
    from referencing import Registry

    validator = Draft202012Validator(schema, registry=Registry())  # which fetches nothing

    def check(candidate: dict[str, Any]) -> dict[str, Any]:
        try:
            check_plain(candidate)
            error = best_match(validator.iter_errors(candidate))
        except ValueError as odd:
            raise Unreadable(f"the JSON object cannot be kept: {odd}") from odd
        except RecursionError as circle:
            raise Unreadable("the JSON schema refers to itself in a circle") from circle
        if error:
            raise _misfit(error.absolute_path, error.message)
        return candidate

    text, thoughts = _parted(encodable(text).replace("\r\n", "\n"))
    return _only_one(text, check, set(schema.get("properties", ())), thoughts)


def _misfit(where: Iterable[Any], problem: str) -> Unreadable:
    return Unreadable(f"the JSON object does not fit: {'.'.join(map(str, where)) or 'it'}: {problem}")


def _only_one(text: str, check: Callable[[dict[str, Any]], A], keys: AbstractSet[str], thoughts: str) -> A:
    """The one object in a text that a check, which returns it or raises Unreadable, finds fit.

    None when another one with some of its `keys` does not fit, or when another stands in what may be
    `thoughts`: which of them is meant, and which is quoted, nobody can tell.
    """
    problem = Unreadable("the answer holds no JSON object")
    fitting: list[A] = []
    broken = False
    for candidate in _objects(text):
        try:
            answer = check(candidate)
        except Unreadable as misfit:
            problem, broken = misfit, broken or bool(keys & candidate.keys())
        else:
            if answer not in fitting:
                fitting.append(answer)
    with suppress(Unreadable):
        for candidate in _objects(thoughts):
            with suppress(Unreadable):
                if fitting and (answer := check(candidate)) not in fitting:
                    fitting.append(answer)
    if len(fitting) + broken > 1:
        problem = Unreadable("the answer holds several JSON objects that differ; write one")
    if len(fitting) != 1 or broken:
        raise problem
    return fitting[0]


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """The outermost JSON objects in a text, in order; nothing from inside a broken one."""
    decoder = json.JSONDecoder(object_pairs_hook=once, strict=False)
    position = text.find("{")
    while position >= 0:
        try:
            value, end = decoder.raw_decode(text, position)
            value = json.loads(encodable(json.dumps(value, ensure_ascii=False)))
        except (ValueError, RecursionError):
            end = _closing(text, position)
        else:
            if not _VALUE_OF_A_KEY.search(text, max(0, position - 40), position):
                yield value
        position = text.find("{", end)


_VALUE_OF_A_KEY = re.compile(r'"\s*:[\s\[]*$')


def once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """An object of keys and values. ValueError for a key that stands twice."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key '{key}' stands twice")
        found[key] = value
    return found


_BRACES = re.compile(r'[{}]|"(?:[^"\\]|\\.)*(?:"|$)', re.DOTALL)
_OBJECT = re.compile(r'\{\s*"')


def _closing(text: str, start: int) -> int:
    """The end of a broken object that begins at `start`; of a lone brace in prose, where one may begin."""
    depth = 0
    for match in _BRACES.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(match[0], 0)
        if not depth:
            return match.end()
    if _OBJECT.match(text, start):
        raise Unreadable("the JSON object is cut off")
    following = _OBJECT.search(text, start)
    return following.start() if following else len(text)


# --- files ---------------------------------------------------------------------------------------

_FENCE = re.compile(r"(?P<indent> *)(?P<fence>`{3,}|~{3,})(?P<info>.*)")
_KEY = r"(?:file|filename|filepath|file_path|path)"
_NAMED = re.compile(
    rf"""(?<![\w-])(?P<key>{_KEY}|title|name)\s*[=:]\s*"""
    r"""(?:"(?P<double>[^"]+)"|'(?P<single>[^']+)'|["']?(?P<bare>[^\s"'{},]+))"""
)
_PATH = re.compile(r"[\w.@+\[\]-]+(?:[\\/][\w.@+\[\]-]+)*")
_FILE_NAME = re.compile(r".*\.(?:[a-z]\w*|[A-Z]+)|Makefile|Dockerfile|LICENSE")
_COMMENT = re.compile(
    rf"\s*(?:#|//|--|;|/\*|<!--)\s*(?:{_KEY}\s*:\s*)?(?P<path>\S+?)\s*(?:\*/|-->)?\s*", re.IGNORECASE
)
_HEADING = re.compile(
    rf"\s*(?:#{{1,6}}\s+|[-+]\s+)?(?:\d+[.)]\s+)?(?:{_KEY}\s*\d*\s*:\s*)?(?P<path>\S+?)\s*:?\s*",
    re.IGNORECASE,
)
_LONGEST_NAME_LINE = 300
_DELETE = re.compile(r"^[ \t]*DELETE[ \t]+`?(?P<path>[^\s`]+)`?[ \t]*$", re.MULTILINE)
_EXTENSIONS = {
    "python": "py", "python3": "py", "py": "py", "javascript": "js", "js": "js", "typescript": "ts",
    "ts": "ts", "bash": "sh", "sh": "sh", "shell": "sh", "c": "c", "cpp": "cpp", "c++": "cpp",
    "java": "java", "go": "go", "rust": "rs", "sql": "sql", "html": "html", "css": "css", "json": "json",
    "yaml": "yaml", "yml": "yaml", "toml": "toml", "markdown": "md", "md": "md", "xml": "xml",
    "csharp": "cs", "ruby": "rb",
}  # fmt: skip


@dataclass(frozen=True)
class _Block:
    info: str
    before: str
    """The last line of text before it."""
    text: str
    closed: bool


def read_files(text: str) -> Files:
    """The files of an answer: fenced blocks with a path in or right before them.

    One lone block without a path is `main.<ext>`. Raises Unreadable when the answer holds no file,
    several blocks that have no name, a path that leaves the project's folder, or a file in a file.
    """
    blocks, outside = _parts(text)
    if len(blocks) == 1 and _language(blocks[0]) in ("markdown", "md") and not _named(blocks[0])[0]:
        inner, inner_outside = _parts(blocks[0].text)
        if any(_named(block)[0] for block in inner):
            blocks, outside = inner, f"{outside}\n{inner_outside}"
    written: dict[str, str] = {}
    unnamed = []
    for block in blocks:
        path, body = _named(block)
        if path:
            written[inside(path)] = body
        elif body.strip():
            unnamed.append(block)
    if not written and len(unnamed) == 1:
        written[f"main.{_EXTENSIONS.get(_language(unnamed[0]), 'txt')}"] = unnamed[0].text
    elif not written and unnamed:
        raise Unreadable(
            "the answer holds no file: its blocks have no path, as in ```python path=src/queue.py"
        )
    deleted = [inside(match["path"]) for match in _DELETE.finditer(outside)]
    if not written and not deleted:
        raise Unreadable(
            "the answer holds no file: write each as a fenced block, as in ```python path=src/queue.py"
        )
    no_file_is_a_folder(written)
    return Files(written, tuple(path for path in deleted if path not in written))


def no_file_is_a_folder(paths: Iterable[str]) -> None:
    """Unreadable when one path lies inside another."""
    paths = set(paths)
    for path in paths:
        for parent in PurePosixPath(path).parents:
            if str(parent) in paths:
                raise Unreadable(f"'{parent}' stands in the answer both as a file and as a folder")


def _parts(text: str) -> tuple[list[_Block], str]:
    """The fenced blocks of a Markdown text, and what stands outside of them."""
    lines = text.replace("\r\n", "\n").rstrip().split("\n")
    fences = [_fence_line(line) for line in lines]
    blocks: list[_Block] = []
    outside: list[str] = []
    before, number = "", 0
    while number < len(lines):
        line, opening = lines[number], fences[number]
        number += 1
        if opening is None:
            outside.append(line)
            before = line if line.strip() else before
            continue
        end = _end(fences, number, opening)
        closed = end < len(lines)
        body = [re.sub(f"^ {{0,{len(opening['indent'])}}}", "", line) for line in lines[number:end]]
        blocks.append(_Block(opening["info"].strip(), before, "".join(f"{line}\n" for line in body), closed))
        before = ""
        number = end + (closed and _is_bare(fences[end]))
    return blocks, "\n".join(outside)


def _fence_line(line: str) -> re.Match[str] | None:
    match = _FENCE.fullmatch(line)
    return None if match and match["fence"][0] == "`" and "`" in match["info"] else match


def _is_bare(fence: re.Match[str] | None) -> bool:
    return fence is not None and not fence["info"].strip()


def _end(fences: list[re.Match[str] | None], start: int, opening: re.Match[str]) -> int:
    """The line at which a block ends; the number of lines when its fence is left open.

    Models put fences inside of equally long ones: those that name a language are closed first, unless
    that leaves the block open. One that names a file shows that the file before it was never closed;
    only Markdown may hold it.
    """
    markdown = bool(re.match(r"\s*(?:markdown|md)\b", opening["info"]))
    depth, first = 0, None
    for number in range(start, len(fences)):
        fence = fences[number]
        if fence is None or not fence["fence"].startswith(opening["fence"]):
            continue
        if len(fence["indent"]) > len(opening["indent"]) + 3:
            continue
        if not _is_bare(fence):
            if not markdown and _NAMED.search(fence["info"]):
                return number if first is None else first
            depth += 1
        elif depth:
            depth -= 1
            first = number if first is None else first
        else:
            return number
    return len(fences) if first is None or (markdown and not depth) else first


def _language(block: _Block) -> str:
    match = re.match(r"[{.]*([\w+#]+)", block.info)
    return match[1].lower() if match else ""


def _named(block: _Block) -> tuple[str | None, str]:
    """The path of a block and its text; a first line that only names the path is dropped."""
    if match := _NAMED.search(block.info):
        path = match["double"] or match["single"] or match["bare"]
        if match["key"] not in ("title", "name") or _looks_like_path(path.replace(" ", "_")):
            return path, block.text
    for word in block.info.replace(":", " ").split():
        if _looks_like_path(word):
            return word, block.text
    first, _, rest = block.text.partition("\n")
    if (path := _only_path(_COMMENT, first)) is not None:
        return path, rest.lstrip("\n")
    return _only_path(_HEADING, block.before.replace("*", "").replace("`", "")), block.text


def _only_path(form: re.Pattern[str], line: str) -> str | None:
    """The path in a line that holds nothing else."""
    match = form.fullmatch(line) if len(line) <= _LONGEST_NAME_LINE else None
    if match is None:
        return None
    bold = re.fullmatch("__(.+)__", match["path"])
    path = bold[1] if bold else match["path"]
    return path if _looks_like_path(path) else None


def _looks_like_path(word: str) -> bool:
    """Whether a word is a file's path, also one that is not allowed."""
    name = re.split(r"[\\/]", word)[-1]
    return bool(_PATH.fullmatch(word.lstrip("\\/"))) and bool(_FILE_NAME.fullmatch(name))


def inside(path: str) -> str:
    """A relative path with `/`; Unreadable when it could leave the folder or is no file name."""
    clean = path.strip().replace("\\", "/")
    parts = PurePosixPath(clean).parts
    bad = (
        not parts
        or not clean.isprintable()
        or clean.startswith(("/", "~"))
        or ".." in parts
        or any(char in '<>:"|?*`' for char in clean)
        or len(clean) > 200
        or any(len(part.encode()) > 120 or part.rstrip(". ").lower() in ("", ".git") for part in parts)
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
    extension = path.rpartition(".")[2]
    language = next((name for name, ext in _EXTENSIONS.items() if ext == extension), "text")
    body = text if text.endswith("\n") else text + "\n"
    match = _NAMED.fullmatch(f"path={path}")
    named = path if match and match["bare"] == path else f'"{path}"'
    return f"{fence}{language} path={named}\n{body}{fence}"
