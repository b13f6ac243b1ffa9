"""LangChain's client for Ollama's API, which also keeps the thoughts of reasoning models."""

from __future__ import annotations

from collections.abc import AsyncIterator
from collections.abc import Set as AbstractSet
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGenerationChunk
from langchain_ollama import ChatOllama

from swarm_graph.models.http_clients import ollama_transport
from swarm_graph.models.keys import api_key
from swarm_graph.settings import AgentParameters, ModelEntry


class OllamaChat(ChatOllama):
    """ChatOllama that keeps thoughts even when `reasoning` is None; LangChain drops them then.

    The stream is read as if `reasoning` were True, but the request carries the configured value.
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
