"""LangChain's client for OpenAI's API, which also keeps the thoughts of reasoning models."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Any, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk
from langchain_openai import ChatOpenAI

from swarm_graph.models.http_clients import openai_client, unused_sync_client
from swarm_graph.models.keys import api_key
from swarm_graph.settings import AgentParameters, ModelEntry

THOUGHT_FIELDS = ("reasoning_content", "reasoning")
"""The first in llama.cpp, LM Studio and DeepSeek, the second in vLLM."""


class OpenAIChat(ChatOpenAI):
    """ChatOpenAI that keeps thoughts, which LangChain drops, in `additional_kwargs` as ChatOllama does."""

    def _convert_chunk_to_generation_chunk(
        self, chunk: dict[str, Any], default_chunk_class: type, base_generation_info: dict[str, Any] | None
    ) -> ChatGenerationChunk | None:
        converted = super()._convert_chunk_to_generation_chunk(
            chunk, default_chunk_class, base_generation_info
        )
        choices = chunk.get("choices")
        if converted and isinstance(converted.message, AIMessageChunk) and choices:
            thoughts = [choices[0]["delta"].get(name) for name in THOUGHT_FIELDS]
            for thought in filter(None, thoughts):
                converted.message.additional_kwargs["reasoning_content"] = str(thought)
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
    if isinstance(parameters.reasoning, str):
        body.setdefault("reasoning_effort", parameters.reasoning)
    elif parameters.reasoning is not None:
        body.setdefault("chat_template_kwargs", {"enable_thinking": parameters.reasoning})
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
