"""LangChain's client for Ollama's API, with the thoughts of a model that thinks first."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGenerationChunk
from langchain_ollama import ChatOllama


class OllamaChat(ChatOllama):
    """Keeps thoughts also when `reasoning` is left to the model, which LangChain then drops."""

    async def _aiterate_over_stream(
        self, messages: list[BaseMessage], stop: list[str] | None = None, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        kept = {**kwargs, "reasoning": True}
        async for chunk in super()._aiterate_over_stream(messages, stop, **kept):
            yield chunk

    def _chat_params(
        self, messages: list[BaseMessage], stop: list[str] | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        asked = {**kwargs, "reasoning": self.reasoning}
        return super()._chat_params(messages, stop, **asked)
