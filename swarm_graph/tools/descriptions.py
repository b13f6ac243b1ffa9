"""A tool as models see it: its description and the schema of its arguments, shortened by a rule.

The rule: a description keeps its first sentences, up to MAX_DESCRIPTION characters; the description of an
argument, up to MAX_ARGUMENT_DESCRIPTION. A schema keeps what a model needs to write a call: names, types,
choices, required arguments, items of lists, fields of objects, bounds of numbers and plain defaults. Titles,
patterns, formats and lengths are left out, references are written out, and `null` beside another type is
dropped. At most MAX_ARGUMENTS arguments stay, the required ones first. A schema that is still longer than
MAX_SCHEMA loses the descriptions of its arguments, then the optional arguments.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from swarm_graph.prompts.chat_template import KNOWN
from swarm_graph.text import cut, printable, without_lone_surrogates
from swarm_graph.tools.schemas import MAX_DEPTH, as_list, as_mapping, referenced
from swarm_graph.tools.tool import Tool

MAX_DESCRIPTION, MAX_ARGUMENT_DESCRIPTION = 160, 120
"""Characters of the description of a tool, and of the description of an argument."""
MAX_SCHEMA = 2000
"""Characters of a schema as JSON, after which less of it is kept."""
MAX_CHOICES, MAX_ARGUMENTS = 30, 40
"""Values of an `enum`, and arguments, that are kept."""
MAX_DEFAULT = 40
"""Characters of a default that is kept."""
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z`'\"(])")
TYPES = ("string", "integer", "number", "boolean", "array", "object")
_BOUNDS = ("minimum", "maximum")


def function_of(tool: Tool) -> dict[str, Any]:
    """A tool in the form of OpenAI's API, under its wire name, with short texts."""
    function = {
        "name": tool.wire_name,
        "description": short_description(tool),
        "parameters": short_schema(tool),
    }
    return {"type": "function", "function": function}


def short_description(tool: Tool) -> str:
    """The first sentences of a tool's description, in one line."""
    return _sentences(tool.description, MAX_DESCRIPTION)


def short_schema(tool: Tool) -> dict[str, Any]:
    """The schema of a tool's arguments without what a call does not need; the module says the rule."""
    whole = _Shortened(tool.schema)
    for described, optional in ((True, True), (False, True), (False, False)):
        schema = whole.arguments(described=described, optional=optional)
        if len(json.dumps(schema, ensure_ascii=False)) <= MAX_SCHEMA:
            break
    return schema


def signature(tool: Tool) -> str:
    """A tool in one line: wire name, arguments (those with `?` are optional), description."""
    schema = short_schema(tool)
    required = schema.get("required", ())
    arguments = [
        f"{name}{'' if name in required else '?'}: {_kind(part)}"
        for name, part in schema["properties"].items()
    ]
    return cut(printable(f"{tool.wire_name}({', '.join(arguments)}): {short_description(tool)}"), 600)


def _kind(part: dict[str, object]) -> str:
    """The type of an argument in a word or two."""
    if isinstance(choices := part.get("enum"), list):
        return " | ".join(map(repr, choices[:8]))
    kind = part.get("type", "any")
    return " | ".join(map(str, kind)) if isinstance(kind, list) else str(kind)


class _Shortened:
    """A schema as a model is shown it."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self.schema = schema
        self._left = 0
        """How many more parts are written out: references may multiply them without end."""

    def arguments(self, *, described: bool, optional: bool) -> dict[str, Any]:
        self.described, self.optional, self._left = described, optional, 500
        found = self._object(referenced(self.schema, self.schema), 0)
        return {"type": "object", "properties": {}, **found}

    def _part(self, part: Any, depth: int) -> dict[str, Any]:
        """The schema of one value."""
        self._left -= 1
        part = referenced(part, self.schema)
        if depth > MAX_DEPTH or self._left < 0 or not part:
            return {}
        others = [*as_list(part.get("anyOf")), *as_list(part.get("oneOf"))]
        others = [
            other for other in others if not (isinstance(other, Mapping) and other.get("type") == "null")
        ]
        if len(others) == 1:
            part = {
                **referenced(others[0], self.schema),
                **{key: part[key] for key in ("description", "default") if key in part},
            }
            others = []
        kept = self._plain(part)
        if len(others) > 1:
            kept["anyOf"] = [self._part(other, depth + 1) for other in others[:MAX_CHOICES]]
        if isinstance(part.get("items"), Mapping):
            kept["items"] = self._part(part["items"], depth + 1)
        if isinstance(part.get("properties"), Mapping):
            kept |= self._object(part, depth + 1)
        return kept

    def _plain(self, part: Mapping[str, Any]) -> dict[str, Any]:
        """The keywords of a schema that concern the value itself."""
        kept: dict[str, Any] = {}
        if (kind := _type(part.get("type"))) is not None:
            kept["type"] = kind
        if self.described and isinstance(part.get("description"), str):
            kept["description"] = _sentences(part["description"], MAX_ARGUMENT_DESCRIPTION)
        if isinstance(part.get("enum"), list):
            kept["enum"] = [_clean(value) for value in part["enum"][:MAX_CHOICES] if _is_plain(value)]
        if "const" in part and _is_plain(part["const"]):
            kept["const"] = _clean(part["const"])
        if part.get("default") is not None and _is_plain(part["default"]):
            kept["default"] = _clean(part["default"])
        return kept | {key: part[key] for key in _BOUNDS if isinstance(part.get(key), int | float)}

    def _object(self, part: Mapping[str, Any], depth: int) -> dict[str, Any]:
        """The fields of an object."""
        properties = as_mapping(part.get("properties"))
        required = [
            name for name in as_list(part.get("required")) if isinstance(name, str) and name in properties
        ]
        others = [name for name in properties if self.optional and name not in required]
        chosen = [*required, *others][:MAX_ARGUMENTS]
        kept = {name: self._part(properties[name], depth) for name in properties if name in chosen}
        found = {"type": "object", "properties": {_clean(name): part for name, part in kept.items()}}
        return (
            {**found, "required": [_clean(name) for name in required if name in kept]} if required else found
        )


def _type(kind: Any) -> Any:
    """A type without the `null` beside it."""
    if isinstance(kind, list):
        kinds = [one for one in TYPES if one in kind]
        return kinds[0] if len(kinds) == 1 else kinds or None
    return kind if kind in TYPES else None


def _is_plain(value: Any) -> bool:
    return isinstance(value, bool | int | float | str) and len(str(value)) <= MAX_DEFAULT


def _clean(value: Any) -> Any:
    return _clean_text(value) if isinstance(value, str) else value


def _clean_text(value: str) -> str:
    return KNOWN.break_up(printable(without_lone_surrogates(value)))


def _sentences(text: str, limit: int) -> str:
    """The first sentences of a text that fit, in one line; if not even one fits, its beginning."""
    line = _clean_text(" ".join(text[: 20 * limit].split()))
    if len(line) <= limit:
        return line
    ends = [match.start() for match in _SENTENCE_END.finditer(line) if match.start() <= limit]
    return line[: ends[-1]] if ends else cut(line, limit)
