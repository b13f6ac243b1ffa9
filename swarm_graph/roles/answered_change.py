"""The files that a session changes in a repository: how an answer changes them, and what it must not change.

`code`, `tests` and `documentation` hold the files that differ from the base commit, each path in one of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, cast

from swarm_graph.errors import UnreadableAnswer
from swarm_graph.roles.answered_files import doubts, read_answered_files
from swarm_graph.roles.file_blocks import Files
from swarm_graph.roles.syntax import syntax_problem
from swarm_graph.state import CHANGE_KEYS, Repository, SwarmState, changed_texts

if TYPE_CHECKING:
    from swarm_graph.repository.files import RepositoryFiles

NO_CHANGE = "NO CHANGE"
"""The line by which a role says that no file has to change."""
NEAREST = 3
"""How many existing paths are suggested in place of an unknown one."""

_NO_CHANGE = re.compile(rf"^[ \t*_`#>-]*{NO_CHANGE}S?\b", re.MULTILINE | re.IGNORECASE)
_MARKS = ("```", "~~~", "<<<<<", "*** Begin Patch", "diff --git", "\n--- ", "DELETE ", "RENAME ")
"""What the files, edits, deletions and renames of an answer begin with."""
_TEST = re.compile(
    r"(?:.*/)?(?:tests?|specs?|__tests__|testing|e2e|testdata)/.*"
    r"|(?:.*/)?(?:test_[^/]*|[^/]*_test\.[^/]+|[^/]*[.-](?:test|spec)\.[^/]+|conftest\.py"
    r"|[^/]*Tests?\.(?:java|kt|cs|swift|php)|[^/]*_spec\.rb)"
)
_DOCUMENT = re.compile(
    r"(?:.*/)?[^/]+\.(?:md|markdown|rst|adoc|asciidoc)|(?:.*/)?docs?/(?:.*/)?[^/]+\.txt"
    r"|(?:.*/)?(?:README|CHANGELOG|CHANGES|HISTORY|NEWS|UPGRADING|MIGRATION)(?:\.txt)?",
    re.IGNORECASE,
)
_FOR_AGENTS = re.compile(r"(?:.*/)?(?:AGENTS|CLAUDE|GEMINI|copilot-instructions)\.md", re.IGNORECASE)
"""Files that steer programs such as this one; the documenter writes only for people."""


class OptionalFiles(Files):
    """The files in an answer that may also say that nothing has to change."""


def read_optional_files(text: str, old: Mapping[str, str], shown: Mapping[str, bool] | None = None) -> Files:
    """The files in an answer; none if it says `NO CHANGE` in place of them.

    Args:
        text: The final message of the answer.
        old: The files as they are.
        shown: The paths of those that the model has seen, and whether it has seen all of each; None: all.

    Raises:
        UnreadableAnswer: See `read_answered_files`.
    """
    has_marks = any(mark in text for mark in _MARKS)
    if _NO_CHANGE.search(text) and not has_marks:
        return Files(notes=("it changes nothing",))
    try:
        return read_answered_files(text, old, shown=shown)
    except UnreadableAnswer as error:
        if has_marks:
            raise
        raise UnreadableAnswer(f"{error}; if no file has to change, write the line `{NO_CHANGE}`") from error


def repository_of(state: SwarmState) -> Repository | None:
    """The repository of a session; None if it has none."""
    return cast("Repository | None", state.get("repo"))


def deleted_files(state: SwarmState) -> list[str]:
    """The paths of the base commit that the session deletes."""
    return cast("list[str]", state.get("deleted") or [])


def gone_files(state: SwarmState) -> list[str]:
    """The paths that the session, or the change under review, deletes or renames."""
    repo = repository_of(state)
    if not repo or not repo["compared_with"]:
        return deleted_files(state)
    from swarm_graph.repository.snapshot import snapshot

    now = snapshot(repo["path"], repo["base"]).entries
    return [path for path in snapshot(repo["path"], repo["compared_with"]).files if path not in now]


def base_files(state: SwarmState) -> Mapping[str, str]:
    """The text files of the base commit, read when they are needed; none without a repository."""
    repo = repository_of(state)
    return repository_files(repo) if repo else {}


def current_files(state: SwarmState) -> Mapping[str, str]:
    """The text files of the repository as the session has changed them, read when they are needed."""
    repo, written = repository_of(state), changed_texts(state)
    return repository_files(repo, written, deleted_files(state)) if repo else written


def repository_files(
    repo: Repository, written: Mapping[str, str] | None = None, deleted: Collection[str] = ()
) -> RepositoryFiles:
    """The text files of a repository under a change, read when they are needed."""
    from swarm_graph.repository.files import RepositoryFiles

    return RepositoryFiles(repo, written, deleted)


def update_of(answer: Files, state: SwarmState, key: str) -> dict[str, Any]:
    """What an answer changes in the state.

    A path stays in its key; a new path goes to `key`. A file that equals the base commit again leaves the
    change.

    Args:
        answer: The files that it writes and deletes.
        state: The state that it was written for.
        key: The key that the role writes.
    """
    base = base_files(state)
    held = {name: dict(cast("dict[str, str]", state.get(name) or {})) for name in CHANGE_KEYS}
    deleted = dict.fromkeys(deleted_files(state))
    for path in answer.deleted:
        _forget(held, path)
        if path in base:
            deleted[path] = None
    for path, text in answer.written.items():
        deleted.pop(path, None)
        if is_same(base.get(path), text):
            _forget(held, path)
        else:
            owner = next((name for name in CHANGE_KEYS if path in held[name]), key)
            held[owner][path] = text
    update: dict[str, Any] = {
        name: files for name, files in held.items() if name == key or files != (state.get(name) or {})
    }
    if [*deleted] != deleted_files(state):
        update["deleted"] = [*deleted]
    return update


def _forget(held: Mapping[str, dict[str, str]], path: str) -> None:
    for files in held.values():
        files.pop(path, None)


def is_same(one: str | None, other: str | None) -> bool:
    """Whether two texts are the same file: a line end after the last line does not count."""
    if one is None or other is None:
        return one is other
    return one.removesuffix("\n") == other.removesuffix("\n")


def changed_paths(answer: Files, state: SwarmState) -> list[str]:
    """The paths of the files that an answer changes, creates or deletes."""
    files = current_files(state)
    written = [path for path, text in answer.written.items() if not is_same(files.get(path), text)]
    return [*written, *(path for path in answer.deleted if path in files)]


def refusal(answer: Files, state: SwarmState) -> str | None:
    """Why an answer must not be taken: it changes a protected path. None if it may be taken."""
    repo = repository_of(state)
    if repo is None:
        return None
    files = repository_files(repo, changed_texts(state), deleted_files(state))
    not_text = [path for path in answer.deleted if path not in files and path in files.base.entries]
    for path in [*changed_paths(answer, state), *not_text]:
        if why := files.why_not(path, answer.written.get(path)):
            return f"'{path}' must not be changed: {why}; leave it as it is"
    return None


def nothing_changed(answer: Files, state: SwarmState, key: str) -> str | None:
    """Why an answer that leaves the repository unchanged cannot be taken; None if it changes something."""
    after = cast("SwarmState", {**state, **update_of(answer, state, key)})
    if changed_texts(after) or deleted_files(after):
        return None
    if missing := [*_missing(answer, state)]:
        return missing[0]
    return "the answer changes nothing: its files are the same as in the repository"


def doubt_of(answer: Files, state: SwarmState) -> str:
    """Why the files are probably wrong, for a question to the model; empty if nothing is odd.

    Files that did not parse before, such as templates, need not parse now.
    """
    files = current_files(state)
    before = {path: text for path in answer.written if (text := files.get(path)) is not None}
    parsed = {
        path: text
        for path, text in answer.written.items()
        if path not in before or syntax_problem(path, before[path]) is None
    }
    return "; ".join(
        filter(
            None,
            [
                doubts(replace(answer, written=parsed), before),
                *_missing(answer, state),
                *_odd_deletions(answer, state),
            ],
        )
    )


def _missing(answer: Files, state: SwarmState) -> Iterator[str]:
    """A question for each path that an answer deletes although there is no such file, and never was."""
    files, gone = current_files(state), deleted_files(state)
    for path in answer.deleted:
        if path in files or path in gone:
            continue
        if inside := [known for known in files if known.startswith(f"{path}/")]:
            yield f"'{path}' is a folder of {len(inside)} files: write a line `DELETE` for each that goes"
        else:
            yield f"there is no '{path}' to delete{nearest_text(path, files)}"


def _odd_deletions(answer: Files, state: SwarmState) -> Iterable[str]:
    """A question for each file of the base commit whose deletion neither the request nor the plan names."""
    asked = "\n".join(str(state.get(key, "")) for key in ("request", "requirements", "design", "diagnosis"))
    base = base_files(state)
    for path in answer.deleted:
        is_moved = path in answer.renamed or any(
            base[path] == text for text in answer.written.values() if path in base
        )
        if path in base and not is_moved and PurePosixPath(path).name not in asked:
            yield f"it deletes '{path}', which neither the request nor the plan names: leave it, or say why"


def is_test(path: str) -> bool:
    """Whether a path is a usual one for tests and their helpers."""
    return bool(_TEST.fullmatch(path))


def is_documentation(path: str) -> bool:
    """Whether a path is one of documentation for people."""
    return bool(_DOCUMENT.fullmatch(path)) and not _FOR_AGENTS.fullmatch(path)


def elsewhere(answer: Files, state: SwarmState, allowed: Callable[[str], bool], what: str) -> str | None:
    """Why an answer that changes another role's files cannot be taken; None if it changes none.

    Nobody reviews what the tester and the documenter write, so they write no code.

    Args:
        answer: The files.
        state: The state that it was written for.
        allowed: Whether the role may write a path.
        what: What the role writes, in words.
    """
    odd = [path for path in changed_paths(answer, state) if not allowed(path)]
    return f"'{odd[0]}' is not a {what}; change only such files" if odd else None


def nearest_paths(path: str, known: Iterable[str]) -> list[str]:
    """The known paths that are most like an unknown one: the same name elsewhere, else a similar path."""
    paths = [*known]
    name = PurePosixPath(path).name.lower()
    same = [one for one in paths if PurePosixPath(one).name.lower() == name]
    return same[:NEAREST] or get_close_matches(path, paths, NEAREST, 0.6)


def nearest_text(path: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown path: the most similar known paths; empty if there are none."""
    found = nearest_paths(path, known)
    return f"; did you mean {' or '.join(repr(one) for one in found)}?" if found else ""
