"""What a tool returns, as text that can be shown, stored and sent to a model."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from langchain_core.messages import ToolMessage
from pydantic import BaseModel

from swarm_graph.models.masking import MAX_HELD_CHARACTERS, masked
from swarm_graph.text import cut_note, printable, without_lone_surrogates

NOTHING = "(the tool returned nothing)"
_HEAD_SHARE = 0.75
"""The part of a cut result that shows its beginning; the rest shows its end."""
_TERMINAL = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\n]{0,200}(?:\x07|\x1b\\)|[@-Z\\-_])")
"""Sequences that move a terminal's cursor, colour its text or set its title."""


class Returned(NamedTuple):
    """What a tool returned.

    Attributes:
        text: The whole result as text.
        failed: Whether the tool says that it failed.
    """

    text: str
    failed: bool = False


def returned(value: Any) -> Returned:
    """A tool's result as text. It may be text, JSON-like data, content blocks, messages, bytes, an object."""
    if isinstance(value, ToolMessage):
        return Returned(_text(value.content), value.status == "error")
    if isinstance(value, list) and value and all(isinstance(one, ToolMessage) for one in value):
        parts = [returned(one) for one in value]
        return Returned("\n".join(part.text for part in parts), any(part.failed for part in parts))
    return Returned(_text(value))


def bounded(text: str, limit: int, secrets: Sequence[str] = ()) -> str:
    """A text of at most `limit` characters, printable, without secrets.

    A longer text keeps its beginning and its end; a line between them says how much is shown.
    """
    size = 2 * limit + MAX_HELD_CHARACTERS  # what is taken out may leave less than the limit
    if len(text) <= 2 * size:
        clean = _clean(text, secrets)
        return clean if len(clean) <= limit else _head_and_tail(clean, clean, limit, len(text))
    return _head_and_tail(_clean(text[:size], secrets), _clean(text[-size:], secrets), limit, len(text))


def _head_and_tail(head: str, tail: str, limit: int, characters: int) -> str:
    room = limit - len(_note(limit, characters))
    shown = min(int(room * _HEAD_SHARE), len(head))
    end = min(room - shown, len(tail))
    return f"{head[:shown]}{_note(shown + end, characters)}{tail[len(tail) - end :]}"


def _note(shown: int, characters: int) -> str:
    return f"\n{cut_note(shown, characters)}\n"


def _clean(text: str, secrets: Sequence[str]) -> str:
    text = re.sub(r"\r\n?|[\v\f\x85\u2028\u2029]", "\n", _TERMINAL.sub("", text))
    return masked(printable(without_lone_surrogates(text)), secrets)


def _text(value: Any) -> str:
    if value is None or (isinstance(value, str | bytes | list | tuple | dict) and not value):
        return NOTHING
    match value:
        case str():
            return value
        case bytes() | bytearray() | memoryview():
            return _decoded(bytes(value))
        case list() if all(_is_block(item) for item in value):
            return "\n".join(map(_block, value))
        case BaseModel():
            return value.model_dump_json(fallback=str, warnings=False)
    try:
        return json.dumps(value, ensure_ascii=False, default=_as_json)
    except (TypeError, ValueError, RecursionError):  # keys that are no text, a circle, nested too deep
        return str(value)


def _as_json(value: Any) -> Any:
    """An object that JSON does not have, inside of a result."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", fallback=str, warnings=False)
    return _decoded(bytes(value)) if isinstance(value, bytes | bytearray) else str(value)


def _decoded(data: bytes) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    return f"({len(data)} bytes that are not text)" if "\0" in text else text


def _is_block(item: Any) -> bool:
    """Whether an item of a list is a content block of a message, or text in its place."""
    return isinstance(item, str) or (isinstance(item, Mapping) and isinstance(item.get("type"), str))


def _block(block: str | Mapping[str, Any]) -> str:
    """The text of a content block; the kind and the size of an image and the like."""
    if isinstance(block, str):
        return block
    if isinstance(block.get("text"), str):
        return str(block["text"])
    if block["type"] == "json" and "json" in block:
        return _text(block["json"])
    encoded = next((block[key] for key in ("data", "base64") if isinstance(block.get(key), str)), None)
    kind = next((block[key] for key in ("mime_type", "mimeType") if isinstance(block.get(key), str)), "")
    if encoded is None and not kind:
        return _text({key: value for key, value in block.items() if key != "type"} or dict(block))
    size = f", {len(encoded) * 3 // 4} bytes" if encoded is not None else ""
    return f"({' '.join(filter(None, [block['type'], kind]))}{size}: not text)"
