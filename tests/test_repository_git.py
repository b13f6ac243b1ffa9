"""Git in a repository of the user's: what it finds and reads, and that nothing of the repository runs."""

import os
from pathlib import Path

import pytest
from repositories import git, make_repository

from swarm_graph.errors import InputError
from swarm_graph.repository.git import Git
from swarm_graph.repository.snapshot import EXECUTABLE, LINK, Snapshot, snapshot


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = make_repository(tmp_path / "project", {"src/calc.py": b"def add(a, b):\r\n    return a + b\r\n"})
    (folder / "run me.sh").write_text("#!/bin/sh\n")
    (folder / "run me.sh").chmod(0o755)
    (folder / "link").symlink_to("/etc/passwd")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "Second")
    return folder


def test_a_snapshot_has_the_committed_bytes_and_modes(repository: Path) -> None:
    (repository / "src" / "calc.py").write_text("changed, not committed")
    files = Snapshot(Git(repository), Git(repository).commit_of("HEAD"))
    assert files.read("src/calc.py") == b"def add(a, b):\r\n    return a + b\r\n"
    assert files.entries["run me.sh"].mode == EXECUTABLE
    assert files.entries["link"].mode == LINK
    assert [*files.files] == ["run me.sh", "src/calc.py"]
    assert files.read_many([]) == {}
    with pytest.raises(KeyError):
        files.read("nothing.py")


def test_a_snapshot_is_listed_once(repository: Path) -> None:
    commit = git(repository, "rev-parse", "HEAD")
    assert snapshot(repository, commit) is snapshot(repository, commit)


def test_a_folder_inside_stands_for_the_repository(repository: Path) -> None:
    assert Git(repository / "src").folder == repository


@pytest.mark.parametrize("name", ["nope", "--all", "HEAD~9", "", "main:src"])
def test_an_unknown_revision_is_refused_by_name(repository: Path, name: str) -> None:
    with pytest.raises(InputError, match=f"has no commit '{name}'"):
        Git(repository).commit_of(name)


def test_a_folder_without_a_repository_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not inside the working tree of a git repository"):
        Git(tmp_path)
    with pytest.raises(InputError, match="is not a folder"):
        Git(tmp_path / "nothing")


def test_no_git_is_said(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.devnull)
    with pytest.raises(InputError, match="git is not installed"):
        Git(repository)


def test_filters_of_the_repository_do_not_run(repository: Path, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    program = f"sh -c 'touch {marker}; cat'"
    names = ("clean", "smudge", "process")
    for key in ("core.fsmonitor", "diff.external", "diff.x.y.command", "diff.x.y.textconv"):
        git(repository, "config", key, program)
    for key in names:
        git(repository, "config", f"filter.x.y.{key}", program)
    git(repository, "config", "filter.x.y.required", "true")
    (repository / ".gitattributes").write_text("*.py filter=x.y diff=x.y\n")
    path = repository / "src" / "calc.py"
    path.write_bytes(path.read_bytes().replace(b"a + b", b"b + a"))  # of the same size: git has to read it
    ours = Git(repository)
    assert b"calc.py" in ours.run("status", "--porcelain")
    assert b"b + a" in ours.run("diff")
    assert not marker.exists()
    for settings in ({}, {"core.fsmonitor": "false"}):  # without the protection they do
        ours.try_run("status", "--porcelain", settings=settings)
        assert marker.exists()
        marker.unlink()
