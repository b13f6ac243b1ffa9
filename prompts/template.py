"""Prompt files: Markdown, instructions above a line `---`, data below it; and the messages they make."""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from string import Template
from typing import NamedTuple
from unicodedata import normalize

from swarm_graph.config_source import closest_match, read_json5
from swarm_graph.errors import ConfigError
from swarm_graph.prompts.chat_template import KNOWN
from swarm_graph.state import KINDS, Kind

REPAIR = "repair"
TASK = "task"
TYPED = "typed"
EXPAND = "expand"
PART = "part"
JOIN = "join"
CITE = "cite"
RECALL = "recall"
"""What a role is told about the passages that it recalls from memory."""
TESTS_FIRST = "tests_first"
"""The prompt of the tester where it writes before there is code."""
QUESTION = "question"
TOOLS = "tools"
"""What a role with tools is told, if its model calls them by its server's API."""
TOOLS_ACTION = "tools_action"
"""The same, if each answer is one action that a schema binds."""
TOOLS_TEXT = "tools_text"
"""The same, if the model writes its calls as text."""
TOOLS_END = "tools_end"
"""Asks for the answer, after the last call of a tool."""
PREAMBLE = "preamble"
"""What every role's prompt begins with."""
FOCUS = "review_"
"""The beginning of the name of a reviewer's focus, such as `review_style`."""
FOCUS_HOLE = "focus"
"""The hole for a focus, which is no data."""
MEMORY_HOLE = "memory"
"""The hole and the tag of passages from memory; a prompt that places none gets them below its data."""
RECALLED_HOLE = "recalled_passages"
"""The hole of passages that a prompt does not place itself: data of a user's may be called `memory`, too."""
OF_TOOLS = (TOOLS, TOOLS_ACTION, TOOLS_TEXT, TOOLS_END)
"""The prompts that only roles with tools use."""
WITHOUT_DATA = (REPAIR, TYPED, EXPAND, PREAMBLE, PART, JOIN, CITE, RECALL, *OF_TOOLS)
"""Prompts without data; a line `---` in them is text."""

PACK_FILE = "pack.json"
"""The file in which a folder of prompts declares what its sessions make."""
MAX_PACK_BYTES = 10_000
"""A longer one is something else."""

_HERE = Path(__file__).parent
_PROMPT_FILE = re.compile(r"[a-z_]+\.md")
"""The names of our prompt files; README.md is none."""
_QUOTED = re.compile(r"<([a-z_]+)>.*?</\1>", re.DOTALL)
_TAG = re.compile(r"(?<=<)/?([a-z_]+)(?=>)")
_PREFIXES = ("", *(f"{kind}/" for kind in KINDS if kind != "code"))
"""Where a folder of prompts has files: those of one kind of session are in a subfolder."""
_ANY_TAG = re.compile(
    r"<(?:[^\w<>/]*/[^\w<>]*(\w+)|[^\w<>/]*(\w+)(?:[^\w<>]*|-[0-9a-f]+[^\w<>]*|\s+[\w:.-]+\s*=[^<>]*)>)"
)
"""What a model may read as a tag, however it is written: `</ Code/>`, `</code x="1">`, `</code-0123>`."""
_HIDDEN = re.compile(
    "[\u00ad\u034f\u061c\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff]"
)
"""Characters that nobody sees."""
NO_VALUES: Mapping[str, object] = {}
NO_TEXTS: Mapping[str, str] = {}


class Holes(Template):
    """A text with `$holes`; their names may have letters of any language, as in `$größe`."""

    idpattern = r"[^\W\d]\w*"

    def substitute(self, values: Mapping[str, object] = NO_VALUES, /, **more: object) -> str:
        """The text with values in its holes. A value holds no token that a server could read as a turn."""
        return super().substitute(_WithoutTokens({**values, **more}))


class _WithoutTokens(dict[str, object]):
    """The values of holes, broken up when they are read: most templates have few of the holes."""

    def __getitem__(self, name: str) -> str:
        return KNOWN.break_up(str(super().__getitem__(name)))


class Filled(NamedTuple):
    """The parts of a prompt with the values in its holes."""

    instructions: str
    data: str
    closing: str
    """The text below the last tag of the data."""

    @property
    def data_part(self) -> str:
        """The data with its closing text, as it stands below the line `---`."""
        return _joined(self.data, self.closing)


