"""docs/repositories.md is true: its commands and its Python run on the repository that it makes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pages import Page
from repositories import commit_files, git, make_repository
from servers.canned import Canned
from support import APPROVED, SIMULATED, sandbox

PAGE = Page("repositories.md")
SCRIPT = '''\
<!-- coder 1 -->
```python path=prices.py
"""Prices of a shop."""


def total(prices, discount=0):
    """The sum of prices, less a discount in percent."""
    return sum(prices) * (100 - discount) / 100
```

<!-- tester 1 -->
```python path=tests/test_prices.py
from prices import total


def test_without_a_discount():
    assert total([1, 2]) == 3


def test_a_discount_is_in_percent():
    assert total([50], discount=10) == 45
```

<!-- reviewer 1 -->
{"findings": [], "approved": true}

<!-- security 1 -->
{"findings": [], "approved": true}

<!-- documenter 1 -->
```markdown path=README.md
# Shop

`total(prices, discount)`: the discount is in percent.
```
'''


@pytest.mark.slow
def test_its_commands_and_its_python_print_what_it_shows(tmp_path: Path) -> None:
    assert sandbox() in ("bubblewrap", "landlock")
    (tmp_path / "script.md").write_text(SCRIPT)
    model = {
        **SIMULATED["model_config"]["single_model"],
        "simulation": {"script": str(tmp_path / "script.md")},
    }
    (tmp_path / "config.json").write_text(json.dumps({"model_config": {"single_model": model}}))
    (tmp_path / "explain.md").write_text("Explain.\n---\n$files\n")
    PAGE.follow(tmp_path)


@pytest.mark.slow
def test_its_hook_pushes_only_what_the_reviewers_approve(tmp_path: Path) -> None:
    (hook,) = [part.text for part in PAGE.parts() if part.file == "shop/.git/hooks/pre-push"]
    first = make_repository(tmp_path / "first", {"a.py": "x = 1\n"})
    server, clone = tmp_path / "server.git", tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", "--bare", str(first), str(server))
    git(tmp_path, "clone", "--quiet", str(server), str(clone))
    (clone / ".git/hooks/pre-push").write_text(hook)
    (clone / ".git/hooks/pre-push").chmod(0o755)
    asked: list[str] = []

    def answer(_: str, user: str) -> str:
        asked.append(user)
        finding = {"severity": "major", "location": "a.py:1", "problem": "Bad", "suggestion": ""}
        return json.dumps({"findings": [finding], "approved": False}) if "+bad" in user else APPROVED

    def push(*words: str) -> subprocess.CompletedProcess[str]:
        asked.clear()
        path = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        return subprocess.run(
            ["git", "push", "origin", *words],
            cwd=clone,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, **path, "SWARM_CONFIG": str(tmp_path / "config.json")},
        )

    with Canned(answer) as models:
        (tmp_path / "config.json").write_text(json.dumps({"model_config": {"single_model": models.entry}}))
        commit_files(clone, {"a.py": "bad = 1\n"}, "Bad")
        refused = push("main")
        assert refused.returncode != 0
        assert "[major] a.py:1" in refused.stdout + refused.stderr
        assert git(server, "rev-parse", "main") == git(first, "rev-parse", "main")
        commit_files(clone, {"a.py": "good = 1\n"}, "Good")
        approved = push("main")
        assert approved.returncode == 0, approved.stderr
        assert git(server, "rev-parse", "main") == git(clone, "rev-parse", "HEAD")
        assert len({*asked}) == 4
        git(clone, "tag", "v1")
        assert push("v1", "main:topic").returncode == push(":topic").returncode == 0
        assert not asked
    assert git(clone, "status", "--porcelain") == ""
    assert git(clone, "branch", "--list", "swarm/*") == ""
