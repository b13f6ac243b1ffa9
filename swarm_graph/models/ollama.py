"""LangChain's client for Ollama's API, with a reader of our own: it keeps thoughts and sets bounds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import aclosing
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGenerationChunk
from langchain_ollama import ChatOllama

from swarm_graph.models.http_clients import ollama_transport
from swarm_graph.models.keys import api_key
from swarm_graph.models.stream import normal_reason
from swarm_graph.models.wire import ErrorInStream, Lines, UnreadableStream, json_object, received
from swarm_graph.settings import AgentParameters, ModelEntry

COUNTS = ("prompt_eval_count", "eval_count")


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
            yield chunk

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
        lines, client = Lines(), self._async_client._client
        async with aclosing(received(client, "/api/chat", payload, {})) as parts:
            async for part in parts:
                whole = [line for line in lines.feed(part) if line.strip()]
                for line in whole:
                    yield _line(json_object(line, errors="replace"))
                if not whole:
                    yield {}
        if last := _last_line(lines.end()):
            yield _line(last)


def _last_line(line: bytes) -> dict[str, Any] | None:
    """A line that no newline ends; None when the connection ended in the middle of it."""
    try:
        return json_object(line, errors="replace")
    except UnreadableStream:
        return None


def _line(document: dict[str, Any]) -> dict[str, Any]:
    """A line of Ollama's API with what ChatOllama reads, each of its type.

    Raises:
        ErrorInStream: The server reports an error.
    """
    message = document.get("message")
    message = message if isinstance(message, dict) else {}
    text, thoughts = (
        value if isinstance(value := message.get(key), str) else "" for key in ("content", "thinking")
    )
    if error := document.get("error"):
        raise ErrorInStream(error, begun=bool(text))
    line: dict[str, Any] = {"message": {"content": text, "thinking": thoughts}}
    if document.get("done") is True:
        reason = normal_reason(document.get("done_reason")) or "stop"
        line |= {"done": True, "done_reason": reason, "model": document.get("model")}
    return line | {name: count for name in COUNTS if type(count := document.get(name)) is int}


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
