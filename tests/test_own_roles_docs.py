"""docs/own-roles.md is true: its files, its commands and its Python run in one folder."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import warm
from pages import DOCS, Page, run

from swarm_graph.roles.yaml_role import RoleFile

FILE = re.compile(r"(?:#|//) ([\w/]+\.\w+)\n")
PAGE = Page("own-roles.md")


def test_its_files_commands_and_python_run(tmp_path: Path) -> None:
    blocks = PAGE.blocks("yaml", "python", "json", "console")
    for _, code in blocks:
        if name := FILE.match(code):
            (tmp_path / name[1]).parent.mkdir(exist_ok=True)
            (tmp_path / name[1]).write_text(code)
    for language, code in blocks:
        if language == "console":
            for line in code.splitlines():
                done = warm.run(*shlex.split(line)[2:], cwd=tmp_path)
                assert done.returncode == 0, (line, done.stderr)
        elif language == "python" and not FILE.match(code):
            run([sys.executable, "-W", "error", "-c", code], tmp_path)
    run([sys.executable, "-W", "error", "-c", "import asyncio, graphs; asyncio.run(graphs.mine())"], tmp_path)
    notes = (tmp_path / "swarm-output" / "parser" / "notes.md").read_text()
    assert "# Translator" in notes
    assert '"hours"' in notes


def test_its_table_has_every_key_of_a_yaml_role() -> None:
    table = (DOCS / PAGE.name).read_text().partition("| key | meaning |")[2].partition("\n\n")[0]
    names = re.findall(r"`(\w+)`", " ".join(row.split("|")[1] for row in table.splitlines()[2:]))
    assert sorted(names) == sorted(RoleFile.model_fields)
