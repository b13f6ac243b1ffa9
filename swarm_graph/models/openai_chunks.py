"""The chunks of a streamed answer of OpenAI's API, in one form whatever server sends them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from math import inf
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from langchain_core.messages.tool import ToolCallChunk

from swarm_graph.models.sse import Event, EventReader
from swarm_graph.models.stream import normal_reason
from swarm_graph.models.wire import ErrorInStream, UnreadableStream, error_in, json_object

if TYPE_CHECKING:
    from swarm_graph.models.tool_parts import CallParts

Chunk = dict[str, Any]
Usage = dict[str, Any]
Part = TypeVar("Part")
Tools = tuple[ToolCallChunk, ...]
MakePart: TypeAlias = Callable[[str, str, str, Usage | None, Any, Tools], Part]
"""Makes a part of an answer from a chunk's text, thoughts, finish reason, counts, model and calls."""

THOUGHT_FIELDS = ("reasoning_content", "reasoning")
"""The first in llama.cpp, LM Studio and DeepSeek, the second in vLLM."""
THOUGHT_PARTS = ("thinking", "reasoning")
"""The types of content parts that are thoughts."""
MAX_PARTS_DEPTH = 8
"""Parts of a message that are nested deeper are not read."""
DETAILS = ("prompt_tokens_details", "completion_tokens_details")


def chunk_of(
    text: str, thoughts: str, reason: str, usage: Usage | None, model: Any, tools: Tools = ()
) -> Chunk:
    """A chunk as LangChain reads it: `choices` with one choice or none, and `usage`."""
    if not (text or thoughts or reason or tools):
        return {"choices": [], "usage": usage}
    delta: dict[str, Any] = {"role": "assistant", "content": text, "reasoning_content": thoughts}
    if tools:
        delta["tool_calls"] = [
            {
                "index": part["index"],
                "id": part["id"],
                "type": "function",
                "function": {"name": part["name"], "arguments": part["args"]},
            }
            for part in tools
        ]
    choice = {"index": 0, "delta": delta, "finish_reason": reason or None}
    return {"choices": [choice], "usage": usage, "model": model}


class ChunkReader(Generic[Part]):
    """Reads chunks as the bytes of an answer arrive: `[DONE]`, null deltas, whole answers, errors and all.

    A chunk that says nothing makes no part.

    Args:
        part: Makes a part of the answer. The finish reason is empty while the answer goes on.

    Attributes:
        done: Whether the server has said `[DONE]`.
    """

    def __init__(self, part: MakePart[Part]) -> None:
        self.done = False
        self._part = part
        self._events = EventReader()
        self._begun = False
        self._said = False
        self._ended = False
        self._reason = ""
        self._calls: CallParts | None = None

    def feed(self, data: bytes) -> Iterator[Part]:
        """The parts of the answer that more bytes complete.

        Raises:
            ErrorInStream: The server reports an error.
            UnreadableStream: The bytes are no stream of this API.
        """
        return self._parts(self._events.feed(data))

    def end(self) -> Iterator[Part]:
        """The parts that the end of the stream completes. Raises what `feed` raises."""
        return self._parts(self._events.end())

    def _parts(self, events: Iterable[Event]) -> Iterator[Part]:
        for event in events:
            for document in _documents(event, begun=self._said):
                if self.done:
                    return
                part = self._last_part() if document is None else self._read(document, event)
                if part is not None:
                    yield part

    def _last_part(self) -> Part | None:
        """What `[DONE]` says: the reason of the end, if no chunk has said it."""
        self.done = True
        if self._ended or not self._begun:
            return None
        return self._part("", "", self._reason or "stop", None, None, ())

    def _read(self, document: dict[str, Any], event: Event) -> Part | None:
        if document.get("error") or document.get("object") == "error":
            raise ErrorInStream(error_in(document), begun=self._said)
        choices = document.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        usage = _usage(document) if document.get("usage") else None
        if not isinstance(choice, dict):
            if event.is_body:
                raise UnreadableStream(f"no answer in {str(document)[:80]!r}")
            return self._part("", "", "", usage, None, ()) if usage else None
        if error := choice.get("error"):
            raise ErrorInStream(error, begun=self._said)
        self._begun = True
        said = self._said_in(choice)
        text, thoughts = _texts(said)
        tools = self._tools(said)
        self._said = self._said or bool(text or thoughts or tools)
        reason = self._reason_of(choice, is_body=event.is_body)
        self._ended = bool(reason) or (self._ended and not (text.strip() or thoughts.strip() or tools))
        if not (text or thoughts or reason or usage or tools):
            return None
        return self._part(text, thoughts, reason, usage, document.get("model"), tools)

    def _said_in(self, choice: dict[str, Any]) -> dict[str, Any]:
        """The delta or the message of a choice."""
        said = choice.get("delta")
        if not isinstance(said, dict):
            # A whole message is the answer, unless it repeats at the end what came in pieces.
            said = {} if self._said else choice.get("message")
        return said if isinstance(said, dict) else {"content": choice.get("text")}

    def _tools(self, said: dict[str, Any]) -> Tools:
        if not (said.get("tool_calls") or said.get("function_call")):
            return ()
        from swarm_graph.models.tool_parts import CallParts, parts_of  # roles without tools do not need it

        self._calls = self._calls or CallParts()
        return self._calls.add(parts_of(said))

    def _reason_of(self, choice: dict[str, Any], *, is_body: bool) -> str:
        given = choice.get("finish_reason")
        reason = normal_reason(given) if given else ""
        if not reason and (is_body or (self._said and "delta" in choice and choice["delta"] is None)):
            reason = "stop"
        self._reason = reason or self._reason
        return reason


