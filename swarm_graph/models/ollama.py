"""LangChain's client for Ollama's API, with a reader of our own: it keeps thoughts and sets bounds."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Self, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import ToolCallChunk
from langchain_core.outputs import ChatGenerationChunk
from langchain_ollama import ChatOllama
from pydantic import PrivateAttr, model_validator

from swarm_graph.models.answer import Deltas, DirectChatModel
from swarm_graph.models.http_clients import Address, read
from swarm_graph.models.keys import api_key
from swarm_graph.models.stream import Delta, normal_reason
from swarm_graph.models.wire import ErrorInStream, Lines, UnreadableStream, json_object
from swarm_graph.settings import AgentParameters, ModelEntry

if TYPE_CHECKING:
    from swarm_graph.models.tool_parts import CallParts

CACHED = "prompt_eval_cached_count"
"""How much of the prompt the server's cache held, said by Ollama 0.33 and later."""
COUNTS = ("prompt_eval_count", "eval_count", CACHED)
TOOLS = "tools"
"""Where a line that was read has its parts of calls."""

Line = dict[str, Any]
Tools = tuple[ToolCallChunk, ...]


class OllamaChat(ChatOllama, DirectChatModel):
    """ChatOllama that reads the stream itself, for every server that is almost Ollama.

    It keeps thoughts even when `reasoning` is None; LangChain drops them then. The stream is read as if
    `reasoning` were True, but the request carries the configured value. An empty chunk is a sign of life:
    bytes that hold no text.
    """

    _address: Address = PrivateAttr()

    @model_validator(mode="after")
    def _set_clients(self) -> Self:
        """Without the clients of ChatOllama, which are not used and take long to make."""
        return self

    async def deltas(self, messages: list[BaseMessage], **arguments: Any) -> Deltas:
        async with aclosing(self._lines(self._payload(messages, **arguments))) as parts:
            async for lines in parts:
                yield [_delta(line) for line in lines]

    async def _aiterate_over_stream(
        self, messages: list[BaseMessage], stop: list[str] | None = None, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        calls: deque[Tools] = deque()
        kwargs = {**kwargs, "reasoning": True, "calls": calls}
        async for chunk in super()._aiterate_over_stream(messages, stop, **kwargs):
            if tools := calls.popleft():
                chunk.message += AIMessageChunk(content="", tool_call_chunks=list(tools))
            if usage := _usage(chunk.generation_info or {}):
                cast("AIMessageChunk", chunk.message).usage_metadata = usage
            yield chunk

    async def _acreate_chat_stream(
        self, messages: list[BaseMessage], stop: list[str] | None = None, **kwargs: Any
    ) -> AsyncIterator[Mapping[str, Any] | str]:
        """The lines of an answer as ChatOllama reads them; an empty one for bytes that complete none.

        The tools that they call go into `calls`: ChatOllama raises where their arguments cannot be read.
        """
        calls: deque[Tools] = kwargs.pop("calls")
        async with aclosing(self._lines(self._payload(messages, stop, **kwargs))) as parts:
            async for lines in parts:
                for line in lines or [{}]:
                    calls.append(line.get(TOOLS, ()))
                    yield {name: value for name, value in line.items() if name != TOOLS}

    def _payload(
        self, messages: list[BaseMessage], stop: list[str] | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        """The JSON of a request."""
        parameters = self._chat_params(messages, stop, **{**kwargs, "reasoning": self.reasoning})
        return {name: value for name, value in parameters.items() if value is not None}

    def _lines(self, payload: dict[str, Any]) -> AsyncGenerator[list[Line]]:
        """The lines of an answer that arrive at once; none for bytes that complete none."""
        return read(self._address, payload, LineReader())


def _delta(line: Line) -> Delta:
    message = line["message"]
    reason, tools = line["done_reason"] or "", line.get(TOOLS, ())
    return Delta(message["content"], message.get("thinking", ""), reason, _usage(line), tools)


def _usage(line: Mapping[str, Any]) -> UsageMetadata | None:
    """The counts of a line; ChatOllama leaves out what the server's cache held."""
    sent, said, cached = (line.get(name) for name in COUNTS)
    if sent is None or said is None:
        return None
    usage = UsageMetadata(input_tokens=sent, output_tokens=said, total_tokens=sent + said)
    if cached is not None:
        usage["input_token_details"] = {"cache_read": cached}
    return usage


class LineReader:
    """Reads the lines of an answer of Ollama's API as the bytes arrive.

    A line has what ChatOllama reads, each value of its type. Invalid UTF-8 is replaced, as in Ollama's own
    client.
    """

    done = False  # the stream ends with its connection

    def __init__(self) -> None:
        self._lines = Lines()
        self._begun = False
        self._calls: CallParts | None = None

    def feed(self, data: bytes) -> Iterator[Line]:
        """The lines that more bytes complete.

        Raises:
            ErrorInStream: The server reports an error.
            UnreadableStream: The bytes are no stream of this API.
        """
        for line in self._lines.feed(data):
            if line.strip():
                yield from self._line(json_object(line, errors="replace"))

    def end(self) -> Iterator[Line]:
        """The last line, if no newline ends it. Raises what `feed` raises."""
        last = self._lines.end()
        if not last.strip():
            return
        try:
            document = json_object(last, errors="replace")
        except UnreadableStream:
            if self._begun:  # a connection that ended too early, which is said elsewhere
                return
            raise
        yield from self._line(document)

    def _line(self, document: dict[str, Any]) -> Iterator[Line]:
        if error := document.get("error"):
            raise ErrorInStream(error, begun=self._begun)
        message = document.get("message")
        said = message if isinstance(message, dict) else {}
        texts = {key: value for key in ("content", "thinking") if isinstance(value := said.get(key), str)}
        tools = self._tools(said)
        self._begun = self._begun or any(texts.values()) or bool(tools)
        line = {
            name: value
            for name, value in document.items()
            if (type(value) is int if name in COUNTS else isinstance(value, (str, int, float)))
        }
        done = document.get("done") is True
        reason = (normal_reason(document.get("done_reason")) or "stop") if done else None
        if reason == "load" and not (texts.get("content", "").strip() or tools):
            return  # the model was loaded, not asked
        called = {TOOLS: tools} if tools else {}
        yield {**line, "message": {"content": "", **texts}, "done": done, "done_reason": reason, **called}

    def _tools(self, said: dict[str, Any]) -> Tools:
        if not said.get("tool_calls"):
            return ()
        from swarm_graph.models.tool_parts import CallParts, parts_of  # roles without tools do not need it

        self._calls = self._calls or CallParts()
        return self._calls.add(parts_of(said))


def chat_model(
    entry: ModelEntry, parameters: AgentParameters, proxy: str | None, _refused: AbstractSet[str]
) -> BaseChatModel:
    """A chat model for an entry, as `SERVER_TYPES` requires.

    Raises:
        ConfigError: The API key is not set.
    """
    key = api_key(entry)
    model = OllamaChat(
        model=entry.model,
        base_url=entry.url,
        temperature=parameters.temperature,
        top_p=parameters.top_p,
        seed=parameters.seed,
        num_predict=parameters.max_tokens,
        num_ctx=parameters.num_ctx,
        keep_alive=parameters.keep_alive,
        reasoning=parameters.reasoning,
    )
    headers = {"authorization": f"Bearer {key}"} if key else {}
    model._address = Address(f"{entry.url}/api/chat", headers, proxy)
    return model
