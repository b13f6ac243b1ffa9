"""docs/watching.md: its commands and its Python do what it says."""

from __future__ import annotations

import contextlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from support import write_config

from swarm_graph.cli import swarm_graph

PAGE = (Path(__file__).parents[1] / "docs" / "watching.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where every command of the page was run."""
    folder = tmp_path_factory.mktemp("watching")
    write_config(folder)
    commands = [line for block in blocks("console") for line in block.splitlines()]
    assert len(commands) > 8
    for command in commands:
        with contextlib.chdir(folder):
            done = CliRunner().invoke(swarm_graph, shlex.split(command.removeprefix("$ swarm-graph ")))
        assert done.exit_code == 0, (command, done.output)
    return folder


def test_its_commands_write_what_they_say(folder: Path) -> None:
    for name in (
        "queue-3.jsonl",
        "metrics.csv",
        "calls.jsonl",
        "metrics.parquet",
        "report.html",
        "queue-1.html",
    ):
        assert (folder / name).stat().st_size > 200, name


@pytest.mark.parametrize("code", blocks("python"))
def test_its_python_runs(folder: Path, code: str) -> None:
    shown = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(shown, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
