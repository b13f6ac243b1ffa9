"""Sessions that change a repository: how they begin, go on and are found again. Git is real."""

from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from repositories import commit_files, fingerprint, git, make_repository
from support import SIMULATED, config, thread, write_config
from warm import run

from swarm_graph import build_graph
from swarm_graph.config import load_config, repository_settings
from swarm_graph.errors import ConfigError, InputError
from swarm_graph.repository.changed_files import names_newer_commit
from swarm_graph.repository.git import Git
from swarm_graph.repository.worktree import is_dirty
from swarm_graph.sessions.gitignore import keep_out_of_git
from swarm_graph.settings import RepositorySettings
from swarm_graph.workflows.repository import branch_name, find_again, given_repository, resolve

FILES = {
    "calc.py": "def add(a, b):\n    return a - b\n",
    "tests/test_calc.py": "from calc import add\n\n\ndef test_add():\n    assert add(1, 2) == 3\n",
}


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return make_repository(tmp_path / "repo", FILES)


# --- settings ------------------------------------------------------------------------------------


def test_a_repository_makes_the_kind_change(repo: Path, tmp_path: Path) -> None:
    assert load_config({**SIMULATED, "repo": {"path": str(repo)}}).workflow.kind == "change"
    config = load_config(write_config(tmp_path, repo={"path": "repo", "only": ["src/*"]}))
    assert config.repo is not None
    assert (config.repo.path, config.repo.only) == (str(repo), ["src/*"])
    assert config.redacted()["workflow"] == {"kind": "change"}


def test_another_kind_with_a_repository_is_refused(repo: Path) -> None:
    values = {**SIMULATED, "repo": {"path": str(repo)}, "workflow": {"kind": "document"}}
    with pytest.raises(ConfigError, match=r"workflow\.kind is 'document'; leave one out"):
        load_config(values)
    with pytest.raises(ConfigError, match="the kind given is 'code'"):
        load_config({**SIMULATED, "workflow": {"kind": "code"}}).with_repo(RepositorySettings(path=str(repo)))


def test_unusable_settings_are_named() -> None:
    with pytest.raises(ConfigError, match="repo: unknown key 'bse'"):
        repository_settings({"path": ".", "bse": "main"})
    with pytest.raises(ConfigError, match="expected no base with with_changes"):
        repository_settings({"path": ".", "base": "main", "with_changes": True})


# --- finding the repository ----------------------------------------------------------------------


def test_resolve_names_the_commit_in_full(repo: Path) -> None:
    found = resolve(RepositorySettings(path=str(repo / "tests")))
    assert found["path"] == str(repo)
    assert (found["base"], found["start"]) == (git(repo, "rev-parse", "HEAD"), "HEAD")


