"""Join the typed answers for the parts of a document by code, as far as that is safe."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from swarm_graph.tasks.dependencies import CLOSED_SCHEMA_KEYS


class Joined(NamedTuple):
    """Typed answers, joined as far as code can."""

    value: dict[str, Any]
    open: list[str]
    """The names of the values that a model must join."""


def joined_values(values: Sequence[Mapping[str, Any]], schema: Mapping[str, Any]) -> Joined | None:
    """The typed answers for all parts as one, as far as code can join them.

    Lists are put one after the other; what several of them hold is kept once. A value that only one part has
    is taken, and so is a text or truth value on which all agree. Equal numbers are not: they may be counts.

    Args:
        values: The answers, in the order of the parts.
        schema: Their JSON schema.

    Returns:
        None if the schema has more to it than properties, so that only a model can join.
    """
    properties = schema.get("properties", {})
    if not schema.keys() <= CLOSED_SCHEMA_KEYS or any(value.keys() - properties for value in values):
        return None
    joined = Joined({}, [])
    for name, kind in properties.items():
        found = [value[name] for value in values if name in value]
        if isinstance(kind, Mapping) and kind.get("type") == "array":
            joined.value.update({name: _once(item for given in found for item in given)} if found else {})
        elif (distinct := _once(item for item in found if item not in (None, ""))) == [] and found:
            joined.value[name] = found[0]
        elif len(distinct) == 1 and _is_sure(name, distinct[0], values):
            joined.value[name] = distinct[0]
        elif distinct:
            joined.open.append(name)
    return joined


def _is_sure(name: str, value: Any, values: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the only value that parts have is that of the whole."""
    owners = sum(given.get(name) not in (None, "") for given in values)
    return owners == 1 or isinstance(value, (str, bool))


def _once(items: Any) -> list[Any]:
    """Items without those that are equal to an earlier one."""
    return [*{json.dumps(item, sort_keys=True): item for item in items}.values()]


def schema_of(names: Sequence[str], schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of some of the values of a schema."""
    required = [name for name in schema.get("required", ()) if name in names]
    properties = {name: schema["properties"][name] for name in names}
    return {**schema, "properties": properties, "required": required}
