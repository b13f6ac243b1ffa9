"""Git repositories for tests, made as a user makes them."""

import hashlib
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from swarm_graph.state import Repository


def git(folder: Path, *arguments: str) -> str:
    """What the user's own git prints, with an author and without the settings of this machine."""
    author = ["-c", "user.name=Ann", "-c", "user.email=ann@example.invalid"]
    own_only = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    done = subprocess.run(
        ["git", *author, *arguments], cwd=folder, check=True, capture_output=True, text=True, env=own_only
    )
    return done.stdout.strip()


def make_repository(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    """A repository on branch `main` with these files in one commit; returns its folder."""
    folder.mkdir(parents=True)
    git(folder, "init", "--quiet", "--initial-branch", "main")
    commit_files(folder, files, "First")
    return folder


def commit_files(folder: Path, files: Mapping[str, str | bytes], message: str) -> str:
    """Write files and commit everything; returns the id of the commit."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", message)
    return git(folder, "rev-parse", "HEAD")


def fingerprint(folder: Path) -> dict[str, tuple[str, int, int]]:
    """Each file of a working tree, and of `.git` what belongs to the user: digest, mode, time of change.

    Objects, and refs and worktrees under the name of the swarm, are left out: a session adds those.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        ours = (".git/objects", ".git/worktrees", ".git/refs/heads/swarm", ".git/logs/refs/heads/swarm")
        if path.is_dir() or name.startswith(ours):
            continue
        status = path.lstat()
        data = str(path.readlink()).encode() if path.is_symlink() else path.read_bytes()
        found[name] = (hashlib.sha256(data).hexdigest(), status.st_mode, status.st_mtime_ns)
    return found


def repository_of(folder: Path, session: str = "s", **more: Any) -> Repository:
    """What a session on a repository records of it, begun at HEAD."""
    repo: Any = {"path": str(folder), "start": "HEAD", "base": git(folder, "rev-parse", "HEAD")}
    repo |= {"branch": f"swarm/{session}", "only": [], "read_only": [], "compared_with": "", **more}
    return cast("Repository", repo)
