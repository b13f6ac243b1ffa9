"""Files in Markdown: fenced blocks with a path in or right before them, read and written."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import NamedTuple

from swarm_graph.errors import UnreadableAnswer
from swarm_graph.roles.edit_blocks import lines_of_edits
from swarm_graph.roles.fences import FILE_KEY, NAMED_FILE, Block, parse
from swarm_graph.roles.path_lines import path_lines
from swarm_graph.text import longer_fence

_PATH = re.compile(r"[\w.@+\[\]-]+(?:[\\/][\w.@+\[\]-]+)*")
_FILE_NAME = re.compile(r".*\.(?:[a-z]\w*|[A-Z]+)|Makefile|Dockerfile|LICENSE")
_COMMENT = re.compile(
    rf"\s*(?:#|//|--|;|/\*|<!--)\s*(?:{FILE_KEY}\s*:\s*)?(?P<path>\S+?)\s*(?:\*/|-->)?\s*", re.IGNORECASE
)
_HEADING = re.compile(
    rf"\s*(?:#{{1,6}}\s+|[-+]\s+)?(?:\d+[.)]\s+)?(?:{FILE_KEY}\s*\d*\s*:\s*)?(?P<path>\S+?)\s*:?\s*",
    re.IGNORECASE,
)
_FILE_LINE = re.compile(
    rf"\s*(?:#|//|--|;|/\*|<!--)\s*{FILE_KEY}\s*:\s*(?P<path>\S+?)\s*(?:\*/|-->)?\s*", re.IGNORECASE
)
_TAG = re.compile(r"\s*<\w+\s[^<>]*>\s*")
_IN_BACKTICKS = re.compile(r"`([^`]+)`")
_DECORATION = re.compile(r"^[^\w./\\~]+|[^\w.]+$")
_MAX_NAME_LINE = 300
_EXTENSIONS = {
    "python": "py", "python3": "py", "py": "py", "javascript": "js", "js": "js", "typescript": "ts",
    "ts": "ts", "bash": "sh", "sh": "sh", "shell": "sh", "c": "c", "cpp": "cpp", "c++": "cpp",
    "java": "java", "go": "go", "rust": "rs", "sql": "sql", "html": "html", "css": "css", "json": "json",
    "yaml": "yaml", "yml": "yaml", "toml": "toml", "markdown": "md", "md": "md", "xml": "xml",
    "csharp": "cs", "ruby": "rb",
}  # fmt: skip
"""The file extension of each language that an info string may name."""


@dataclass(frozen=True)
class Files:
    """The files in an answer.

    Attributes:
        written: Path to text of each file, complete.
        deleted: The paths that the answer says to delete, and the old paths of renamed files.
        notes: What was unusual about the answer, for people.
        renamed: Old path to new path of the files that the answer renames; their texts are among `written`.
        doubts: Why the answer is probably not meant as it is, for a question to the model.
    """

    written: dict[str, str] = field(default_factory=dict)
    deleted: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    renamed: dict[str, str] = field(default_factory=dict)
    doubts: tuple[str, ...] = ()

    def over(self, old: dict[str, str]) -> dict[str, str]:
        """The old files with these written over them.

        An old file is dropped where a new one needs its place: `a` where `a/b` is written, and the other way
        round.
        """
        gone = {*self.deleted, *filter(self._displaces, old)}
        return {**{path: text for path, text in old.items() if path not in gone}, **self.written}

    def _displaces(self, path: str) -> bool:
        return any(new.startswith(f"{path}/") or path.startswith(f"{new}/") for new in self.written)


class NamedBlock(NamedTuple):
    """A block that carries a path; `text` is without the line that names it."""

    path: str
    text: str
    language: str


class FileBlocks(NamedTuple):
    """The fenced blocks of a text that may be files.

    Attributes:
        named: The blocks that carry a path.
        unnamed: The blocks without a path that are not empty.
        outside: The text outside of all blocks.
    """

    named: list[NamedBlock]
    unnamed: list[Block]
    outside: str


def read_files(text: str) -> Files:
    """The files in a text: its fenced blocks that carry a path, and the paths on `DELETE` lines.

    A single block without a path is `main.<ext>`.

    Raises:
        UnreadableAnswer: There is no file, several blocks have no path, a path leaves the project's folder,
            or one path lies inside another.
    """
    named, unnamed, outside = file_blocks(text)
    written = {project_path(block.path): block.text for block in named}
    if not written and len(unnamed) == 1:
        written[main_file(unnamed[0])] = unnamed[0].text
    elif not written and unnamed:
        raise no_path()
    return files(written, deleted_in(outside))


def file_blocks(text: str) -> FileBlocks:
    """The fenced blocks of a text that may be files, also those inside a Markdown fence around all of it."""
    blocks, outside = parse(text, lines_of_edits(text))
    if len(blocks) == 1 and blocks[0].language in ("markdown", "md") and not _named(blocks[0])[0]:
        inner, inner_outside = parse(blocks[0].text)
        if any(_named(block)[0] for block in inner):
            blocks, outside = inner, f"{outside}\n{inner_outside}"
    named, unnamed = [], []
    for block in blocks:
        path, body = _named(block)
        if path:
            named += _divided(NamedBlock(path, body, block.language), block.text)
        elif body.strip():
            unnamed.append(block)
    return FileBlocks(named, unnamed, outside)


def files(
    written: dict[str, str],
    deleted: Iterable[str],
    notes: tuple[str, ...] = (),
    renamed: Mapping[str, str] | None = None,
    doubts: tuple[str, ...] = (),
) -> Files:
    """The files of an answer, as the attributes of Files have them.

    Raises:
        UnreadableAnswer: There is no file, or a path lies inside another.
    """
    deleted = list(dict.fromkeys(deleted))
    if not written and not deleted:
        raise UnreadableAnswer(
            "the answer holds no file: write each as a fenced block, as in ```python path=src/queue.py"
        )
    check_no_file_is_a_folder(written)
    gone = tuple(path for path in deleted if path not in written)
    return Files(written, gone, notes, dict(renamed or {}), doubts)


def deleted_in(outside: str) -> list[str]:
    """The paths on `DELETE` lines.

    Raises:
        UnreadableAnswer: A path leaves the project's folder.
    """
    return [project_path(line.path) for line in path_lines(outside) if not line.new_path]


def announced(block: Block) -> str:
    """The path of a block's language in the sentence above it, as in "Save this as `a.py`:"; else empty."""
    line = block.before.strip(" *_")
    if len(line) > _MAX_NAME_LINE or not line.endswith(":"):
        return ""
    paths = {word for word in _IN_BACKTICKS.findall(line) if _looks_like_path(word)}
    path = paths.pop() if len(paths) == 1 else ""
    return project_path(path) if path and path.endswith(f".{extension(block)}") else ""


