"""Prompt files: Markdown, the system message above a line `---`, the user message with the data below it."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib import resources
from pathlib import Path
from string import Template

from swarm_graph.config_source import closest_match
from swarm_graph.errors import ConfigError
from swarm_graph.prompts.chat_template import KNOWN

REPAIR = "repair"
TASK = "task"
TYPED = "typed"
EXPAND = "expand"
FOCUS = "review_"
"""The beginning of the name of a reviewer's focus, such as `review_style`."""
SYSTEM_ONLY = (REPAIR, TYPED, EXPAND)
"""Prompts without a user message; a line `---` in them is text."""

_HERE = Path(__file__).parent
_PROMPT_FILE = re.compile(r"[a-z_]+\.md")
"""The names of our prompt files; README.md is none."""
_TAG = re.compile(r"(?<=<)/?([a-z_]+)(?=>)")
_ANY_TAG = re.compile(r"<[\s/]*(\w+)[\s/]*>")
NO_VALUES: Mapping[str, object] = {}


class Holes(Template):
    """A text with `$holes`; their names may have letters of any language, as in `$größe`."""

    idpattern = r"[^\W\d]\w*"

    def substitute(self, values: Mapping[str, object] = NO_VALUES, /, **more: object) -> str:
        """The text with values in its holes. A value holds no token that a server could read as a turn."""
        return super().substitute(
            {name: KNOWN.break_up(str(value)) for name, value in {**values, **more}.items()}
        )


@dataclass(frozen=True)
class Prompt:
    """A prompt with `$holes`.

    Attributes:
        name: A name such as `coder`, or the path of a file.
        system: The system message, the same in every call.
        user: The user message; each call fills in its data.
    """

    name: str
    system: Holes
    user: Holes

    @property
    def holes(self) -> set[str]:
        """The names of all holes."""
        return {*self.system.get_identifiers(), *self.user.get_identifiers()}

    def render(self, values: dict[str, str]) -> tuple[str, str]:
        """The system and the user message.

        Data stands between tags such as `<code>`. If the data itself contains such a tag, it could end its
        own quotation or pass for other data. Then all tags of the prompt get a number that depends on all the
        data, so that no text can contain the right number.

        Args:
            values: The text for each hole.

        Raises:
            KeyError: A hole has no value.
        """
        tags = {tag.lower() for tag in _TAG.findall(self.user.template)}
        if not any(tag.lower() in tags for value in values.values() for tag in _ANY_TAG.findall(value)):
            return self.system.substitute(values), self.user.substitute(values)
        number = sha256("\0".join(values.values()).encode(errors="replace")).hexdigest()[:12]

        def numbered(tag: re.Match[str]) -> str:
            return f"{tag[0]}-{number}" if tag[1] in tags else tag[0]

        system, user = (_TAG.sub(numbered, part.template) for part in (self.system, self.user))
        return Holes(system).substitute(values), Holes(user).substitute(values)


def load(
    name: str,
    folder: str | Path | None = None,
    *,
    holes: tuple[str, ...] = (),
    texts: Mapping[str, str] | None = None,
) -> Prompt:
    """A prompt, from `folder` if it has a file of that name, else ours.

    A file of `folder` without a line `---` replaces only the system message.

    Args:
        name: A name such as `coder`, or the path of a file.
        folder: A folder of prompts, or the name of a pack.
        holes: The holes that the prompt may have; ours have exactly these.
        texts: Texts of prompts, by name, that replace those of all files.

    Raises:
        ConfigError: There is no such prompt, it has no instructions, or it has a hole that nothing fills.
    """
    text = read(name, folder, texts)
    system, divider, user = text.partition("\n---\n") if name not in SYSTEM_ONLY else (text, "", "")
    if not divider and name not in SYSTEM_ONLY and not is_path(name):
        user = read(name).partition("\n---\n")[2]
    if not system.strip() and not is_path(name):
        raise ConfigError(f"prompt '{_title(name)}': it holds no instructions")
    prompt = Prompt(name, Holes(system.strip()), Holes(user.strip()))
    for template in (prompt.system, prompt.user):
        if not template.is_valid():
            raise ConfigError(
                f"prompt '{_title(name)}': a '$' that begins no hole; write '$$' for a dollar sign"
            )
    unknown = sorted(prompt.holes - set(holes))
    if unknown:
        expected = ", ".join(f"${hole}" for hole in holes) or "no hole"
        raise ConfigError(f"prompt '{_title(name)}': unknown hole '${unknown[0]}'; expected {expected}")
    return prompt


