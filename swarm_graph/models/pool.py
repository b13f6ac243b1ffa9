"""The pool of chat models behind the roles, and what is known of their servers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Set as AbstractSet
from importlib import import_module
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage

from swarm_graph.config import SwarmConfig
from swarm_graph.models.capacity import Capacity, capacity, slots
from swarm_graph.models.context_window import MESSAGE_TOKENS, Gauge, room_for_answer, size_of
from swarm_graph.models.keys import api_key
from swarm_graph.models.request import without_refused
from swarm_graph.models.slots import Slots, server_slots
from swarm_graph.settings import SERVER_TYPES, AgentParameters, ModelEntry

if TYPE_CHECKING:
    from swarm_graph.models.probe import ServerReport

PATIENCE_S = 2.0
"""For what a server says of itself; without it, calls begin with what the configuration says."""
FRESH_S = 60.0
DOWN_S = 60.0
"""How long a model that failed is not asked when it has a fallback."""


class ModelPool:
    """The chat models, made when first asked for, one per event loop, and what is known of their servers."""

    def __init__(self, config: SwarmConfig) -> None:
        self.config = config
        self._models: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, BaseChatModel]] = (
            WeakKeyDictionary()
        )
        self._asked: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, asyncio.Task[Capacity]]] = (
            WeakKeyDictionary()
        )
        self._capacities: dict[str, tuple[float, Capacity]] = {}
        self._refused: dict[str, set[str]] = {}
        self._gauges: dict[str, Gauge] = {}
        self._down: dict[str, tuple[float, str]] = {}

    async def chat(self, entry: ModelEntry, parameters: AgentParameters) -> BaseChatModel:
        """A model for the running event loop."""
        models = self._models.setdefault(asyncio.get_running_loop(), {})
        if num_ctx := (await self.capacity(entry)).num_ctx:
            num_ctx = max(num_ctx, parameters.num_ctx or 0)
            parameters = parameters.model_copy(update={"num_ctx": num_ctx})
        refused = self.refused(entry)
        key = entry.model_dump_json() + parameters.model_dump_json() + " ".join(sorted(refused))
        if key not in models:
            models[key] = chat_model(entry, without_refused(parameters, refused), self.config.proxy, refused)
        return models[key]

    async def slots(self, entry: ModelEntry) -> Slots:
        """The limiter of a model's server."""
        return server_slots(entry.server, (await self.capacity(entry)).slots)

    def width(self, entry: ModelEntry) -> int:
        """How many calls a model's server takes at once, as far as is known without asking it."""
        _, known = self._capacities.get(_name(entry), (0.0, None))
        return known.slots if known else slots(self.config, entry, None)

    # --- what the server says of itself ----------------------------------------------------------

    async def capacity(self, entry: ModelEntry) -> Capacity:
        """What a model's server takes; it is asked once a minute at the most, without a prompt."""
        if entry.api_type == "simulated":
            return Capacity(slots(self.config, entry, None))
        name, now = _name(entry), time.monotonic()
        known_at, known = self._capacities.get(name, (0.0, None))
        if known and now - known_at < FRESH_S:
            return known
        asked = self._asked.setdefault(asyncio.get_running_loop(), {})
        if name not in asked or asked[name].done():
            asked[name] = asyncio.create_task(self._inspect(entry))
        return await asyncio.shield(asked[name])

    async def report(self, entry: ModelEntry) -> ServerReport:
        """What a model's server says of itself now."""
        from swarm_graph.models.probe import inspect

        key = api_key(entry)
        return await inspect(entry.url, key=key, proxy=self.config.proxy, patience_s=PATIENCE_S)

    async def _inspect(self, entry: ModelEntry) -> Capacity:
        report = await self.report(entry)
        found = capacity(self.config, entry, report)
        if not report.reachable and (earlier := self._capacities.get(_name(entry))):
            found = earlier[1]
        self._capacities[_name(entry)] = (time.monotonic(), found)
        return found

    # --- the context window ----------------------------------------------------------------------

    async def prompt_tokens(
        self, entry: ModelEntry, messages: list[BaseMessage], parameters: AgentParameters
    ) -> tuple[int, int]:
        """How many tokens a prompt takes, at the most, and how many there is room for.

        The server is asked to count only where its size leaves a doubt.
        """
        known, size = await self.capacity(entry), size_of(messages)
        if known.context is None:
            return 0, 0
        own = parameters.num_ctx or 0 if known.num_ctx else 0
        room = max(known.context, own) - room_for_answer(parameters.max_tokens)
        around = MESSAGE_TOKENS * len(messages)
        if size + around <= room:
            return size + around, room
        if known.tokenizer:
            from swarm_graph.models.probe import count_tokens

            text = "\n".join(message.text for message in messages)
            counted = await count_tokens(known.tokenizer, text, key=api_key(entry), proxy=self.config.proxy)
            if counted is not None:
                return counted + around, room
        return self._gauge(entry).most(size) + around, room

    async def cut_silently(self, entry: ModelEntry, messages: list[BaseMessage], tokens: int) -> int:
        """About how many tokens a prompt has of which the server read only so many; 0 when it read all.

        Ollama is asked again for its context: what it has in force may be less than what it was asked for.
        """
        if entry.api_type == "simulated":
            return 0
        gauge, size = self._gauge(entry), size_of(messages)
        expected = gauge.least(size)
        if tokens >= expected:
            gauge.learn(size, tokens)
            return 0
        context = (await self.capacity(entry)).context
        if entry.api_type == "ollama":
            context = (await self.report(entry)).context_of(entry.model)
        return expected if context is not None and gauge.most(size) > context else 0

    def _gauge(self, entry: ModelEntry) -> Gauge:
        return self._gauges.setdefault(_name(entry), Gauge())

    # --- models that are down --------------------------------------------------------------------

    def down(self, entry: ModelEntry) -> str:
        """Why a model is not worth a try for now; empty when it is."""
        since, why = self._down.get(_name(entry), (0.0, ""))
        return why if why and time.monotonic() - since < DOWN_S else ""

    def set_down(self, entry: ModelEntry, why: str) -> None:
        """A model that has failed although its calls were repeated: those with a fallback go there."""
        self._down[_name(entry)] = (time.monotonic(), why)

    # --- fields that a server refuses ------------------------------------------------------------

    def refused(self, entry: ModelEntry) -> frozenset[str]:
        """The fields that a model's server has refused."""
        return frozenset(self._refused.get(_name(entry), ()))

    def refuse(self, entry: ModelEntry, field: str) -> None:
        """A field that is left out from now on."""
        self._refused.setdefault(_name(entry), set()).add(field)


def _name(entry: ModelEntry) -> str:
    return f"{entry.url} {entry.model}"


def chat_model(
    entry: ModelEntry,
    parameters: AgentParameters,
    proxy: str | None = None,
    refused: AbstractSet[str] = frozenset(),
) -> BaseChatModel:
    """A new LangChain chat model, bound to the running event loop. `refused`: fields that it never sends."""
    module: Any = import_module(SERVER_TYPES[entry.api_type])
    model: BaseChatModel = module.chat_model(entry, parameters, proxy, refused)
    return model
