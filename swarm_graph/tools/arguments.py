"""The arguments of a call: checked by the tool's schema, after what weak models write has been put right.

Put right, each only where the schema allows one type there and the value has another one:

- text that is a number, for a number: `"3"` becomes 3; so for `"true"` and `"false"`, and 3.0 for an integer
- an integer for text: 3 becomes `"3"`
- one value for a list of such values: `"a.py"` becomes `["a.py"]`
- text that is a JSON list or object, for a list or object
- `null` for an argument that is not required: it is left out

Everything else that does not fit is refused. Patterns are left to the tool: a server's pattern can take
for ever. A schema that cannot be evaluated, or only at great length, checks nothing: the tool itself must.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from typing import Any

from swarm_graph.config_source import closest_match
from swarm_graph.text import check_json_like, cut, printable
from swarm_graph.tools.schemas import MAX_DEPTH, as_list, as_mapping, referenced
from swarm_graph.tools.tool import Tool

MAX_REFERENCES = 2_000
"""References that one check follows; a schema whose references multiply needs more than any computer has."""
STACK_RESERVE = 400
"""Calls that one reference may need: a schema is nested at most 64 deep, with three calls for each level."""
MAX_PROBLEM = 300
"""Characters of what is wrong with arguments."""
MAX_NAMED = 20
"""Arguments that a refusal names."""
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,18})?(?:[eE][+-]?[0-9]{1,2})?")
_UNCHECKED = ("pattern", "patternProperties", "unevaluatedProperties", "unevaluatedItems")
"""Keywords whose check can take exponential time."""


class WrongArguments(ValueError):
    """Arguments that do not fit a tool's schema; the message tells the model what is wrong."""


