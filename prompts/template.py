"""What each role is told: Markdown files, the system message above a line `---`, the data below."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from hashlib import sha256
from importlib import resources
from pathlib import Path
from string import Template

from swarm_graph.config_source import near
from swarm_graph.errors import ConfigError

_HERE = Path(__file__).parent
REPAIR = "repair"
TASK = "task"
TYPED = "typed"
EXPAND = "expand"
FOCUS = "review_"
UNDIVIDED = (REPAIR, TYPED, EXPAND)
"""Prompts that are all system message."""


_TAG = re.compile(r"(?<=<)/?([a-z_]+)(?=>)")
_ANY_TAG = re.compile(r"<\s*/?\s*(\w+)\s*/?\s*>")


class Holes(Template):
    """A text with `$holes`, also such as `$größe`."""

    idpattern = r"[^\W\d]\w*"


@dataclass(frozen=True)
class Prompt:
    """A prompt with `$holes`: what never changes (system) and what a call fills in (user)."""

    name: str
    system: Holes
    user: Holes

    @property
    def holes(self) -> set[str]:
        return {*self.system.get_identifiers(), *self.user.get_identifiers()}

    def render(self, values: dict[str, str]) -> tuple[str, str]:
        """The system and the user message; every hole must have a value.

        Data that holds one of the tags around it, to end it early or to look like other data, gets tags
        with a number in them that it cannot have known.
        """
        tags = {tag.lower() for tag in _TAG.findall(self.user.template)}
        if not any(tag.lower() in tags for value in values.values() for tag in _ANY_TAG.findall(value)):
            return self.system.substitute(values), self.user.substitute(values)
        number = sha256("\0".join(values.values()).encode(errors="replace")).hexdigest()[:12]

        def marked(tag: re.Match[str]) -> str:
            return f"{tag[0]}-{number}" if tag[1] in tags else tag[0]

        system, user = (_TAG.sub(marked, part.template) for part in (self.system, self.user))
        return Holes(system).substitute(values), Holes(user).substitute(values)


def load(name: str, folder: str | Path | None = None, *, holes: tuple[str, ...] = ()) -> Prompt:
    """The prompt of a name, from `folder` if it has one, else ours; or that of a file, such as `own/a.md`.

    A file of `folder` without a line `---` replaces the instructions only. Raises ConfigError when there is
    none or when it has a hole that nothing fills (`holes` are those that may stand in it; ours have exactly
    these).
    """
    text = read(name, folder)
    system, divider, user = text.partition("\n---\n") if name not in UNDIVIDED else (text, "", "")
    if not divider and name not in UNDIVIDED and not is_file(name):
        user = read(name).partition("\n---\n")[2]
    if not system.strip() and not is_file(name):
        raise ConfigError(f"prompt '{_title(name)}': it holds no instructions")
    prompt = Prompt(name, Holes(system.strip()), Holes(user.strip()))
    for template in (prompt.system, prompt.user):
        if not template.is_valid():
            raise ConfigError(
                f"prompt '{_title(name)}': a '$' that begins no hole; write '$$' for a dollar sign"
            )
    unknown = sorted(prompt.holes - set(holes))
    if unknown:
        known = ", ".join(f"${hole}" for hole in holes)
        raise ConfigError(f"prompt '{_title(name)}': unknown hole '${unknown[0]}'; here it may be {known}")
    return prompt


def read(name: str, folder: str | Path | None = None) -> str:
    """The text of a prompt file. ConfigError when there is none of that name."""
    try:
        if is_file(name):
            return Path(name).read_text(encoding="utf-8-sig")
        if folder is not None and (own := folder_of(folder) / f"{name}.md").is_file():
            return own.read_text(encoding="utf-8-sig")
        return (resources.files(__package__) / f"{name}.md").read_text(encoding="utf-8")
    except FileNotFoundError as error:
        known = "" if is_file(name) else f"; known: {', '.join(names(folder))}"
        raise ConfigError(f"no prompt '{_title(name)}'{known}") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read the prompt {_title(name)!r}: {error}") from error


def replaced(folder: str | Path) -> list[str]:
    """The prompts of ours that a folder or pack replaces, and the focuses that it adds."""
    ours = names()
    return sorted(name for name in _in(folder_of(folder)) if name in ours or name.startswith(FOCUS))


def warn_of_unused(folder: str | Path, *, roles: bool) -> None:
    """Warns of files that look like a role's prompt and replace none; with `roles` of an empty folder too."""
    ours = names()
    told = [
        f"{name}.md replaces no prompt; did you mean {meant}.md?"
        for name in sorted(_in(folder_of(folder)) - {*ours})
        if not name.startswith(FOCUS) and (meant := near(name, ours))
    ]
    if roles and not told and not replaced(folder):
        told = ["it replaces no prompt: no file of it is called like one of ours, such as coder.md"]
    for text in told:
        warnings.warn(f"prompts '{folder}': {text}", stacklevel=2)


def _in(folder: Path) -> set[str]:
    return {path.stem for path in folder.glob("*.md")}


def folder_of(name: str | Path) -> Path:
    """The folder of prompts of a name: a pack of ours, or else a folder. ConfigError when it is neither.

    A folder with the name of a pack is written `./NAME`.
    """
    if name in packs():
        return _HERE / name
    try:
        if Path(name).is_dir():
            return Path(name)
    except OSError as error:
        raise ConfigError(f"cannot use prompts_dir '{name}': {error.strerror}") from error
    raise ConfigError(f"prompts_dir '{name}' is no folder; packs of prompts: {', '.join(packs())}")


def packs() -> list[str]:
    """The names of the packs of prompts that come with swarm_graph."""
    return sorted(
        entry.name for entry in _HERE.iterdir() if entry.is_dir() and not entry.name.startswith("_")
    )


def is_file(name: str) -> bool:
    """Whether a prompt's name is that of a file."""
    return Path(name).suffix != "" or "/" in name


def _title(name: str) -> str:
    return name if is_file(name) else f"{name}.md"


def names(folder: str | Path | None = None) -> list[str]:
    """The names of all prompts, ours and those of `folder`."""
    ours = {
        Path(entry.name).stem
        for entry in resources.files(__package__).iterdir()
        if entry.name.endswith(".md")
    }
    theirs = _in(folder_of(folder)) if folder else set()
    return sorted(ours | theirs)
