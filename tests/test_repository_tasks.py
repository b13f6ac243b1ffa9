"""Task graphs and batches read files of a repository's commit, and change nothing in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from repositories import fingerprint, make_repository
from support import SIMULATED, Crew
from warm import run

from swarm_graph import SwarmCoordinator
from swarm_graph.errors import InputError

FILES: dict[str, str | bytes] = {"src/a.py": "A = 1\n", "src/b.py": "B = 2\n", "README.md": "# R\n"}
TASK = {"task_id": "T1", "assigned_role": "documenter", "description": "Explain.", "files": ["repo:src/a.py"]}


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return make_repository(tmp_path / "repo", FILES)


def test_a_task_sees_the_file_of_the_commit_not_of_the_working_tree(repo: Path, tmp_path: Path) -> None:
    (repo / "src/a.py").write_text("A = 'changed'\n")
    before, models = fingerprint(repo), Crew()
    swarm = SwarmCoordinator(
        SIMULATED, data_dir=tmp_path / "data", output_dir=tmp_path / "out", context=models.context, repo=repo
    )
    swarm.add_task(TASK)
    state = swarm.run_workflow("", "custom")
    assert state["phase"] == "complete"
    assert "A = 1" in models.prompts("T1")[0]
    assert (state["kind"], "repo" in state) == ("code", False)
    assert fingerprint(repo) == before


def test_what_is_not_in_the_commit_is_refused(repo: Path, tmp_path: Path) -> None:
    swarm = SwarmCoordinator(SIMULATED, data_dir=tmp_path / "data", repo=repo)
    swarm.add_task({**TASK, "files": ["repo:src/none.py"]})
    with pytest.raises(InputError, match=r"task 'T1': the repository .* has no file 'src/none.py' in commit"):
        swarm.run_workflow("", "custom")
    alone = SwarmCoordinator(SIMULATED, data_dir=tmp_path / "data")
    alone.add_task(TASK)
    with pytest.raises(InputError, match=r"'repo:src/a\.py' names no repository; add --repo DIR"):
        alone.run_workflow("", "custom")


def test_a_task_file_names_its_repository(repo: Path, tmp_path: Path) -> None:
    make_repository(tmp_path / "other", {"x.txt": "of the other\n"})
    (tmp_path / "jobs").mkdir()
    tasks = [TASK, {**TASK, "task_id": "T2", "files": ["repo:../other//x.txt"]}]
    (tmp_path / "jobs/tasks.json").write_text(json.dumps({"repo": f"../{repo.name}", "tasks": tasks}))
    done = run("run", "--tasks", "jobs/tasks.json", "--session", "s", "--simulate", cwd=tmp_path, text=True)
    assert done.returncode == 0, done.stderr
    shown = run("log", "s", "--raw", "--full", cwd=tmp_path, text=True).stdout
    assert shown
    copies = {path.name for path in (tmp_path / ".swarm/repository-files").rglob("*") if path.is_file()}
    assert copies == {"a.py", "x.txt"}


def test_a_batch_has_a_task_for_each_file_of_the_commit(repo: Path, tmp_path: Path) -> None:
    (tmp_path / "explain.md").write_text("Explain.\n---\n$files\n")
    words = ("batch", "repo:src/*.py", "--prompt", "explain.md", "--repo", repo, "--simulate")
    done = run(*words, cwd=tmp_path, text=True)
    assert done.returncode == 0, done.stderr
    assert "2 tasks, 2 completed" in done.stdout
    dry = run(*words, "--dry-run", cwd=tmp_path, text=True)
    assert (dry.returncode, "2 tasks" in dry.stdout) == (0, True), dry.stderr
    none = run("batch", "repo:*.rs", *words[2:], cwd=tmp_path, text=True)
    assert (none.returncode, "matches '*.rs'" in none.stderr) == (2, True)


def test_options_of_a_change_are_refused(repo: Path, tmp_path: Path) -> None:
    (tmp_path / "tasks.json").write_text(json.dumps([TASK]))
    words = ("run", "--tasks", "tasks.json", "--repo", repo, "--only", "src/*", "--simulate")
    done = run(*words, cwd=tmp_path, text=True)
    assert done.returncode == 2
    assert "are for workflows with roles" in done.stderr
