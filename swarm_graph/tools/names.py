"""The names of tools: `project.read` for people and configurations, `project__read` for models."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

MAX_WIRE_NAME = 64
"""The longest name of a function that OpenAI's API allows."""


def wire_name(name: str) -> str:
    """The name of a tool as models see it: the names of functions have no dots."""
    return name.replace(".", "__")[:MAX_WIRE_NAME]


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether a tool is named by one of some names and globs, such as `project.read` and `time.*`."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)
