"""The names of tools: `project.read` for people and configurations, `project__read` for models."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from hashlib import sha256

BUILT_IN_TOOLS = ("project.list", "project.read", "project.search", "sandbox.run")
"""The names of the tools that come with swarm_graph."""

FIND = "tools.find"
"""The tool that is offered when a role has more tools than are offered at once."""

MAX_WIRE_NAME = 64
"""The longest name of a function that OpenAI's API allows."""
_PLAIN = re.compile(r"(?!.*__)[A-Za-z][A-Za-z0-9_-]*(?:\.[A-Za-z0-9-][A-Za-z0-9_-]*)*")
"""Names that stay distinct when each dot becomes `__`."""
_HASH_DIGITS = 8


def wire_name(name: str) -> str:
    """The name of a tool as models see it: the names of functions have no dots.

    A dot becomes `__`. If the result is too long, ambiguous or not the name of a function, it is shortened,
    other characters become `_`, and a hash of the name ends it. So two tools never share a wire name.
    """
    plain = name.replace(".", "__")
    if _PLAIN.fullmatch(name) and len(plain) <= MAX_WIRE_NAME:
        return plain
    kept = re.sub(r"[^A-Za-z0-9_-]", "_", plain)
    kept = kept if kept[:1].isalpha() else f"t{kept}"
    digest = sha256(name.encode(errors="surrogatepass")).hexdigest()[:_HASH_DIGITS]
    return f"{kept[: MAX_WIRE_NAME - _HASH_DIGITS - 1]}_{digest}"


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether the name of a tool matches a name or glob in a list, such as `project.read` or `time.*`."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def may_mean(pattern: str, name: str) -> bool:
    """Whether a name or glob of `approve` may mean a tool. In doubt it does: then a person is asked.

    Upper and lower case do not differ, the name may be the one that models see, and the part before the first
    dot may be missing.
    """
    spellings = (name, name.replace(".", "__"), name.partition(".")[2] or name)
    return any(fnmatchcase(spelling.casefold(), pattern.casefold()) for spelling in spellings)