@dataclass(frozen=True)
class Prompt:
    """A prompt with `$holes`.

    Attributes:
        name: A name such as `coder`, or the path of a file.
        instructions: What to do, above the line `---`; the same in every call.
        data: What to do it with, below that line; each call fills it in.
    """

    name: str
    instructions: Holes
    data: Holes

    @property
    def holes(self) -> set[str]:
        """The names of all holes."""
        return {*self.instructions.get_identifiers(), *self.data.get_identifiers()}

    @property
    def quotes_data(self) -> bool:
        """Whether all data stands between tags, which tell it from the instructions."""
        unquoted = Holes(_QUOTED.sub("", self.data.template)).get_identifiers()
        return not unquoted and {*self.instructions.get_identifiers()} <= {FOCUS_HOLE}

    def with_memory(self, taken: Collection[str] = ()) -> Prompt:
        """The prompt with a block for passages from memory, below its data, unless it has a hole for them.

        What roles share stands above the block: their prompts still begin alike.

        Args:
            taken: The holes that have another meaning.
        """
        if MEMORY_HOLE in self.holes and MEMORY_HOLE not in taken:
            return self
        data, closing = _without_closing(self.data.template)
        block = f"<{MEMORY_HOLE}>\n${RECALLED_HOLE}\n</{MEMORY_HOLE}>"
        return replace(self, data=Holes(_joined(data, block, closing)))

    def with_passages(
        self, values: Mapping[str, str], memory: str, none: str, taken: Collection[str] = ()
    ) -> tuple[Prompt, Mapping[str, str]]:
        """The prompt with a place for passages from memory, and the values of its holes with them.

        Without passages both are as they are, unless the prompt has a hole for them.

        Args:
            values: The values of its other holes.
            memory: The passages as text; empty if there are none.
            none: What a hole for passages shows if there are none.
            taken: The holes that have another meaning.
        """
        if memory:
            values = {**values, RECALLED_HOLE: memory}
        if MEMORY_HOLE in self.holes:
            values = {MEMORY_HOLE: memory or none, **values}
        return self.with_memory(taken) if memory else self, values

    def render(self, values: Mapping[str, str]) -> Filled:
        """The prompt with values in its holes.

        Data stands between tags such as `<code>`. If the data itself contains such a tag, it could end its
        own quotation or pass for other data. Then all tags of the prompt get a number that depends on all the
        data, so that no text can contain the right number.

        Args:
            values: The text for each hole.

        Raises:
            KeyError: A hole has no value.
        """
        parts = [self.instructions.template, *_without_closing(self.data.template)]
        tags = {tag.lower() for tag in _TAG.findall(self.data.template)}
        if any(tag in tags for value in values.values() for tag in _tags_in(value)):
            number = sha256("\0".join(values.values()).encode(errors="replace")).hexdigest()[:12]

            def numbered(tag: re.Match[str]) -> str:
                return f"{tag[0]}-{number}" if tag[1] in tags else tag[0]

            parts = [_TAG.sub(numbered, part) for part in parts]
        return Filled(*(Holes(part).substitute(values) for part in parts))

    def messages(self, values: Mapping[str, str], preamble: str, form: str = "") -> tuple[str, str]:
        """The system and the user message of a role's question.

        The data stands before the instructions: prompts of roles that see the same data begin alike, and a
        server evaluates that beginning once. The instructions have the last word. A prompt that does not
        quote all its data has its instructions as the system message instead, to keep them apart.

        Args:
            values: The text for each hole.
            preamble: What every prompt begins with.
            form: The form of the answer, below the instructions.

        Raises:
            KeyError: A hole has no value.
        """
        filled = self.render(values)
        instructions = _joined(filled.instructions, form)
        if not self.quotes_data:
            return instructions, filled.data_part
        return preamble, _joined(filled.data, instructions, filled.closing)


def _tags_in(value: str) -> Iterator[str]:
    """The names of all that a model may read as a tag."""
    seen = value if value.isascii() else _HIDDEN.sub("", normalize("NFKC", value))
    return ((tag[1] or tag[2]).lower() for tag in _ANY_TAG.finditer(seen))


def _without_closing(data: str) -> tuple[str, str]:
    """The data up to its last tag, and the text below that."""
    *_, end = [0, *(tag.end() for tag in _QUOTED.finditer(data))]
    closing = data[end:].strip()
    return (data, "") if not end or "$" in closing else (data[:end], closing)


def _joined(*parts: str) -> str:
    return "\n\n".join(filter(None, parts))


