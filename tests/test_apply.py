"""Bringing a session's change into the user's tree: whole or not at all, and back."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from repositories import commit_files, fingerprint, git, make_repository, repository_of

from swarm_graph.errors import InputError, RepositoryError
from swarm_graph.repository.apply import Applied, apply_to_tree, merge_into_branch, undo
from swarm_graph.repository.commits import commit, message
from swarm_graph.repository.files import RepositoryFiles
from swarm_graph.repository.git import Git
from swarm_graph.repository.worktree import changes_commit

LINES = "".join(f"line {number}\n" for number in range(30))
WRITTEN = {
    "src/calc.py": LINES.replace("line 3\n", "line three\n"),
    "new/a.py": "x = 1\n",
    "run.sh": "#!/bin/sh\necho 2\n",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    files: dict[str, str | bytes] = {
        "src/calc.py": LINES.replace("\n", "\r\n").encode(), "old/gone.md": "# Old\n", "other.txt": "1\n",
    }  # fmt: skip
    folder = make_repository(tmp_path / "project", files)
    (folder / "run.sh").write_text("#!/bin/sh\necho 1\n")
    (folder / "run.sh").chmod(0o755)
    commit_files(folder, {}, "Second")
    return folder


@pytest.fixture
def record(tmp_path: Path) -> Path:
    return tmp_path / "data" / "applied" / "s.json"


def session(folder: Path) -> RepositoryFiles:
    """A session with one commit on its branch."""
    repo = repository_of(folder)
    text = message("Change", session="s", verdict="approved", round=1)
    commit(repo, "s", parent=repo["base"], written=WRITTEN, deleted=["old/gone.md"], message=text, date=1.7e9)
    return RepositoryFiles(repo, WRITTEN, ["old/gone.md"])


def tree_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".git" not in path.parts
    }


def test_a_change_is_applied_uncommitted_and_taken_back(folder: Path, record: Path) -> None:
    files = session(folder)
    (folder / "other.txt").write_text("in work\n")
    (folder / "src/calc.py").chmod(0o600)
    before, index = tree_of(folder), (folder / ".git/index").read_bytes()
    applied = apply_to_tree(files, record)
    assert applied == Applied(["src/calc.py", "new/a.py", "run.sh"], ["old/gone.md"])
    assert (folder / ".git/index").read_bytes() == index
    assert b"line 2\r\nline three\r\nline 4\r\n" in (folder / "src/calc.py").read_bytes()
    assert (folder / "src/calc.py").stat().st_mode & 0o777 == 0o600
    assert (folder / "run.sh").stat().st_mode & 0o100
    assert not (folder / "old").exists()
    assert git(folder, "status", "--porcelain").split("\n") == [
        "D old/gone.md",
        " M other.txt",
        " M run.sh",
        " M src/calc.py",
        "?? new/",
    ]
    assert apply_to_tree(files, record) == Applied([], [])
    assert record.stat().st_mode & 0o777 == 0o600
    undone = undo(Git(folder), record)
    assert (sorted(undone.written), undone.deleted) == (
        ["old/gone.md", "run.sh", "src/calc.py"],
        ["new/a.py"],
    )
    assert tree_of(folder) == before
    with pytest.raises(InputError, match="there is no applied change to undo"):
        undo(Git(folder), record)


def test_what_the_user_committed_meanwhile_is_merged_by_lines(folder: Path, record: Path) -> None:
    files = session(folder)
    theirs = LINES.replace("line 20\n", "line twenty\n").replace("\n", "\r\n")
    commit_files(folder, {"src/calc.py": theirs.encode()}, "Theirs")
    apply_to_tree(files, record)
    data = (folder / "src/calc.py").read_bytes()
    assert b"line three\r\n" in data
    assert b"line twenty\r\n" in data


def spoiled(folder: Path, how: str) -> str:
    """Change the user's tree so that the change does not fit; returns what the refusal says."""
    calc = folder / "src/calc.py"
    if how == "dirty":
        calc.write_text("in work\n")
        return r"'src/calc.py': it has uncommitted changes; commit or stash"
    if how == "conflict":
        commit_files(folder, {"src/calc.py": LINES.replace("line 3\n", "LINE 3\n")}, "Theirs")
        return r"'src/calc.py': the same lines have changed there"
    if how == "deleted":
        calc.unlink()
        commit_files(folder, {}, "Theirs")
        return r"'src/calc.py': it was deleted there"
    if how == "changed and deleted":
        commit_files(folder, {"old/gone.md": "# New\n"}, "Theirs")
        return r"'old/gone.md': the session deletes it, and it has changed there"
    if how == "untracked":
        (folder / "new").mkdir()
        (folder / "new/a.py").write_text("mine\n")
        return r"'new/a.py': there is another file with this name"
    (folder / "new").symlink_to("/tmp")
    return r"'new/a.py': 'new' is in its way"


