"""What a session changed in a repository, from the command line: apply, undo, patch and cleanup."""

from __future__ import annotations

import json
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from langgraph.graph import START, StateGraph
from repositories import commit_files, fingerprint, git, make_repository, repository_of
from support import Crew, config, thread

from swarm_graph import SwarmCoordinator
from swarm_graph.checkpoints.saver import open_checkpointer
from swarm_graph.cli.main import swarm_graph
from swarm_graph.repository.commits import commit, message
from swarm_graph.repository.worktree import open_worktree
from swarm_graph.sessions.apply import change_of
from swarm_graph.sessions.ids import session_to_read
from swarm_graph.state import ChangeState

WRITTEN = {"src/calc.py": "x = 2\n", "docs/new.md": "# New\n"}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_repository(tmp_path / "project", {"src/calc.py": "x = 1\n", "gone.md": "# Gone\n"})


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def session(data: Path, folder: Path, name: str = "s", **more: Any) -> None:
    """An ended session that changed a repository, with its commit, branch and worktree."""
    swarm = SwarmCoordinator(config(), data_dir=data, output_dir=data / "out", context=Crew().context)
    swarm.run_workflow("Build it", "review_only", session_id=name)
    repo = repository_of(folder, name)
    text = message("Change", session=name, verdict="approved", round=1)
    made = commit(
        repo, name, parent=repo["base"], written=WRITTEN, deleted=["gone.md"], message=text, date=1.7e9
    )
    open_worktree(repo, name, data / "worktrees" / name)
    graph = StateGraph(ChangeState)
    graph.add_node("change", lambda _: {})
    graph.add_edge(START, "change")
    state: dict[str, Any] = {
        "repo": repo,
        "code": {"src/calc.py": "x = 2\n"},
        "documentation": {"docs/new.md": "# New\n"},
    }
    state |= {"deleted": ["gone.md"], "commits": [made], "approved": True, **more}
    with open_checkpointer(data / "swarm.db") as saver:
        graph.compile(checkpointer=saver).update_state(thread(name), state, as_node="change")


def cli(data: Path, *arguments: str) -> Result:
    return CliRunner().invoke(swarm_graph, [*arguments, "--data-dir", str(data)])


def refusal(data: Path, *arguments: str) -> str:
    return str(cli(data, *arguments).exception)


def test_a_change_comes_into_the_user_s_tree_and_goes_again(data: Path, project: Path) -> None:
    session(data, project)
    done = cli(data, "apply")
    assert done.stdout.splitlines() == [
        f"Applied session s to {project}: 3 files, uncommitted",
        "  src/calc.py",
        "  docs/new.md",
        "  gone.md (deleted)",
        f"`swarm-graph apply s --undo --data-dir {data}` takes it back",
    ]
    assert (project / "src/calc.py").read_text() == "x = 2\n"
    assert cli(data, "apply", "s").stdout == f"{project} has the change of session s already\n"
    undone = json.loads(cli(data, "apply", "s", "--undo", "--json").stdout)
    assert undone == {
        "session": "s", "repo": str(project), "undone": True,
        "written": ["src/calc.py", "gone.md"], "deleted": ["docs/new.md"], "commit": "",
    }  # fmt: skip
    assert git(project, "status", "--porcelain") == ""
    assert "no applied change to undo" in refusal(data, "apply", "s", "--undo")


def test_of_several_at_once_one_applies_the_change_and_it_is_taken_back_whole(
    data: Path, project: Path
) -> None:
    session(data, project)
    with open_checkpointer(data / "swarm.db") as saver:
        change = change_of(saver, session_to_read(saver.catalogue, "s"), None)
    with ThreadPoolExecutor(6) as pool:
        done = [each.result() for each in [pool.submit(change.apply) for _ in range(6)]]
    assert sorted(len(applied.written) for applied in done) == [0, 0, 0, 0, 0, 2]
    assert len(change.undo().written) == 2
    assert git(project, "status", "--porcelain") == ""


def test_a_branch_is_merged(data: Path, project: Path) -> None:
    session(data, project)
    done = cli(data, "apply", "s", "--merge")
    head = git(project, "rev-parse", "main")
    assert done.stdout.startswith(f"Applied session s to {project}: 3 files, commit {head[:12]}\n")
    assert git(project, "status", "--porcelain") == ""
    assert "'main' already contains 'swarm/s'" in refusal(data, "apply", "s", "--merge")


def test_a_patch_is_printed_as_git_am_takes_it(data: Path, project: Path, tmp_path: Path) -> None:
    session(data, project)
    before = fingerprint(project)
    (tmp_path / "changes.patch").write_bytes(cli(data, "apply", "s", "--patch").stdout_bytes)
    assert fingerprint(project) == before
    git(project, "am", str(tmp_path / "changes.patch"))
    assert git(project, "rev-parse", "main^{tree}") == git(project, "rev-parse", "swarm/s^{tree}")