def main_file(block: Block) -> str:
    """The path of a file that is the only one and has no path."""
    return f"main.{extension(block) or 'txt'}"


def extension(block: Block) -> str:
    """The file extension of a block's language; empty when it names none that is known."""
    return _EXTENSIONS.get(block.language, "")


def no_path() -> UnreadableAnswer:
    """The error of an answer whose blocks could be any file."""
    return UnreadableAnswer(
        "the answer holds no file: its blocks have no path, as in ```python path=src/queue.py"
    )


def check_no_file_is_a_folder(paths: Iterable[str]) -> None:
    """Raises UnreadableAnswer when one path lies inside another."""
    paths = set(paths)
    for path in paths:
        for parent in PurePosixPath(path).parents:
            if str(parent) in paths:
                raise UnreadableAnswer(f"'{parent}' stands in the answer both as a file and as a folder")


def project_path(path: str) -> str:
    """A path from an answer as a relative path with `/`.

    Raises:
        UnreadableAnswer: The path could leave the project's folder, or cannot name a file.
    """
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
        raise UnreadableAnswer(
            f"the path {path[:80]!r} is not allowed: write paths inside the project, as in src/queue.py"
        )
    return str(PurePosixPath(clean))


def fenced(files: dict[str, str]) -> str:
    """Files as Markdown: each in a fenced block with its path and a fence longer than any in the file."""
    return "\n\n".join(_fenced_block(path, text) for path, text in files.items())