@pytest.mark.parametrize("how", ["dirty", "conflict", "deleted", "changed and deleted", "untracked", "link"])
@pytest.mark.parametrize("merge", [False, True])
def test_a_change_that_does_not_fit_is_refused(how: str, merge: bool, folder: Path, record: Path) -> None:
    files = session(folder)
    reason = spoiled(folder, how)
    before = fingerprint(folder)
    with pytest.raises(RepositoryError, match=f"does not fit '{folder}', which stays as it is: .*{reason}"):
        merge_into_branch(files.repo, record) if merge else apply_to_tree(files, record)
    assert fingerprint(folder) == before


def test_a_branch_is_merged_as_a_fast_forward_and_taken_back(folder: Path, record: Path) -> None:
    files = session(folder)
    (folder / "other.txt").write_text("in work\n")
    before, head = tree_of(folder), git(folder, "rev-parse", "HEAD")
    applied = merge_into_branch(files.repo, record)
    assert applied.commit == git(folder, "rev-parse", "main") == git(folder, "rev-parse", "swarm/s")
    assert git(folder, "status", "--porcelain") == "M other.txt"
    assert b"line three\r\n" in (folder / "src/calc.py").read_bytes()
    with pytest.raises(InputError, match="'main' already contains 'swarm/s'"):
        merge_into_branch(files.repo, record)
    undo(Git(folder), record)
    assert (tree_of(folder), git(folder, "rev-parse", "main")) == (before, head)
    assert git(folder, "status", "--porcelain") == "M other.txt"


def test_a_branch_is_merged_with_what_the_user_committed(folder: Path, record: Path) -> None:
    files = session(folder)
    theirs = LINES.replace("line 20\n", "line twenty\n").replace("\n", "\r\n")
    head = commit_files(folder, {"src/calc.py": theirs.encode(), "mine.txt": "1\n"}, "Theirs")
    applied = merge_into_branch(files.repo, record)
    assert git(folder, "log", "-1", "--format=%P", "main").split() == [
        head,
        git(folder, "rev-parse", "swarm/s"),
    ]
    assert git(folder, "log", "-1", "--format=%s") == "Merge branch 'swarm/s'"
    assert git(folder, "status", "--porcelain") == ""
    data = (folder / "src/calc.py").read_bytes()
    assert b"line three\r\n" in data
    assert b"line twenty\r\n" in data
    assert applied.commit == git(folder, "rev-parse", "HEAD")
    undo(Git(folder), record)
    assert git(folder, "rev-parse", "HEAD") == head
    assert git(folder, "status", "--porcelain") == ""


def test_what_changed_since_is_not_taken_back(folder: Path, record: Path) -> None:
    files = session(folder)
    apply_to_tree(files, record)
    (folder / "new/a.py").write_text("x = 2\n")
    before = fingerprint(folder)
    with pytest.raises(RepositoryError, match=r"changed since it was applied: 'new/a\.py'"):
        undo(Git(folder), record)
    assert fingerprint(folder) == before
    (folder / "new/a.py").write_text("x = 1\n")
    undo(Git(folder), record)
    merge_into_branch(files.repo, record)
    commit_files(folder, {"more.txt": "1\n"}, "More")
    with pytest.raises(RepositoryError, match="changed since it was applied: the checked-out branch"):
        undo(Git(folder), record)


def test_a_merge_is_taken_back_on_its_branch_only(folder: Path, record: Path) -> None:
    files = session(folder)
    head = git(folder, "rev-parse", "HEAD")
    merge_into_branch(files.repo, record)
    git(folder, "switch", "--quiet", "--create", "feature")
    before = fingerprint(folder)
    with pytest.raises(RepositoryError, match="changed since it was applied: the checked-out branch"):
        undo(Git(folder), record)
    assert fingerprint(folder) == before
    git(folder, "switch", "--quiet", "main")
    undo(Git(folder), record)
    assert git(folder, "rev-parse", "main") == head


