"""A passage from memory: the unit that is found, shown to a role and cited."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from langgraph.store.base import Item

from swarm_graph.text import citation, in_one_line, without_lone_surrogates


@dataclass(frozen=True)
class Passage:
    """A passage from memory.

    Attributes:
        id: The id of its memory: of a document `DOCUMENT/NUMBER`, of an experience its own.
        text: What a role reads.
        source: The name of the document, or `session ID`.
        place: Where in the document: pages, sections or lines; empty if it has none.
        collection: The collection of documents, or the kind of experience.
        score: How well it fits the question, if it was searched for; higher is better, and only comparable
            within one search.
    """

    id: str
    text: str
    source: str
    place: str = ""
    collection: str = ""
    score: float | None = None

    @property
    def citation(self) -> str:
        """The source with its place, as in `P-101.pdf, p. 4`."""
        return citation(self.source, self.place)

    def to_value(self) -> dict[str, Any]:
        """The passage as the value of an item in a LangGraph store."""
        return {"text": self.text, "source": self.source, "place": self.place}

    @classmethod
    def of_item(cls, item: Item) -> Self:
        """A passage from an item of a store. Its value may be anybody's: what is no text is empty."""
        return cls(
            id=in_one_line(item.key),
            text=without_lone_surrogates(_text(item, "text")),
            source=in_one_line(_text(item, "source")),
            place=in_one_line(_text(item, "place")),
            collection=in_one_line(item.namespace[-1]),
            score=getattr(item, "score", None),
        )


def _text(item: Item, name: str) -> str:
    found = item.value.get(name)
    return found if isinstance(found, str) else ""
