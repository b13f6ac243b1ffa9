"""The JSON schemas of tools' arguments: an MCP server wrote some of them, so nothing in them is trusted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MAX_DEPTH = 12
"""How deep schemas are followed."""


def referenced(part: Any, schema: Mapping[str, Any]) -> dict[str, Any]:
    """A part of a schema, with the part that its `$ref` names in the place of the `$ref`.

    Args:
        part: A part of the schema.
        schema: The whole schema, in which `#/...` is looked up. No other document is read.

    Returns:
        The part; its own keys come before those of the other part. Empty if it is no object, or if its
        references have no end.
    """
    found = dict(as_mapping(part))
    for _ in range(MAX_DEPTH):
        reference = found.pop("$ref", None)
        if not isinstance(reference, str):
            return found
        found_at = target(reference, schema)
        found = {**found_at, **found} if isinstance(found_at, Mapping) else found
    return {}


def target(reference: str, schema: Mapping[str, Any]) -> Any:
    """The part that a reference inside a schema names; None if there is none."""
    if not reference.startswith("#"):
        return None
    place: Any = schema
    for step in reference.removeprefix("#").strip("/").split("/"):
        key = step.replace("~1", "/").replace("~0", "~")
        if key:
            place = place.get(key) if isinstance(place, Mapping) else None
    return place


def as_mapping(value: Any) -> Mapping[str, Any]:
    """A value where a schema should have an object; empty if it has something else there."""
    return value if isinstance(value, Mapping) else {}


def as_list(value: Any) -> list[Any]:
    """A value where a schema should have a list; empty if it has something else there."""
    return value if isinstance(value, list) else []
