"""What is known of a memory besides its text, for people."""

from __future__ import annotations

from swarm_graph.memory.passage import Passage
from swarm_graph.memory.reading import Memory
from swarm_graph.text import local_time

UNSHOWN = ("digest", "session")
"""Details of an experience that only the program needs, or that its source says."""
TIMES = ("time", "edited")
"""Details that are times."""


def facts(memory: Memory) -> list[tuple[str, str]]:
    """Names and values: the file of a document and when it was read, the evidence of an experience."""
    found = list[tuple[str, str]]()
    if document := memory.document:
        found += [
            ("file", document.path),
            ("imported from", document.imported_from),
            ("read", local_time(document.read_at)),
            *(("note", note) for note in document.notes),
        ]
    for name, value in memory.details.items():
        if value and name not in UNSHOWN:
            shown = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            found.append((name, local_time(value) if name in TIMES else shown))
    return [(name, value) for name, value in found if value]


def is_edited(memory: Memory, passage: Passage) -> bool:
    """Whether a person has corrected a passage of a document."""
    number = passage.id.rpartition("/")[2]
    edited = memory.document.edited if memory.document and memory.is_document else ()
    return number.isdecimal() and int(number) in edited
