"""Runs the quick tests of the rooms that a change touches: `make check`, or `python tests/touched.py BASE`.

A changed file belongs to the room that it stands in; a module of the hall and a helper of tests/ are rooms by
themselves. A test file belongs to the rooms of the modules that it imports, and to the rooms in ALSO.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path, PurePath

import swarm_graph

TESTS = Path(__file__).parent
ROOT = TESTS.parent
ALSO = {
    "as_user": ["sandbox"],
    "pages": ["docs"],
    "test_cli": ["cli"],
    "test_contributing": ["CONTRIBUTING.md", "config", "models", "nodes", "state", "workflows"],
    "test_docs": ["docs", "cli"],
    "test_docs_site": ["docs", "mkdocs.yml"],
    "test_wheelhouse": ["docs", "requirements-dev.txt"],
    "test_faults": ["docs"],
    "test_migration": ["MIGRATION.md"],
    "test_notebooks": ["notebooks"],
    "test_own_roles": ["cli", "docs", "nodes", "tasks"],
    "test_own_roles_docs": ["docs", "cli"],
    "test_packaging": ["pyproject.toml"],
    "test_readme": ["README.md", "Makefile", "docs"],
    "test_task_docs": ["docs"],
    "warm": ["cli"],
}
"""Rooms that a test reaches without an import: through a process, or by reading a file."""
ALWAYS = ["tests/test_architecture.py"]


def changed(base: str) -> set[PurePath]:
    """List the files that differ from a commit, and the untracked ones."""
    commands = (["diff", "--name-only", base], ["ls-files", "--others", "--exclude-standard"])
    said = (
        subprocess.run(["git", *command], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
        for command in commands
    )
    return {PurePath(line) for done in said for line in done.stdout.splitlines()}


def room(path: PurePath) -> str:
    """Name a room: `models` for swarm_graph/models/pool.py, `state` for swarm_graph/state.py."""
    inside = path.parts[0] in ("swarm_graph", "tests") and len(path.parts) > 1
    return PurePath(path.parts[inside]).name.removesuffix(".py")


def rooms(test: Path) -> set[str]:
    """List the rooms of a test file; its own name is one."""
    direct = {test.stem, *(name.partition(".")[0] for name in imported(test))}
    return direct | {also for name in direct for also in ALSO.get(name, ())}


def imported(test: Path) -> Iterator[str]:
    """List the modules that a file imports, without `swarm_graph.`; a public name stands for its module."""
    for node in ast.walk(ast.parse(test.read_text(encoding="utf-8"))):
        match node:
            case ast.ImportFrom(module="swarm_graph", names=names):
                yield from (swarm_graph._HOMES.get(alias.name, alias.name) for alias in names)
            case ast.ImportFrom(module=str(module)):
                yield module.removeprefix("swarm_graph.")
            case ast.Import(names=names):
                yield from (alias.name.removeprefix("swarm_graph.") for alias in names)


def main(base: str = "HEAD") -> int:
    touched = {room(path) for path in changed(base)}
    print("touched:", *sorted(touched) or ["nothing"])
    tests = [str(test) for test in sorted(TESTS.glob("test_*.py")) if rooms(test) & touched]
    quick = ["-m", "not slow", "-n", "logical", "--maxprocesses", "4", "--dist", "worksteal"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *quick, *ALWAYS, *tests], cwd=ROOT
    ).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
