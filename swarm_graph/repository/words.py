"""The words of questions, names and texts, and how well texts match a question (BM25)."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Sequence

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_WORD = re.compile(r"[^\W_]+")
_ENDINGS = ("ing", "ed", "es", "s")
STOP_WORDS = frozenset({
    "a", "all", "also", "an", "and", "any", "are", "as", "at", "be", "by", "can", "did", "do", "does",
    "for", "from", "had", "has", "have", "he", "how", "i", "if", "in", "into", "is", "it", "its", "may",
    "more", "must", "no", "not", "of", "on", "one", "only", "or", "other", "out", "she", "so", "some",
    "than", "that", "the", "their", "them", "then", "there", "these", "they", "this", "those", "to",
    "two", "up", "was", "we", "were", "what", "when", "which", "who", "with", "you",
})  # fmt: skip
_SATURATION, _LENGTH_SHARE = 1.2, 0.75
"""The constants of BM25, as FTS5 has them."""


def spaced(text: str) -> str:
    """A text in which `camelCase` is two words; the tokenizer of SQLite splits at `_` and `/` itself."""
    return _CAMEL.sub(" ", text)


def words(text: str) -> list[str]:
    """The words of a text in lower case, parts of identifiers included, without those that say nothing."""
    found = (word.lower() for word in _WORD.findall(spaced(text)))
    return [word for word in found if len(word) > 1 and word not in STOP_WORDS]


def stems(text: str) -> list[str]:
    """The words of a text without English endings."""
    return [_stem(word) for word in words(text)]


def _stem(word: str) -> str:
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) >= len(ending) + 3:
            return word.removesuffix(ending)
    return word


def match_scores(question: Collection[str], texts: Sequence[Sequence[str]]) -> list[float]:
    """How well each text matches a question, by BM25; 0 if they share no word.

    Args:
        question: Its stems, each once.
        texts: The stems of each text.
    """
    containing = Counter(word for text in texts for word in {*text} & {*question})
    rarity = {word: math.log(1 + (len(texts) - n + 0.5) / (n + 0.5)) for word, n in containing.items()}
    mean = sum(map(len, texts)) / max(len(texts), 1) or 1
    return [_score(text, rarity, len(text) / mean) for text in texts]


def _score(text: Sequence[str], rarity: dict[str, float], length: float) -> float:
    damping = _SATURATION * (1 - _LENGTH_SHARE + _LENGTH_SHARE * length)
    found = Counter(word for word in text if word in rarity)
    return sum(
        rarity[word] * times * (_SATURATION + 1) / (times + damping) for word, times in sorted(found.items())
    )