def test_a_change_without_approval_says_so(data: Path, project: Path) -> None:
    session(data, project, approved=False)
    assert "note: the reviews did not approve the change of session s" in cli(data, "apply").stderr


def test_wrong_use_is_one_line(data: Path, project: Path, tmp_path: Path) -> None:
    SwarmCoordinator(config(), data_dir=data, output_dir=data / "out", context=Crew().context).run_workflow(
        "Build it", "review_only", session_id="plain"
    )
    assert refusal(data, "apply", "plain") == (
        "session 'plain' changes no repository; `swarm-graph run --repo DIR` begins one that does"
    )
    assert refusal(data, "apply", "nope").startswith("no session 'nope' in")
    assert refusal(data, "apply", "--merge", "--undo") == "give one of --merge, --patch and --undo"
    assert "leave --json out" in refusal(data, "apply", "--patch", "--json")
    session(data, project)
    other = make_repository(tmp_path / "other", {"a": "1\n"})
    assert f"the repository '{other}' lacks the commit" in refusal(data, "apply", "s", "--repo", str(other))
    assert "is not inside the working tree of a git repository" in refusal(
        data, "apply", "s", "--repo", str(data)
    )


def test_the_repository_of_somebody_else_s_session_is_not_used(
    data: Path, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session(data, project)
    received = tmp_path / "received"
    received.mkdir()
    with closing(sqlite3.connect(data / "swarm.db")) as source:
        source.execute("VACUUM INTO ?", [str(received / "swarm.db")])
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "key of another user"))
    before = fingerprint(project)
    assert refusal(received, "apply", "s") == (
        "session 's' was not started by you on this machine; name your repository with --repo DIR"
    )
    done = cli(received, "sessions", "cleanup", "--older-than", "0s", "--keep", "0")
    assert "the branch and worktree of session 's' stay: you did not start it here" in done.stdout
    assert fingerprint(project) == before
    assert git(project, "branch", "--list", "swarm/s") != ""


def test_a_received_session_writes_no_path_outside(data: Path, project: Path) -> None:
    session(data, project, code={"../outside.py": "x\n", ".git/hooks/post-commit": "x\n"})
    before = fingerprint(project)
    assert "'../outside.py': it is not a plain path" in refusal(data, "apply", "s")
    assert fingerprint(project) == before


# --- cleanup -------------------------------------------------------------------------------------


def cleanup(data: Path, *arguments: str) -> dict[str, Any]:
    done = cli(data, "sessions", "cleanup", "--older-than", "0s", "--keep", "0", "--json", *arguments)
    assert done.exception is None, done.exception
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_a_cleanup_removes_the_worktrees_and_branches_of_removed_sessions_only(
    data: Path, project: Path
) -> None:
    git(project, "branch", "swarm/mine")
    git(project, "worktree", "add", "--quiet", str(project.parent / "mine"), "-b", "other")
    settings = (project / ".git/config").read_bytes()
    for name in ("a", "b"):
        session(data, project, name)
    cli(data, "apply", "a")
    cli(data, "apply", "a", "--undo")
    session(data, project, "c", repo=None)
    assert cleanup(data, "--dry-run")["removed"] == ["c", "b", "a"]
    assert (data / "worktrees/a").exists()
    assert cleanup(data)["notes"] == []
    assert [path.name for path in (data / "worktrees").iterdir()] == ["c"]  # its session names no repository
    branches = git(project, "branch", "--format", "%(refname:short)").split()
    assert branches == ["main", "other", "swarm/c", "swarm/mine"]
    assert [path.name for path in (project / ".git/worktrees").iterdir()] == ["mine", "c"]
    assert (project / ".git/config").read_bytes() == settings
    assert not list((data / "applied").glob("*.json"))


def test_a_cleanup_leaves_what_somebody_changed_and_says_so(data: Path, project: Path) -> None:
    for name in ("a", "b", "gone"):
        session(data, project, name)
    (data / "worktrees/a/src/calc.py").write_text("by hand\n")
    theirs = commit_files(data / "worktrees/b", {"b.txt": "by hand\n"}, "By hand")
    notes = cleanup(data)["notes"]
    assert notes == [
        f"'swarm/b' stays: its commit {theirs[:12]} is not the session's",
        f"'{data / 'worktrees/a'}' stays, as somebody changed it: src/calc.py",
    ]
    assert (data / "worktrees/a/src/calc.py").read_text() == "by hand\n"


def test_a_cleanup_goes_on_without_the_repository(data: Path, project: Path) -> None:
    session(data, project)
    project.rename(project.with_name("moved"))
    (note,) = cleanup(data)["notes"]
    assert note == f"the branch and worktree of session 's' stay: the repository '{project}' is not a folder"
