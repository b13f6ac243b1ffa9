"""Run git in one repository, and nothing that the repository or the user has configured."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from swarm_graph.errors import InputError, RepositoryError

_ENVIRONMENT = {
    "GIT_ALLOW_PROTOCOL": "none",  # nothing is fetched, not even the missing objects of a partial clone
    "GIT_ASKPASS": "false",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_GRAFT_FILE": os.devnull,
    "GIT_LITERAL_PATHSPECS": "1",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_OPTIONAL_LOCKS": "0",  # `git status` would write the user's index
    "GIT_TERMINAL_PROMPT": "0",
    "HOME": os.devnull,
    "LC_ALL": "C.UTF-8",
}
_SETTINGS = {
    "commit.gpgSign": "false",
    "core.attributesFile": os.devnull,
    "core.editor": "false",
    "core.excludesFile": os.devnull,
    "core.fsmonitor": "false",
    "core.hooksPath": os.devnull,
    "core.pager": "cat",
    "core.protectHFS": "true",
    "core.protectNTFS": "true",
    "core.quotePath": "false",
    "core.safecrlf": "false",
    "core.splitIndex": "false",  # a temporary index would leave its shared part in the user's `.git`
    "core.sshCommand": "false",
    "credential.helper": "",
    "gc.auto": "0",
    "gpg.program": "false",
    "i18n.commitEncoding": "UTF-8",
    "i18n.logOutputEncoding": "UTF-8",
    "log.showSignature": "false",
    "maintenance.auto": "false",
    "protocol.allow": "never",
    # Somebody else may own the folder: nothing of theirs runs.
    "safe.directory": "*",
    "submodule.recurse": "false",
    "worktree.useRelativePaths": "false",
}
_PROGRAMS = re.compile(r"filter\..+\.(?:clean|smudge|process)", re.DOTALL)
"""Settings with a name of the repository's choice that name a program."""
_REQUIRED = re.compile(r"filter\..+\.required", re.DOTALL)
_HOOK = re.compile(r"(hook\..+)\.[a-z]+", re.DOTALL)
"""Settings of a hook that git from 2.54 on runs out of the configuration, whatever `core.hooksPath` is."""
_DIFFS = ("diff", "diff-files", "diff-index", "diff-tree", "format-patch", "log", "show")
"""The commands that may run an external diff, or a program that turns files into text."""


class GitResult(NamedTuple):
    """How a git command ended."""

    exit_code: int
    stdout: bytes
    stderr: str


