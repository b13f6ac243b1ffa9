"""The conventions of a repository as prompts show them: its guides, and the settings of its formatters.

They are data: they say how files should look, and never change what a role does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

GUIDES = ("AGENTS.md", "CLAUDE.md", "CONTRIBUTING.md", ".github/CONTRIBUTING.md", "docs/CONTRIBUTING.md",
          "CONTRIBUTING.rst", "CONTRIBUTING.txt")  # fmt: skip
"""Texts for people and programs that contribute."""
SETTINGS = (".editorconfig", "ruff.toml", ".ruff.toml", ".flake8", ".prettierrc", ".prettierrc.json",
            ".clang-format", "rustfmt.toml", ".rustfmt.toml", ".rubocop.yml")  # fmt: skip
"""Settings of formatters and linters; usually short."""
SECTIONS = ("pyproject.toml", "setup.cfg", "tox.ini")
"""Files of which only the sections of some tools are shown."""
CONVENTIONS = (*SECTIONS, *SETTINGS, *GUIDES)
"""All files that may hold conventions."""
MIN_CHARACTERS = 80

_HEADER = re.compile(r"^\[+(?P<name>[^\]\n]+)\]+[^\n]*$", re.MULTILINE)
_TOOLS = re.compile(r"(?:tool\.)?(?:ruff|black|isort|yapf|flake8|pycodestyle|pydocstyle|pylint)(?:\..*)?")
_PYTHON = re.compile(r"^requires-python[^\n]*$", re.MULTILINE)


def conventions_text(files: Mapping[str, str], characters: int) -> str:
    """The conventions that a repository states, within a number of characters; cuts are mentioned.

    Args:
        files: Its files, path to text.
        characters: The room for all of it.
    """
    texts = [*_settings(files), *_guides(files)]
    blocks: list[str] = []
    for number, (path, text) in enumerate(texts):
        share = characters // (len(texts) - number)  # room that a short file leaves goes to the next ones
        if block := _block(path, text.strip(), share):
            blocks.append(block)
            characters -= len(block)
    return "\n\n".join(blocks)


def _settings(files: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for path in SECTIONS:
        if text := _sections(files.get(path, "")):
            yield path, text
    for path in SETTINGS:
        if text := files.get(path, ""):
            yield path, text


def _guides(files: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for path in reversed(GUIDES):
        if text := files.get(path, ""):
            yield path, text


def _sections(text: str) -> str:
    """The sections of formatters in a file of settings, and the version of Python that it requires."""
    headers = [*_HEADER.finditer(text)]
    starts = [*(header.start() for header in headers), len(text)]
    found = [
        text[header.start() : end].strip()
        for header, end in zip(headers, starts[1:], strict=True)
        if _TOOLS.fullmatch(header["name"].strip())
    ]
    python = _PYTHON.search(text)
    return "\n\n".join([*([python[0]] if python else []), *found])


def _block(path: str, text: str, room: int) -> str:
    head = f"{path}:\n\n"
    if len(head) + len(text) <= room:
        return head + text
    cut = text[: max(room - len(head) - MIN_CHARACTERS, 0)].rpartition("\n")[0].strip()
    if not cut:
        return ""
    return f"{head}{cut}\n\n(The other {len(text) - len(cut):,} characters of {path} are left out.)"
