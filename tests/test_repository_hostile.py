"""Repositories that attack: nothing of theirs runs, nothing is written outside; and unusual, honest ones."""

import os
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from repositories import commit_files, fingerprint, git, make_repository, repository_of

from swarm_graph.errors import InputError, RepositoryError, SwarmError
from swarm_graph.repository.apply import apply_to_tree, merge_into_branch, undo
from swarm_graph.repository.chooser import rank
from swarm_graph.repository.commits import commit, message
from swarm_graph.repository.files import RepositoryFiles
from swarm_graph.repository.git import Git
from swarm_graph.repository.patch import patch, stat, unified_diff
from swarm_graph.repository.snapshot import Snapshot
from swarm_graph.repository.worktree import (
    changes_commit,
    is_dirty,
    open_worktree,
    remove_worktree,
    update_worktree,
)
from swarm_graph.state import Repository
from swarm_graph.workflows.commit import commit_figures

WRITTEN = {"src/calc.py": "x = 2\n", "new/a.py": "y = 1\n"}
HOOKS = """
applypatch-msg commit-msg fsmonitor-watchman post-applypatch post-checkout post-commit post-index-change
post-merge post-rewrite pre-applypatch pre-auto-gc pre-commit pre-merge-commit pre-push pre-rebase
prepare-commit-msg proc-receive push-to-checkout reference-transaction sendemail-validate update
"""
PROGRAMS = """
alias.commit-tree alias.status core.alternateRefsCommand core.askPass core.editor core.fsmonitor
core.gitProxy core.pager core.sshCommand credential.helper diff.evil.command diff.evil.textconv diff.external
filter.evil.clean filter.evil.process filter.evil.smudge gpg.program gpg.ssh.defaultKeyCommand gpg.ssh.program
hook.a.b.command hook.evil.command interactive.diffFilter merge.evil.driver pager.diff pager.log pager.status
remote.origin.uploadpack sequence.editor trailer.x.command uploadpack.packObjectsHook
"""
SWITCHES = {
    "hook.evil.event": "reference-transaction",
    "commit.gpgSign": "true", "core.splitIndex": "true", "extensions.worktreeConfig": "true",
    "gpg.format": "ssh",
    "filter.evil.required": "true", "log.showSignature": "true", "submodule.recurse": "true",
    "user.signingKey": "x", "core.untrackedCache": "true", "gc.auto": "1", "diff.submodule": "log",
}  # fmt: skip


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder of the user's that must stay empty."""
    folder = tmp_path / "outside"
    folder.mkdir()
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_repository(tmp_path / "project", {"src/calc.py": "x = 1\n", "README.md": "# It\n"})


def committed(repo: Repository, written: dict[str, str] | None = None) -> str:
    text = message("Change", session="s", verdict="approved", round=1)
    written = WRITTEN if written is None else written
    return commit(repo, "s", parent=repo["base"], written=written, deleted=[], message=text, date=1.7e9)


def work(folder: Path, tree: Path) -> None:
    """All that a session and its user do with a repository; the base is the commit before HEAD."""
    repo = repository_of(folder, base=git(folder, "rev-parse", "HEAD~1"))
    ours = Git(folder)
    files = RepositoryFiles(repo, WRITTEN)
    assert files.why_not("src/calc.py") == files.why_not("new/a.py") == ""
    assert is_dirty(ours) == ["README.md"]
    changes_commit(ours, repo["base"])
    open_worktree(repo, "s", tree)
    made = committed(repo)
    update_worktree(repo, "s", tree)
    assert (tree / "src/calc.py").read_text() == "x = 2\n"
    assert b"+x = 2" in patch(repo, [made])
    assert "src/calc.py" in stat(repo, repo["base"], made)
    assert "+x = 2\n" in unified_diff(repo, repo["base"], made)
    record = tree.parent / "applied.json"
    apply_to_tree(files, record)
    undo(ours, record)
    merge = merge_into_branch(repo, record).commit
    assert ours.text("rev-list", "--parents", "-1", merge).split()[2] == made
    undo(ours, record)
    assert remove_worktree(repo, "s", tree) == []


