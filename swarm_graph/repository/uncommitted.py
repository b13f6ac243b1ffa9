"""The uncommitted changes of the user's working tree: counted, or taken along as a commit."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from swarm_graph.repository.git import Git

SUBJECT = "Uncommitted changes of the working tree"
"""The subject of the commit with the changes that were not committed."""


def uncommitted(git: Git) -> list[str]:
    """The paths that differ from HEAD in the working tree or the index, new files included.

    Ignored files and submodules are left out: git would run in a submodule with the submodule's settings.
    """
    arguments = ("--porcelain=v1", "-z", "--no-renames", "--untracked-files=all", "--ignore-submodules=all")
    lines = git.run("status", *arguments).split(b"\0")
    return [os.fsdecode(line[3:]) for line in lines if line]


def commit_uncommitted(git: Git, head: str) -> str:
    """Commit the working tree as it is, on no branch; returns the commit's id, or `head` if nothing differs.

    The user's index is not read and not written. The same changes give the same id: the commit has the date
    of its parent.

    Args:
        git: Git in the repository.
        head: The full id of HEAD.
    """
    paths = uncommitted(git)
    if not paths:
        return head
    with tempfile.TemporaryDirectory() as folder:
        index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        git.run("read-tree", head, environment=index)
        names = b"".join(os.fsencode(path) + b"\0" for path in paths)
        git.run("update-index", "--add", "--remove", "-z", "--stdin", data=names, environment=index)
        tree = git.text("write-tree", environment=index)
    date = f"{git.text('show', '--no-patch', '--format=%ct', head)} +0000"
    person = {"NAME": "swarm", "EMAIL": "swarm@localhost", "DATE": date}
    by = {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in person.items()}
    return git.text("commit-tree", tree, "-p", head, "-m", SUBJECT, environment=by)