def test_an_unfinished_merge_of_the_user_s_is_not_committed(folder: Path, record: Path) -> None:
    files = session(folder)
    git(folder, "switch", "--quiet", "--create", "topic")
    commit_files(folder, {"topic.txt": "1\n"}, "Topic")
    git(folder, "switch", "--quiet", "main")
    git(folder, "merge", "--quiet", "--no-ff", "--no-commit", "topic")
    before = fingerprint(folder)
    with pytest.raises(InputError, match=r"a merge is not finished in .*; end it first, or leave"):
        merge_into_branch(files.repo, record)
    assert fingerprint(folder) == before


def test_a_pipe_is_in_the_way_and_is_not_read(folder: Path, record: Path) -> None:
    files = session(folder)
    os.mkfifo(folder / "new")
    with pytest.raises(RepositoryError, match=r"'new/a\.py': 'new' is in its way"):
        apply_to_tree(files, record)
    (folder / "new").unlink()
    (folder / "new").mkdir()
    os.mkfifo(folder / "new/a.py")
    with pytest.raises(RepositoryError, match=r"'new/a\.py': 'new/a\.py' is in its way"):
        apply_to_tree(files, record)


@pytest.mark.parametrize("merge", [False, True])
def test_an_apply_that_was_killed_is_taken_back_by_the_next(merge: bool, folder: Path, record: Path) -> None:
    files = session(folder)
    before = tree_of(folder)
    merge_into_branch(files.repo, record) if merge else apply_to_tree(files, record)
    document = json.loads(record.read_text())
    document["done"] = False
    (folder / "old").mkdir()
    (folder / "old/gone.md").write_text("# Old\n")  # not deleted yet
    record.write_text(json.dumps(document))
    assert merge_into_branch(files.repo, record).commit if merge else apply_to_tree(files, record).written
    undo(Git(folder), record)
    assert tree_of(folder) == before
    assert git(folder, "status", "--porcelain") == ""


def test_a_file_that_cannot_be_written_leaves_all_as_it_was(folder: Path, record: Path) -> None:
    files = session(folder)
    (folder / ".git/index.lock").touch()
    before = fingerprint(folder)
    with pytest.raises(RepositoryError, match=r"index\.lock"):
        merge_into_branch(files.repo, record)
    assert {path: found[:2] for path, found in fingerprint(folder).items()} == {
        path: found[:2] for path, found in before.items()
    }


def test_uncommitted_changes_that_the_session_began_with_are_no_hindrance(folder: Path, record: Path) -> None:
    (folder / "src/calc.py").write_bytes((LINES + "in work\n").replace("\n", "\r\n").encode())
    base = changes_commit(Git(folder), git(folder, "rev-parse", "HEAD"))
    repo = {**repository_of(folder), "base": base}
    files = RepositoryFiles(repo, {"src/calc.py": LINES + "in work\nmore\n"})  # type: ignore[arg-type]
    apply_to_tree(files, record)
    assert (folder / "src/calc.py").read_bytes().endswith(b"in work\r\nmore\r\n")


def test_a_record_for_another_folder_or_a_path_outside_is_refused(
    folder: Path, record: Path, tmp_path: Path
) -> None:
    apply_to_tree(session(folder), record)
    other = make_repository(tmp_path / "other", {"a": "1\n"})
    with pytest.raises(InputError, match=f"there is no applied change to undo in '{other}'"):
        undo(Git(other), record)
    document = json.loads(record.read_text())
    document["files"][0]["path"] = "../data/applied/s.json"
    record.write_text(json.dumps(document))
    with pytest.raises(RepositoryError, match=r"changed since it was applied: '\.\./data"):
        undo(Git(folder), record)
    record.write_text("{}")
    with pytest.raises(InputError, match=r"s\.json' cannot be read"):
        undo(Git(folder), record)


def test_crlf_by_the_user_s_settings_stays(folder: Path, record: Path) -> None:
    """With core.autocrlf the working tree has other line ends than the commits."""
    git(folder, "config", "core.autocrlf", "true")
    (folder / "run.sh").unlink()
    subprocess.run(
        ["git", "checkout", "--quiet", "run.sh"], cwd=folder, check=True, env={"PATH": os.environ["PATH"]}
    )
    assert (folder / "run.sh").read_bytes() == b"#!/bin/sh\r\necho 1\r\n"
    apply_to_tree(session(folder), record)
    assert (folder / "run.sh").read_bytes() == b"#!/bin/sh\r\necho 2\r\n"
