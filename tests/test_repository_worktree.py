"""The worktree of a session: written, brought up to date, mended and removed; the user's own tree stays."""

import shutil
import subprocess
from pathlib import Path

import pytest
from repositories import commit_files, fingerprint, git, make_repository, repository_of

from swarm_graph.errors import RepositoryError
from swarm_graph.repository import worktree
from swarm_graph.repository.commits import commit, message
from swarm_graph.repository.git import Git
from swarm_graph.repository.worktree import (
    changes_commit,
    is_dirty,
    open_worktree,
    remove_worktree,
    update_worktree,
)
from swarm_graph.state import Repository


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    files = {"src/calc.py": "x = 1\r\n", "old/gone.md": "# Old\n", "README.md": "# It\n", "ümlaut.txt": "ä\n"}
    folder = make_repository(tmp_path / "project", files)
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    (folder / "link").symlink_to("/etc")
    commit_files(folder, {}, "Second")
    return folder


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return tmp_path / "data" / "worktrees" / "s"


def committed(repo: Repository, text: str, parent: str = "", deleted: tuple[str, ...] = ()) -> str:
    written = {"src/calc.py": text, "new/a.py": text}
    return commit(
        repo, "s", parent=parent or repo["base"], written=written, deleted=deleted,
        message=message("Change", session="s", verdict="approved", round=1), date=1_700_000_000,
    )  # fmt: skip


def names(tree: Path) -> set[str]:
    return {
        path.relative_to(tree).as_posix()
        for path in tree.rglob("*")
        if not path.is_dir() or path.is_symlink()
    }


def test_a_session_from_its_worktree_to_its_end_leaves_the_user_s_tree_alone(
    folder: Path, tree: Path
) -> None:
    git(folder, "stash", "list")
    (folder / "README.md").write_text("# In work\n")
    (folder / "untracked.txt").write_text("mine\n")
    before = fingerprint(folder)
    repo = repository_of(folder)
    assert open_worktree(repo, "s", tree) == []
    assert names(tree) == {".git", "src/calc.py", "old/gone.md", "README.md", "ümlaut.txt", "run.sh", "link"}
    assert (tree / "src/calc.py").read_bytes() == b"x = 1\r\n"
    assert (tree / "run.sh").stat().st_mode & 0o111
    assert (tree / "link").readlink() == Path("/etc")
    first = committed(repo, "x = 2\n", deleted=("old/gone.md",))
    assert update_worktree(repo, "s", tree) == []
    assert (tree / "src/calc.py").read_bytes() == b"x = 2\r\n"
    assert (tree / "new/a.py").read_bytes() == b"x = 2\n"
    assert not (tree / "old").exists()
    assert git(tree, "status", "--porcelain") == ""
    assert git(tree, "rev-parse", "--abbrev-ref", "HEAD") == "swarm/s"
    committed(repo, "x = 3\n", first)
    assert update_worktree(repo, "s", tree) == update_worktree(repo, "s", tree) == []
    assert (tree / "old/gone.md").exists()
    assert remove_worktree(repo, "s", tree) == remove_worktree(repo, "s", tree) == []
    assert fingerprint(folder) == before
    assert not tree.exists()
    assert git(folder, "worktree", "list").count("\n") == 0
    assert git(folder, "branch", "--list", "swarm/*") == ""
    assert not list((folder / ".git").rglob("*.lock"))


def test_what_somebody_changed_in_the_worktree_stays_and_is_named(folder: Path, tree: Path) -> None:
    repo = repository_of(folder)
    open_worktree(repo, "s", tree)
    (tree / "src/calc.py").write_text("by hand\n")
    (tree / "README.md").write_text("by hand\n")
    (tree / "old/gone.md").write_text("by hand\n")
    (tree / "new").mkdir()
    (tree / "new/a.py").write_text("by hand\n")
    first = committed(repo, "x = 2\n", deleted=("old/gone.md",))
    assert update_worktree(repo, "s", tree) == [
        "'old/gone.md' was changed by hand and stays, although the session deleted it",
        "'new/a.py' was changed by hand and stays as it is",
        "'src/calc.py' was changed by hand and stays as it is",
    ]
    assert (tree / "src/calc.py").read_text() == "by hand\n"
    (tree / "src/calc.py").unlink()
    committed(repo, "x = 3\n", first)
    assert "'src/calc.py' was deleted by hand and stays so" in update_worktree(repo, "s", tree)
    (note,) = remove_worktree(repo, "s", tree)
    assert note.startswith(f"'{tree}' stays, as somebody changed it: ")
    assert (tree / "README.md").read_text() == "by hand\n"


