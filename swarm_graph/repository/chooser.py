"""The files of a repository that matter for a question: by their paths, names and texts, and by past commits.

`benchmarks/repository.py` measures it on the history of this repository.
"""

from __future__ import annotations

import re
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from threading import Lock
from typing import NamedTuple
from weakref import WeakKeyDictionary, finalize

from swarm_graph.repository.outline import Outline
from swarm_graph.repository.past_commits import past_commits, scores_by_company, scores_by_subject
from swarm_graph.repository.snapshot import MAX_FILE_BYTES, Snapshot
from swarm_graph.repository.words import match_scores, spaced, stems, words

_MAX_TEXT = 60_000
"""How many characters of a file are searched."""
_MAX_QUESTION_WORDS = 200
_WEIGHTS = {"path": 1.0, "names": 0.5, "text": 1.0}
"""The weights of the columns. Each column has its own index: in a common index, a long text would lower the
score of its path."""
_SUBJECTS, _COMPANY, _SEEDS = 0.4, 0.4, 5
"""The weights of similar commits and of files changed together with the best ones, and how many those are."""
_TOKENIZER = "porter unicode61"
_HEADING = re.compile(r"^#+ +(\S[^\n]{0,199})", re.MULTILINE)
_PURPOSE = re.compile(r'(?:#[^\n]*\n|\s)*r?"""(.{1,300}?)(?:\n\n|""")', re.DOTALL)
"""The first paragraph of a Python file's docstring."""
_BINARY_BYTES = 8_000
_LOCK = Lock()


class SearchedFile(NamedTuple):
    """The searched text of a file; of a file over MAX_FILE_BYTES only its path."""

    path: str
    names: str
    text: str


def rank(question: str, snapshot: Snapshot, outlines: Mapping[str, Outline], limit: int) -> list[str]:
    """The files that matter for a question, best first; the same question and commit give the same files.

    Args:
        question: A request, or anything else in words.
        snapshot: The files. Links, submodules and binary files are left out.
        outlines: Their outlines.
        limit: The most files; fewer if fewer match the question.
    """
    with _LOCK:  # the roles of a round ask side by side, and share the index
        index = _INDEXES.get(snapshot)
        if index is None:
            index = _INDEXES[snapshot] = _Index(snapshot, outlines)
        scores = index.scores(question)
    return sorted(scores, key=lambda path: (-scores[path], path))[:limit]


def searches_text() -> bool:
    """Whether files are found by their texts. Without FTS5 only path, names and past commits count."""
    with suppress(sqlite3.OperationalError), closing(_text_table()):
        return True
    return False


def _text_table() -> sqlite3.Connection:
    """An empty index in memory. Raises OperationalError if this SQLite has no FTS5."""
    database = sqlite3.connect(":memory:", check_same_thread=False)  # roles use it in turn, in threads
    try:
        database.execute(f"CREATE VIRTUAL TABLE texts USING fts5(text, content='', tokenize='{_TOKENIZER}')")
    except sqlite3.OperationalError:
        database.close()
        raise
    return database


class _SearchedColumn:
    """One column of all files, in an index of FTS5."""

    def __init__(self) -> None:
        self._database = _text_table()
        finalize(self, self._database.close)

    def add(self, number: int, text: str) -> None:
        self._database.execute("INSERT INTO texts (rowid, text) VALUES (?, ?)", [number, spaced(text)])

    def scores(self, asked: Sequence[str]) -> Iterable[tuple[int, float]]:
        """The numbers of the files that hold a word, with their scores."""
        either = " OR ".join(f'"{word}"' for word in asked)
        return self._database.execute("SELECT rowid, -bm25(texts) FROM texts WHERE texts MATCH ?", [either])


class _CountedColumn:
    """One column of all files, counted in Python."""

    def __init__(self) -> None:
        self._texts: list[list[str]] = []

    def add(self, number: int, text: str) -> None:
        self._texts.append(stems(text))

    def scores(self, asked: Sequence[str]) -> Iterable[tuple[int, float]]:
        """The numbers of the files that hold a word, with their scores."""
        scores = match_scores(dict.fromkeys(stems(" ".join(asked))), self._texts)
        return ((number, score) for number, score in enumerate(scores) if score)


class _Index:
    """The search index of one commit."""

    def __init__(self, snapshot: Snapshot, outlines: Mapping[str, Outline]) -> None:
        self._commits = past_commits(snapshot)
        self._paths: list[str] = []
        self._columns = _empty_columns()
        for number, file in enumerate(_searched_files(snapshot, outlines)):
            self._paths.append(file.path)
            for name, column in self._columns.items():
                column.add(number, getattr(file, name))

    def scores(self, question: str) -> dict[str, float]:
        """The score of each file that matches a question."""
        asked = [*dict.fromkeys(words(question))][:_MAX_QUESTION_WORDS]
        scores = _relative(self._by_columns(asked)) if asked else {}
        subjects = self._of_files(scores_by_subject(" ".join(asked), self._commits))
        _add(scores, _relative(subjects), _SUBJECTS)
        seeds = sorted(scores, key=lambda path: (-scores[path], path))[:_SEEDS]
        company = scores_by_company({seed: scores[seed] for seed in seeds}, self._commits)
        _add(scores, self._of_files(company), _COMPANY)
        return scores

    def _by_columns(self, asked: Sequence[str]) -> dict[str, float]:
        found: defaultdict[str, float] = defaultdict(float)
        for name, column in self._columns.items():
            for number, score in column.scores(asked):
                found[self._paths[number]] += _WEIGHTS[name] * score
        return found

    def _of_files(self, scores: Mapping[str, float]) -> dict[str, float]:
        """The scores of files that are still there."""
        there = {*self._paths}
        return {path: score for path, score in scores.items() if score and path in there}


def _empty_columns() -> dict[str, _SearchedColumn | _CountedColumn]:
    if searches_text():
        return {name: _SearchedColumn() for name in _WEIGHTS}
    return {name: _CountedColumn() for name in ("path", "names")}


_INDEXES: WeakKeyDictionary[Snapshot, _Index] = WeakKeyDictionary()


def _searched_files(snapshot: Snapshot, outlines: Mapping[str, Outline]) -> Iterator[SearchedFile]:
    files = snapshot.files
    for contents in snapshot.read_in_groups(path for path in files if files[path].size <= MAX_FILE_BYTES):
        for path, content in contents.items():
            if b"\0" not in content[:_BINARY_BYTES]:
                text = content.decode(errors="replace")[:_MAX_TEXT]
                yield SearchedFile(path, _names(path, outlines.get(path, Outline()), text), text)
    for path, entry in files.items():
        if entry.size > MAX_FILE_BYTES:
            yield SearchedFile(path, "", "")


def _names(path: str, outline: Outline, text: str) -> str:
    """The names that a file defines, and its headings or the beginning of its docstring."""
    names = [one.name for one in outline.definitions]
    if path.endswith(".md"):
        names += _HEADING.findall(text)
    if path.endswith(".py") and (purpose := _PURPOSE.match(text)):
        names.append(purpose[1])
    return " ".join(names)


def _relative(scores: Mapping[str, float]) -> dict[str, float]:
    """Scores, scaled so that the best is 1."""
    best = max(scores.values(), default=1.0)
    return {path: score / best for path, score in scores.items()}


def _add(scores: dict[str, float], more: Mapping[str, float], weight: float) -> None:
    for path, score in more.items():
        scores[path] = scores.get(path, 0.0) + weight * score
