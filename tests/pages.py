"""A page of the documentation, and what a reader does with it."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner

from swarm_graph.cli.main import swarm_graph

DOCS = Path(__file__).parents[1] / "docs"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Page:
    """A page by its name below `docs`."""

    name: str

    @property
    def text(self) -> str:
        return (DOCS / self.name).read_text(encoding="utf-8")

    def blocks(self, *languages: str) -> list[tuple[str, str]]:
        """Its code blocks in order, each with its language."""
        found = BLOCK.findall(self.text)
        return [(language, code) for language, code in found if language in languages]

    def follow(self, folder: Path) -> None:
        """Runs its commands and its Python in order; every one must end well."""
        for language, code in self.blocks("console", "python"):
            if language == "python":
                run([sys.executable, "-W", "error", "-c", code], folder)
                continue
            for line in code.splitlines():
                command(line.removeprefix("$ "), folder)


def command(line: str, folder: Path) -> None:
    """Runs a line as a reader types it."""
    words = shlex.split(line)
    if words[0] != "swarm-graph" or "|" in words:
        run(["bash", "-o", "pipefail", "-c", line], folder)
        return
    with contextlib.chdir(folder):
        done = CliRunner().invoke(swarm_graph, words[1:])
    assert done.exit_code == 0, (line, done.output, done.exception)


def run(words: list[str], folder: Path) -> None:
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": programs}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (words, done.stderr)
