"""The prompts of the six calls of a `standard` session as data, for programs without swarm_graph."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from string import Template

REQUEST = """Create a Python class for managing a FIFO queue with these features:
- Thread-safe operations
- Max capacity with blocking
- Timeout support
- Statistics tracking (items in/out, avg wait time)"""
FOCUSES = ("correctness", "performance", "style")
WRITERS = ("clarifier", "architect", "coder")
REVIEWS = tuple(f"review_{focus}" for focus in FOCUSES)
CALLS = len(WRITERS) + len(REVIEWS)


@dataclass(frozen=True)
class RolePrompts:
    """The system and the user message of each call, with `$holes`.

    Attributes:
        texts: Both messages, by the name of the call: WRITERS and REVIEWS.
    """

    texts: dict[str, tuple[str, str]]

    def messages(self, name: str, state: dict[str, str]) -> tuple[str, str]:
        """Both messages with what a session has so far; a hole without a value says `(none)`."""
        values = defaultdict(lambda: "(none)", state)
        system, user = (Template(text).substitute(values) for text in self.texts[name])
        return system, user

    def write(self, path: Path) -> Path:
        path.write_text(json.dumps(self.texts))
        return path

    @classmethod
    def read(cls, path: Path) -> RolePrompts:
        return cls({name: (system, user) for name, (system, user) in json.loads(path.read_text()).items()})


def our_prompts() -> RolePrompts:
    """Those of swarm_graph."""
    from swarm_graph.prompts import template

    texts = {}
    for name in (*WRITERS, *REVIEWS):
        role = name if name in WRITERS else "reviewer"
        system, _, user = template.read(role).partition("\n---\n")
        if role == "reviewer":
            focus = template.read(name).strip().replace("$", "$$")
            system, user = (text.replace("$focus", focus) for text in (system, user))
        texts[name] = system.strip(), user.strip()
    return RolePrompts(texts)
