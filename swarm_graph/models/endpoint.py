"""A model that a role can call: one from the configuration, or one that the caller supplied."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from collections.abc import Set as AbstractSet
from typing import Protocol

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage

from swarm_graph.models.context_window import Tools
from swarm_graph.models.pool import ModelPool, PromptSize, ToolMode
from swarm_graph.models.slots import Limiter, SessionSlots
from swarm_graph.prompts.chat_template import KNOWN, ChatTemplate
from swarm_graph.settings import AgentParameters, ModelEntry


class Endpoint(Protocol):
    """A model that a role can call.

    Attributes:
        entry: Label, server, timeouts and prices of the model.
        may_omit_finish_reason: Whether an answer without a finish reason is complete.
    """

    entry: ModelEntry
    may_omit_finish_reason: bool

    def name_of(self, model: BaseChatModel) -> str:
        """What identifies the model in the journal."""

    async def chat(self, parameters: AgentParameters, left_out: AbstractSet[str]) -> BaseChatModel:
        """The LangChain chat model, without the fields that are left out."""

    async def slots(self, shared: SessionSlots | None) -> list[Limiter]:
        """The limits on calls in flight to its server, and to all servers.

        Args:
            shared: The limits that hold across machines, if there are several.
        """

    async def prompt_size(
        self, messages: list[BaseMessage], parameters: AgentParameters, tools: Tools = ()
    ) -> PromptSize | None:
        """The size of a prompt with the tools that it offers; None when the model's context is unknown."""

    async def cut_prompt(self, messages: list[BaseMessage], tokens: int, tools: Tools = ()) -> int:
        """The tokens of a prompt that the server cut to `tokens` without an error; 0 when it read all."""

    async def chat_template(self) -> ChatTemplate:
        """The tokens of the model's chat template, as far as they are known."""

    def refused(self) -> frozenset[str]:
        """The optional request fields that its server refuses."""

    def refuse(self, field: str) -> None:
        """Leave a request field out from now on."""

    async def tool_mode(self, find: Callable[[], Awaitable[ToolMode]]) -> ToolMode:
        """How the model calls tools; `find` asks it, if that is not known yet."""


class ConfiguredEndpoint:
    """A model from the configuration, for the calls of one session."""

    may_omit_finish_reason = False

    def __init__(self, pool: ModelPool, entry: ModelEntry, session: str) -> None:
        self._pool, self.entry, self._session = pool, entry, session

    def name_of(self, model: BaseChatModel) -> str:
        return self.entry.name

    async def chat(self, parameters: AgentParameters, left_out: AbstractSet[str]) -> BaseChatModel:
        number = await self._pool.slot_number(self.entry, self._session)
        if number is not None:
            body = {"id_slot": number, **parameters.extra_body}
            parameters = parameters.model_copy(update={"extra_body": body})
        return await self._pool.chat(self.entry, parameters, left_out)

    async def slots(self, shared: SessionSlots | None) -> list[Limiter]:
        number = await self._pool.slot_number(self.entry, self._session)
        return await self._pool.slots(self.entry, number, shared)

    async def prompt_size(
        self, messages: list[BaseMessage], parameters: AgentParameters, tools: Tools = ()
    ) -> PromptSize | None:
        return await self._pool.prompt_size(self.entry, messages, parameters, tools)

    async def cut_prompt(self, messages: list[BaseMessage], tokens: int, tools: Tools = ()) -> int:
        return await self._pool.truncated_prompt_tokens(self.entry, messages, tokens, tools)

    async def chat_template(self) -> ChatTemplate:
        return (await self._pool.capacity(self.entry)).chat_template

    def refused(self) -> frozenset[str]:
        return self._pool.refused_fields(self.entry)

    def refuse(self, field: str) -> None:
        self._pool.mark_refused(self.entry, field)

    async def tool_mode(self, find: Callable[[], Awaitable[ToolMode]]) -> ToolMode:
        return await self._pool.tool_mode(self.entry, find)


class SuppliedEndpoint:
    """A chat model that the caller supplied in SwarmContext. Nothing is known of its server.

    LangChain models that are not backed by a server often set no finish reason.
    """

    may_omit_finish_reason = True

    entry = ModelEntry(model="the model of this run's context", api_type="simulated")

    def __init__(self, pool: ModelPool, model: BaseChatModel) -> None:
        self._pool, self._model = pool, model

    def name_of(self, model: BaseChatModel) -> str:
        return model._llm_type

    async def chat(self, parameters: AgentParameters, left_out: AbstractSet[str]) -> BaseChatModel:
        return self._model

    async def slots(self, shared: SessionSlots | None) -> list[Limiter]:
        return []

    async def prompt_size(
        self, messages: list[BaseMessage], parameters: AgentParameters, tools: Tools = ()
    ) -> None:
        return None

    async def cut_prompt(self, messages: list[BaseMessage], tokens: int, tools: Tools = ()) -> int:
        return 0

    async def chat_template(self) -> ChatTemplate:
        return KNOWN

    def refused(self) -> frozenset[str]:
        return self._pool.refused_fields(self.entry)

    def refuse(self, field: str) -> None:
        self._pool.mark_refused(self.entry, field)

    async def tool_mode(self, find: Callable[[], Awaitable[ToolMode]]) -> ToolMode:
        return await find()
