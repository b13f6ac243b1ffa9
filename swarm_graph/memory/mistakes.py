"""Are two findings about the same mistake? Their words decide, without the names of the code at hand."""

from __future__ import annotations

import re
from itertools import pairwise

from swarm_graph.checkpoints.word_index import UNSPACED
from swarm_graph.repository.words import stems

MIN_WORDS = 3
"""The fewest words by which mistakes are compared; a finding such as "It fails." names none."""
SAME = 0.75
"""The share of common words above which findings of two sessions are about the same mistake."""
STILL_THERE = 0.5
"""The share above which a finding of a later round may be about the same mistake: it counts as not cured."""
_NAMES = re.compile(r"`[^`]*`|\S*[_\d(]\S*|\b\w+\.\w[\w.]*|\b[a-z]+[A-Z]\w*")
"""Code, and words that are names in code: two projects never share them."""
_NEGATIONS = frozenset({
    "not", "no", "never", "cannot", "without", "missing", "lack", "lacks", "nothing",
    "nicht", "kein", "keine", "keinen", "keiner", "nie", "ohne", "fehlt", "fehlen",
})  # fmt: skip
_NEGATING = re.compile("[不没未无無缺]")
_SIDES = frozenset({"up", "down", "off", "out", "above", "below", "over", "under", "vor", "nach"})
"""Words that turn a meaning round; some of them are stop words."""
_ORDER = re.compile(
    r"\b(?:before|after|until|instead|bevor|nachdem|bis|statt)\b|,\s*(?:not|nicht)\b", re.IGNORECASE
)
"""What comes before these words, and what after them, does not change places."""
_WORD = re.compile(r"[^\W_]+(?:'t)?")
_UNSPACED_RUN = re.compile(f"[{UNSPACED}]+")


def has_words(problem: str) -> bool:
    """Whether a problem has enough words to be compared with others."""
    return len(_words(problem)) >= MIN_WORDS


def is_same(problem: str, other: str) -> bool:
    """Whether two problems, of different sessions, are the same mistake; in doubt they are two.

    They share at least MIN_WORDS words and SAME of all their words, one of them has no word that the other
    lacks, and both or neither say that something is missing, or before what something happens.
    """
    mine, others = _words(problem), _words(other)
    return (
        (mine <= others or others <= mine)
        and likeness(problem, other) >= SAME
        and _is_negated(problem) == _is_negated(other)
        and _sides(problem) == _sides(other)
        and all(_agree(*parts) for parts in zip(_ORDER.split(problem), _ORDER.split(other), strict=False))
    )


def _agree(part: str, other: str) -> bool:
    mine, others = _words(part), _words(other)
    return mine <= others or others <= mine


def may_be_same(problem: str, other: str) -> bool:
    """Whether two problems of one session may be the same mistake in other words."""
    return likeness(problem, other) >= STILL_THERE


def likeness(problem: str, other: str) -> float:
    """The share of common words among all words of two problems; 0 if they share fewer than MIN_WORDS."""
    mine, others = _words(problem), _words(other)
    common = mine & others
    return len(common) / len(mine | others) if len(common) >= MIN_WORDS else 0.0


def _words(problem: str) -> set[str]:
    """The words that tell mistakes apart; of scripts without spaces, each two characters side by side."""
    text = _NAMES.sub(" ", problem)
    pairs = {"".join(pair) for run in _UNSPACED_RUN.findall(text) for pair in pairwise(run)}
    spaced = _UNSPACED_RUN.sub(" ", text)
    plain = " ".join(word for word in _WORD.findall(spaced) if not _negates(word))
    return pairs | {stem.removesuffix("ion").removesuffix("e") for stem in stems(plain)}


def _sides(problem: str) -> set[str]:
    return {word.lower() for word in _WORD.findall(problem)} & _SIDES


def _is_negated(problem: str) -> bool:
    return bool(_NEGATING.search(problem)) or any(map(_negates, _WORD.findall(problem)))


def _negates(word: str) -> bool:
    return word.lower() in _NEGATIONS or word.lower().endswith("n't")
