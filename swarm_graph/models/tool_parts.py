"""Calls of tools in a streamed answer: their parts in one form whatever server sends them, and the calls."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from langchain_core.messages.tool import ToolCallChunk

from swarm_graph.state import ToolCall
from swarm_graph.text import without_lone_surrogates

NOT_JSON = "its arguments are not valid JSON"
NO_OBJECT = "its arguments are no JSON object"


@dataclass
class StreamedCall:
    """A call as its parts arrive."""

    id: str
    name: str
    index: int | None
    pieces: list[str] = field(default_factory=list)

    @property
    def arguments(self) -> str:
        """The JSON of its arguments, as far as it has arrived."""
        return "".join(self.pieces)

    @property
    def is_whole(self) -> bool:
        """Whether its arguments are complete."""
        return bool(self.pieces) and self.pieces[-1].rstrip().endswith("}") and not _read(self.arguments)[1]

    def read(self, number: int) -> ToolCall:
        """The call, with its number in the answer as id if the server gave none."""
        arguments, problem = _read(self.arguments)
        # Mistral's template takes only ids of nine letters and digits.
        return ToolCall(self.name, arguments, self.id or f"call{number:05d}", problem)


class CallParts:
    """The calls of an answer as their parts arrive.

    Servers differ: the index of a call may be missing or always 0, its id may be missing or new in each part,
    its name may be repeated, and its arguments may come as text in pieces, whole, or as an object.
    """

    def __init__(self) -> None:
        self.calls: list[StreamedCall] = []
        self._latest: dict[int, int] = {}
        self._by_id: dict[str, int] = {}

    def add(self, parts: Iterable[Mapping[str, Any]]) -> tuple[ToolCallChunk, ...]:
        """Take parts, as `parts_of` or LangChain's chunks have them; returns them in one form.

        In that form the index is the call's number, and id and name stand in its first part alone.
        """
        return tuple(self._chunk(part) for part in parts)

    def read(self) -> tuple[ToolCall, ...]:
        """The calls that have arrived; a part without any name is no call."""
        named = [call for call in self.calls if call.name]
        return tuple(call.read(number) for number, call in enumerate(named, 1))

    def _chunk(self, part: Mapping[str, Any]) -> ToolCallChunk:
        id_, name, index = _word(part.get("id")), _word(part.get("name")), part.get("index")
        given = part.get("args")
        arguments = given if isinstance(given, str) else "" if given is None else json.dumps(given)
        number = self._number(id_, name, index if type(index) is int else None)
        if number is None:
            number = len(self.calls)
            self.calls.append(StreamedCall(id_, name, index if type(index) is int else None))
            first_id, first_name = id_, name
        else:
            call = self.calls[number]
            first_id, first_name = "" if call.id else id_, "" if call.name else name
            call.id, call.name = call.id or id_, call.name or name
        if first_id:
            self._by_id[first_id] = number
        if type(index) is int:
            self._latest[index] = number
        self.calls[number].pieces += [arguments] if arguments else []
        return ToolCallChunk(
            name=first_name or None,
            args=arguments,
            id=first_id or None,
            index=number,
            type="tool_call_chunk",
        )

    def _number(self, id_: str, name: str, index: int | None) -> int | None:
        """The number of the call that a part belongs to; None if it begins one."""
        number = self._latest.get(index) if index is not None else len(self.calls) - 1
        if id_ in self._by_id and index in (None, self.calls[self._by_id[id_]].index):
            number = self._by_id[id_]
        if number is None or number < 0:
            return None
        call = self.calls[number]
        if not name or not call.name:
            return number
        begins = name != call.name or call.is_whole or (not call.pieces and bool(id_ and call.id))
        return None if begins else number


def parts_of(message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The parts of calls in a delta or a message of OpenAI's or Ollama's API, well formed or not.

    OpenAI's first API had one call, in `function_call`.
    """
    given = message.get("tool_calls")
    calls = given if isinstance(given, list) else [given]
    for call in [*calls, {"function": message.get("function_call")}]:
        if not isinstance(call, Mapping):
            continue
        function = call.get("function")
        said = function if isinstance(function, Mapping) else call
        name, arguments = said.get("name"), said.get("arguments")
        if name or arguments not in (None, "") or call.get("id"):
            index = call.get("index", said.get("index"))
            yield {"name": name, "args": arguments, "id": call.get("id"), "index": index}


def _word(value: Any) -> str:
    return without_lone_surrogates(value) if isinstance(value, str) else ""


def _read(text: str) -> tuple[dict[str, Any], str]:
    """The arguments of a call, and why they cannot be read; some servers send the text of a JSON text."""
    if not text.strip():
        return {}, ""
    try:
        value = _json(text)
        value = _json(value) if isinstance(value, str) and value.strip() else value
    except (ValueError, RecursionError):
        return {}, NOT_JSON
    if value in (None, ""):
        return {}, ""
    return (value, "") if isinstance(value, dict) else ({}, NO_OBJECT)


def _json(text: str) -> Any:
    value = json.loads(text, strict=False, parse_constant=_refuse)
    escaped = json.dumps(value, ensure_ascii=False) if r"\ud" in text.lower() else ""
    if (clean := without_lone_surrogates(escaped)) != escaped:
        return json.loads(clean)
    return value


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")
