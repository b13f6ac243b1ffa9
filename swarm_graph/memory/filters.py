"""Filters of a search in a LangGraph store: which values of items match."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

from swarm_graph.errors import InputError

_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "$eq": operator.eq,
    "$ne": operator.ne,
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$lt": operator.lt,
    "$lte": operator.le,
}


def matches(value: Mapping[str, Any], wanted: Mapping[str, Any] | None) -> bool:
    """Whether a value matches a filter.

    Args:
        value: The value of an item.
        wanted: By key what it must be: a value, or operators such as `{"$gte": 3}`; nested mappings need
            only match in the keys that they name. None for no filter.

    Raises:
        InputError: An operator is unknown.
    """
    return all(_fits(value.get(key), part) for key, part in (wanted or {}).items())


def _fits(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, Mapping):
        if any(str(key).startswith("$") for key in wanted):
            return all(_compare(value, name, operand) for name, operand in wanted.items())
        return isinstance(value, Mapping) and matches(value, wanted)
    if isinstance(wanted, (list, tuple)):
        is_alike = isinstance(value, (list, tuple)) and len(value) == len(wanted)
        return is_alike and all(map(_fits, value, wanted))
    return bool(value == wanted)


def _compare(value: Any, name: str, operand: Any) -> bool:
    if name not in _COMPARISONS:
        raise InputError(f"unknown operator {name!r} in a filter; expected {', '.join(_COMPARISONS)}")
    try:
        return bool(_COMPARISONS[name](value, operand))
    except TypeError:  # a text is neither less nor more than a number
        return False
