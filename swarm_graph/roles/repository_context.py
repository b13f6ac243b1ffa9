"""The repository as prompts show it: its conventions, map, relevant files, and the change so far.

The views depend only on the base commit and the state, so the same prompt can be built again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NamedTuple, cast

from swarm_graph.roles.answered_change import (
    base_files,
    deleted_files,
    is_documentation,
    is_test,
    repository_files,
    repository_of,
)
from swarm_graph.roles.conventions import CONVENTIONS, GUIDES, SETTINGS, conventions_text
from swarm_graph.roles.numbered_diff import numbered_diff
from swarm_graph.roles.shown_files import MAX_FILES, Clues, ShownFiles, is_plain, named, show_files, words_in
from swarm_graph.state import Finding, Repository, SwarmState, changed_texts
from swarm_graph.text import format_count

if TYPE_CHECKING:
    from swarm_graph.repository.files import RepositoryFiles
    from swarm_graph.repository.outline import Outline


class Sizes(NamedTuple):
    """How much a prompt shows of a repository, in characters.

    Attributes:
        window: All of it; a file of more than a third is long.
        files: The files.
        map: The map.
        conventions: The conventions.
    """

    window: int
    files: int
    map: int
    conventions: int

    @property
    def long(self) -> int:
        """A file of more characters is changed by edits: written whole, it would fill the context."""
        return self.window // 3


SIZES = (
    Sizes(48_000, files=32_000, map=8_000, conventions=4_000),
    Sizes(32_000, files=16_000, map=8_000, conventions=4_000),
    Sizes(20_000, files=8_000, map=4_000, conventions=2_000),
    Sizes(10_000, files=4_000, map=2_000, conventions=1_000),
    Sizes(6_000, files=1_600, map=1_000, conventions=500),
)
"""From the usual one down to what is left in a small context: first fewer files, then a smaller map as well.

