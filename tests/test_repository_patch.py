"""A change as a patch that `git am` takes, as figures, and as a diff for reviewers."""

import subprocess
from pathlib import Path

import pytest
from repositories import commit_files, git, make_repository, repository_of

from swarm_graph.errors import InputError
from swarm_graph.repository.commits import commit, message
from swarm_graph.repository.patch import am_command, patch, stat, unified_diff
from swarm_graph.state import Repository

HOSTILE = {
    "format.attach": "true", "format.headers": "X-Evil: yes", "format.signOff": "true",
    "format.thread": "true",
    "format.coverLetter": "true", "format.outputDirectory": "elsewhere", "format.subjectPrefix": "EVIL",
    "format.signature": "evil", "format.notes": "true", "format.useAutoBase": "true",
    "format.from": "Eve <e@e>",
    "format.to": "eve@example.invalid", "format.pretty": "oneline", "diff.noprefix": "true",
    "diff.mnemonicPrefix": "true", "diff.context": "0", "diff.orderFile": "nothing", "diff.relative": "true",
    "color.ui": "always", "color.diff": "always", "diff.renames": "copies", "core.abbrev": "4",
    "diff.wsErrorHighlight": "all", "diff.colorMoved": "zebra", "i18n.commitEncoding": "latin-1",
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    files: dict[str, str | bytes] = {
        "a.py": "x = 1\ny = 2\n", "gone.md": "# Gone\n", "crlf.txt": b"one\r\ntwo\r\n", "last": "no newline",
        "wide.txt": "Wörter\n".encode("utf-16"),
        "old.txt": "Größe, für Jürgen geprüft\n".encode("cp1252") * 4,
    }  # fmt: skip
    return make_repository(tmp_path / "project", files)


def changed(folder: Path, crlf: bool = False) -> tuple[Repository, list[str]]:
    """A session with two commits."""
    repo = repository_of(folder)
    commits = [repo["base"]]
    for number in (1, 2):
        written = {
            "a.py": f"x = {number}\ny = 3\n", "src/new.py": "z = 1\n", "last": "first\nno newline\n",
            "wide.txt": "Wörter, Wörter\n", "old.txt": "Größe, für Jürgen geprüft: ja\n" * 4,
            "From here.txt": "From x Mon Sep 17 00:00:00 2001\n---\n",
        }  # fmt: skip
        text = message(f"Änderung {number}", session="s", verdict="approved", round=number)
        more = {"crlf.txt": "one\n2\n"} if crlf else {}
        date = 1_700_000_000 + number
        commits.append(
            commit(
                repo,
                "s",
                parent=commits[-1],
                written=written | more,
                deleted=["gone.md"],
                message=text,
                date=date,
            )
        )
    return repo, commits[1:]


@pytest.mark.parametrize("crlf", [False, True])
def test_git_am_takes_the_patch(crlf: bool, folder: Path, tmp_path: Path) -> None:
    repo, commits = changed(folder, crlf)
    for key, value in HOSTILE.items():
        git(folder, "config", key, value)
    mails = patch(repo, commits)
    assert mails.count(b"\nSubject: [PATCH ") == 2
    assert not any(word in mails for word in (b"EVIL", b"evil", b"\x1b", b"Signed-off", b"MIME; boundary"))
    (tmp_path / "changes.patch").write_bytes(mails)
    command = am_command(mails, str(tmp_path / "changes.patch"))
    assert ("--keep-cr" in command) is crlf
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", "--branch", "main", str(folder), str(clone))
    git(clone, *command.split()[1:])
    assert git(clone, "rev-parse", "HEAD^{tree}") == git(folder, "rev-parse", f"{commits[-1]}^{{tree}}")
    assert git(clone, "log", "-2", "--format=%s|%(trailers:key=Swarm-Round,valueonly,separator=%x2C)") == (
        "Änderung 2|2\nÄnderung 1|1"
    )
    assert not (folder / "elsewhere").exists()


def test_without_commits_there_is_no_patch(folder: Path) -> None:
    assert patch(repository_of(folder), []) == b""
    with pytest.raises(InputError, match="has no commit '--output=x'"):
        patch(repository_of(folder), ["--output=x"])


def test_the_figures_of_a_change(folder: Path) -> None:
    repo, commits = changed(folder)
    text = stat(repo, repo["base"], commits[-1])
    assert " a.py          |   4 ++--\n" in text
    assert text.endswith("insertions(+), 7 deletions(-)\n")


def test_a_diff_hides_nothing(folder: Path) -> None:
    commit_files(folder, {".gitattributes": "*.py -diff\n*.md binary\n"}, "Hide")
    (folder / ".git/info/attributes").write_text("* -diff\n")
    repo, commits = changed(folder)
    text = unified_diff(repo, repo["base"], commits[-1])
    assert "-x = 1\n-y = 2\n+x = 2\n+y = 3\n" in text
    assert "-# Gone\n" in text
    assert "-Größe, für Jürgen geprüft\n" in text
    assert unified_diff(repo, repo["base"], commits[0], ["a.py"], context=0).endswith(
        "@@ -2 +2 @@ x = 1\n-y = 2\n+y = 3\n"
    )
    assert unified_diff(repo, repo["base"], repo["base"]) == ""


def test_of_binary_files_a_diff_has_the_names(folder: Path) -> None:
    base = commit_files(folder, {"b.bin": b"\0\1"}, "Binary")
    subprocess.run(["sh", "-c", "printf 'x\\0' > b.bin"], cwd=folder, check=True)
    new = commit_files(folder, {}, "Changed")
    assert unified_diff(repository_of(folder), base, new) == "Binary file 'b.bin' differs\n"
