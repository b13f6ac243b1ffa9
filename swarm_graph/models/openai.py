"""LangChain's client for OpenAI's API, with the thoughts of a model that thinks first."""

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

THOUGHTS = ("reasoning_content", "reasoning")
"""What servers call them: llama.cpp, LM Studio and DeepSeek the first, vLLM the second."""


class OpenAIChat(ChatOpenAI):
    """Keeps thoughts, which LangChain drops, where ChatOllama has them: `additional_kwargs`."""

    def _convert_chunk_to_generation_chunk(
        self, chunk: dict[str, Any], default_chunk_class: type, base_generation_info: dict[str, Any] | None
    ) -> ChatGenerationChunk | None:
        made = super()._convert_chunk_to_generation_chunk(chunk, default_chunk_class, base_generation_info)
        if made and isinstance(made.message, AIMessageChunk) and (choices := chunk.get("choices")):
            said = [choices[0]["delta"].get(name) for name in THOUGHTS]
            for thought in filter(None, said):
                made.message.additional_kwargs["reasoning_content"] = str(thought)
        return made


def chat_model(
    entry: ModelEntry, parameters: AgentParameters, proxy: str | None, refused: AbstractSet[str]
) -> BaseChatModel:
    """A chat model for an entry; see `SERVER_TYPES`."""
    body = dict(parameters.extra_body)
    if parameters.max_tokens:
        body.setdefault("max_tokens", parameters.max_tokens)  # the name that every server knows
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
        stream_chunk_timeout=None,
        timeout=None,
        max_retries=0,
        use_responses_api=False,
        http_client=unused_sync_client(),
        http_async_client=openai_client(entry, proxy),
    )