def test_no_link_in_the_worktree_is_followed(folder: Path, tree: Path, tmp_path: Path) -> None:
    repo = repository_of(folder)
    open_worktree(repo, "s", tree)
    shutil.rmtree(tree / "src")
    (tmp_path / "outside").mkdir()
    (tree / "src").symlink_to(tmp_path / "outside")
    (tree / "new").symlink_to(tmp_path / "outside")
    committed(repo, "x = 2\n")
    assert update_worktree(repo, "s", tree) == [
        "'new/a.py' was not written: 'new' is in its way",
        "'src/calc.py' was not written: 'src' is in its way",
    ]
    assert not list((tmp_path / "outside").iterdir())


DAMAGES = [
    "rm -r $TREE",
    "rm -r $ENTRY",
    "rm $ENTRY/HEAD",
    "printf initializing > $ENTRY/locked",
    "printf initializing > $ENTRY/locked; rm -r $ENTRY/gitdir $TREE",
    "rm $ENTRY/swarm-written $TREE/README.md",
    "rm $ENTRY/swarm-written $ENTRY/index; touch $ENTRY/index.lock",
    "rm $TREE/.git",
    "echo gitdir: /nowhere > $TREE/.git",
    "echo /nowhere/.git > $ENTRY/gitdir",
    "touch $TREE/.swarm-in-work; rm $ENTRY/swarm-written",
    "mv $TREE $TREE/../.s.files; rm -r $ENTRY",
    "mkdir $TREE/../.s.files; mv $TREE/new $TREE/../.s.files; rm $ENTRY/swarm-written",
]


def test_a_half_made_worktree_is_mended(folder: Path, tree: Path) -> None:
    repo, entry = repository_of(folder), folder / ".git/worktrees/s"
    open_worktree(repo, "s", tree)
    committed(repo, "x = 2\n")
    for damage in DAMAGES:
        subprocess.run(damage, shell=True, check=True, env={"TREE": str(tree), "ENTRY": str(entry)})
        assert open_worktree(repo, "s", tree) == [], damage
        assert git(tree, "status", "--porcelain") == "", damage
        assert (tree / "new/a.py").read_text() == "x = 2\n"
        assert [path.name for path in tree.parent.iterdir()] == ["s"], damage
        assert [path.name for path in entry.parent.iterdir()] == ["s"], damage
        assert not list((folder / ".git").rglob("*.lock"))


def test_two_sessions_side_by_side(folder: Path, tree: Path) -> None:
    repos = [repository_of(folder, name) for name in ("s", "s2")]
    for repo, name in zip(repos, ("s", "s2"), strict=True):
        open_worktree(repo, name, tree.with_name(name))
    committed(repos[0], "x = 2\n")
    update_worktree(repos[0], "s", tree)
    update_worktree(repos[1], "s2", tree.with_name("s2"))
    assert (tree / "src/calc.py").read_text() == "x = 2\n"
    assert (tree.with_name("s2") / "src/calc.py").read_text() == "x = 1\n"
    assert remove_worktree(repos[0], "s", tree) == []
    assert git(tree.with_name("s2"), "status", "--porcelain") == ""


def test_a_folder_that_is_no_worktree_is_not_written_into(folder: Path, tree: Path) -> None:
    tree.mkdir(parents=True)
    with pytest.raises(RepositoryError, match="is not the worktree of session 's'; resume makes it anew"):
        update_worktree(repository_of(folder), "s", tree)
    other = tree.with_name("other")
    make_repository(other, {"a": "1\n"})
    with pytest.raises(RepositoryError, match="is not the worktree of session 's'"):
        update_worktree(repository_of(folder), "s", other)


def test_commits_of_others_on_the_branch_keep_worktree_and_branch(folder: Path, tree: Path) -> None:
    repo = repository_of(folder)
    open_worktree(repo, "s", tree)
    (tree / "mine.txt").write_text("by hand\n")
    theirs = commit_files(tree, {}, "By hand")
    assert remove_worktree(repo, "s", tree) == [
        f"'swarm/s' stays: its commit {theirs[:12]} is not the session's"
    ]
    assert (tree / "mine.txt").exists()