class Git:
    """Git in one repository.

    Hooks, filters, drivers, editors, signing and network are off, whatever its configuration says; the
    configurations of the user and of the machine are not read.

    Attributes:
        folder: The top folder of the working tree.
        own: The folder of git's files that belong to this working tree, usually its `.git`.
        common: The folder of git's files that all working trees of the repository share.
    """

    def __init__(self, folder: str | Path) -> None:
        """Find the repository.

        Args:
            folder: A folder inside the working tree.

        Raises:
            InputError: There is no working tree of a git repository, or git is not installed.
        """
        self.folder = Path(folder)
        self._settings_of: dict[str, dict[str, str]] = {}
        if not self.folder.is_dir():
            raise InputError(f"the repository '{folder}' is not a folder")
        names = ("--path-format=absolute", "--show-toplevel", "--git-dir", "--git-common-dir")
        found = self.try_run("rev-parse", *names, settings=_SETTINGS)
        if found.exit_code:
            raise InputError(
                f"'{folder}' is not inside the working tree of a git repository ({_reason(found.stderr)})"
            )
        given, lines = self.folder, os.fsdecode(found.stdout).split("\n")
        if lines[0] == names[0]:  # and git would not obey the settings that keep programs from running
            raise InputError("git is too old; a session on a repository needs git 2.31 or a later one")
        self.folder, *places = (Path(line) for line in lines[:3])
        self.own, self.common = (Path(os.path.realpath(place)) for place in places)
        if len(lines) != 4 or not self._belongs_together(given):
            raise InputError(
                f"the '.git' of '{folder}' and that folder do not name each other; give the folder of the "
                "repository itself, or mend a worktree with `git worktree repair`"
            )

    def _belongs_together(self, given: Path) -> bool:
        """Whether the working tree and git's files name each other.

        A received folder may come with a `.git` that names another repository of the user's, or as its
        working tree another folder of the user's.
        """
        top, git = Path(os.path.realpath(self.folder)), self.folder / ".git"
        if not Path(os.path.realpath(given)).is_relative_to(top) or git.is_symlink():
            return False
        if git.is_dir():
            return self.own == self.common == top / ".git"
        named = _first_line(git).removeprefix("gitdir: ")
        if not named or os.path.realpath(top / named) != str(self.own):
            return False
        if self.own == self.common:  # a submodule; its configuration has named the top folder
            return self.try_run("config", "--get", "core.worktree", settings=_SETTINGS).exit_code == 0
        back = os.path.realpath(self.own / _first_line(self.own / "gitdir"))
        return self.own.parent == self.common / "worktrees" and back == str(top / ".git")

    def run(self, *arguments: str, data: bytes = b"", environment: Mapping[str, str] | None = None) -> bytes:
        """What a git command prints.

        Args:
            arguments: The command and its arguments.
            data: What it reads from stdin.
            environment: Variables to add, such as GIT_INDEX_FILE.

        Raises:
            RepositoryError: It failed.
        """
        result = self.try_run(*arguments, data=data, environment=environment)
        if result.exit_code:
            reason = _reason(result.stderr) or f"exit code {result.exit_code}"
            raise RepositoryError(f"git {arguments[0]} failed in '{self.folder}': {reason}")
        return result.stdout

    def text(self, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
        """What a git command prints, as text without the last line end. Raises RepositoryError."""
        return (
            self.run(*arguments, environment=environment).decode(errors="surrogateescape").removesuffix("\n")
        )

    def try_run(
        self,
        *arguments: str,
        data: bytes = b"",
        environment: Mapping[str, str] | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> GitResult:
        """How a git command ended, for commands that may fail.

        Args:
            arguments: The command and its arguments.
            data: What it reads from stdin.
            environment: Variables to add.
            settings: The settings; default all that are needed so that nothing of the repository runs.

        Raises:
            InputError: Git is not installed.
            RepositoryError: The folder is gone.
        """
        if settings is None:
            settings = self._settings((environment or {}).get("GIT_DIR", ""))
        if arguments[0] in _DIFFS:
            arguments = (arguments[0], "--no-ext-diff", "--no-textconv", *arguments[1:])
        # Settings in variables: no value of the repository's can be taken for an option.
        given = {"GIT_CONFIG_COUNT": str(len(settings))}
        for number, (key, value) in enumerate(settings.items()):
            given |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
        kept = {name: os.environ[name] for name in ("SYSTEMROOT", "TMPDIR") if name in os.environ}
        try:
            done = subprocess.run(
                ["git", *arguments],
                cwd=self.folder,
                env={**kept, "PATH": _search_path(), **_ENVIRONMENT, **given, **(environment or {})},
                input=data,
                capture_output=True,
                check=False,
            )
        except OSError as error:
            if shutil.which("git", path=_search_path()) is None:
                raise InputError("git is not installed; a session on a repository needs it") from error
            raise RepositoryError(f"git cannot run in '{self.folder}': {error.strerror}") from error
        return GitResult(done.returncode, done.stdout, done.stderr.decode(errors="replace"))

    def commit_of(self, revision: str) -> str:
        """The full id of the commit that a revision names. Raises InputError if there is none."""
        problem = InputError(
            f"the repository '{self.folder}' has no commit '{revision}'; name a branch, a tag or the id of a "
            "commit"
        )
        if "\0" in revision:  # no argument of a program holds one
            raise problem
        found = self.try_run("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
        if found.exit_code:
            raise problem
        return found.stdout.decode().strip()

    def _settings(self, git_dir: str) -> dict[str, str]:
        """Settings that switch off all programs that the repository's configuration names.

        Args:
            git_dir: The folder of git's files that a command is told to use; empty for the one it finds. A
                configuration may include others for some of them.
        """
        if git_dir not in self._settings_of:
            environment = {"GIT_DIR": git_dir} if git_dir else {}
            listed = self.try_run(
                "config", "--null", "--list", environment=environment, settings=_SETTINGS
            ).stdout.decode(errors="replace")
            keys = [entry.partition("\n")[0] for entry in listed.split("\0")]
            none = {key: "" for key in keys if _PROGRAMS.fullmatch(key)}
            optional = {key: "false" for key in keys if _REQUIRED.fullmatch(key)}
            hooks = {f"{hook[1]}.enabled": "false" for key in keys if (hook := _HOOK.fullmatch(key))}
            self._settings_of[git_dir] = {**_SETTINGS, **none, **optional, **hooks}
        return self._settings_of[git_dir]


def _search_path() -> str:
    """The folders of programs: an empty or relative one would be a folder of the repository."""
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join(folder for folder in folders if Path(folder).is_absolute())


def _first_line(path: Path) -> str:
    """The first line of a small file; empty if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape").partition("\n")[0]
    except OSError:
        return ""


def _reason(text: str) -> str:
    """Why git failed: its first line that says so, else its last one."""
    lines = text.strip().split("\n")
    found = next((line for line in lines if line.startswith(("fatal: ", "error: "))), lines[-1])
    return found.removeprefix("fatal: ").removeprefix("error: ")
