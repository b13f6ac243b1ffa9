"""LangChain's client for OpenAI's API, with the thoughts of a model that thinks first."""

from __future__ import annotations

from typing import Any

from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk
from langchain_openai import ChatOpenAI

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
