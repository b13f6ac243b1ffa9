"""JSON schemas that users write: what makes one usable for a typed answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def check_schema(schema: Mapping[str, Any]) -> None:
    """Raises ValueError for a schema that is invalid, not of an object, or not complete in itself."""
    from jsonschema import Draft202012Validator, SchemaError

    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise ValueError(f"is not a JSON Schema: {error.message}") from error
    if schema.get("type") != "object":
        raise ValueError('expected a JSON Schema of an object: {"type": "object", ...}')
    _check_references(schema)
    try:
        # Only a validation shows whether a chain of references ends.
        Draft202012Validator(schema).is_valid({})
    except RecursionError as error:
        raise ValueError("its references form a cycle") from error


def _check_references(schema: Mapping[str, Any]) -> None:
    """Raises ValueError for a reference to another document, which would be fetched, or to nothing."""
    from referencing import Registry
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012

    resolver = Registry().with_resource("", DRAFT202012.create_resource(schema)).resolver("")
    for reference in _references(schema):
        if not reference.startswith("#"):
            raise ValueError(f"the reference {reference!r} leads to another document; expected '#/...'")
        try:
            resolver.lookup(reference)
        except Unresolvable as error:
            raise ValueError(f"the reference {reference!r} leads nowhere") from error


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if key in ("$ref", "$dynamicRef") and isinstance(inner, str):
                yield inner
            yield from _references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)