def _texts(said: dict[str, Any]) -> tuple[str, str]:
    """What a delta or a message says: the text of the answer, and thoughts."""
    content = said.get("content")
    text, thoughts = (content, "") if isinstance(content, str) else _text_and_thoughts(content)
    for name in THOUGHT_FIELDS:
        if value := said.get(name):
            return text, thoughts + "".join(_text_and_thoughts(value))
    return text, thoughts


def _documents(event: Event, *, begun: bool) -> Iterable[dict[str, Any] | None]:
    """The JSON objects of an event; None is `[DONE]`.

    Args:
        event: The event.
        begun: Whether the answer has begun, for an error.
    """
    if event.name != "error":
        try:
            return [json_object(event.data)]
        except UnreadableStream:
            pass
    return _odd_documents(event, begun=begun)


def _odd_documents(event: Event, *, begun: bool) -> Iterator[dict[str, Any] | None]:
    """The same for an event that is not one JSON object."""
    data = event.data.strip()
    if not data or data == b"null":
        return
    if data.strip(b'"').upper() == b"[DONE]":
        yield None
        return
    if event.name == "error":
        raise ErrorInStream(_error(data), begun=begun)
    lines = [] if event.is_body else data.split(b"\n")
    if len(lines) > 1:  # events without an empty line between them
        for line in lines:
            yield from _documents(event._replace(data=line), begun=begun)
    elif event.is_body or (event.name in ("", "message") and not event.is_cut):
        json_object(data)  # raises; what is cut misses its end, too, and that is said elsewhere


def _error(data: bytes) -> Any:
    """What the data of an error event says: JSON, or plain text."""
    try:
        return error_in(json_object(data))
    except UnreadableStream:
        return data.decode(errors="replace")


def _text_and_thoughts(content: Any, depth: int = 0) -> tuple[str, str]:
    """The text and the thoughts of a message's content: a text, or a list of parts."""
    if isinstance(content, str) or depth > MAX_PARTS_DEPTH:
        return content if isinstance(content, str) else "", ""
    parts = content if isinstance(content, list) else [content]
    texts: list[str] = []
    thoughts: list[str] = []
    for part in parts:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, dict):
            is_thought = part.get("type") in THOUGHT_PARTS
            inner = next((part[key] for key in ("text", "content", *THOUGHT_PARTS) if part.get(key)), "")
            (thoughts if is_thought else texts).append("".join(_text_and_thoughts(inner, depth + 1)))
    return "".join(texts), "".join(thoughts)


def _usage(document: dict[str, Any]) -> Usage | None:
    """The counts of a server's `usage` that are numbers; None when it has none.

    Older llama.cpp servers say in `timings` alone how much of the prompt their cache held.
    """
    value = document.get("usage")
    if not isinstance(value, dict):
        return None
    counts = _counts(value)
    usage: Usage = {**counts}
    for name in DETAILS:
        if isinstance(value.get(name), dict):
            usage[name] = _counts(value[name])
    cached = _cached_of_timings(document.get("timings"), counts.get("prompt_tokens", 0))
    if cached is not None:
        usage.setdefault("prompt_tokens_details", {}).setdefault("cached_tokens", cached)
    return usage or None


def _cached_of_timings(timings: Any, prompt_tokens: int) -> int | None:
    """The tokens of a prompt that llama.cpp's cache held; None where its `timings` do not say.

    `cache_n` counts them, `prompt_n` the others, which the server evaluated.
    """
    counts = _counts(timings) if isinstance(timings, dict) else {}
    if "cache_n" in counts or "prompt_n" not in counts:
        return counts.get("cache_n")
    return prompt_tokens - counts["prompt_n"]


def _counts(values: dict[str, Any]) -> dict[str, int]:
    counts = {}
    for name, count in values.items():
        if type(count) is int or (type(count) is float and 2**63 <= count < inf):  # orjson's form of these
            counts[name] = int(count)
    return counts