def language_of(path: str) -> str:
    """The language of a file as an info string names it."""
    extension = path.rpartition(".")[2]
    return next((name for name, ext in _EXTENSIONS.items() if ext == extension), "text")


def _fenced_block(path: str, text: str) -> str:
    fence, language = longer_fence(text), language_of(path)
    body = text if text.endswith("\n") else text + "\n"
    match = NAMED_FILE.fullmatch(f"path={path}")
    named = path if match and match["bare"] == path else f'"{path}"'
    return f"{fence}{language} path={named}\n{body}{fence}"


# --- the path of a block -------------------------------------------------------------------------


def _named(block: Block) -> tuple[str | None, str]:
    """The path of a block, and its text. A first line that only names the path is not part of the text."""
    if match := NAMED_FILE.search(block.info):
        path = match["double"] or match["single"] or _with_blanks(match["bare"], block.info[match.end() :])
        if match["key"] not in ("title", "name") or _looks_like_path(path.replace(" ", "_")):
            return path, block.text
    for word in block.info.replace(":", " ").split():
        if _looks_like_path(word):
            return word, block.text
    first, _, rest = block.text.partition("\n")
    if (path := _only_path(_COMMENT, first)) is not None:
        return path, rest.lstrip("\n")
    if len(block.before) <= _MAX_NAME_LINE and _TAG.fullmatch(block.before):
        tag = NAMED_FILE.search(block.before)
        return (tag["double"] or tag["single"] or tag["bare"]) if tag else None, block.text
    heading = block.before.replace("*", "").replace("`", "")
    path = _only_path(_HEADING, heading) or _only_path(
        _HEADING, _DECORATION.sub("", heading[:_MAX_NAME_LINE])
    )
    return path, block.text


def _with_blanks(word: str, rest: str) -> str:
    """A path without quotes that has blanks: `path=my file.py` does not mean the file `my`."""
    whole = f"{word}{rest}".strip()
    is_whole = not _looks_like_path(word) and _looks_like_path(whole.replace(" ", "_"))
    return whole if is_whole else word


def _divided(file: NamedBlock, text: str) -> list[NamedBlock]:
    """The files of a block: several if later lines name one as its first line does, as in `// FILE: a.js`.

    Args:
        file: The block as one file.
        text: Its text with the first line.
    """
    lines = text.split("\n")
    if file.text == text or not _only_path(_FILE_LINE, lines[0]):
        return [file]
    words = lines[0][: lines[0].index(file.path)]
    starts = [
        number for number, line in enumerate(lines) if line.startswith(words) and _only_path(_FILE_LINE, line)
    ]
    ends = [*starts[1:], len(lines) - 1]
    return [
        NamedBlock(
            str(_only_path(_FILE_LINE, lines[start])),
            "".join(f"{line}\n" for line in lines[start + 1 : end]).lstrip("\n"),
            file.language,
        )
        for start, end in zip(starts, ends, strict=True)
    ]


def _only_path(form: re.Pattern[str], line: str) -> str | None:
    """The path in a line that holds nothing else."""
    match = form.fullmatch(line) if len(line) <= _MAX_NAME_LINE else None
    if match is None:
        return None
    bold = re.fullmatch("__(.+)__", match["path"])
    path = bold[1] if bold else match["path"]
    return path if _looks_like_path(path) else None


def _looks_like_path(word: str) -> bool:
    """Whether a word is the path of a file, allowed or not."""
    name = re.split(r"[\\/]", word)[-1]
    return bool(_PATH.fullmatch(word.lstrip("\\/"))) and bool(_FILE_NAME.fullmatch(name))
