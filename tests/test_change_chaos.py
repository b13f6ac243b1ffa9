"""A session that changes a repository is killed (SIGKILL, real processes): it ends the same."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from chaos.driver import Session, Worker
from chaos.model_server import ModelServer
from repositories import fingerprint, git, make_repository
from storages import Databases
from support import SIMULATED

pytestmark = pytest.mark.slow

KILLS, KILLS_ON_A_SERVER = 40, 6
FILES = {"calc.py": "def add(a, b):\n    return a - b\n", "old.py": "x = 1\n", "docs/use.md": "# Use\n"}
APPROVED = '{"findings": [], "approved": true}'
REFUSED = """\
{"approved": false, "findings":
 [{"severity": "major", "location": "calc.py:2", "problem": "It returns a.", "suggestion": "Add b."}]}"""
ANSWERS = {
    "coder 1": "```python path=calc.py\ndef add(a, b):\n    return a\n```\n\nRENAME old.py -> new.py",
    "coder 2": "```python path=calc.py\ndef add(a, b):\n    return a + b\n```",
    "tester 1": "```python path=tests/test_calc.py\nimport calc\n\n\ndef test_add():\n    calc.add(1, 2)\n```",  # noqa: E501
    "reviewer 1": REFUSED,
    "reviewer 2": APPROVED,
    "security 1": APPROVED,
    "documenter 1": "```markdown path=README.md\n# Calc\n```",
}


def session(folder: Path, repository: Path, server: ModelServer, database: str) -> Session:
    """A session on a copy of a repository: two rounds, then the documentation."""
    repo = Path(shutil.copytree(repository, folder / "repo"))
    script = folder / "script.md"
    script.write_text("\n\n".join(f"<!-- {name} -->\n{text}" for name, text in ANSWERS.items()))
    model = {**SIMULATED["model_config"]["single_model"], "simulation": {"script": str(script)}}
    settings = {
        **SIMULATED,
        "model_config": {"single_model": model},
        "workflow": {"max_iterations": 2},
        "repo": {"path": str(repo)},
        # What the tests find has tests of its own; here it must only be the same each time, and quick.
        "execution": {"command": ["true"]},
    }
    return Session(folder, "full", "Fix add, and rename old.py", server, settings, database=database)


def outcome(folder: Path) -> dict[str, Any]:
    """What must be the same as after a run that nobody interrupts."""
    repo, worktree = folder / "repo", folder / ".swarm/worktrees/s"
    return {
        "commits": git(repo, "log", "--format=%H", "main..swarm/s"),
        "branches": git(repo, "for-each-ref", "--format=%(refname)"),
        "worktrees": git(repo, "worktree", "list").count("\n") + 1,
        "status": git(worktree, "status", "--porcelain"),
        "locks": [str(path) for path in (repo / ".git").rglob("*.lock")],
        "files": sorted(path.name for path in (folder / "output").rglob("*")),
        "of the worktree": sorted(path.name for path in worktree.rglob("*")),
    }


def test_killed_anywhere_the_branch_ends_with_the_same_commits(
    worker: Worker, databases: Databases, tmp_path: Path
) -> None:
    dice, kills = random.Random(22), KILLS_ON_A_SERVER if databases() else KILLS
    repository = make_repository(tmp_path / "repository", FILES)
    (repository / "mine.txt").write_text("not committed\n")
    with ModelServer(latency=0) as server:
        unbroken = session(tmp_path / "unbroken", repository, server, databases())
        unbroken.finish(worker)
        expected, points = outcome(unbroken.folder), unbroken.points()
        assert expected["commits"].count("\n") == 2
        assert (expected["worktrees"], expected["status"], expected["locks"]) == (2, "", [])
        killed = number = 0
        while killed < kills:
            attacked = session(tmp_path / str(number), repository, server, databases())
            before = fingerprint(attacked.folder / "repo")
            while killed < kills and attacked.kill_at(worker, dice.randint(1, points)):
                killed += 1
            attacked.finish(worker)
            assert outcome(attacked.folder) == expected, number
            assert fingerprint(attacked.folder / "repo") == before, number
            number += 1