def load(
    name: str,
    folder: str | Path | None = None,
    *,
    holes: tuple[str, ...] = (),
    texts: Mapping[str, str] | None = None,
    kind: Kind = "code",
    own: Mapping[str, str] = NO_TEXTS,
) -> Prompt:
    """A prompt, from `folder` if it has a file of that name, else ours.

    A file of `folder` without a line `---` replaces only the instructions.

    Args:
        name: A name such as `coder`, or the path of a file.
        folder: A folder of prompts, or the name of a pack.
        holes: The holes that the prompt may have; ours have exactly these.
        texts: Texts of prompts, by name, that replace those of all files.
        kind: What the session makes.
        own: The prompts of the user's own roles, by name; a file of `folder` replaces them as it does ours.

    Raises:
        ConfigError: There is no such prompt, it has no instructions, or it has a hole that nothing fills.
    """
    text = read(name, folder, texts, kind, own)
    instructions, divider, data = text.partition("\n---\n") if name not in WITHOUT_DATA else (text, "", "")
    if not divider and name not in WITHOUT_DATA and (name in own or name in names(kind=kind)):
        data = read(name, kind=kind, own=own).partition("\n---\n")[2]
    if not instructions.strip() and not is_path(name):
        raise ConfigError(f"prompt '{_title(name)}': it holds no instructions")
    prompt = Prompt(name, Holes(instructions.strip()), Holes(data.strip()))
    for template in (prompt.instructions, prompt.data):
        if not template.is_valid():
            raise ConfigError(
                f"prompt '{_title(name)}': a '$' that begins no hole; write '$$' for a dollar sign"
            )
    unknown = sorted(prompt.holes - set(holes))
    if unknown:
        expected = ", ".join(f"${hole}" for hole in holes) or "no hole"
        raise ConfigError(f"prompt '{_title(name)}': unknown hole '${unknown[0]}'; expected {expected}")
    return prompt


def read(
    name: str,
    folder: str | Path | None = None,
    texts: Mapping[str, str] | None = None,
    kind: Kind = "code",
    own: Mapping[str, str] = NO_TEXTS,
) -> str:
    """The text of a prompt file.

    In a session that makes a document, a file in the subfolder `document` comes before the one beside it; in
    one that changes a repository, a file in `change`.

    Args:
        name: A name such as `coder`, or the path of a file.
        folder: A folder of prompts, or the name of a pack.
        texts: Texts of prompts, by name, that replace those of all files.
        kind: What the session makes.
        own: The prompts of the user's own roles, by name; a file of `folder` replaces them as it does ours.

    Raises:
        ConfigError: There is no such prompt, or its file cannot be read.
    """
    if texts and name in texts:
        return texts[name]
    try:
        if is_path(name):
            return _read_file(Path(name))
        if folder is not None and (file := _find(name, find_folder(folder), kind)):
            return file.read_text(encoding="utf-8-sig")
        if name in own:
            return own[name]
        if file := _find(name, _HERE, kind):
            return file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(f"no prompt '{_title(name)}'") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read the prompt {_title(name)!r}: {error}") from error
    where = f" in '{folder}' and none of ours" if folder else ""
    raise ConfigError(f"no prompt '{_title(name)}'{where}; known: {', '.join(names(folder, kind))}")


def _find(name: str, root: Path, kind: Kind) -> Path | None:
    """The file of a prompt in a folder; None if it has none."""
    files = (root / subfolder / f"{name}.md" for subfolder in _subfolders(kind))
    return next((file for file in files if file.is_file()), None)


def declared_kind(folder: str | Path) -> Kind | None:
    """What the sessions of a folder or pack make, as its `pack.json` says; None if it does not say.

    Raises:
        ConfigError: `folder` is neither a pack nor a folder, or its `pack.json` cannot be used.
    """
    file = find_folder(folder) / PACK_FILE
    if not file.is_file():
        return None
    if (size := file.stat().st_size) > MAX_PACK_BYTES:
        raise ConfigError(f"{file}: it has {size:,} bytes; expected at most {MAX_PACK_BYTES:,}")
    declared = read_json5(file)
    if unknown := [key for key in declared if key != "kind"]:
        raise ConfigError(f"{file}: unknown key {unknown[0]!r}; expected 'kind' alone")
    for kind in KINDS:
        if declared.get("kind") == kind:
            return kind
    raise ConfigError(f"{file}: kind: {declared.get('kind')!r} is not allowed; expected {' or '.join(KINDS)}")


