"""Embedded models: GGUF files that swarm_graph serves itself, by llama.cpp in a process of its own."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from langchain_core.language_models import BaseChatModel

from swarm_graph.models import openai
from swarm_graph.models.embedded_file import server_of
from swarm_graph.models.http_clients import Address
from swarm_graph.settings import AgentParameters, ModelEntry


def chat_model(
    entry: ModelEntry, parameters: AgentParameters, _proxy: str | None, refused: AbstractSet[str]
) -> BaseChatModel:
    """A chat model for an entry, as `SERVER_TYPES` requires. Its server starts when a call finds none.

    Args:
        entry: The model, as `with_defaults` returns it.
        parameters: How it samples.
        refused: Request fields that the model must not send.
    """
    server = server_of(entry)

    async def address() -> Address:
        return openai.chat_address(*await server.address())

    return openai.chat_model_at(address, entry.at("http://127.0.0.1", ""), parameters, refused)
