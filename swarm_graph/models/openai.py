"""LangChain's client for OpenAI's API, with a reader of our own: it keeps thoughts and knows most servers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from collections.abc import Set as AbstractSet
from contextlib import aclosing
from typing import Any, TypeAlias, cast

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk
from langchain_openai import ChatOpenAI
from langchain_openai.chat_models.base import _create_usage_metadata
from pydantic import PrivateAttr

from swarm_graph.models.answer import Deltas, DirectChatModel
from swarm_graph.models.http_clients import Address, read
from swarm_graph.models.keys import api_key
from swarm_graph.models.openai_chunks import Chunk, ChunkReader, MakePart, Part, Tools, Usage, chunk_of
from swarm_graph.models.request import reasoning_field
from swarm_graph.models.stream import Delta
from swarm_graph.settings import AgentParameters, ModelEntry

GetAddress: TypeAlias = Callable[[], Awaitable[Address]]
_UNUSED: Any = object()
"""Stands for the clients of ChatOpenAI, which are not used and take long to make."""


class OpenAIChat(ChatOpenAI, DirectChatModel):
    """ChatOpenAI that reads the stream itself, for every server that is almost OpenAI's.

    Thoughts, which LangChain drops, are in `additional_kwargs` as in ChatOllama. An empty chunk is a sign of
    life: bytes that hold no text, such as a comment that keeps the connection alive.
    """

    _address: GetAddress = PrivateAttr()

    def deltas(self, messages: list[BaseMessage], **arguments: Any) -> Deltas:
        return self._read(self._payload(messages, **arguments), _delta)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        *,
        stream_usage: bool | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        payload = self._payload(messages, stop, stream_usage, **kwargs)
        async with aclosing(self._read(payload, chunk_of)) as parts:
            async for chunks in parts:
                for converted in map(self._generation_chunk, chunks) if chunks else [_sign_of_life()]:
                    if run_manager:
                        await run_manager.on_llm_new_token(converted.text, chunk=converted)
                    yield converted

    async def _read(self, payload: dict[str, Any], part: MakePart[Part]) -> AsyncGenerator[list[Part]]:
        """Send a request, and read the answer into parts; see `read` and `ChunkReader`."""
        async with aclosing(read(await self._address(), payload, ChunkReader(part))) as parts:
            async for found in parts:
                yield found

    def _payload(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        stream_usage: bool | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """The JSON of a request."""
        kwargs = {**kwargs, "stream": True}
        if self._should_stream_usage(stream_usage, **kwargs):
            kwargs["stream_options"] = {"include_usage": True}
        payload = self._get_request_payload(messages, stop=stop, **kwargs)
        extra_body = payload.pop("extra_body", None) or {}
        return {**payload, **extra_body}

    def _generation_chunk(self, chunk: Chunk) -> ChatGenerationChunk:
        converted = self._convert_chunk_to_generation_chunk(chunk, AIMessageChunk, None)
        if not converted:
            return _sign_of_life()
        if chunk["choices"] and (thoughts := chunk["choices"][0]["delta"]["reasoning_content"]):
            converted.message.additional_kwargs["reasoning_content"] = thoughts
        return converted


def _delta(text: str, thoughts: str, reason: str, usage: Usage | None, _model: Any, tools: Tools) -> Delta:
    return Delta(text, thoughts, reason, _create_usage_metadata(usage) if usage else None, tools)


def chat_address(base_url: str, key: str, proxy: str | None = None) -> Address:
    """Where a server with this base URL takes prompts."""
    return Address(f"{base_url}/chat/completions", {"authorization": f"Bearer {key}"}, proxy)


def _sign_of_life() -> ChatGenerationChunk:
    return ChatGenerationChunk(message=AIMessageChunk(content=""))


def chat_model(
    entry: ModelEntry, parameters: AgentParameters, proxy: str | None, refused: AbstractSet[str]
) -> OpenAIChat:
    """A chat model for an entry, as `SERVER_TYPES` requires.

    Raises:
        ConfigError: The API key is not set.
    """
    fixed = chat_address(entry.url, api_key(entry) or "none", proxy)

    async def address() -> Address:
        return fixed

    return chat_model_at(address, entry, parameters, refused)


def chat_model_at(
    address: GetAddress, entry: ModelEntry, parameters: AgentParameters, refused: AbstractSet[str]
) -> OpenAIChat:
    """A chat model for an entry, whatever the address of its server is at the time of a request.

    Args:
        address: Returns the address; called before each request.
        entry: The model.
        parameters: How it samples.
        refused: Request fields that the model must not send.
    """
    body = dict(parameters.extra_body)
    if parameters.max_tokens:
        body.setdefault("max_tokens", parameters.max_tokens)  # the name that every server accepts
    body = {**reasoning_field(parameters), **body}
    model = OpenAIChat(
        model=entry.model,
        base_url=entry.url,
        api_key=cast("Any", "none"),  # the key is in the address
        temperature=parameters.temperature,
        top_p=parameters.top_p,
        seed=parameters.seed,
        extra_body=body or None,
        stream_usage="stream_options" not in refused,
        # Timeouts and retries are roles.call's.
        stream_chunk_timeout=None,
        timeout=None,
        max_retries=0,
        use_responses_api=False,
        client=_UNUSED,
        async_client=_UNUSED,
    )
    model._address = address
    return model