def test_what_cannot_be_resolved_is_refused(repo: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no commit 'a\\x00b'"):
        resolve(RepositorySettings(path=str(repo), base="a\0b"))
    with pytest.raises(InputError, match="has no commit 'no-such'"):
        resolve(RepositorySettings(path=str(repo), base="no-such"))
    with pytest.raises(InputError, match="is not a folder"):
        resolve(RepositorySettings(path=str(tmp_path / "none")))
    (empty := tmp_path / "empty").mkdir()
    git(empty, "init", "--quiet")
    with pytest.raises(InputError, match="has no commit yet; commit its files first"):
        resolve(RepositorySettings(path=str(empty)))


def test_uncommitted_changes_come_along_as_a_commit_and_the_index_stays(repo: Path) -> None:
    (repo / "calc.py").write_text("def add(a, b):\n    return a + b\n")
    (repo / "new.txt").write_text("new\n")
    (repo / "tests/test_calc.py").unlink()
    git(repo, "add", "new.txt")
    before = fingerprint(repo)
    found = resolve(RepositorySettings(path=str(repo), with_changes=True))
    assert resolve(RepositorySettings(path=str(repo), with_changes=True)) == found
    assert fingerprint(repo) == before
    changed = git(repo, "diff-tree", "-r", "--name-status", "HEAD", found["base"]).split()
    assert changed == ["M", "calc.py", "A", "new.txt", "D", "tests/test_calc.py"]
    assert git(repo, "rev-parse", f"{found['base']}^") == git(repo, "rev-parse", "HEAD")
    assert git(repo, "branch", "--list", "--format=%(refname:short)") == "main"


def test_a_clean_tree_has_nothing_to_take_along(repo: Path) -> None:
    assert is_dirty(Git(repo)) == []
    found = resolve(RepositorySettings(path=str(repo), with_changes=True))
    assert found["base"] == git(repo, "rev-parse", "HEAD")


def test_ranges_of_a_review(repo: Path) -> None:
    first = git(repo, "rev-parse", "HEAD")
    git(repo, "switch", "--quiet", "--create", "topic")
    topic = commit_files(repo, {"calc.py": "pass\n"}, "Topic")
    git(repo, "switch", "--quiet", "main")
    main = commit_files(repo, {"other.py": "pass\n"}, "Main")

    def ends(diff: str, **more: Any) -> tuple[str, str]:
        found = resolve(RepositorySettings(path=str(repo), diff=diff, **more))
        return found["compared_with"], found["base"]

    assert ends("topic...") == (first, main)
    assert ends("topic..main") == (topic, main)
    assert ends("main...topic") == (first, topic)
    assert ends("HEAD~1") == (first, main)
    (repo / "calc.py").write_text("changed\n")
    old, new = ends("HEAD", with_changes=True)
    assert (old, git(repo, "diff-tree", "-r", "--name-only", old, new)) == (main, "calc.py")


@pytest.mark.parametrize(
    "session", ["a..b", "x.lock", "end.", "a/b c~^:?*[\\", ".hidden", "20231205_143022_4f2a", "@{"]
)
def test_the_branch_of_any_session_is_one_that_git_allows(session: str, repo: Path) -> None:
    git(repo, "check-ref-format", "--branch", branch_name(session))


def test_the_repository_of_a_session_is_found_where_it_lies_now(repo: Path, tmp_path: Path) -> None:
    recorded = resolve(RepositorySettings(path=str(repo)))
    assert find_again(recorded, "s", None, is_own=True) == recorded
    moved = repo.rename(tmp_path / "moved")
    with pytest.raises(InputError, match=r"session 's': the repository .* name yours with --repo DIR"):
        find_again(recorded, "s", None, is_own=True)
    here = RepositorySettings(path=str(moved))
    assert find_again(recorded, "s", here, is_own=False)["path"] == str(moved)
    other = make_repository(tmp_path / "other", {"a": "b"})
    with pytest.raises(InputError, match=f"lacks the commit {recorded['base'][:12]}"):
        find_again(recorded, "s", RepositorySettings(path=str(other)), is_own=True)


def test_the_recorded_repository_of_somebody_elses_session_is_not_used(repo: Path) -> None:
    recorded = resolve(RepositorySettings(path=str(repo)))
    with pytest.raises(InputError, match=r"not started by you.*--repo DIR.*--trust-session"):
        find_again(recorded, "s", None, is_own=False)


def test_a_repository_may_be_given_in_several_forms(repo: Path) -> None:
    recorded = resolve(RepositorySettings(path=str(repo)))
    configured = RepositorySettings(path=str(repo))
    for given in (str(repo), repo, {"path": str(repo)}, recorded, configured):
        assert given_repository(given, None) == recorded
    assert given_repository(None, configured) == recorded
    with pytest.raises(InputError, match=r"repo\.path: field required"):
        given_repository({"start": "HEAD"}, None)


def test_folders_of_ours_in_a_repository_are_no_changes_of_it(repo: Path, tmp_path: Path) -> None:
    (repo / ".swarm").mkdir()
    (repo / ".swarm/swarm.db").write_text("x")
    keep_out_of_git(repo / ".swarm", str(repo))
    keep_out_of_git(tmp_path / "outside", str(repo))
    keep_out_of_git(repo, str(repo))
    assert is_dirty(Git(repo)) == []
    assert not (tmp_path / "outside").exists()


# --- the input of a graph ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("branch", "message"),
    [
        ("swarm", "needs the branch 'swarm/s', which git allows only without a branch 'swarm'; rename that"),
        (
            "swarm/s/x",
            "only without a branch 'swarm/s/x'; rename that with `git branch -m swarm/s/x OTHER-NAME`",
        ),
        ("swarm/s", "the branch 'swarm/s' is checked out in"),
    ],
)
def test_a_branch_in_the_place_of_the_session_s_is_refused_before_a_model_is_asked(
    branch: str, message: str, repo: Path, tmp_path: Path
) -> None:
    git(repo, "switch", "--quiet", "--create", branch)
    before = fingerprint(repo)
    options = ["--repo", str(repo), "--session", "s", "--simulate"]
    done = run("run", "Fix", *options, cwd=tmp_path, text=True)
    assert (done.returncode, message in done.stderr) == (1, True), done.stderr
    assert done.stdout == ""
    assert fingerprint(repo) == before


