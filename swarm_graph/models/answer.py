"""The answer of a chat model, part by part: straight from its server where nobody listens to LangChain."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from langchain_core.callbacks.manager import AsyncCallbackManager
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.runnables import RunnableConfig

from swarm_graph.models.stream import Delta, as_delta

Deltas = AsyncGenerator[Sequence[Delta]]
"""What has arrived at once; empty for bytes that hold no text, which are a sign of life."""


class DirectChatModel(BaseChatModel):
    """A chat model of LangChain whose answers also come without LangChain's messages and callbacks."""

    @abstractmethod
    def deltas(self, messages: list[BaseMessage], **arguments: Any) -> Deltas:
        """The answer to a prompt; the arguments are those of `astream`."""


def deltas_of(
    model: BaseChatModel, messages: list[BaseMessage], config: RunnableConfig, **arguments: Any
) -> Deltas:
    """The answer of a chat model to a prompt.

    Args:
        model: The model.
        messages: The prompt.
        config: LangChain's configuration of the caller: callbacks, tags, metadata.
        arguments: The arguments of `astream`.
    """
    if isinstance(model, DirectChatModel) and not _has_listener(model, config):
        return model.deltas(messages, **arguments)
    return _converted(model, messages, config, arguments)


def _has_listener(model: BaseChatModel, config: RunnableConfig) -> bool:
    """Whether somebody listens: a callback, a stream of messages, or a tracer."""
    manager = AsyncCallbackManager.configure(config.get("callbacks"), model.callbacks, model.verbose)
    return bool(manager.handlers)


async def _converted(
    model: BaseChatModel, messages: list[BaseMessage], config: RunnableConfig, arguments: dict[str, Any]
) -> Deltas:
    stream: Any = model.astream(messages, config, **arguments)
    async with aclosing(stream) as parts:
        async for part in parts:
            yield (as_delta(part),)
