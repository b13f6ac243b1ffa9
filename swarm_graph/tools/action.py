"""A call of a tool as one JSON action that a schema binds, for models that do not call by the server's API.

The schema has a branch for each tool, so a bound model can neither name another tool nor leave out an
argument. A branch is the tool's own schema, reduced to what the grammars of llama.cpp support, which most
local servers use:

- kept: types, `enum`, `const`, `properties`, `required`, items, `anyOf`, bounds of integers, lists and texts
- references are written out; if a schema contains itself, the inner part is left out, or is any value
- the parts of `allOf` are merged, `oneOf` becomes `anyOf`; the tool itself checks all other keywords
- texts and lists without a bound get one, or a weak model would write for ever: MAX_SHORT_TEXT for
  a path, a name, a date and the like, else MAX_TEXT; a text of MAX_TEXT characters is refused as cut off
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from swarm_graph.errors import UnreadableAnswer
from swarm_graph.state import ToolCall
from swarm_graph.tools.descriptions import short_schema, signature
from swarm_graph.tools.mended_json import JsonReader
from swarm_graph.tools.schemas import as_list, as_mapping, target
from swarm_graph.tools.tool import Tool

ANSWER = "answer"
"""The action that says that the model can answer now."""
MAX_TEXT, MAX_ITEMS = 2000, 10
"""Characters of a text, and items of a list, that an action may have at most."""
MAX_SHORT_TEXT = 200
"""Characters of a text if the name of its argument says that it is short."""
_SHORT = re.compile(
    r"(?:path|file|dir|directory|folder|name|id|key|ur[il]|date|time|stamp|zone|branch|revision|ref|glob|pattern"
    r"|lang|language|unit|format|mode|kind|type|host|tag|target|title|version|encoding|author)s?",
    re.IGNORECASE,
)
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")
MAX_CHOICES = 100
"""Values of an `enum` beyond which any value of its type is allowed."""
MAX_PARTS = 500
"""Parts of one schema that are written out; the parts after them may be any value."""
_INTEGER_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_ANY: dict[str, Any] = {
    "anyOf": [{"type": "string", "maxLength": MAX_TEXT}, {"type": "number"}, {"type": "boolean"}]
}
"""The schema of a value whose type is unknown."""


def action_schema(tools: Sequence[Tool]) -> dict[str, Any]:
    """The JSON schema of one action: `{"tool": NAME, "arguments": {...}}`, or `{"tool": "answer"}`.

    Args:
        tools: The tools that are offered; they go by their wire names.
    """
    branches = [_branch({"tool": {"const": tool.wire_name}, "arguments": _arguments(tool)}) for tool in tools]
    return {"title": "action", "anyOf": [*branches, _branch({"tool": {"const": ANSWER}})]}


def read_action(text: str, tools: Sequence[Tool], *, is_cut: bool = False) -> ToolCall | None:
    """The call in an action, under the tool's name; None if the model can answer now.

    Args:
        text: The model's answer without thoughts. If no schema has bound it, a fence or prose may stand
            around the action.
        tools: The tools that are offered.
        is_cut: Whether the answer was cut off at its limit. Then only a whole JSON object counts.

    Raises:
        UnreadableAnswer: It holds no action, names another tool, or has a text that is cut off.
    """
    if is_cut and not _is_json(text):
        raise UnreadableAnswer("the action was cut off at the limit of the answer: write less")
    action = _action_in(text)
    named = action.get("tool", action.get("name"))
    if named == ANSWER:
        return None
    tool = next((tool for tool in tools if named in (tool.wire_name, tool.name)), None)
    if tool is None:
        names = ", ".join([*(tool.wire_name for tool in tools), ANSWER])
        raise UnreadableAnswer(
            f"the action names no tool that is offered: {str(named)[:80]!r}; choose {names}"
        )
    arguments = action.get("arguments", {})
    if not isinstance(arguments, dict):
        raise UnreadableAnswer("the arguments of the action are no JSON object")
    if place := _cut_text(arguments):
        raise UnreadableAnswer(
            f"the argument {place} has {MAX_TEXT:,} characters, the most that one action may have, "
            "and is probably cut off: write less"
        )
    return ToolCall(tool.name, arguments)


def tools_prompt(tools: Sequence[Tool]) -> str:
    """The tools that are offered, for a prompt: each with its wire name, its arguments, and what it does.

    The schemas of arguments that have parts stand below their tool.
    """
    return "\n".join(line for tool in tools for line in (f"- {signature(tool)}", *_nested(tool)))


def _nested(tool: Tool) -> list[str]:
    parts = short_schema(tool)["properties"]
    return [
        f"  {name}: {json.dumps(part, ensure_ascii=False)}"
        for name, part in parts.items()
        if "properties" in json.dumps(part) or "anyOf" in part
    ]


def _branch(properties: dict[str, Any]) -> dict[str, Any]:
    return _object(properties, [*properties])


def _object(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _is_json(text: str) -> bool:
    try:
        json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return False
    return True


def _action_in(text: str) -> dict[str, Any]:
    """The JSON object in a text.

    Raises:
        UnreadableAnswer: There is none, it is cut off, or there are several.
    """
    start = text.find("{")
    action, end = JsonReader(text).read(start) if start >= 0 else (None, None)
    if not isinstance(action, dict) or end is None:
        raise UnreadableAnswer("the answer holds no action, which is one JSON object")
    if "{" in text[end:]:
        raise UnreadableAnswer(
            "the answer holds more than one action; write one JSON object and nothing else"
        )
    return action


def _arguments(tool: Tool) -> dict[str, Any]:
    """The reduced schema of a tool's arguments: always of an object."""
    reduced = _Reduced(tool.schema).part(tool.schema, ())
    return reduced if reduced and reduced.get("type") == "object" else _object({}, [])