@pytest.mark.parametrize("linked", [False, True])
def test_a_branch_that_the_user_has_checked_out_is_not_removed(
    linked: bool, folder: Path, tree: Path, tmp_path: Path
) -> None:
    repo, place = repository_of(folder), tmp_path / "mine" if linked else folder
    committed(repo, "x = 2\n")
    if linked:
        git(folder, "worktree", "add", "--quiet", str(place), "swarm/s")
    else:
        git(folder, "checkout", "--quiet", "swarm/s")
    assert remove_worktree(repo, "s", tree) == [f"'swarm/s' stays: it is checked out in '{place}'"]
    assert git(place, "status", "--porcelain") == ""


def test_a_removal_that_was_killed_is_finished(folder: Path, tree: Path) -> None:
    repo = repository_of(folder)
    open_worktree(repo, "s", tree)
    tree.rename(tree.with_name(".s.removed"))
    (tree.with_name(".s.removed") / ".git").unlink()
    assert remove_worktree(repo, "s", tree) == []
    assert not list(tree.parent.iterdir())
    assert git(folder, "worktree", "list").count("\n") == 0


def test_a_branch_that_the_user_has_checked_out_is_not_moved(folder: Path) -> None:
    repo = repository_of(folder)
    committed(repo, "x = 2\n")
    git(folder, "checkout", "--quiet", "swarm/s")
    with pytest.raises(RepositoryError, match=r"'swarm/s' is checked out in .*; check out another one there"):
        committed(repo, "x = 3\n")


# --- uncommitted changes -------------------------------------------------------------------------


def test_uncommitted_changes_become_a_commit_and_stay_uncommitted(folder: Path) -> None:
    (folder / ".gitignore").write_text("*.log\n")
    (folder / "x.log").write_text("ignored\n")
    (folder / "README.md").write_text("staged\n")
    git(folder, "add", "README.md")
    (folder / "README.md").write_text("staged, then changed\n")
    (folder / "src/calc.py").unlink()
    (folder / "new file.py").write_text("x = 1\n")
    make_repository(folder / "inner", {"a": "1\n"})
    (folder / "data").mkdir()
    (folder / "data/swarm.db").write_text("")
    base, before = git(folder, "rev-parse", "HEAD"), fingerprint(folder)
    ours = Git(folder)
    paths = {".gitignore", "README.md", "src/calc.py", "new file.py", "inner/"}
    assert {*is_dirty(ours, [folder / "data"])} == paths
    made = changes_commit(ours, base, [folder / "data"])
    assert changes_commit(ours, base, [folder / "data"]) == made
    assert fingerprint(folder) == before
    changed = git(folder, "diff", "--no-renames", "--name-status", base, made).split("\n")
    assert changed == ["A\t.gitignore", "M\tREADME.md", "A\tnew file.py", "D\tsrc/calc.py"]
    assert git(folder, "show", f"{made}:README.md") == "staged, then changed"


def test_without_changes_there_is_no_commit_of_them(folder: Path) -> None:
    base = git(folder, "rev-parse", "HEAD")
    assert (is_dirty(Git(folder)), changes_commit(Git(folder), base)) == ([], base)


def test_an_unfinished_merge_is_not_taken_along(folder: Path) -> None:
    git(folder, "checkout", "--quiet", "-b", "other")
    commit_files(folder, {"README.md": "theirs\n"}, "Theirs")
    git(folder, "checkout", "--quiet", "main")
    base = commit_files(folder, {"README.md": "ours\n"}, "Ours")
    with pytest.raises(Exception, match="returned non-zero"):
        git(folder, "merge", "other")
    with pytest.raises(RepositoryError, match=r"'README.md' has a merge conflict; resolve it before"):
        changes_commit(Git(folder), base)


@pytest.mark.parametrize("pauses", [1, len(worktree.PAUSES) + 1])
def test_a_worktree_that_another_session_is_just_making_is_waited_for(
    pauses: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_repository(tmp_path / "repo", {"a.py": "x = 1\n"})
    other = folder / ".git/worktrees/other"
    git(folder, "worktree", "add", "--quiet", "-b", "other", str(tmp_path / "other"))
    (other / "commondir").write_text("")  # as git leaves it for a moment
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == pauses:
            (other / "commondir").write_text("../..\n")

    monkeypatch.setattr(worktree, "sleep", sleep)
    if pauses > len(worktree.PAUSES):
        with pytest.raises(RepositoryError, match="git worktree failed"):
            open_worktree(repository_of(folder), "s", tmp_path / "tree")
        assert slept == [*worktree.PAUSES]
    else:
        open_worktree(repository_of(folder), "s", tmp_path / "tree")
        assert (tmp_path / "tree/a.py").read_text() == "x = 1\n"
