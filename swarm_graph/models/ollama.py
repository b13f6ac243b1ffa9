"""LangChain's client for Ollama's API, with a reader of our own: it keeps thoughts and sets bounds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import aclosing
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk
from langchain_ollama import ChatOllama

from swarm_graph.models.http_clients import ollama_transport
from swarm_graph.models.keys import api_key
from swarm_graph.models.stream import normal_reason
from swarm_graph.models.wire import ErrorInStream, Lines, UnreadableStream, json_object, received
from swarm_graph.settings import AgentParameters, ModelEntry

CACHED = "prompt_eval_cached_count"
"""How much of the prompt the server's cache held, said by Ollama 0.33 and later."""
COUNTS = ("prompt_eval_count", "eval_count", CACHED)


class OllamaChat(ChatOllama):
    """ChatOllama that reads the stream itself, for every server that is almost Ollama.

    It keeps thoughts even when `reasoning` is None; LangChain drops them then. The stream is read as if
    `reasoning` were True, but the request carries the configured value. An empty chunk is a sign of life:
    bytes that hold no text.
    """

    async def _aiterate_over_stream(
        self, messages: list[BaseMessage], stop: list[str] | None = None, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        kwargs = {**kwargs, "reasoning": True}
        async for chunk in super()._aiterate_over_stream(messages, stop, **kwargs):
            yield _with_cached_tokens(chunk)

    def _chat_params(
        self, messages: list[BaseMessage], stop: list[str] | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        kwargs = {**kwargs, "reasoning": self.reasoning}
        return super()._chat_params(messages, stop, **kwargs)

    async def _acreate_chat_stream(
        self, messages: list[BaseMessage], stop: list[str] | None = None, **kwargs: Any
    ) -> AsyncIterator[Mapping[str, Any] | str]:
        """The lines of an answer as ChatOllama reads them; an empty one for bytes that complete none."""
        parameters = self._chat_params(messages, stop, **kwargs)
        payload = {name: value for name, value in parameters.items() if value is not None}
        reader, client = LineReader(), self._async_client._client
        async with aclosing(received(client, "/api/chat", payload, {})) as parts:
            async for part in parts:
                line = None
                for line in reader.feed(part):
                    yield line
                if line is None:
                    yield {}
        for line in reader.end():
            yield line


def _with_cached_tokens(chunk: ChatGenerationChunk) -> ChatGenerationChunk:
    """The chunk, its usage as ChatOpenAI has it: ChatOllama leaves out what the server's cache held."""
    cached = (chunk.generation_info or {}).get(CACHED)
    if cached is not None and isinstance(chunk.message, AIMessageChunk) and chunk.message.usage_metadata:
        chunk.message.usage_metadata["input_token_details"] = {"cache_read": cached}
    return chunk


class LineReader:
    """Reads the lines of an answer of Ollama's API as the bytes arrive.

    A line has what ChatOllama reads, each value of its type. Invalid UTF-8 is replaced, as in Ollama's own
    client.
    """

    def __init__(self) -> None:
        self._lines = Lines()
        self._begun = False

    def feed(self, data: bytes) -> Iterator[dict[str, Any]]:
        """The lines that more bytes complete.

        Raises:
            ErrorInStream: The server reports an error.
            UnreadableStream: The bytes are no stream of this API.
        """
        for line in self._lines.feed(data):
            if line.strip():
                yield self._line(json_object(line, errors="replace"))

    def end(self) -> Iterator[dict[str, Any]]:
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
        yield self._line(document)

    def _line(self, document: dict[str, Any]) -> dict[str, Any]:
        if error := document.get("error"):
            raise ErrorInStream(error, begun=self._begun)
        message = document.get("message")
        said = message if isinstance(message, dict) else {}
        texts = {key: value for key in ("content", "thinking") if isinstance(value := said.get(key), str)}
        self._begun = self._begun or any(texts.values())
        line = {
            name: value
            for name, value in document.items()
            if (type(value) is int if name in COUNTS else isinstance(value, (str, int, float)))
        }
        done = document.get("done") is True
        reason = (normal_reason(document.get("done_reason")) or "stop") if done else None
        return {**line, "message": {"content": "", **texts}, "done": done, "done_reason": reason}


def chat_model(
    entry: ModelEntry, parameters: AgentParameters, proxy: str | None, _refused: AbstractSet[str]
) -> BaseChatModel:
    """A chat model for an entry, as `SERVER_TYPES` requires.

    Raises:
        ConfigError: The API key is not set.
    """
    key = api_key(entry)
    return OllamaChat(
        model=entry.model,
        base_url=entry.url,
        temperature=parameters.temperature,
        top_p=parameters.top_p,
        seed=parameters.seed,
        num_predict=parameters.max_tokens,
        num_ctx=parameters.num_ctx,
        keep_alive=parameters.keep_alive,
        reasoning=parameters.reasoning,
        client_kwargs={
            "trust_env": False,
            "follow_redirects": False,
            "timeout": None,
            "verify": entry.url.startswith("https:"),
            "headers": {"authorization": f"Bearer {key}"} if key else {},
        },
        async_client_kwargs={"transport": ollama_transport(entry, proxy)},
    )