48,000 characters are about 14,000 tokens: a context of 32,000 holds them beside an answer of whole files, and
later places of the chooser are seldom right. A prompt that does not fit is tried with the next sizes.
"""
RANKED = 40
"""How many files the chooser names; see MAX_FILES for how many are shown."""
MAX_EXAMPLES = 3
"""How many test files are shown as examples of style."""
MAX_DOCUMENTS_FIRST = 3
"""Documentation among so many of the best ranked files keeps its place: then the request is about it."""
_FIRST_DOCUMENTS = ("readme", "changelog", "changes", "history", "news")
_LINE = re.compile(r"(?P<path>[\w./@+-]+\.\w+):(?P<line>\d+)")


@dataclass(frozen=True)
class RepositoryContext:
    """Everything that the roles may see of a repository at one moment, before it is cut to a size.

    Attributes:
        texts: Path to text of all files that may be shown, as they are now.
        total: How many files the repository has.
        guides: How many of them stand in the conventions and not among the files.
        ranked: The paths that fit the request best; the order of the map, which stays the same in a session.
        order: The paths of the files that matter, best first.
        named: Those of them that were changed, or that the plan names.
        later: The paths of documentation that come after the code, whole or not at all.
        tests: The paths of tests, those nearest to the change first.
        places: Where the tests are, and how their files are named.
        documents: The paths of documentation, what the change may touch first.
        outlines: The outlines of the base commit's files.
        changes: The change so far, whole; of a review first with more, then with less code around it.
        clues: What tells which parts of a long file matter.
    """

    texts: Mapping[str, str]
    total: int
    guides: int
    ranked: list[str]
    order: list[str]
    named: Collection[str]
    later: Collection[str]
    tests: list[str]
    places: str
    documents: list[str]
    outlines: Mapping[str, Outline]
    changes: list[str]
    clues: Clues

    def values(self, sizes: Sizes, keys: Collection[str]) -> dict[str, str]:
        """The texts of the views that a prompt shows.

        Args:
            sizes: How much it shows.
            keys: The names of the views.
        """
        makers: dict[str, Callable[[], str]] = {
            "conventions": lambda: conventions_text(self.texts, sizes.conventions),
            "repository_map": lambda: self._map(sizes),
            "files": lambda: self._files(sizes),
            "changes": lambda: self._changes(sizes),
            "project_tests": lambda: self._tests(sizes),
            "project_documents": lambda: self._documents(sizes),
        }
        return {key: make() for key, make in makers.items() if key in keys}

    def note(self, sizes: Sizes) -> str:
        """How many of the files are shown, and which important ones do not fit; empty if all are shown."""
        shown = self._shown_files(sizes)
        if len(shown.shown) + self.guides == self.total and not shown.in_part:
            return ""
        missing = [path for path in shown.left_out if path in self.named]
        part = f", {len(shown.in_part)} of them in part" if shown.in_part else ""
        room = f" (no room for {named(missing)})" if missing else ""
        return f"{len(shown.shown)} of {format_count(self.total, 'file')} shown{part}{room}"

    def seen(self, sizes: Sizes, keys: Collection[str]) -> dict[str, bool]:
        """The paths of the files that these views show, and whether they show all of each."""
        makers = {
            "files": self._shown_files,
            "project_tests": self._examples,
            "project_documents": self._shown_documents,
        }
        found = [make(sizes) for key, make in makers.items() if key in keys]
        return {path: path not in files.in_part for files in found for path in files.shown}

    def _shown(self, order: Iterable[str], room: int, sizes: Sizes, first: Collection[str]) -> ShownFiles:
        return show_files(
            self.texts,
            order,
            room=room,
            long=sizes.long,
            clues=self.clues,
            first=first,
            only_whole=self.later,
        )

    def _shown_files(self, sizes: Sizes) -> ShownFiles:
        """The files; besides the named ones, that which fits the request best may take most of the room."""
        return self._shown(self.order, sizes.files, sizes, {*self.named, *self.ranked[:1]})

    def _examples(self, sizes: Sizes) -> ShownFiles:
        """Tests that are not among the files."""
        above = self._shown_files(sizes).shown
        tests = [path for path in self.tests if path not in above]
        room = max(MAX_EXAMPLES - len([path for path in above if path in self.tests]), 0)
        return self._shown(tests[:room], sizes.files // 4, sizes, self.named)

    def _shown_documents(self, sizes: Sizes) -> ShownFiles:
        """Documentation that is not among the files."""
        above = self._shown_files(sizes).shown
        documents = [path for path in self.documents if path not in above]
        return show_files(
            self.texts,
            documents,
            room=sizes.files // 2,
            long=sizes.long,
            clues=self.clues,
            first=[*self.named, *documents[:1]],
        )

    def _files(self, sizes: Sizes) -> str:
        shown, note = self._shown_files(sizes), self.note(sizes)
        rest = f"\n(Left out for lack of room: {named(shown.left_out)}.)" if shown.left_out else ""
        return _paragraphs(f"({note}.){rest}" if note else "", shown.text)

    def _changes(self, sizes: Sizes) -> str:
        """The whole change; in a smaller context with less code around it."""
        step = sum(sizes.files < SIZES[number].files for number in (1, 3))
        return self.changes[min(step, len(self.changes) - 1)]

    def _map(self, sizes: Sizes) -> str:
        from swarm_graph.repository.repo_map import map_text

        return map_text(self.outlines, self.ranked, sizes.map).rstrip("\n")

    def _tests(self, sizes: Sizes) -> str:
        """Where the tests are, and some of them as an example of their style."""
        return _paragraphs(self.places, self._above(self.tests, sizes), self._examples(sizes).text)

    def _documents(self, sizes: Sizes) -> str:
        shown, above = self._shown_documents(sizes), self._shown_files(sizes).shown
        rest = [path for path in self.documents if path not in (*shown.shown, *above)]
        missing = f"(Not shown: {named(rest)}.)" if rest else ""
        return _paragraphs(self._above(self.documents, sizes), missing, shown.text)

    def _above(self, paths: Collection[str], sizes: Sizes) -> str:
        """Which of these paths the prompt shows already, among its files."""
        above = [path for path in self._shown_files(sizes).shown if path in paths]
        return f"(Among the files above: {named(above)}.)" if above else ""


def _paragraphs(*texts: str) -> str:
    return "\n\n".join(filter(None, texts))


def read_context(state: SwarmState) -> RepositoryContext | None:
    """What the roles see of a session's repository; None if it has none. It reads files: call it in a thread.

    Raises:
        RepositoryError: The repository cannot be read.
    """
    repo, written = repository_of(state), changed_texts(state)
    if repo is None:
        return None
    files = repository_files(repo, written, deleted_files(state))
    wanted = cast("list[str]", state.get("wanted") or [])
    changed = _reviewed_paths(repo) if repo["compared_with"] else [*written]
    outlines, ranked = _ranked(files, f"{state.get('request', '')}\n{state.get('requirements', '')}")
    paths = [*files]
    rest = paths if len(paths) <= MAX_FILES else []  # a small repository is shown whole
    first = {*changed, *wanted, *ranked[:MAX_DOCUMENTS_FIRST]}
    of_conventions = {*SETTINGS, *GUIDES} - {*changed, *wanted}  # they stand in the conventions
    fitting = [
        path for path in dict.fromkeys([*changed, *wanted, *ranked, *rest]) if path not in of_conventions
    ]
    later = {path for path in fitting if is_documentation(path)} - first
    order = sorted(fitting, key=lambda path: path in later)
    tests = _nearest_tests(changed, [path for path in paths if is_test(path)], ranked)
    documents = _documents(
        changed, [path for path in paths if is_documentation(path) and path not in of_conventions], ranked
    )
    shown = [*order, *CONVENTIONS, *tests[:MAX_EXAMPLES], *documents[:MAX_FILES]]
    return RepositoryContext(
        texts=files.read_many(shown),
        total=len(paths),
        guides=len(of_conventions.intersection(paths)),
        ranked=ranked,
        order=order,
        named={*changed, *wanted},
        later=later,
        tests=tests,
        places=_places(tests),
        documents=documents,
        outlines=outlines,
        changes=_review(repo) if repo["compared_with"] else [_changes(state)],
        clues=_clues(state),
    )


def _ranked(files: RepositoryFiles, question: str) -> tuple[Mapping[str, Outline], list[str]]:
    """The outlines of the base commit, and the paths that fit a question best."""
    from swarm_graph.repository.chooser import rank
    from swarm_graph.repository.repo_map import outlines

    found = outlines(files.base)
    return found, rank(question, files.base, found, RANKED)


def _changes(state: SwarmState) -> str:
    """The change so far."""
    return numbered_diff(base_files(state), changed_texts(state), deleted_files(state))


def _reviewed_paths(repo: Repository) -> list[str]:
    """The files that a change under review writes."""
    from swarm_graph.repository.changed_files import changed_files
    from swarm_graph.repository.git import Git

    changed = changed_files(Git(repo["path"]), repo["compared_with"], repo["base"])
    return [file.path for file in changed if file.status != "deleted"]


def _review(repo: Repository) -> list[str]:
    """The change under review, complete, with less and less of the code around it."""
    from swarm_graph.repository.diff import changes_for_review

    return changes_for_review(repo)


def _clues(state: SwarmState) -> Clues:
    """The words and lines to look for in a long file, from the request, the plan, findings and test runs."""
    findings: list[Finding] = state.get("findings", [])
    places = "\n".join(finding["location"] for finding in findings)
    lines: dict[str, set[int]] = {}
    for place in _LINE.finditer(places):
        lines.setdefault(place["path"], set()).add(int(place["line"]))
    texts = [str(state.get(key, "")) for key in ("request", "requirements", "design", "diagnosis")]
    return Clues(words_in(*texts, *(finding["problem"] for finding in findings)), lines)


def _places(tests: list[str]) -> str:
    """The folders of tests as a list: how many files each has, and how they are named."""
    from swarm_graph.repository.test_places import find_test_places

    places = [place for place in find_test_places(tests) if is_plain(place.example)]
    return "\n".join(
        f"- {place.folder}: {format_count(place.number, 'file')} such as {place.example} ({place.naming})"
        for place in places
    )


def _nearest_tests(written: list[str], tests: list[str], ranked: list[str]) -> list[str]:
    """Test files: those of the change, then those named after a changed file, then ranked ones."""
    stems = [PurePosixPath(path).stem.lower() for path in written if path not in tests]
    near = [path for path in tests if any(stem in PurePosixPath(path).stem.lower() for stem in stems)]
    of_change = [path for path in written if path in tests]
    return [*dict.fromkeys([*of_change, *near, *(path for path in ranked if path in tests), *tests])]


def _documents(written: list[str], documents: list[str], ranked: list[str]) -> list[str]:
    """Documentation: the changed one, README and changelog, what fits the request, then the rest."""
    first = [path for path in documents if PurePosixPath(path).name.lower().startswith(_FIRST_DOCUMENTS)]
    first.sort(key=lambda path: path.count("/"))
    of_change = [path for path in written if path in documents]
    fitting = [path for path in ranked if path in documents]
    return [*dict.fromkeys([*of_change, *first[:2], *fitting, *first, *documents])]


def judged_texts(state: SwarmState) -> Mapping[str, str]:
    """The files that a review judges, whole: path to text. It may read a repository: call it in a thread.

    Raises:
        RepositoryError: The repository cannot be read.
    """
    repo = repository_of(state)
    if repo and repo["compared_with"]:
        return repository_files(repo).read_many(_reviewed_paths(repo))
    return changed_texts(state)


def view(name: str, state: SwarmState) -> str:
    """One view at its usual size; empty without a repository."""
    context = read_context(state)
    return context.values(SIZES[0], (name,))[name] if context else ""
