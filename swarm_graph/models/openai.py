"""LangChain's client for OpenAI's API, with a reader of our own: it keeps thoughts and knows most servers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from collections.abc import Set as AbstractSet
from contextlib import aclosing
from typing import Any, cast

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from swarm_graph.models.http_clients import openai_client, unused_sync_client
from swarm_graph.models.keys import api_key
from swarm_graph.models.openai_chunks import Chunk, ChunkReader
from swarm_graph.models.request import reasoning_field
from swarm_graph.models.wire import received
from swarm_graph.settings import AgentParameters, ModelEntry


class OpenAIChat(ChatOpenAI):
    """ChatOpenAI that reads the stream itself, for every server that is almost OpenAI's.

    Thoughts, which LangChain drops, are in `additional_kwargs` as in ChatOllama. An empty chunk is a sign of
    life: bytes that hold no text, such as a comment that keeps the connection alive.
    """

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        *,
        stream_usage: bool | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        async with aclosing(self._chunks(self._payload(messages, stop, stream_usage, kwargs))) as chunks:
            async for chunk in chunks:
                converted = self._generation_chunk(chunk)
                if run_manager:
                    await run_manager.on_llm_new_token(converted.text, chunk=converted)
                yield converted

    def _payload(
        self, messages: list[BaseMessage], stop: list[str] | None, stream_usage: bool | None, kwargs: Any
    ) -> dict[str, Any]:
        """The JSON of a request."""
        kwargs = {**kwargs, "stream": True}
        if self._should_stream_usage(stream_usage, **kwargs):
            kwargs["stream_options"] = {"include_usage": True}
        payload = self._get_request_payload(messages, stop=stop, **kwargs)
        extra_body = payload.pop("extra_body", None) or {}
        return {**payload, **extra_body}

    async def _chunks(self, payload: dict[str, Any]) -> AsyncGenerator[Chunk | None]:
        """The chunks of an answer; None for bytes that complete none."""
        assert isinstance(self.openai_api_key, SecretStr)
        headers = {"authorization": f"Bearer {self.openai_api_key.get_secret_value()}"}
        url, reader = f"{self.openai_api_base}/chat/completions", ChunkReader()
        async with aclosing(received(self.http_async_client, url, payload, headers)) as parts:
            async for part in parts:
                chunk = None
                for chunk in reader.feed(part):
                    yield chunk
                if reader.done:
                    return
                if chunk is None:
                    yield None
        for chunk in reader.end():
            yield chunk

    def _generation_chunk(self, chunk: Chunk | None) -> ChatGenerationChunk:
        converted = chunk and self._convert_chunk_to_generation_chunk(chunk, AIMessageChunk, None)
        if not converted:
            return ChatGenerationChunk(message=AIMessageChunk(content=""))
        if chunk and chunk["choices"] and (thoughts := chunk["choices"][0]["delta"]["reasoning_content"]):
            converted.message.additional_kwargs["reasoning_content"] = thoughts
        return converted


def chat_model(
    entry: ModelEntry, parameters: AgentParameters, proxy: str | None, refused: AbstractSet[str]
) -> BaseChatModel:
    """A chat model for an entry, as `SERVER_TYPES` requires.

    Raises:
        ConfigError: The API key is not set.
    """
    body = dict(parameters.extra_body)
    if parameters.max_tokens:
        body.setdefault("max_tokens", parameters.max_tokens)  # the name that every server accepts
    body = {**reasoning_field(parameters), **body}
    return OpenAIChat(
        model=entry.model,
        base_url=entry.url,
        api_key=cast("Any", api_key(entry) or "none"),
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
        http_client=unused_sync_client(),
        http_async_client=openai_client(entry, proxy),
    )