def read(name: str, folder: str | Path | None = None, texts: Mapping[str, str] | None = None) -> str:
    """The text of a prompt file.

    Args:
        name: A name such as `coder`, or the path of a file.
        folder: A folder of prompts, or the name of a pack.
        texts: Texts of prompts, by name, that replace those of all files.

    Raises:
        ConfigError: There is no such prompt, or its file cannot be read.
    """
    if texts and name in texts:
        return texts[name]
    try:
        if is_path(name):
            return _read_file(Path(name))
        if folder is not None and (own := find_folder(folder) / f"{name}.md").is_file():
            return own.read_text(encoding="utf-8-sig")
        return (resources.files(__package__) / f"{name}.md").read_text(encoding="utf-8")
    except FileNotFoundError as error:
        known = "" if is_path(name) else f"; known: {', '.join(names(folder))}"
        raise ConfigError(f"no prompt '{_title(name)}'{known}") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read the prompt {_title(name)!r}: {error}") from error


def _read_file(path: Path) -> str:
    if not (path.is_file() or path.is_dir()) and path.exists():  # it would wait, or never end
        raise ConfigError(f"cannot read the prompt '{path}': it is a pipe or a device; expected a file")
    return path.read_text(encoding="utf-8-sig")


def file_name(name: str, folder: str | Path | None = None) -> str:
    """The file of a prompt, for messages: its path if a user wrote it, else the name of ours."""
    if is_path(name):
        return name
    own = Path(folder) / f"{name}.md" if folder is not None and folder not in packs() else None
    return str(own) if own and own.is_file() else f"{name}.md"


def replaced(folder: str | Path) -> list[str]:
    """The names of our prompts that a folder or pack replaces, and of the focuses that it adds.

    Raises:
        ConfigError: `folder` is neither a pack nor a folder.
    """
    ours = names()
    return sorted(name for name in _names_in(find_folder(folder)) if name in ours or name.startswith(FOCUS))


def warn_of_unused(folder: str | Path, *, roles: bool) -> None:
    """Warn of files whose names look like misspelled prompts.

    Args:
        folder: A folder of prompts, or the name of a pack.
        roles: Whether the workflow has roles; then also warn of a folder that replaces no prompt.

    Raises:
        ConfigError: `folder` is neither a pack nor a folder.
    """
    ours = names()
    problems = [
        f"{name}.md replaces no prompt; did you mean {match}.md?"
        for name in sorted(_names_in(find_folder(folder)) - {*ours})
        if not name.startswith(FOCUS) and (match := closest_match(name, ours))
    ]
    if roles and not problems and not replaced(folder):
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
        entry.name for entry in _HERE.iterdir() if entry.is_dir() and not entry.name.startswith("_")
    )


def names(folder: str | Path | None = None) -> list[str]:
    """The names of all prompts, ours and those of a folder or pack.

    Raises:
        ConfigError: `folder` is neither a pack nor a folder.
    """
    files = [entry.name for entry in resources.files(__package__).iterdir()]
    ours = {Path(file).stem for file in files if _PROMPT_FILE.fullmatch(file)}
    theirs = _names_in(find_folder(folder)) if folder else set()
    return sorted(ours | theirs)


def is_path(name: str) -> bool:
    """Whether a prompt is named by the path of its file, such as `own/extract.md`."""
    return Path(name).suffix != "" or "/" in name


def _names_in(folder: Path) -> set[str]:
    return {path.stem for path in folder.glob("*.md")}


def _title(name: str) -> str:
    return name if is_path(name) else f"{name}.md"