def _read_file(path: Path) -> str:
    if not (path.is_file() or path.is_dir()) and path.exists():  # it would wait, or never end
        raise ConfigError(f"cannot read the prompt '{path}': it is a pipe or a device; expected a file")
    return path.read_text(encoding="utf-8-sig")


def file_name(name: str, folder: str | Path | None = None, kind: Kind = "code") -> str:
    """The file of a prompt, for messages: its path if a user wrote it, else the name of ours."""
    if is_path(name):
        return name
    if folder is None or folder in packs():
        return f"{name}.md"
    return str(_find(name, find_folder(folder), kind) or f"{name}.md")


def replaced(folder: str | Path) -> list[str]:
    """The names of our prompts that a folder or pack replaces, and of the focuses that it adds.

    Those for one kind of session alone have the name of their subfolder, as in `document/coder`.

    Raises:
        ConfigError: `folder` is neither a pack nor a folder.
    """
    ours, root = _names_of_all_kinds(), find_folder(folder)
    return [
        f"{prefix}{name}"
        for prefix in _PREFIXES
        for name in sorted(_names_in(root / prefix))
        if name in ours or name.startswith(FOCUS)
    ]


def warn_of_unused(folder: str | Path, *, roles: bool, own: Iterable[str] = ()) -> None:
    """Warn of files whose names look like misspelled prompts.

    Args:
        folder: A folder of prompts, or the name of a pack.
        roles: Whether the workflow has roles; then also warn of a folder that replaces no prompt.
        own: The names of the user's own roles, which have prompts, too.

    Raises:
        ConfigError: `folder` is neither a pack nor a folder.
    """
    ours, root = {*_names_of_all_kinds(), *own}, find_folder(folder)
    theirs = {name for prefix in _PREFIXES for name in _names_in(root / prefix)}
    problems = [
        f"{prefix}{name}.md replaces no prompt; did you mean {match}.md?"
        for prefix in _PREFIXES
        for name in sorted(_names_in(root / prefix) - ours)
        if not name.startswith(FOCUS) and (match := closest_match(name, ours))
    ]
    if roles and not problems and not replaced(folder) and not theirs & {*own}:
        problems = ["it replaces no prompt: no file in it has the name of a prompt, such as coder.md"]
    for problem in problems:
        warnings.warn(f"prompts '{folder}': {problem}", stacklevel=2)


def find_folder(name: str | Path) -> Path:
    """The folder of a pack, or else the folder of that path; `./NAME` means a folder with a pack's name.

    Raises:
        ConfigError: It is neither a pack nor a folder.
    """
    if name in packs():
        return _HERE / name
    try:
        if Path(name).is_dir():
            return Path(name)
    except OSError as error:
        raise ConfigError(f"cannot use prompts_dir '{name}': {error.strerror}") from error
    raise ConfigError(f"prompts_dir '{name}' is not a folder; prompt packs: {', '.join(packs())}")


def packs() -> list[str]:
    """The names of the prompt packs that come with swarm_graph."""
    return sorted(
        entry.name
        for entry in _HERE.iterdir()
        if entry.is_dir() and not entry.name.startswith("_") and entry.name not in KINDS
    )


def names(folder: str | Path | None = None, kind: Kind = "code") -> list[str]:
    """The names of all prompts of a kind of session, ours and those of a folder or pack.

    Raises:
        ConfigError: `folder` is neither a pack nor a folder.
    """
    subfolders = _subfolders(kind)
    files = [file for subfolder in subfolders for file in (_HERE / subfolder).iterdir()]
    ours = {file.stem for file in files if _PROMPT_FILE.fullmatch(file.name)}
    roots = [find_folder(folder)] if folder else []
    return sorted(ours.union(*(_names_in(root / subfolder) for root in roots for subfolder in subfolders)))


def _names_of_all_kinds() -> set[str]:
    return {name for kind in KINDS for name in names(kind=kind)}


def _subfolders(kind: Kind) -> tuple[str, ...]:
    """The subfolders of a folder of prompts in which a session looks, the first one first."""
    return ("",) if kind == "code" else (kind, "")


def is_path(name: str) -> bool:
    """Whether a prompt is named by the path of its file, such as `own/extract.md`."""
    return Path(name).suffix != "" or "/" in name


def _names_in(folder: Path) -> set[str]:
    return {path.stem for path in folder.glob("*.md")}


def _title(name: str) -> str:
    return name if is_path(name) else f"{name}.md"