def test_a_change_needs_a_repository_and_other_kinds_take_none(repo: Path) -> None:
    graph = build_graph("standard", config=config(workflow={"kind": "change"}), checkpointer=InMemorySaver())
    with pytest.raises(InputError, match="needs a repository; name it with --repo DIR"):
        graph.invoke({"request": "x"}, thread())
    with pytest.raises(InputError, match=r"this graph makes code; set workflow\.kind to 'change'"):
        build_graph("standard", config=config()).invoke({"request": "x", "repo": str(repo)})


def test_other_kinds_have_the_channels_that_they_had() -> None:
    added = {"repo", "deleted", "wanted", "baseline", "commits"}
    assert not added & build_graph("full", config=config()).channels.keys()
    assert added <= build_graph("full", config=config(workflow={"kind": "change"})).channels.keys()


def test_a_review_needs_a_range_and_a_change_takes_none(repo: Path) -> None:
    settings = config(workflow={"kind": "change"})
    with pytest.raises(InputError, match="needs the range to review, as in --diff main"):
        build_graph("review_only", config=settings).invoke({"request": "x", "repo": str(repo)})
    commit_files(repo, {"new.py": "x = 1\n"}, "Second")
    given = {"request": "x", "repo": {"path": str(repo), "diff": "HEAD~1"}}
    with pytest.raises(InputError, match="a diff is for reviews"):
        build_graph("standard", config=settings).invoke(given)


def test_doctor_finds_the_repository(repo: Path, tmp_path: Path) -> None:
    write_config(tmp_path, repo={"path": "repo"})
    done = run("doctor", cwd=tmp_path, text=True)
    assert f"{repo}, at {git(repo, 'rev-parse', 'HEAD')[:12]} (HEAD)" in " ".join(done.stdout.split())
    write_config(tmp_path, repo={"path": "nowhere"})
    done = run("doctor", cwd=tmp_path, text=True)
    assert done.returncode == 1
    assert "is not a folder" in done.stdout


# --- the command line ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--base", "main"], "--base needs a repository: add --repo DIR"),
        (["--read-only-files", "x"], "--read-only-files needs a repository: add --repo DIR"),
        (["--kind", "change"], "needs a repository; name it with --repo DIR"),
        (["--repo", "repo", "--kind", "document"], "the kind given is 'document'"),
        (["--repo", "nowhere"], "nowhere' is not a folder; name yours with --repo DIR"),
        (["--repo", "."], "of a git repository (not a git repository (or any of the parent directories)"),
        (["--repo", "repo", "--base", "--upload-pack=x"], "has no commit '--upload-pack=x'; name a branch"),
        (["--repo", "repo", "--diff", ""], "--diff is empty; name the range to review"),
        (["--repo", ""], "--repo is empty"),
    ],
)
def test_refused_options(options: list[str], message: str, repo: Path, tmp_path: Path) -> None:
    assert repo.is_dir()
    done = run("run", "x", "--simulate", *options, cwd=tmp_path, text=True)
    assert (done.returncode, message in done.stderr) == (2, True), done.stderr
    assert not (tmp_path / ".swarm").exists()


def test_a_glob_that_matches_no_file_is_told(repo: Path, tmp_path: Path) -> None:
    assert repo.is_dir()
    options = ("--repo", "repo", "--only", "*.py", "--only", "nowhere/**", "--base", "main")
    done = run("run", "x", "--simulate", *options, cwd=tmp_path, text=True)
    notes = [line for line in done.stderr.splitlines() if "note:" in line]
    assert notes == [
        "swarm-graph: note: --only 'nowhere/**' matches no file of main, so it allows new files alone"
    ]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", False),
        ("main", False),
        ("a..", False),
        ("a...", False),
        ("a..b", True),
        ("a...b", True),
        ("a^!", True),
    ],
)
def test_a_range_that_names_its_newer_commit(text: str, named: bool) -> None:
    assert names_newer_commit(text) is named