def test_nothing_of_the_repository_runs(folder: Path, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    program = tmp_path / "evil program"
    program.write_text(f"#!/bin/sh\necho \"$0 $@\" >> '{marker}'\ncat\n")
    program.chmod(0o755)
    commit_files(folder, {".gitattributes": "* filter=evil diff=evil merge=evil\n"}, "Attributes")
    (folder / ".git/objects/info/alternates").write_text("/nowhere\n")
    for hook in HOOKS.split():
        (folder / ".git/hooks").mkdir(exist_ok=True)
        (folder / ".git/hooks" / hook).symlink_to(program)
    with (folder / ".git/config").open("a") as file:
        file.write("[include]\n\tpath = more\n[core]\n\thooksPath = .git/hooks\n")
    settings = {
        "hook.a.b.event": "post-index-change",
        **dict.fromkeys(PROGRAMS.split(), f"'{program}'"),
        **SWITCHES,
    }
    for key, value in settings.items():
        git(folder, "config", "--file", ".git/more", key, value)
    git(folder, "config", "--file", ".git/config.worktree", "filter.evil.clean", f"'{program}'")
    (folder / "README.md").write_text("# Is\n")  # of the same size: git has to read it
    before = fingerprint(folder)
    subprocess.run(["git", "add", "-n", "."], cwd=folder, capture_output=True, check=False)
    assert marker.exists(), "the user's own git runs them"
    marker.unlink()
    assert fingerprint(folder) == before
    work(folder, tmp_path / "data/s")
    assert not marker.exists(), marker.read_text()
    # Git before 2.54 knows no hooks in the configuration, so their switch is all that can be seen here.
    assert Git(folder).text("config", "--bool", "hook.evil.enabled") == "false"
    assert Git(folder).text("config", "--bool", "hook.a.b.enabled") == "false"


def test_a_program_named_git_in_the_repository_does_not_run(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = tmp_path / "ran"
    commit_files(folder, {"git": f"#!/bin/sh\ntouch '{marker}'\n", "sub/git": ""}, "Git")
    (folder / "git").chmod(0o755)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PATH", f":.:{folder.name}:{os.environ['PATH']}")
    assert Git(folder).commit_of("HEAD")
    assert not marker.exists()


def test_names_that_are_not_utf_8_stay_in_the_commit_and_are_not_shown(folder: Path, tmp_path: Path) -> None:
    odd = [
        b"lat\xe9.py",
        b"f\xff/a.py",
        "line\u2028nel\x85.py".encode(),
        b"a\nb.py",
        b"-rf",
        b"esc\x1b[31m.py",
    ]
    for name in odd:
        path = Path(os.fsdecode(os.fsencode(folder) + b"/" + name))
        path.parent.mkdir(exist_ok=True)
        path.write_text("x = 1\n")
    commit_files(folder, {}, "Odd names")
    repo = repository_of(folder)
    files = RepositoryFiles(repo)
    shown = set(files)
    assert {name for name in odd if os.fsdecode(name) not in shown} == set(odd[:2])
    assert rank("esc", files.base, {}, 10)
    assert "not UTF-8" in files.why_not(os.fsdecode(odd[0]))
    made = committed(repo, {**WRITTEN, os.fsdecode(odd[2]): "x = 2\n"})
    assert commit_figures(repo, repo["base"], made).files == 3
    open_worktree(repo, "s", tmp_path / "data/s")
    assert git(tmp_path / "data/s", "status", "--porcelain") == ""
    assert Path(os.fsdecode(os.fsencode(tmp_path / "data/s") + b"/lat\xe9.py")).exists()


@pytest.mark.parametrize("name", ["..", ".git", ".GIT", "git~1", ".git ", ".g\u200cit", "."])
@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_tree_entries_that_lead_away_are_not_written(
    name: str, kind: str, folder: Path, outside: Path, tmp_path: Path
) -> None:
    def made(kind: str, data: bytes) -> str:
        command = ["git", "hash-object", "-t", kind, "-w", "--stdin", "--literally"]
        return (
            subprocess.run(command, cwd=folder, input=data, check=True, capture_output=True)
            .stdout.decode()
            .strip()
        )

    blob = made("blob", os.fsencode(outside) if kind == "link" else b"evil\n")
    inner = made("tree", b"100644 evil\0" + bytes.fromhex(blob))
    mode, entry = {"file": ("100644", blob), "folder": ("40000", inner), "link": ("120000", blob)}[kind]
    data = f"{mode} {name}".encode() + b"\0" + bytes.fromhex(entry)
    good = f"100644 {chr(126)}good".encode() + b"\0" + bytes.fromhex(made("blob", b"good\n"))
    hostile = git(folder, "commit-tree", made("tree", data + good), "-m", "Hostile")
    git(folder, "update-ref", "refs/heads/main", hostile)
    tree, before = tmp_path / "data/worktrees/s", _files(tmp_path)
    repo = repository_of(folder)
    for step in (lambda: open_worktree(repo, "s", tree), lambda: committed(repo)):
        with suppress(RepositoryError):
            step()
    written = _files(tmp_path) - before
    assert not {path for path in written if "evil" in path or "outside" in path}
    assert (tree / ".git").read_text().startswith("gitdir: ")


def _files(folder: Path) -> set[str]:
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if not path.is_relative_to(folder / "project" / ".git" / "objects")
    }


def test_links_that_lead_out_are_not_followed(folder: Path, outside: Path, tmp_path: Path) -> None:
    (outside / "secret.txt").write_text("secret\n")
    (folder / "out").symlink_to(outside)
    (folder / "file").symlink_to(outside / "secret.txt")
    commit_files(folder, {}, "Links")
    repo, tree = repository_of(folder), tmp_path / "data/s"
    files = RepositoryFiles(repo, {"out/secret.txt": "x\n", "file": "x\n"})
    assert files.why_not("out/secret.txt") == "'out' is a symbolic link"
    assert {"file", "out", "out/secret.txt"}.isdisjoint({*RepositoryFiles(repo)})
    open_worktree(repo, "s", tree)
    for written in ({"out/secret.txt": "x\n"}, {"out/new.txt": "x\n"}, {"file": "x\n"}):
        with suppress(RepositoryError):
            committed(repo, written)
        with suppress(RepositoryError):
            update_worktree(repo, "s", tree)
        with suppress(RepositoryError):
            apply_to_tree(RepositoryFiles(repo, written), tmp_path / "data/applied.json")
    assert [path.name for path in outside.iterdir()] == ["secret.txt"]
    assert (outside / "secret.txt").read_text() == "secret\n"


@pytest.mark.parametrize("how", ["file", "link", "core.worktree", "commondir", "own file"])
def test_a_git_folder_that_leads_elsewhere_is_refused(how: str, folder: Path, tmp_path: Path) -> None:
    """A received folder must not lead into another repository, or make another folder its working tree."""
    evil = make_repository(tmp_path / "evil", {"a": "1\n"})
    if how in ("file", "link"):
        (evil / ".git").rename(tmp_path / "old")
    if how == "file":
        (evil / ".git").write_text(f"gitdir: {folder}/.git\n")
    elif how == "own file":  # which names the folder above as its working tree
        git(evil, "config", "core.worktree", str(tmp_path))
        (evil / ".git").rename(evil / "hidden")
        (evil / ".git").write_text("gitdir: hidden\n")
    elif how == "link":
        (evil / ".git").symlink_to(folder / ".git")
    elif how == "commondir":
        (evil / ".git/commondir").write_text(f"{folder}/.git")
    else:
        git(evil, "config", how, str(tmp_path))
    with pytest.raises(InputError, match=f"the '.git' of '{evil}' and that folder do not name each other"):
        Git(evil)


@pytest.mark.parametrize(
    "place",
    ["refs/heads/swarm", "logs/refs/heads/swarm", "worktrees", "objects/ab", "logs/refs/heads/swarm/s"],
)
def test_links_in_the_git_folder_are_not_written_through(
    place: str, folder: Path, outside: Path, tmp_path: Path
) -> None:
    link = folder / ".git" / place
    link.parent.mkdir(parents=True, exist_ok=True)
    target = outside / "log" if place.endswith("/s") else outside
    if link.is_dir():
        link.rename(tmp_path / "moved")
    link.symlink_to(target)
    repo = repository_of(folder)
    with pytest.raises(RepositoryError, match="is a symbolic link; a session does not write through one"):
        committed(repo)
    with pytest.raises(RepositoryError, match="is a symbolic link"):
        open_worktree(repo, "s", tmp_path / "data/s")
    assert not list(outside.iterdir())


def test_missing_objects_are_not_fetched(folder: Path, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    for key, value in {
        "remote.origin.url": f"ext::sh -c touch% {marker}", "remote.origin.promisor": "true",
        "remote.origin.partialclonefilter": "blob:none", "extensions.partialClone": "origin",
        "core.repositoryFormatVersion": "1", "protocol.allow": "always", "protocol.ext.allow": "always",
    }.items():  # fmt: skip
        git(folder, "config", key, value)
    blob = git(folder, "rev-parse", "HEAD:src/calc.py")
    (folder / ".git/objects" / blob[:2] / blob[2:]).unlink()
    commit = git(folder, "rev-parse", "HEAD")
    subprocess.run(["git", "cat-file", "-p", blob], cwd=folder, capture_output=True, check=False)
    assert marker.exists(), "the user's own git runs it"
    marker.unlink()
    with pytest.raises(RepositoryError):  # git may end at the list of the files, or at the file
        Snapshot(Git(folder), commit).read("src/calc.py")
    with pytest.raises(RepositoryError):
        open_worktree(repository_of(folder), "s", tmp_path / "data/s")
    assert not marker.exists()


def test_submodules_are_left_alone(folder: Path, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    text = f'[submodule "x"]\n\tpath = sub\n\turl = ext::sh -c touch% {marker}\n\tupdate = !touch {marker}\n'
    commit_files(folder, {".gitmodules": text}, "Modules")
    git(folder, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},sub")
    git(folder, "commit", "--quiet", "-m", "Sub")
    git(folder, "config", "submodule.x.update", f"!touch {marker}")
    git(folder, "config", "submodule.x.url", f"ext::sh -c touch% {marker}")
    git(folder, "config", "submodule.active", ".")
    (folder / "README.md").write_text("# Is\n")
    work(folder, tmp_path / "data/s")
    assert not marker.exists()


def test_a_configuration_for_worktrees_only_runs_nothing(folder: Path, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    for key in ("clean", "smudge", "process"):
        git(folder, "config", "--file", ".git/more", f"filter.evil.{key}", f"touch {marker}; cat")
    for condition in ("gitdir:**/worktrees/**", "onbranch:swarm/**"):
        git(folder, "config", f"includeIf.{condition}.path", "more")
    commit_files(folder, {".gitattributes": "* filter=evil\n"}, "Attributes")
    repo, tree = repository_of(folder), tmp_path / "data/s"
    open_worktree(repo, "s", tree)
    committed(repo)
    update_worktree(repo, "s", tree)
    (tree / "README.md").write_text("# Is\n")
    assert remove_worktree(repo, "s", tree) == [f"'{tree}' stays, as somebody changed it: README.md"]
    assert not marker.exists()
    git(tree, "status")
    assert marker.exists(), "the user's own git runs them"


def test_replaced_and_grafted_commits_do_not_deceive(folder: Path) -> None:
    base = git(folder, "rev-parse", "HEAD")
    git(folder, "checkout", "--quiet", "--orphan", "other")
    other = commit_files(folder, {"src/calc.py": "evil\n"}, "Other")
    git(folder, "checkout", "--quiet", "main")
    git(folder, "replace", base, other)
    (folder / ".git/info").mkdir(exist_ok=True)
    (folder / ".git/info/grafts").write_text(f"{base} {other}\n")
    files = Snapshot(Git(folder), Git(folder).commit_of("HEAD"))
    assert files.read("src/calc.py") == b"x = 1\n"
    assert Git(folder).text("rev-list", "--count", "HEAD") == "1"


@pytest.mark.parametrize("name", ["-x", "--exec=touch", "--upload-pack=touch", "HEAD", "swarm/s/t"])
def test_branches_with_strange_names(name: str, folder: Path, tmp_path: Path) -> None:
    git(folder, "update-ref", f"refs/heads/{name}", "HEAD")
    (folder / ".git/HEAD").write_text(f"ref: refs/heads/{name}\n")
    repo = {**repository_of(folder), "base": Git(folder).commit_of("HEAD")}
    if name == "swarm/s/t":
        with pytest.raises(
            RepositoryError, match="'refs/heads/swarm/s/t' exists; cannot create 'refs/heads/swarm/s'"
        ):
            committed(repo)  # type: ignore[arg-type]
        return
    made = committed(repo)  # type: ignore[arg-type]
    merge_into_branch(repo, tmp_path / "data/applied.json")  # type: ignore[arg-type]
    assert (folder / ".git/refs/heads" / name).read_text().strip() == made


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root can give files away")
def test_a_repository_of_somebody_else_works(folder: Path) -> None:
    (folder / "README.md").write_text("# Is\n")
    for path in (folder, *folder.rglob("*")):
        os.lchown(path, 65534, 65534)
    assert is_dirty(Git(folder)) == ["README.md"]


# --- unusual repositories ------------------------------------------------------------------------


def _round(folder: Path, tree: Path) -> None:
    """A session from its first commit to its end."""
    repo = repository_of(folder)
    repo["base"] = Git(folder).commit_of("HEAD")
    before = fingerprint(folder)
    open_worktree(repo, "s", tree)
    made = committed(repo, {"a.txt": "2\n"})
    assert update_worktree(repo, "s", tree) == []
    assert git(tree, "status", "--porcelain") == ""
    assert git(tree, "rev-parse", "HEAD") == made
    assert b"+2" in patch(repo, [made])
    assert remove_worktree(repo, "s", tree) == []
    assert fingerprint(folder) == before


def _detached(folder: Path) -> Path:
    git(folder, "checkout", "--quiet", "--detach")
    return folder


def _shallow(folder: Path) -> Path:
    commit_files(folder, {"a.txt": "1\n"}, "Second")
    git(folder.parent, "clone", "--quiet", "--depth", "1", f"file://{folder}", "shallow")
    return folder.with_name("shallow")


def _sha256(folder: Path) -> Path:
    new = folder.with_name("sha256")
    new.mkdir()
    git(new, "init", "--quiet", "--object-format", "sha256")
    commit_files(new, {"a.txt": "1\n"}, "First")
    return new


def _inside(folder: Path) -> Path:
    return make_repository(folder / "lib" / "inner", {"a.txt": "1\n"})


def _linked(folder: Path) -> Path:
    git(folder, "worktree", "add", "--quiet", "--detach", str(folder.with_name("linked")))
    return folder.with_name("linked")


def _submodule(folder: Path) -> Path:
    make_repository(folder.with_name("lib"), {"a.txt": "1\n"})
    git(
        folder,
        "-c",
        "protocol.file.allow=always",
        "submodule",
        "--quiet",
        "add",
        str(folder.with_name("lib")),
        "sub",
    )
    return folder / "sub"


@pytest.mark.parametrize("kind", [_detached, _shallow, _sha256, _inside, _linked, _submodule])
def test_unusual_repositories_work(kind: Callable[[Path], Path], folder: Path, tmp_path: Path) -> None:
    _round(kind(folder), tmp_path / "data/worktrees/s")


def test_a_merge_needs_a_branch(folder: Path, tmp_path: Path) -> None:
    repo = repository_of(folder)
    committed(repo)
    _detached(folder)
    with pytest.raises(InputError, match="no branch is checked out in"):
        merge_into_branch(repo, tmp_path / "applied.json")


def test_what_cannot_work_is_refused_in_one_line(tmp_path: Path) -> None:
    empty, bare = tmp_path / "empty", tmp_path / "bare"
    for folder, option in ((empty, "--quiet"), (bare, "--bare")):
        folder.mkdir()
        git(folder, "init", "--quiet", option)
    refusals: dict[str, Callable[[], object]] = {
        f"the repository '{empty}' has no commit 'HEAD'": lambda: Git(empty).commit_of("HEAD"),
        "this operation must be run in a work tree": lambda: Git(bare),
        f"the repository '{tmp_path / 'file'}' is not a folder": lambda: Git(tmp_path / "file"),
    }
    for reason, step in refusals.items():
        with pytest.raises(SwarmError) as refused:
            step()
        assert reason in str(refused.value)
        assert "\n" not in str(refused.value)
