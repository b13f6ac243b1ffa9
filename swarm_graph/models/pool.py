"""The chat models that the roles use, and what is known about their servers."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from collections.abc import Set as AbstractSet
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar
from weakref import WeakKeyDictionary
from zlib import crc32

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage

from swarm_graph.config import SwarmConfig
from swarm_graph.models.capacity import Capacity, server_capacity, slot_limit
from swarm_graph.models.context_window import (
    MESSAGE_TOKENS,
    TokenEstimator,
    Tools,
    prompt_bytes,
    room_for_answer,
    text_of,
)
from swarm_graph.models.keys import api_key, check_chats
from swarm_graph.models.request import without_refused
from swarm_graph.models.slots import Limiter, SessionSlots, connection_slots, named_slots
from swarm_graph.settings import AUTO, OF_EMBEDDED, SERVER_TYPES, AgentParameters, ModelEntry

if TYPE_CHECKING:
    from swarm_graph.models.probe import ServerInfo
    from swarm_graph.models.shared_server import SharedServer

PROBE_TIMEOUT_S = 2.0
"""Without an answer in this time, calls start with the capacity from the config."""
CAPACITY_TTL_S = 60.0
"""How long a server's capacity is trusted before it is probed again."""
DOWN_S = 60.0
"""How long a failed model is skipped when it has a fallback."""

ToolMode = Literal["native", "action", "text"]
"""How a model calls tools: by its server's API, as an action that a schema binds, or in its text."""

T = TypeVar("T")
_PerLoop = WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, T]]


class PromptSize(NamedTuple):
    """A prompt's size against the context window of its model."""

    tokens: int
    """Tokens of the prompt, at most."""
    room: int
    """Tokens that a prompt may have beside its answer."""


class _CachedCapacity(NamedTuple):
    probed_at: float
    """time.monotonic()."""
    capacity: Capacity


class _Outage(NamedTuple):
    since: float
    """time.monotonic()."""
    reason: str