def fitted_arguments(tool: Tool, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a call as its tool gets them; the module says what is put right.

    Raises:
        WrongArguments: They do not fit the tool's schema.
    """
    try:
        check_json_like(arguments)
    except ValueError as error:
        raise WrongArguments(f"{error}; {_expected(tool)}") from error
    fitted = _Fitting(tool.schema).of_object(arguments, tool.schema, 0)
    if problem := misfit(tool.schema, fitted):
        raise WrongArguments(f"{cut(printable(problem), MAX_PROBLEM)}; {_expected(tool, arguments)}")
    return fitted


class _Fitting:
    """Puts values right by a schema."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self.schema = schema

    def of_object(self, value: Mapping[str, Any], part: Any, depth: int) -> dict[str, Any]:
        """An object with its fields put right."""
        part = referenced(part, self.schema)
        properties, needed = as_mapping(part.get("properties")), as_list(part.get("required"))
        if not properties or depth > MAX_DEPTH:
            return dict(value)
        fields = {
            name: self._value(inner, properties[name], depth + 1) if name in properties else inner
            for name, inner in value.items()
        }
        return {
            name: inner
            for name, inner in fields.items()
            if inner is not None
            or name in needed
            or name not in properties
            or self._allows_null(properties[name])
        }

    def _value(self, value: Any, part: Any, depth: int) -> Any:
        part, kind = self._only_type(part)
        value = self._of_type(value, kind, part)
        if isinstance(value, list) and depth <= MAX_DEPTH and isinstance(part.get("items"), Mapping):
            return [self._value(item, part["items"], depth + 1) for item in value]
        return self.of_object(value, part, depth) if isinstance(value, Mapping) else value

    def _of_type(self, value: Any, kind: str, part: Mapping[str, Any]) -> Any:
        if isinstance(value, str) and kind not in ("", "string"):
            value = _read(value, kind)
        match kind:
            case "integer" if isinstance(value, float) and value.is_integer():
                return int(value)
            case "string" if isinstance(value, int) and not isinstance(value, bool):
                return str(value)
            case "array" if value is not None and not isinstance(value, list):
                _, item = self._only_type(part.get("items"))
                fitting = self._of_type(value, item, {})
                return [fitting] if item and _is_a(fitting, item) else value
        return value

    def _only_type(self, part: Any) -> tuple[dict[str, Any], str]:
        """A part of the schema, and the one type that it allows besides null; empty if there are several."""
        part = referenced(part, self.schema)
        for key in ("anyOf", "oneOf"):
            if isinstance(part.get(key), list):
                others = [referenced(other, self.schema) for other in part[key]]
                others = [other for other in others if other.get("type") != "null"]
                if len(others) == 1 and "type" not in part:
                    part = others[0]
        kind = part.get("type")
        kinds = [one for one in kind if one != "null"] if isinstance(kind, list) else [kind]
        return part, kinds[0] if len(kinds) == 1 and isinstance(kinds[0], str) else ""

    def _allows_null(self, part: Any) -> bool:
        part = referenced(part, self.schema)
        kinds = [part, *(other for key in ("anyOf", "oneOf") for other in as_list(part.get(key)))]
        types = [kind.get("type") for kind in kinds if isinstance(kind, Mapping)]
        choices = as_list(part.get("enum"))
        return any(kind == "null" or (isinstance(kind, list) and "null" in kind) for kind in types) or (
            None in choices or not part.keys() & {"type", "anyOf", "oneOf", "enum", "const", "allOf"}
        )


def _read(text: str, kind: str) -> Any:
    """Text as a value of a type, if it is one beyond doubt; else the text."""
    stripped = text.strip()
    match kind:
        case "integer" if _INTEGER.fullmatch(stripped):
            return int(stripped)
        case "number" if _NUMBER.fullmatch(stripped):
            return json.loads(stripped)
        case "boolean" if stripped.lower() in ("true", "false"):
            return stripped.lower() == "true"
        case "array" | "object" if stripped[:1] == ("[" if kind == "array" else "{"):
            return _json(stripped, list if kind == "array" else dict, text)
    return text


def _json(text: str, kind: type, otherwise: str) -> Any:
    try:
        value = json.loads(text)
        check_json_like(value)
    except (ValueError, RecursionError):
        return otherwise
    return value if isinstance(value, kind) else otherwise


def _is_a(value: Any, kind: str) -> bool:
    match kind:
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
    return kind == "object" and isinstance(value, Mapping)


class _TooLong(Exception):
    """A check follows too many references, or too many inside each other."""


def misfit(schema: Mapping[str, Any], arguments: Mapping[str, Any]) -> str:
    """What is wrong with arguments; empty if they fit, or the schema cannot be evaluated."""
    from jsonschema.exceptions import best_match
    from jsonschema.validators import Draft202012Validator, validator_for
    from referencing import Registry

    try:
        check_json_like(schema)  # deeper nesting overflows the stack
        base = validator_for(schema, default=Draft202012Validator)
        validator = _guarded(base)(schema, registry=Registry())  # an empty registry fetches nothing
        error = best_match(validator.iter_errors(arguments))
    except Exception:  # a foreign schema can be wrong in any way
        return ""
    if error is None:
        return ""
    place = ".".join(map(str, error.absolute_path))
    return f"{place}: {error.message}" if place else error.message


def _guarded(base: Any) -> Any:
    """A class of validators without the keywords whose check may not end in time."""
    from jsonschema.validators import extend

    followed = count()

    def counted(follow: Callable[..., Any]) -> Callable[..., Any]:
        def check(*arguments: Any) -> Iterator[Any]:
            if next(followed) >= MAX_REFERENCES or _stack_is_short():
                raise _TooLong
            yield from follow(*arguments)

        return check

    def additional(validator: Any, value: Any, instance: Any, schema: Mapping[str, Any]) -> Iterator[Any]:
        if "patternProperties" not in schema:
            yield from base.VALIDATORS["additionalProperties"](validator, value, instance, schema)

    references = {
        key: counted(base.VALIDATORS[key]) for key in ("$ref", "$dynamicRef") if key in base.VALIDATORS
    }
    unchecked = dict.fromkeys(_UNCHECKED, _no_errors)
    return extend(
        base,
        {  # type: ignore[no-untyped-call]
            **unchecked,
            **references,
            "additionalProperties": additional,
        },
    )


def _stack_is_short() -> bool:
    """Whether few more calls fit on the stack.

    The libraries below panic when it overflows, with a report on stderr and an error that is no Exception.
    """
    try:
        sys._getframe(max(sys.getrecursionlimit() - STACK_RESERVE, 0))
    except ValueError:
        return False
    return True


def _no_errors(*_: Any) -> Iterator[Any]:
    return iter(())


def _expected(tool: Tool, given: Mapping[str, Any] = {}) -> str:
    """What a tool takes, in a line that helps a model to write its next call."""
    schema = referenced(tool.schema, tool.schema)
    names = [*as_mapping(schema.get("properties"))][:MAX_NAMED]
    if not names:
        return "it takes no arguments"
    required = as_list(schema.get("required"))
    named = ", ".join(f"{name}{'' if name in required else ' (optional)'}" for name in names)
    meant = [(name, closest_match(name, names)) for name in given if name not in names]
    hints = "".join(f"; '{name}' is perhaps '{match}'" for name, match in meant[:3] if match)
    return printable(f"it takes {named}{hints}")