class _Reduced:
    """Reduces the parts of one schema."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._schema = schema
        self._left = MAX_PARTS

    def part(self, part: Any, path: tuple[str, ...]) -> dict[str, Any] | None:
        """A part of the schema, reduced; None if it contains itself.

        Args:
            part: The part.
            path: The references that lead to it.
        """
        self._left -= 1
        if not isinstance(part, Mapping) or self._left < 0:
            return _ANY
        reference = part.get("$ref")
        if isinstance(reference, str):
            if reference in path:
                return None
            beside = {key: value for key, value in part.items() if key != "$ref"}
            return self.part({**as_mapping(target(reference, self._schema)), **beside}, (*path, reference))
        if isinstance(part.get("allOf"), list):
            return self._together(part, path)
        for key in ("anyOf", "oneOf"):
            if isinstance(part.get(key), list):
                return self._one_of(part, part[key], path)
        if "const" in part:
            return {"const": part["const"]}
        choices = part.get("enum")
        if isinstance(choices, list) and 0 < len(choices) <= MAX_CHOICES:
            return {"enum": choices}
        return self._of_type(part, path)

    def _together(self, part: Mapping[str, Any], path: tuple[str, ...]) -> dict[str, Any] | None:
        """The parts of an `allOf` and the keys beside it, as one schema."""
        merged = {key: value for key, value in part.items() if key != "allOf"}
        for inner in part["allOf"]:
            if isinstance(inner, Mapping) and isinstance(inner.get("$ref"), str):
                if inner["$ref"] in path:
                    return None
                path = (*path, inner["$ref"])
                inner = target(inner["$ref"], self._schema)
            if isinstance(inner, Mapping):
                properties = {**as_mapping(merged.get("properties")), **as_mapping(inner.get("properties"))}
                required = [*as_list(merged.get("required")), *as_list(inner.get("required"))]
                merged = {**merged, **inner, "properties": properties, "required": required}
        if not merged.get("properties"):
            merged = {key: value for key, value in merged.items() if key not in ("properties", "required")}
        return self.part(merged, path)

    def _one_of(
        self, part: Mapping[str, Any], choices: list[Any], path: tuple[str, ...]
    ) -> dict[str, Any] | None:
        beside = {key: value for key, value in part.items() if key in ("type", "properties", "required")}
        found = [self.part({**beside, **choice}, path) for choice in choices if isinstance(choice, Mapping)]
        kept = [choice for choice in found if choice is not None]
        if not kept:
            return None if found else _ANY
        return kept[0] if len(kept) == 1 else {"anyOf": kept}

    def _of_type(self, part: Mapping[str, Any], path: tuple[str, ...]) -> dict[str, Any] | None:
        kind = part.get("type")
        if isinstance(kind, list):
            kept = [self._of_type({**part, "type": one}, path) for one in kind]
            kinds = [one for one in kept if one is not None]
            return {"anyOf": kinds} if len(kinds) > 1 else kinds[0] if kinds else None
        if kind is None and isinstance(part.get("properties"), Mapping):
            kind = "object"
        match kind:
            case "object":
                return self._of_object(part, path)
            case "array":
                return self._of_array(part, path)
            case "string":
                return _text(part)
            case "integer":
                bounds = {key: part[key] for key in _INTEGER_BOUNDS if type(part.get(key)) is int}
                return {"type": "integer", **bounds}
            case "number" | "boolean" | "null":
                return {"type": kind}
        return _ANY

    def _of_object(self, part: Mapping[str, Any], path: tuple[str, ...]) -> dict[str, Any] | None:
        properties, required = as_mapping(part.get("properties")), as_list(part.get("required"))
        kept: dict[str, Any] = {}
        for name, inner in properties.items():
            reduced = self.part(inner, path)
            if reduced is not None:
                kept[name] = _shorter(reduced) if _is_short(name) else reduced
            elif name in required:
                return None
        if properties or part.get("additionalProperties") is False:
            return _object(kept, [name for name in kept if name in required])
        free = part.get("additionalProperties")
        value = self.part(free, path) if isinstance(free, Mapping) and free else _ANY
        return {"type": "object", "additionalProperties": value if value is not None else _ANY}

    def _of_array(self, part: Mapping[str, Any], path: tuple[str, ...]) -> dict[str, Any] | None:
        items = part.get("items", as_list(part.get("prefixItems"))[:1] or {})
        item = self.part(items[0] if isinstance(items, list) and items else items, path)
        least = part["minItems"] if type(part.get("minItems")) is int else 0
        most = part["maxItems"] if type(part.get("maxItems")) is int else max(least, MAX_ITEMS)
        if item is None:
            return {"type": "array", "items": _ANY, "maxItems": 0} if not least else None
        bounds = {"minItems": least} if least else {}
        return {"type": "array", "items": item, **bounds, "maxItems": min(most, max(least, MAX_ITEMS))}


def _text(part: Mapping[str, Any]) -> dict[str, Any]:
    least = part["minLength"] if type(part.get("minLength")) is int else 0
    most = part["maxLength"] if type(part.get("maxLength")) is int else MAX_TEXT
    bounds = {"minLength": least} if 0 < least <= MAX_TEXT else {}
    return {"type": "string", **bounds, "maxLength": min(most, MAX_TEXT)}


def _is_short(name: str) -> bool:
    """Whether the last word of an argument's name says that its text is short, as in `repo_path`."""
    words = _WORD.findall(name)
    return bool(words) and bool(_SHORT.fullmatch(words[-1]))


def _shorter(part: dict[str, Any]) -> dict[str, Any]:
    """A reduced schema, with short texts in the place of those that had no bound."""
    if part.get("maxLength") == MAX_TEXT:
        return {**part, "maxLength": MAX_SHORT_TEXT}
    if part.get("type") == "array":
        return {**part, "items": _shorter(part["items"])}
    return {"anyOf": [_shorter(one) for one in part["anyOf"]]} if "anyOf" in part else part


def _cut_text(value: Any, place: str = "") -> str:
    """The place of the first text of MAX_TEXT characters; empty if there is none."""
    match value:
        case str():
            return place if len(value) == MAX_TEXT else ""
        case dict():
            parts = [(f"{place}.{name}" if place else name, inner) for name, inner in value.items()]
        case list():
            parts = [(f"{place}.{number}", inner) for number, inner in enumerate(value)]
        case _:
            return ""
    return next(filter(None, (_cut_text(inner, where) for where, inner in parts)), "")
