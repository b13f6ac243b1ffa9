"""One ranking from several."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

_DAMPING = 20
"""The constant of reciprocal rank fusion: how little the first places count more than those after them."""


def fused(*rankings: Iterable[int]) -> list[tuple[int, float]]:
    """What several rankings name, with its score by reciprocal rank, best first.

    Args:
        rankings: Each the best first, nothing twice.
    """
    scores: defaultdict[int, float] = defaultdict(float)
    for ranking in rankings:
        for rank, found in enumerate(ranking, 1):
            scores[found] += 1 / (_DAMPING + rank)
    return sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))
