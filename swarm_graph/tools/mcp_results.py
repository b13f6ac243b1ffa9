"""What MCP servers answer, as text: no image, sound or other binary data gets to a model."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import mcp_types as types

NOTHING = "(the server returned nothing)"


def call_text(result: types.CallToolResult) -> str:
    """The result of a call: its text, then its structured data if the text does not say the same."""
    parts = [_block_text(block) for block in result.content]
    data = result.structured_content
    if data is not None and not _says(parts, data):
        parts.append(json.dumps(data, ensure_ascii=False))
    return "\n".join(parts) or NOTHING


def resource_text(result: types.ReadResourceResult) -> str:
    """The text of a resource; the type and the size of binary contents."""
    return "\n".join(map(_contents_text, result.contents)) or NOTHING


def prompt_text(result: types.GetPromptResult) -> str:
    """The messages of a prompt, each below the name of its role."""
    messages = [f"{message.role}:\n{_block_text(message.content)}" for message in result.messages]
    return "\n\n".join(messages) or NOTHING


def _says(parts: Iterable[str], data: Any) -> bool:
    """Whether a text is the JSON of the data: servers send both, for clients that know only text.

    They put a single value into an object, such as `{"result": value}` and `{"content": value}`.
    """
    values = [data, *data.values()] if isinstance(data, dict) and len(data) == 1 else [data]
    return any(part in values or _json(part) in values for part in parts)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _block_text(block: types.ContentBlock) -> str:
    match block:
        case types.TextContent():
            return block.text
        case types.ImageContent() | types.AudioContent():
            return f"({block.type} {block.mime_type}, {_size(block.data)}: not text)"
        case types.ResourceLink():
            return f"(resource {block.uri}: {block.title or block.name})"
        case types.EmbeddedResource():
            return _contents_text(block.resource)


def _contents_text(contents: types.TextResourceContents | types.BlobResourceContents) -> str:
    if isinstance(contents, types.TextResourceContents):
        return contents.text
    return f"(resource {contents.uri} {contents.mime_type or ''}, {_size(contents.blob)}: not text)"


def _size(encoded: str) -> str:
    return f"{len(encoded) * 3 // 4:,} bytes"