class ModelPool:
    """The chat models of a configuration, and what is known about their servers.

    Models are created on first use. Their connections belong to the event loop that uses them.
    """

    def __init__(self, config: SwarmConfig) -> None:
        self.config = config
        self._chat_models: dict[str, BaseChatModel] = {}
        self._running_probes: _PerLoop[asyncio.Task[Capacity]] = WeakKeyDictionary()
        # All of these by _model_key.
        self._answered: dict[str, ModelEntry] = {}
        self._capacities: dict[str, _CachedCapacity] = {}
        self._token_estimators: dict[str, TokenEstimator] = {}
        self._outages: dict[str, _Outage] = {}
        self._refused_fields: dict[str, set[str]] = {}
        self._embedded: dict[str, tuple[ModelEntry, SharedServer]] = {}
        self._tool_modes: dict[str, ToolMode] = {}
        self._tool_probes: _PerLoop[asyncio.Lock] = WeakKeyDictionary()

    async def chat(
        self, entry: ModelEntry, parameters: AgentParameters, left_out: AbstractSet[str] = frozenset()
    ) -> BaseChatModel:
        """The chat model for an entry and a role's parameters.

        Args:
            entry: The model.
            parameters: How it samples.
            left_out: Request fields that it must not send, besides those that its server has refused.
        """
        if num_ctx := (await self.capacity(entry)).num_ctx:
            num_ctx = max(num_ctx, parameters.num_ctx or 0)
            parameters = parameters.model_copy(update={"num_ctx": num_ctx})
        refused = self.refused_fields(entry) | left_out
        key = entry.model_dump_json() + parameters.model_dump_json() + " ".join(sorted(refused))
        if key not in self._chat_models:
            allowed = without_refused(parameters, refused)
            complete = self._embedded_model(entry)[0] if entry.is_embedded else entry
            self._chat_models[key] = chat_model(complete, allowed, self.config.proxy, refused)
        return self._chat_models[key]

    async def slots(
        self, entry: ModelEntry, number: int | None = None, shared: SessionSlots | None = None
    ) -> list[Limiter]:
        """The limiters of concurrent calls to a model's server, and of the process's connections.

        Args:
            entry: The model.
            number: The slot of the server that the calls go to; None for any.
            shared: The limits that hold across machines, if there are several.
        """
        limit, server = (await self.capacity(entry)).slots, (await self._served(entry)).server
        if entry.api_type == "simulated":
            return [named_slots(server, limit)]
        if shared:
            return [shared.slots(server, limit, entry.model, number), connection_slots()]
        slots = [named_slots(server, limit), connection_slots()]
        # A call that waits for its slot must not occupy another one.
        return [*slots] if number is None else [named_slots(f"{entry.server} slot {number}", 1), *slots]

    async def slot_number(self, entry: ModelEntry, session: str) -> int | None:
        """The slot of a llama.cpp server that all calls of a session go to; None if the server chooses it."""
        if not entry.slot_per_session:
            return None
        numbered = (await self.capacity(entry)).numbered_slots
        return crc32(session.encode(errors="replace")) % numbered if numbered else None

    def known_slots(self, entry: ModelEntry) -> int:
        """Concurrent calls that a model's server takes, as far as known without a probe."""
        entry = self._answered.get(_model_key(entry), entry)
        cached = self._capacities.get(_model_key(entry))
        return cached.capacity.slots if cached else slot_limit(self.config, entry, None)

    # --- what the server reports -----------------------------------------------------------------

    async def answered(self, entry: ModelEntry) -> ModelEntry:
        """The model with the type of its server. A server is asked if it is `auto`, until it has answered."""
        if entry.api_type != AUTO:
            return entry
        key = _model_key(entry)
        if key not in self._answered:
            from swarm_graph.models.probe import as_answered

            info = await self.server_info(entry)
            if not info.reachable:
                return as_answered(entry, info)
            self._answered[key] = as_answered(entry, info)
        return self._answered[key]

    async def capacity(self, entry: ModelEntry) -> Capacity:
        """The capacity of a model's server. Probes the server at most once a minute, without a prompt."""
        if entry.api_type == "simulated":
            return Capacity(slot_limit(self.config, entry, None))
        key, now = _model_key(entry), time.monotonic()
        cached = self._capacities.get(key)
        if cached and now - cached.probed_at < CAPACITY_TTL_S:
            return cached.capacity
        probes = self._running_probes.setdefault(asyncio.get_running_loop(), {})
        if key not in probes or probes[key].done():
            probes[key] = asyncio.create_task(self._probe(entry))
        # Shielded, because a cancelled call must not cancel the probe that others wait for.
        return await asyncio.shield(probes[key])

    async def server_info(self, entry: ModelEntry) -> ServerInfo:
        """What a model's server reports now; not reachable when it takes longer than PROBE_TIMEOUT_S.

        Raises:
            ConfigError: The model's API key is not set.
        """
        from swarm_graph.models.probe import inspect

        entry = await self._served(entry)
        key = api_key(entry)
        return await inspect(
            entry.url, model=entry.model, key=key, proxy=self._proxy(entry), patience_s=PROBE_TIMEOUT_S
        )

    def _proxy(self, entry: ModelEntry) -> str | None:
        """The proxy on the way to a model; None for an embedded one, which is on this machine."""
        return None if entry.served_key else self.config.proxy

    def _embedded_model(self, entry: ModelEntry) -> tuple[ModelEntry, SharedServer]:
        """An embedded model with all that its server is started with, and the server; nothing is started."""
        key = _model_key(entry)
        if key not in self._embedded:
            check_chats(entry)
            from swarm_graph.models.embedded_file import server_of, with_defaults

            complete = with_defaults(self.config, entry)
            self._embedded[key] = complete, server_of(complete)
        return self._embedded[key]

    async def _served(self, entry: ModelEntry) -> ModelEntry:
        """The model where it is served. The server of an embedded one is started if it does not run.

        Raises:
            ModelError: It cannot be started.
        """
        if not entry.is_embedded:
            return entry
        complete, server = self._embedded_model(entry)
        address = await server.address()
        return complete.at(address.url, address.key)

    async def _probe(self, entry: ModelEntry) -> Capacity:
        info = await self.server_info(entry)
        capacity = server_capacity(self.config, await self._served(entry), info)
        if not info.reachable and (earlier := self._capacities.get(_model_key(entry))):
            capacity = earlier.capacity
        self._capacities[_model_key(entry)] = _CachedCapacity(time.monotonic(), capacity)
        return capacity

    # --- the context window ----------------------------------------------------------------------

    async def prompt_size(
        self,
        entry: ModelEntry,
        messages: list[BaseMessage],
        parameters: AgentParameters,
        tools: Tools = (),
    ) -> PromptSize | None:
        """A prompt's tokens, and how many its model's context has room for; None for an unknown context.

        A prompt has at most as many tokens as bytes. The server's tokenizer is asked only when the bytes do
        not settle it.

        Args:
            entry: The model.
            messages: The prompt.
            parameters: The role's; `max_tokens` and `num_ctx` count.
            tools: The tools that the request offers.
        """
        capacity, size = await self.capacity(entry), prompt_bytes(messages, tools)
        if capacity.context is None:
            return None
        role_context = parameters.num_ctx or 0 if capacity.num_ctx else 0
        room = max(capacity.context, role_context) - room_for_answer(parameters.max_tokens)
        template = MESSAGE_TOKENS * len(messages)
        if size + template <= room:
            return PromptSize(size + template, room)
        counted = await self._count_tokens(entry, capacity, messages, tools)
        if counted is None:
            counted = self._token_estimator(entry).at_most(size)
        return PromptSize(counted + template, room)

    async def _count_tokens(
        self, entry: ModelEntry, capacity: Capacity, messages: list[BaseMessage], tools: Tools
    ) -> int | None:
        """The tokens by the server's own count; None when it has no tokenizer or does not answer."""
        if not capacity.counts_tokens:
            return None
        from swarm_graph.models.probe import count_tokens

        texts = [text_of(message) for message in messages] + ([json.dumps(tools)] if tools else [])
        text, entry = "\n".join(texts), await self._served(entry)
        return await count_tokens(
            f"{entry.url.removesuffix('/v1')}/tokenize", text, key=api_key(entry), proxy=self._proxy(entry)
        )

    async def truncated_prompt_tokens(
        self, entry: ModelEntry, messages: list[BaseMessage], tokens: int, tools: Tools = ()
    ) -> int:
        """The estimated tokens of a prompt that the server truncated silently; 0 when it read all of it.

        Ollama is probed again, because the context in force may be smaller than the requested `num_ctx`.

        Args:
            entry: The model.
            messages: The prompt.
            tokens: Prompt tokens that the server counted.
            tools: The tools that the request offered.
        """
        if entry.api_type == "simulated":
            return 0
        estimator, size = self._token_estimator(entry), prompt_bytes(messages, tools)
        expected = estimator.at_least(size)
        if tokens >= expected:
            estimator.learn(size, tokens)
            return 0
        context = (await self.capacity(entry)).context
        if entry.api_type == "ollama":
            context = (await self.server_info(entry)).context_of(entry.model)
        return expected if context is not None and estimator.at_most(size) > context else 0

    def _token_estimator(self, entry: ModelEntry) -> TokenEstimator:
        return self._token_estimators.setdefault(_model_key(entry), TokenEstimator())

    # --- models that are down --------------------------------------------------------------------

    def outage(self, entry: ModelEntry) -> str:
        """The reason to skip a model for now; empty when it is worth a call."""
        outage = self._outages.get(_model_key(entry))
        return outage.reason if outage and time.monotonic() - outage.since < DOWN_S else ""

    def mark_down(self, entry: ModelEntry, reason: str) -> None:
        """Skip a model for DOWN_S where it has a fallback: it failed in spite of all retries."""
        self._outages[_model_key(entry)] = _Outage(time.monotonic(), reason)

    # --- fields that a server refuses ------------------------------------------------------------

    def refused_fields(self, entry: ModelEntry) -> frozenset[str]:
        """The request fields that a model's server has refused so far."""
        return frozenset(self._refused_fields.get(_model_key(entry), ()))

    def mark_refused(self, entry: ModelEntry, field: str) -> None:
        """Leave a field out of all further requests to a model."""
        self._refused_fields.setdefault(_model_key(entry), set()).add(field)

    # --- how models call tools -------------------------------------------------------------------

    async def tool_mode(self, entry: ModelEntry, find: Callable[[], Awaitable[ToolMode]]) -> ToolMode:
        """How a model calls tools; found out once in a process, by the first role that needs it.

        Args:
            entry: The model.
            find: Asks the model.
        """
        key = _model_key(entry)
        locks = self._tool_probes.setdefault(asyncio.get_running_loop(), {})
        async with locks.setdefault(key, asyncio.Lock()):
            if key not in self._tool_modes:
                self._tool_modes[key] = await find()
        return self._tool_modes[key]


def _model_key(entry: ModelEntry) -> str:
    own = entry.model_dump_json(include={*OF_EMBEDDED, "slots"}) if entry.is_embedded else ""
    return f"{entry.url} {entry.model} {own}"


def chat_model(
    entry: ModelEntry,
    parameters: AgentParameters,
    proxy: str | None = None,
    refused: AbstractSet[str] = frozenset(),
) -> BaseChatModel:
    """A new LangChain chat model.

    Args:
        entry: The model; its `api_type` selects the module in `SERVER_TYPES`.
        parameters: How it samples.
        proxy: URL of the configured proxy.
        refused: Request fields that the model must not send.
    """
    module: Any = import_module(SERVER_TYPES[entry.api_type])
    model: BaseChatModel = module.chat_model(entry, parameters, proxy, refused)
    return model
