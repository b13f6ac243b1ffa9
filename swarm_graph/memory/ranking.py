"""Searches any store; ranks the items of one that cannot search texts, such as an InMemoryStore."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial

from langgraph.store.base import SearchItem, SearchOp

from swarm_graph.memory.meaning import tell
from swarm_graph.memory.work import Work, all_items
from swarm_graph.repository.words import match_scores, stems


def found_items(
    question: str, namespace: Sequence[str], limit: int, most: int = sys.maxsize
) -> Work[list[SearchItem]]:
    """The items below a namespace that fit a question best, the best first.

    Args:
        question: The question.
        namespace: The namespace.
        limit: How many items at the most.
        most: How many items of a store that cannot search texts are ranked; `tell` says if it has more.
    """
    (found,) = yield [SearchOp(tuple(namespace), query=question, limit=limit)]
    ranked = [item for item in found if item.score is not None]
    if ranked or not found:
        return ranked
    items = yield from all_items(*namespace, most=most)
    if len(items) == most:
        tell(f"only {most:,} memories were searched: the store has no index")
    best: list[SearchItem] = yield partial(best_matches, question, items, limit)
    return best


def best_matches(question: str, items: Sequence[SearchItem], limit: int) -> list[SearchItem]:
    """The items whose texts match a question best, by BM25; none without a word in common."""
    texts = [stems(str(item.value.get("text") or "")) for item in items]
    scores = match_scores({*stems(question)}, texts)
    order = sorted(range(len(items)), key=lambda n: (-scores[n], items[n].namespace, items[n].key))
    best = [number for number in order[:limit] if scores[number] > 0]
    for number in best:
        items[number].score = scores[number]
    return [items[number] for number in best]
