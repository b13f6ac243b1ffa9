"""A change as text: the patch of its commits, its figures, and the diff of two commits."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence

from swarm_graph.repository.git import Git
from swarm_graph.repository.snapshot import Entry, snapshot
from swarm_graph.repository.source_text import decode
from swarm_graph.state import Repository

_PLAIN = (
    "--no-color",
    "--no-relative",
    "--src-prefix=a/",
    "--dst-prefix=b/",
    "--inter-hunk-context=0",
    "--diff-algorithm=myers",
    f"-O{os.devnull}",
)
"""What the repository's configuration could change in a diff."""
_MAIL = (
    "--stdout",
    "--binary",
    "--full-index",
    "--no-renames",
    "--unified=3",
    "--subject-prefix=PATCH",
    "--encode-email-headers",
    *(
        f"--no-{option}"
        for option in (
            "add-header", "attach", "base", "cc", "cover-letter", "from", "notes", "signature", "signoff",
            "thread", "to",
        )
    ),
)  # fmt: skip


def patch(repo: Repository, commits: Sequence[str]) -> bytes:
    """The commits of a session as mails, as `git am` takes them; empty without commits.

    Args:
        repo: The repository.
        commits: The ids of consecutive commits, oldest first.

    Raises:
        RepositoryError: The repository lacks one of them.
    """
    if not commits:
        return b""
    git = Git(repo["path"])
    first, last = git.commit_of(commits[0]), git.commit_of(commits[-1])
    return git.run("format-patch", *_MAIL, *_PLAIN, f"{first}^..{last}")


def am_command(patch: bytes, file: str = "changes.patch") -> str:
    """The command that applies a patch; git drops the `\\r` of CRLF files unless it is told not to."""
    return f"git am --keep-cr {file}" if b"\r\n" in patch else f"git am {file}"


def stat(repo: Repository, old: str, new: str) -> str:
    """The figures of a change: a line for each file, and the sum. Raises InputError for an unknown commit."""
    git = Git(repo["path"])
    text = git.run("diff-tree", "-r", "-M", "--stat=80", *_PLAIN, git.commit_of(old), git.commit_of(new))
    return text.decode(errors="replace")


def unified_diff(repo: Repository, old: str, new: str, paths: Collection[str] = (), context: int = 3) -> str:
    """The differences of two commits as a unified diff, whatever attributes the repository gives its files.

    Args:
        repo: The repository.
        old: The id of the older commit.
        new: The id of the newer commit.
        paths: The files to compare; empty for all.
        context: Lines around each change.

    Returns:
        Text in UTF-8 and other encodings is decoded; of binary files only the names.

    Raises:
        RepositoryError: The repository lacks one of the commits.
    """
    git = Git(repo["path"])
    old, new = git.commit_of(old), git.commit_of(new)
    names = git.run("diff-tree", "-r", "-z", "--no-renames", "--name-only", old, new, "--", *paths)
    changed = [os.fsdecode(name) for name in names.split(b"\0") if name]
    binary = {path for path in changed if _is_binary(repo, old, path) or _is_binary(repo, new, path)}
    if text := [path for path in changed if path not in binary]:
        options = ("-r", "-p", "-M", "--text", f"--unified={context}", *_PLAIN)
        diff = git.run("diff-tree", *options, old, new, "--", *text)
    else:
        diff = b""
    return _decoded(diff) + "".join(f"Binary file '{path}' differs\n" for path in changed if path in binary)


def _is_binary(repo: Repository, commit: str, path: str) -> bool:
    files = snapshot(repo["path"], commit)
    entry: Entry | None = files.entries.get(path)
    return entry is not None and entry.is_file and decode(files.read(path)) is None


def _decoded(diff: bytes) -> str:
    """A diff as text: its files may have different encodings, so each line is read by itself."""
    return "".join(
        f"{line.decode() if _is_utf_8(line) else line.decode('latin-1')}\n" for line in diff.split(b"\n")[:-1]
    )


def _is_utf_8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True
