"""Recall: the passages of a memory that fit a question best, as data, and as a prompt shows them.

Memory may be any LangGraph store. What lies in it was written by others: a passage is cleaned and bounded,
and stands in a fence that nothing in it can close.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from langgraph.store.base import BaseStore, SearchItem

from swarm_graph.memory.meaning import collected_notes
from swarm_graph.memory.namespaces import MEMORY
from swarm_graph.memory.passage import Passage
from swarm_graph.memory.patience import in_time
from swarm_graph.memory.ranking import found_items
from swarm_graph.memory.work import ado
from swarm_graph.models.masking import masked
from swarm_graph.state import RecalledPassage
from swarm_graph.text import cut, cut_note, first_names, longer_fence, printable, without_lone_surrogates

MAX_PASSAGE = 6000
"""Characters of a passage that a prompt shows; our own passages are shorter."""
MAX_CUT_NOTE = 100
"""Characters of the note at the end of a longer one."""
MAX_NAME = 200
"""Characters of an id, a source and a place."""
MAX_RANKED = 10_000
"""Items of a store without an index that are ranked here."""
COPIES = 4
"""So many times the passages that are wanted are searched for: copies of one text are shown once."""
_KEYS = tuple(RecalledPassage.__annotations__)
MAX_ERROR = 300
"""Characters of a store's error in a note."""


class Recall(NamedTuple):
    """What was found.

    Attributes:
        passages: The best first.
        note: What limited the search, for people; empty if nothing did.
    """

    passages: list[Passage]
    note: str = ""


async def recall(
    store: BaseStore | None,
    query: str,
    limit: int,
    *,
    secrets: Sequence[str] = (),
) -> Recall:
    """The passages of memory that fit a question best.

    A store that fails loses no run: then there are no passages, and the note says why.

    Args:
        store: The store; None if the graph has none.
        query: The question.
        limit: How many passages at the most.
        secrets: Texts that no passage may repeat.
    """
    if store is None:
        return Recall([], "nothing was recalled: the graph has no store")
    try:
        with collected_notes() as problems:
            search = ado(found_items(query, MEMORY, limit * COPIES, MAX_RANKED), store)
            found = await in_time(search, store)
    except Exception as error:  # a store is code of anybody's, and its errors are of any kind
        reason = " ".join(_clean(str(error), secrets).split()) or type(error).__name__
        return Recall([], f"nothing was recalled: memory cannot be searched ({cut(reason, MAX_ERROR)})")
    passages = [passage for item in found if (passage := passage_of(item, secrets))]
    return Recall(_without_copies(passages)[:limit], "; ".join(map(printable, problems)))


def _without_copies(passages: Sequence[Passage]) -> list[Passage]:
    """Passages of which no two have the same text; the best of several names the sources of the others."""
    copies: dict[str, list[Passage]] = {}
    for passage in passages:
        copies.setdefault(_own_text(passage), []).append(passage)
    return [_with_sources(best, others) for best, *others in copies.values()]


def _own_text(passage: Passage) -> str:
    """The text of a passage without the first line of a document's, which names the document."""
    _, _, own = passage.text.partition("\n\n")
    return own if own and "/" in passage.id else passage.text


def _with_sources(passage: Passage, others: Sequence[Passage]) -> Passage:
    """A passage whose place names the sources of its copies."""
    sources = [*dict.fromkeys(other.source for other in others if other.source != passage.source)]
    also = f"also in {first_names(sources)}" if sources else ""
    return replace(passage, place="; ".join(filter(None, [passage.place, also])))


def passage_of(item: SearchItem, secrets: Sequence[str] = ()) -> Passage | None:
    """An item of a store as a passage, cleaned and bounded; None if it holds no text."""
    value = item.value if isinstance(item.value, Mapping) else {}
    if not isinstance(text := value.get("text"), str) or not text.strip():
        return None
    return Passage(
        id=_name(item.key, secrets),
        text=_bounded(_clean(text, secrets)),
        source=_name(value.get("source"), secrets) or "unknown source",
        place=_name(value.get("place"), secrets),
        collection=_name(item.namespace[-1] if item.namespace else "", secrets),
        score=item.score,
    )


def _clean(text: str, secrets: Sequence[str]) -> str:
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    return masked(printable(without_lone_surrogates(lines)), secrets).strip()


def _bounded(text: str) -> str:
    if len(text) <= MAX_PASSAGE:
        return text
    return f"{text[:MAX_PASSAGE]}\n{cut_note(MAX_PASSAGE, len(text))}"


def _name(value: object, secrets: Sequence[str]) -> str:
    """A name or place as one line."""
    return cut(" ".join(_clean(value, secrets).split()), MAX_NAME) if isinstance(value, str) else ""


def passages_text(passages: Sequence[Passage]) -> str:
    """Passages as a model reads them: numbered, with their sources, in fences that nothing in them closes."""
    return "\n\n".join(_shown(number, passage) for number, passage in enumerate(passages, 1))


def _shown(number: int, passage: Passage) -> str:
    fence = longer_fence(passage.text)
    return f"{number}. From {passage.citation}:\n{fence}text\n{passage.text}\n{fence}"


def to_state(passage: Passage) -> RecalledPassage:
    """A passage as the state keeps it."""
    return RecalledPassage(id=passage.id, source=passage.source, place=passage.place, text=passage.text)


def from_record(record: Any, limit: int) -> Recall | None:
    """What `to_record` made; None if it is anything else, as in a file that another program has changed.

    Args:
        record: The record.
        limit: How many passages were asked for.
    """
    passages = record.get("passages") if isinstance(record, dict) else None
    if not isinstance(passages, list) or len(passages) > limit or not all(map(_is_recalled, passages)):
        return None
    found = [Passage(**{key: one[key] for key in _KEYS}) for one in passages]
    return Recall(found, printable(str(record.get("note", ""))))


def _is_recalled(value: Any) -> bool:
    """Whether this is a passage as `passage_of` cleans and bounds it."""
    if not isinstance(value, dict) or not all(isinstance(value.get(key), str) for key in _KEYS):
        return False
    is_clean = all(value[key] == _name(value[key], ()) for key in _KEYS if key != "text")
    text = value["text"]
    return is_clean and text == _clean(text, ()) and len(text) <= MAX_PASSAGE + MAX_CUT_NOTE


def to_record(found: Recall) -> dict[str, Any]:
    """What was found, as JSON-like data."""
    return {"passages": [to_state(passage) for passage in found.passages], "note": found.note}
