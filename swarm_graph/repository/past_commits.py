"""Evidence from past commits: files that were changed for a similar reason, or together, probably matter."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from typing import NamedTuple

from swarm_graph.repository.snapshot import Snapshot
from swarm_graph.repository.words import match_scores, stems

MAX_COMMITS = 300
MAX_FILES = 30
"""Commits that change more files, such as imports and reformatting, are ignored."""
_SIMILAR_COMMITS = 20
_MAX_SUBJECT = 500
_DOUBT = 2
"""Commits without the other file, added to the count: one common commit is no habit."""


class PastCommit(NamedTuple):
    """A commit before the base: the stems of its subject, and the files that it added or modified."""

    subject: list[str]
    paths: list[str]


def past_commits(snapshot: Snapshot) -> list[PastCommit]:
    """The last commits up to the base, newest first; none if the repository does not have them."""
    form = ("--format=%x01%s%x00", "--name-only", "-z", "--no-renames", "--diff-filter=AM")
    # No merges, and not the first commit: it holds whatever there was.
    which = ("--min-parents=1", "--max-parents=1", "-n", str(MAX_COMMITS))
    found = snapshot.git.try_run("log", *form, *which, snapshot.commit)
    text = "" if found.exit_code else found.stdout.decode(errors="surrogateescape")
    return [one for one in map(_commit, text.split("\x01")[1:]) if 0 < len(one.paths) <= MAX_FILES]


def _commit(text: str) -> PastCommit:
    subject, *paths = text.split("\0")
    return PastCommit(stems(subject[:_MAX_SUBJECT]), [path.strip("\n") for path in paths if path.strip("\n")])


def scores_by_subject(question: str, commits: list[PastCommit]) -> dict[str, float]:
    """Scores of the files of those commits whose subjects match a question best."""
    scores = match_scores(dict.fromkeys(stems(question)), [commit.subject for commit in commits])
    best = sorted(range(len(commits)), key=lambda number: -scores[number])[:_SIMILAR_COMMITS]
    found: defaultdict[str, float] = defaultdict(float)
    for number in best:
        for path in commits[number].paths:
            found[path] += scores[number] / len(commits[number].paths) ** 0.5
    return found


def scores_by_company(seeds: Mapping[str, float], commits: Collection[PastCommit]) -> dict[str, float]:
    """Scores of the files that were changed together with files that have a score."""
    found: defaultdict[str, float] = defaultdict(float)
    for seed, score in seeds.items():
        with_seed = [commit.paths for commit in commits if seed in commit.paths]
        together = Counter(path for paths in with_seed for path in paths if path != seed)
        for path, times in together.items():
            found[path] += score * times / (len(with_seed) + _DOUBT)
    return found
