"""A session on a repository, killed at any moment: the next try makes the same commits, and no litter."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from repositories import fingerprint, git, make_repository, repository_of

from swarm_graph.repository.commits import commit, message
from swarm_graph.repository.worktree import open_worktree, remove_worktree, update_worktree
from swarm_graph.state import Repository

ROUNDS = 3
KILLS = 15


def rounds(repo: Repository, tree: Path) -> list[str]:
    """All that a session does to a repository, without its models; returns its commits."""
    open_worktree(repo, "s", tree)
    commits = [repo["base"]]
    for number in range(1, ROUNDS + 1):
        written = {f"src/{name}.py": f"x = {number}\n" for name in "abcdefgh"}
        text = message(f"Round {number}", session="s", verdict="revise", round=number)
        deleted = ["gone.md"] if number > 1 else []
        made = commit(
            repo, "s", parent=commits[-1], written=written, deleted=deleted, message=text, date=1.7e9 + number
        )
        commits.append(made)
        update_worktree(repo, "s", tree)
    return commits[1:]


def litter(folder: Path) -> list[str]:
    """Locks and half-made files in `.git`."""
    return [str(path) for name in ("*.lock", ".swarm*") for path in (folder / ".git").rglob(name)]


def test_a_worktree_that_git_was_killed_in_making_is_removed(tmp_path: Path) -> None:
    """Git first writes a HEAD of zeros."""
    folder = make_repository(tmp_path / "project", {"a.py": "x = 0\n"})
    repo, tree = repository_of(folder), tmp_path / "data/worktrees/s"
    rounds(repo, tree)
    subprocess.run(["git", "-C", folder, "update-ref", "-d", f"refs/heads/{repo['branch']}"], check=True)
    (folder / ".git/worktrees/s/HEAD").write_text(f"{'0' * 40}\n")
    (note,) = remove_worktree(repo, "s", tree)
    assert "somebody changed it" in note  # there are files in it
    for path in tree.iterdir():
        if path.name != ".git":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert remove_worktree(repo, "s", tree) == []
    assert not tree.exists()


def test_a_session_that_is_killed_again_and_again_makes_the_same_commits(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {f"src/{name}.py": "x = 0\n" * 50 for name in "abcdefghijklm"}
    folder = make_repository(tmp_path / "project", {**files, "gone.md": "# Gone\n"})
    before, tree = fingerprint(folder), tmp_path / "data/worktrees/s"
    repo = repository_of(folder)
    start = time.monotonic()
    expected = rounds(repo, tree)
    seconds = time.monotonic() - start
    random_moment = random.Random(22)
    for _ in range(KILLS):
        if random_moment.random() < 0.5:  # begin anew: the first open is killed, too
            assert remove_worktree(repo, "s", tree) == []
        with subprocess.Popen(
            [sys.executable, __file__, folder, tree], stdout=subprocess.PIPE, start_new_session=True
        ) as process:
            assert process.stdout
            process.stdout.readline()
            time.sleep(seconds * random_moment.random())
            os.killpg(process.pid, signal.SIGKILL)
        if random_moment.random() < 0.3:
            shutil.rmtree(tree, ignore_errors=True)
    assert rounds(repo, tree) == expected
    assert git(folder, "rev-parse", "swarm/s") == expected[-1]
    assert git(tree, "status", "--porcelain") == ""
    assert [path.name for path in tree.parent.iterdir()] == ["s"]
    assert [path.name for path in (folder / ".git/worktrees").iterdir()] == ["s"]
    assert litter(folder) == []
    assert (
        subprocess.run(["git", "fsck", "--strict"], cwd=folder, capture_output=True, check=True).returncode
        == 0
    )
    assert remove_worktree(repo, "s", tree) == []
    assert git(folder, "branch", "--list", "swarm/*") == ""
    assert fingerprint(folder) == before


if __name__ == "__main__":
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    rounds(repository_of(Path(sys.argv[1])), Path(sys.argv[2]))
