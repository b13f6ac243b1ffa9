"""Whatever the command line makes is private or follows the umask, and rewriting a file never opens it up."""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import warm

from swarm_graph.sessions.output import write_file

COMMANDS = [
    ["init", "--preset", "minimal"],
    ["run", "Create a queue", "--simulate", "--workflow", "full", "--session", "s", "--log-file", "log.txt"],
    [
        "run",
        "Create a stack",
        "--simulate",
        "--session",
        "t",
        "--output",
        "deep/er",
        "--data-dir",
        "data/new",
    ],
    ["batch", "document.txt", "--prompt", "prompt.md", "--simulate", "--session", "b"],
    ["sessions", "export", "figures.csv"],
    ["sessions", "report", "s.html", "--session", "s"],
    ["graph", "--output", "graph.svg"],
]


def modes(folder: Path) -> Iterator[tuple[str, int]]:
    for path in folder.rglob("*"):
        yield str(path.relative_to(folder)), stat.S_IMODE(path.stat().st_mode)


@pytest.mark.slow
@pytest.mark.parametrize("umask", [0o077, 0o027])
def test_everything_is_private_or_follows_the_umask(umask: int, tmp_path: Path) -> None:
    for name in ("document.txt", "prompt.md"):
        (tmp_path / name).write_text("$files")
        (tmp_path / name).chmod(0o400)
    lines = [f"umask {umask:o}", *(shlex.join([warm.PROGRAM, *command]) for command in COMMANDS)]
    done = subprocess.run(
        ["sh", "-ex"], input="\n".join(lines), cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = dict(modes(tmp_path))
    assert len(found) > 30
    assert {name: oct(mode) for name, mode in found.items() if mode & umask} == {}
    private = {name: mode for name, mode in found.items() if name.startswith((".swarm", "data"))}
    assert any(name.endswith(".db") for name in private)
    assert {name: oct(mode) for name, mode in private.items() if mode & 0o077} == {}
    others = {name: mode for name, mode in found.items() if name not in private and mode & 0o200}
    for name, mode in others.items():
        assert mode == (0o777 if (tmp_path / name).is_dir() else 0o666) & ~umask, name


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o400, 0o700])
def test_a_file_that_is_replaced_does_not_become_wider(mode: int, tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        (tmp_path / "file").write_text("old")
        (tmp_path / "file").chmod(mode)
        write_file(tmp_path, "file", "new")
        assert (tmp_path / "file").read_text() == "new"
        assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode
        (tmp_path / "file").chmod(0o666)
        write_file(tmp_path, "file", "newer")
        assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o644
    finally:
        os.umask(before)
