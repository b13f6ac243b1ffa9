"""What roles have recalled from memory, as text: a line for each task, and all passages for a page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeGuard

from swarm_graph.state import Recalled, RecalledPassage
from swarm_graph.text import MAX_NAMES, citation, cut, first_names, format_count, printable

MAX_SOURCE_CHARACTERS = 60
_PASSAGE = tuple(RecalledPassage.__annotations__)
MAX_LINES, MAX_FOLDED = 20, 300
"""Tasks that have a line in a text, and those that are on a page; further ones are counted."""


def recalled_line(sources: Iterable[str], passages: int, characters: int, note: str = "") -> str:
    """What a task has recalled, as one line: "recalled 2 passages (310 characters): P-101.pdf, p. 4".

    Args:
        sources: The citation of each passage.
        passages: The number of passages.
        characters: Of all passages.
        note: What limited the search or left passages out.
    """
    size = f"{format_count(passages, 'passage')} ({format_count(characters, 'character')})"
    named = f": {_first(sources)}" if passages else ""
    line = f"recalled {size if passages else 'no passage'}{named}"
    return _one_line(f"{line}; {note}" if note else line)


def _first(sources: Iterable[str]) -> str:
    names = [cut(name, MAX_SOURCE_CHARACTERS) for name in dict.fromkeys(sources)]
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return "; ".join(names[:MAX_NAMES]) + more


def line_of_event(data: Mapping[str, Any]) -> str:
    """`recalled_line` for the data of a `recalled` event."""
    return recalled_line(data["sources"], data["passages"], data["characters"], data["note"])


def line_of(recalled: Recalled) -> str:
    """`recalled_line` for what the state has of a task."""
    passages = recalled["passages"]
    sources = (citation(one["source"], one["place"]) for one in passages)
    characters = sum(len(one["text"]) for one in passages)
    return recalled_line(sources, len(passages), characters, recalled["note"])


def recalled_of(state: Mapping[str, object]) -> list[Recalled]:
    """What the tasks of a session have recalled, from its state; nothing if its roles recall nothing."""
    found = state.get("recalled")
    return [one for one in found if _is_recalled(one)] if isinstance(found, list) else []


def _is_recalled(value: Any) -> TypeGuard[Recalled]:
    """Whether this is what a task has recalled; the database may be somebody else's."""
    return (
        isinstance(value, dict)
        and all(isinstance(value.get(key), str) for key in ("node", "task", "note"))
        and isinstance(value.get("iteration"), int)
        and isinstance(value.get("passages"), list)
        and all(
            isinstance(one, dict) and all(isinstance(one.get(key), str) for key in _PASSAGE)
            for one in value["passages"]
        )
    )


def recalled_lines(state: Mapping[str, object]) -> list[str]:
    """A line for each task of a session that has recalled something: its node, its round, its sources."""
    recalled = recalled_of(state)
    lines = [f"{one['node']}, round {one['iteration']}: {line_of(one)}" for one in recalled[:MAX_LINES]]
    return [*lines, *_more(recalled, lines)]


def recalled_in_short(state: Mapping[str, object]) -> list[str]:
    """What a whole session has recalled in a line, and a line for each thing that limited it."""
    recalled = recalled_of(state)
    if not recalled:
        return []
    sources = {
        one["id"]: cut(one["source"], MAX_SOURCE_CHARACTERS) for t in recalled for one in t["passages"]
    }
    names = first_names([*dict.fromkeys(sources.values())])
    found = f"{format_count(len(sources), 'passage')} from {names}" if sources else "no passage"
    nodes: dict[str, dict[str, None]] = {}
    for one in recalled:
        if one["note"]:
            nodes.setdefault(one["note"], {})[one["node"]] = None
    notes = [f"{first_names([*names])}: {note}" for note, names in nodes.items()]
    return [
        f"Recalled from memory: {_one_line(found)}",
        *(f"  {_one_line(note)}" for note in notes[:MAX_LINES]),
    ]


def _one_line(text: str) -> str:
    return " ".join(printable(text).split())


def _more(recalled: Sequence[Recalled], shown: Sequence[str]) -> list[str]:
    more = len(recalled) - len(shown)
    return [f"… and {format_count(more, 'more task')}"] if more else []


class ShownPassage(NamedTuple):
    """A passage for a page: where it is from, and its text."""

    source: str
    text: str


class ShownRecalled(NamedTuple):
    """What a task has recalled, for a page: a line about it, and the passages with their whole texts."""

    title: str
    passages: list[ShownPassage]


def shown_recalled(recalled: Recalled) -> ShownRecalled:
    """What a task has recalled, for a page."""
    passages = [
        ShownPassage(citation(one["source"], one["place"]), one["text"]) for one in recalled["passages"]
    ]
    return ShownRecalled(f"{recalled['node']}, round {recalled['iteration']}: {line_of(recalled)}", passages)


def remembered_line(data: Mapping[str, Any]) -> str:
    """What a session has kept in memory or offers for it, from the data of a `remembered` event."""
    kept, offered = data["kept"], data["offered"]
    parts = [f"{kept} kept in memory" if kept else "", f"{offered} offered for memory" if offered else ""]
    return _one_line("; ".join(filter(None, [*parts, data["note"]])))
