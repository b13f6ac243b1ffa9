"""Commits of a session: made from its state, the same each time, on its own branch only."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
from repositories import commit_files, fingerprint, git, make_repository, repository_of

from swarm_graph.errors import InputError, RepositoryError
from swarm_graph.repository.commits import commit, message

SOURCE = b"def add(a, b):\r\n    return a + b\r\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = make_repository(tmp_path / "project", {"src/calc.py": SOURCE, "old.md": "# Old\n", "x/y": "1\n"})
    (folder / "run.sh").write_text("#!/bin/sh\necho one\n")
    (folder / "run.sh").chmod(0o755)
    (folder / "link").symlink_to("src/calc.py")
    commit_files(folder, {}, "Second")
    return folder


def committed(folder: Path, written: dict[str, str], deleted: tuple[str, ...] = (), **more: Any) -> str:
    repo = repository_of(folder, **more.pop("repo", {}))
    given = {
        "parent": repo["base"],
        "message": message("Add", session="s", verdict="approved", round=1),
        "date": 1_700_000_000.5,
        **more,
    }
    return commit(repo, "s", written=written, deleted=deleted, **given)


def show(folder: Path, commit: str, path: str) -> bytes:
    return subprocess.run(
        ["git", "cat-file", "blob", f"{commit}:{path}"], cwd=folder, check=True, capture_output=True
    ).stdout


def test_a_commit_has_the_files_and_leaves_the_user_s_tree_alone(folder: Path) -> None:
    (folder / "src" / "calc.py").write_text("in work\n")
    before = fingerprint(folder)
    made = committed(
        folder, {"src/calc.py": "def add(a, b):\n    return b + a\n", "new/a.py": "x = 1\n"}, ("old.md",)
    )
    assert fingerprint(folder) == before
    assert git(folder, "rev-parse", "swarm/s") == made
    assert show(folder, made, "src/calc.py") == b"def add(a, b):\r\n    return b + a\r\n"
    changed = git(folder, "diff", "--name-status", "HEAD", made).split("\n")
    assert changed == ["A\tnew/a.py", "D\told.md", "M\tsrc/calc.py"]
    assert git(folder, "ls-tree", made, "link").startswith("120000")
    assert git(folder, "log", "-1", "--format=%an <%ae> %ad|%cn <%ce> %cd", "--date=unix", made) == (
        "swarm <swarm@localhost> 1700000000|swarm <swarm@localhost> 1700000000"
    )
    trailers = git(folder, "log", "-1", "--format=%(trailers)", made).split("\n")
    assert trailers[:3] == ["Swarm-Session: s", "Swarm-Verdict: approved", "Swarm-Round: 1"]


def test_the_same_state_gives_the_same_commit(folder: Path) -> None:
    first = committed(folder, {"a": "1\n"})
    assert committed(folder, {"a": "1\n"}) == first
    second = committed(folder, {"a": "2\n"}, parent=first)
    assert committed(folder, {"a": "1\n"}) == first  # the round is taken again
    assert git(folder, "rev-parse", "swarm/s") == first
    assert committed(folder, {"a": "2\n"}, parent=first) == second
    git(folder, "branch", "-D", "swarm/s")
    assert committed(folder, {"a": "2\n"}, parent=first) == second
    assert git(folder, "rev-parse", "swarm/s") == second
    assert git(folder, "log", "--format=%H", "main..swarm/s").split() == [second, first]


def test_without_a_change_there_is_no_commit(folder: Path) -> None:
    base = git(folder, "rev-parse", "HEAD")
    assert committed(folder, {"old.md": "# Old\n"}) == base
    assert git(folder, "rev-parse", "swarm/s") == base


def test_modes_stay_also_when_a_file_is_renamed(folder: Path) -> None:
    made = committed(
        folder,
        {"run.sh": "#!/bin/sh\necho two\n", "lib/calc.py": "def add(a, b):\n    return b + a\n", "x": "2\n"},
        ("src/calc.py", "x/y"),
    )
    assert git(folder, "ls-tree", made, "run.sh").startswith("100755")
    assert show(folder, made, "lib/calc.py") == b"def add(a, b):\r\n    return b + a\r\n"
    assert show(folder, made, "x") == b"2\n"
    moved = committed(folder, {"bin/run": "#!/bin/sh\necho one\n"}, ("run.sh",))
    assert git(folder, "ls-tree", moved, "bin/run").startswith("100755")


def test_the_author_is_the_repository_s_own(folder: Path) -> None:
    git(folder, "config", "user.name", "Bo <x>")
    git(folder, "config", "user.email", "bo@example.invalid")
    made = committed(folder, {"a": "1\n"})
    assert git(folder, "log", "-1", "--format=%an <%ae> %cn", made) == "Bo x <bo@example.invalid> Bo x"


def test_commits_of_others_on_the_branch_are_not_lost(folder: Path) -> None:
    first = committed(folder, {"a": "1\n"})
    tree = git(folder, "rev-parse", "main^{tree}")
    theirs = git(folder, "commit-tree", tree, "-p", first, "-m", "By hand")
    git(folder, "update-ref", "refs/heads/swarm/s", theirs)
    with pytest.raises(RepositoryError, match=f"has a commit {theirs[:12]} that the session did not make"):
        committed(folder, {"a": "2\n"}, parent=first)
    assert git(folder, "rev-parse", "swarm/s") == theirs


@pytest.mark.parametrize("branch", ["main", "swarm/", "swarm/a/b", "swarm/-x y", "--all", "swarm/../main"])
def test_no_other_branch_is_written(branch: str, folder: Path) -> None:
    with pytest.raises(RepositoryError, match="is no branch of a session"):
        committed(folder, {"a": "1\n"}, repo={"branch": branch})


def test_a_branch_that_is_another_branch_does_not_move_that(folder: Path) -> None:
    base = git(folder, "rev-parse", "main")
    git(folder, "symbolic-ref", "refs/heads/swarm/s", "refs/heads/main")
    made = committed(folder, {"a": "1\n"})
    assert (git(folder, "rev-parse", "main"), git(folder, "rev-parse", "swarm/s")) == (base, made)


def test_a_stale_lock_of_the_branch_is_removed(folder: Path) -> None:
    first = committed(folder, {"a": "1\n"})
    (folder / ".git/refs/heads/swarm/s.lock").touch()
    second = committed(folder, {"a": "2\n"}, parent=first)
    assert git(folder, "rev-parse", "swarm/s") == second


@pytest.mark.parametrize("path", ["../x", ".git/hooks/pre-commit", "/etc/x", "a/.GIT/x", "git~1", "a//b"])
def test_a_path_outside_cannot_be_committed(path: str, folder: Path) -> None:
    with pytest.raises(RepositoryError, match="cannot be committed: "):
        committed(folder, {path: "x\n"})
    assert git(folder, "branch", "--list", "swarm/*") == ""


def test_an_unknown_parent_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="has no commit '--all'"):
        committed(folder, {"a": "1\n"}, parent="--all")


def test_a_text_that_does_not_fit_its_file_is_refused_by_path(folder: Path) -> None:
    commit_files(folder, {"umlaut.txt": "Größe über alles, für Jürgen\n".encode("cp1252") * 5}, "Third")
    with pytest.raises(RepositoryError, match=r"'umlaut.txt': the new text holds '\\u2192'"):
        committed(folder, {"umlaut.txt": "→\n"})


def test_a_message_is_one_line_and_trailers() -> None:
    text = message("Fix\nthe \x1b[31m pump " + "x" * 90, session="s", verdict="not approved", round=2)
    subject, blank, *trailers = text.split("\n")
    assert subject.startswith("Fix the [31m pump xxx")
    assert (len(subject), subject[-1], blank) == (72, "…", "")
    assert trailers == ["Swarm-Session: s", "Swarm-Verdict: not approved", "Swarm-Round: 2", ""]
    assert message("\n", session="s", verdict="", round=1).startswith("Changes\n\n")
