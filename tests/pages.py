"""A page of the documentation, and a reader who follows it and sees what it shows.

A `console` block has commands after `$ `, each with its output below it; a command without output shows none
and is only run. A line `…` stands for any lines, and `$ echo $?` for the exit code of a command that fails.
A `python` block may have a `text` block below it with what it prints. A block with a title is a file.
`UPDATE_GOLDEN=1 pytest …` writes the real output into the pages.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from click.testing import CliRunner

from swarm_graph.cli.main import swarm_graph

DOCS = Path(__file__).parents[1] / "docs"
BLOCK = re.compile(r'^```(\w+)(?: title="([^"\n]+)")?\n(.*?)^```\n?', re.DOTALL | re.MULTILINE)
STEP = re.compile(r"^\$ ((?:.*\\\n)*.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)
ANY_LINES = "…\n"
EXIT_CODE = "echo $?"
UPDATE = bool(os.environ.get("UPDATE_GOLDEN"))

HOME = "/home/me/work"
VARIES = [
    (r"\b\d{8}_\d{6}_[0-9a-f]{4}\b", "20261129_090000_4f2a"),
    (r"\b\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\b", "2026-11-29 09:00:00"),
    (
        r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b",
        "1f1ec8b1-74d2-6a3e-8003-3f0e6b1d2c55",
    ),
    (r"\b[\d.]+ s(?=, process )", "2 s"),
    (r"\bprocess \d+ on [^\s,]+", "process 4711 on my-pc"),
    (r"\bdatabase: [\d.]+ MB\b", "database: 0.40 MB"),
    (r"\b[\d.]+ MB after\b", "0.30 MB after"),
    (r"[^\s;]*/mcp-logs/", "/tmp/swarm-graph-1000-servers/mcp-logs/"),
    (r"(?<=answered after )\d+\.\d\d s", "0.05 s"),
    (r"\b\d+(\.\d+)? [GM]B free\b", "120 GB free"),
    (r"\bsandbox: (bubblewrap|landlock)\b", "sandbox: bubblewrap"),
    (r"\b[0-9a-f]{12}\b(?=[,.]|$)", "1a2b3c4d5e6f"),
    (r"^index [0-9a-f]+\.\.[0-9a-f]+", "index 1a2b3c4..5d6e7f8"),
    (r"(\(\d+-\d+\) +)\d\.\d s", r"\g<1>0.1 s"),
    (r"\b\d\.\d s a call\b", "0.1 s a call"),
    (r"^(\S+ +waits .*?)\d+\.\d s$", r"\g<1>0.3 s"),
    (r"(sandbox: bubblewrap\) +)[\d.]+$", r"\g<1>1.2"),
]
"""What differs from run to run and from machine to machine, and what the pages show instead."""


class Block(NamedTuple):
    """A fenced block: its language, the file that its title names, its text, and its place in the page."""

    language: str
    file: str | None
    text: str
    place: slice


@dataclass(frozen=True)
class Page:
    """A page by its name below `docs`."""

    name: str

    @property
    def path(self) -> Path:
        return DOCS / self.name

    @property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    def parts(self) -> list[Block]:
        return [
            Block(found[1], found[2], found[3], slice(*found.span(3))) for found in BLOCK.finditer(self.text)
        ]

    def blocks(self, *languages: str) -> list[tuple[str, str]]:
        """Its code blocks in order, each with its language."""
        return [(part.language, part.text) for part in self.parts() if part.language in languages]

    def follow(
        self,
        folder: Path,
        *,
        real: Mapping[str, str] | None = None,
        codes: Container[int] = (0,),
    ) -> None:
        """Save its files, run its commands and its Python in order, and compare what they print.

        `real` maps texts of the page, such as an address, to those of this test. A command ends with one
        of the exit codes `codes`.
        """
        reader = Reader(folder, real or {}, codes)
        text, parts = self.text, self.parts()
        seen: list[tuple[slice, str]] = []
        for part, below in zip(parts, [*parts[1:], None], strict=True):
            if part.file:
                reader.save(part.file, part.text)
            elif part.language == "console":
                seen.append((part.place, "".join(reader.steps(part.text))))
            elif part.language == "python":
                printed = reader.python(part.text)
                between = text[part.place.stop : below.place.start] if below else ""
                if below and below.language == "text" and between == "```\n\n```text\n":
                    seen.append((below.place, reader.compared(part.text, below.text, printed)))
        if UPDATE:
            self.path.write_text(_replaced(text, seen), encoding="utf-8")


@dataclass
class Reader:
    """Somebody who types the commands of a page in a folder."""

    folder: Path
    real: Mapping[str, str] = field(default_factory=dict)
    codes: Container[int] = (0,)
    code: int = 0
    """The exit code of the last command."""

    def save(self, name: str, text: str) -> None:
        """Save a file of the page."""
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(self.as_real(text), encoding="utf-8")

    def steps(self, block: str) -> Iterator[str]:
        """Run each command of a block; the command with its output, as the page should show it."""
        found = STEP.findall(block)
        following = [command for command, _ in found[1:]]
        for (command, shown), after in zip(found, [*following, ""], strict=True):
            printed = self.type(command)
            assert self.code in self.codes or EXIT_CODE in (command, after), (command, printed)
            yield f"$ {command}\n{self.compared(command, shown, printed) if shown else ''}"

    def type(self, command: str) -> str:
        """Run one command; what it prints, stderr included."""
        if command == EXIT_CODE:
            return f"{self.code}\n"
        words = shlex.split(self.as_real(command), comments=command.startswith("swarm-graph "))
        if words[0] != "swarm-graph" or {"|", ">"} & set(words):
            self.code, printed = _run(["bash", "-o", "pipefail", "-c", self.as_real(command)], self.folder)
            return printed
        with contextlib.chdir(self.folder):
            done = CliRunner().invoke(swarm_graph, words[1:], env=TERMINAL)
        assert done.exception is None or isinstance(done.exception, SystemExit), (command, done.exception)
        self.code = done.exit_code
        return done.output

    def python(self, code: str) -> str:
        """Run Python code; what it prints. It must raise nothing."""
        return run([sys.executable, "-W", "error", "-c", self.as_real(code)], self.folder)

    def compared(self, command: str, shown: str, printed: str) -> str:
        """What the page shows, which is what was printed; with UPDATE_GOLDEN=1 what it should show."""
        canonical = self.canonical(printed)
        if shown == ANY_LINES or not _fits(shown, canonical):
            assert UPDATE, f"{command}\n--- the page shows\n{shown}\n--- it prints\n{canonical}"
            return _cut_alike(shown, canonical)
        return shown

    def as_real(self, text: str) -> str:
        return _each(self.real.items(), text)

    def canonical(self, printed: str) -> str:
        """The output with the same folder, times and ids on every machine."""
        text = _each(((real, page) for page, real in self.real.items()), printed)
        text = text.replace(str(self.folder), HOME)
        for pattern, fixed in VARIES:
            text = re.sub(pattern, fixed, text, flags=re.MULTILINE)
        return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def _each(pairs: Iterable[tuple[str, str]], text: str) -> str:
    for old, new in pairs:
        text = text.replace(old, new)
    return text


def _fits(shown: str, printed: str) -> bool:
    """Whether the output is the one of the page; the width of columns, which follows from times, is free."""
    parts = (re.escape(_narrow(part)) for part in f"\n{shown}".split(f"\n{ANY_LINES}"))
    return re.fullmatch(r"\n(?:.*\n)*?".join(parts), f"\n{_narrow(printed)}") is not None


def _narrow(text: str) -> str:
    return re.sub(r" {2,}|(?<=─)─+", " ", text)


def _cut_alike(shown: str, printed: str) -> str:
    """The output; where the page shows parts of it, the lines that are most like the page's."""
    if shown == ANY_LINES or ANY_LINES not in shown:
        return printed
    lines, kept = printed.splitlines(keepends=True), [-1]
    for line in shown.splitlines(keepends=True):
        if line != ANY_LINES:
            like = get_close_matches(line, lines[kept[-1] + 1 :], n=1)
            kept += [lines.index(found, kept[-1] + 1) for found in like]
    following = [*kept[1:], len(lines)]
    gaps = [ANY_LINES if after > at + 1 else "" for at, after in zip(kept, following, strict=True)]
    return gaps[0] + "".join(lines[at] + gap for at, gap in zip(kept[1:], gaps[1:], strict=True))


def _replaced(text: str, seen: list[tuple[slice, str]]) -> str:
    for place, new in reversed(seen):
        text = text[: place.start] + new + text[place.stop :]
    return text


TERMINAL = {
    **{name: None for name in os.environ if name.startswith("SWARM_")},
    "COLUMNS": "100",
    "NO_COLOR": "1",
}


def script(name: str) -> ModuleType:
    """The module of a script in `docs`."""
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(words: list[str], folder: Path) -> str:
    """Run a program that must end well; what it prints, stderr included."""
    code, printed = _run(words, folder)
    assert code == 0, (words, printed)
    return printed


def _run(words: list[str], folder: Path) -> tuple[int, str]:
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    kept = {name: value for name, value in os.environ.items() if name not in TERMINAL}
    done = subprocess.run(
        words,
        cwd=folder,
        env={**kept, "PATH": programs, "COLUMNS": "100", "NO_COLOR": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout
